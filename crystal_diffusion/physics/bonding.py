"""What follows from a list of bonds: coordination, angles, bond valence, dimension."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystal_diffusion import chemistry
from crystal_diffusion.chemistry import Floats
from crystal_diffusion.physics.distances import NeighbourPairs

Ints = NDArray[np.int64]

#: Two atoms are bonded up to this multiple of their typical contact, if they are also ...
BOND_REACH = 1.2
#: ... not farther than this multiple of the nearest neighbour of one of them, for two metals of
#: both of them: two metal ions near each other across an oxide ion are not bonded.
SHELL = 1.35
#: Softness of a bond in Å (Brown and Altermatt 1985).
BOND_SOFTNESS = 0.37


def bonds_of(pairs: NeighbourPairs, ratios: Floats, numbers: Ints) -> NeighbourPairs:
    """The pairs that count as bonds: near for their elements, and near for their ends."""
    nearest = np.full(len(numbers), np.inf)
    np.minimum.at(nearest, pairs.first, pairs.distance)
    one, other = nearest[pairs.first], nearest[pairs.second]
    metal = chemistry.IS_METAL[numbers]
    shell = np.where(
        metal[pairs.first] & metal[pairs.second], np.minimum(one, other), np.maximum(one, other)
    )
    keep = (ratios <= BOND_REACH) & (pairs.distance <= SHELL * shell)
    return NeighbourPairs(
        pairs.first[keep], pairs.second[keep], pairs.image[keep], pairs.distance[keep]
    )


def bond_length(first: Ints, second: Ints) -> Floats:
    """Length in Å of a bond of one valence unit, NaN where parameters are missing.

    O'Keeffe and Brese 1991: R = r1 + r2 - r1 r2 (sqrt(c1) - sqrt(c2))² / (c1 r1 + c2 r2).
    """
    r1, r2 = chemistry.BOND_VALENCE_R[first], chemistry.BOND_VALENCE_R[second]
    c1, c2 = chemistry.BOND_VALENCE_C[first], chemistry.BOND_VALENCE_C[second]
    step = np.sqrt(c1) - np.sqrt(c2)
    return np.asarray(r1 + r2 - r1 * r2 * step * step / (c1 * r1 + c2 * r2), np.float64)


def smallest_angle(
    bonds: NeighbourPairs, frac_coords: ArrayLike, lattice: ArrayLike
) -> tuple[float, int] | None:
    """Smallest angle in degrees between two bonds of one atom, and that atom."""
    if len(bonds) < 2:
        return None
    order = np.argsort(bonds.first, kind="stable")
    first = bonds.first[order]
    vectors = bonds.vectors(frac_coords, lattice)[order]
    unit = vectors / np.maximum(bonds.distance[order], 1e-9)[:, None]
    counts = np.bincount(first)
    width = int(counts.max())
    if width < 2:
        return None
    # One padded row of unit vectors for each atom; padding and self-pairs get cosine -2.
    rows = np.zeros((len(counts), width, 3))
    column = np.arange(len(first)) - (np.cumsum(counts) - counts)[first]
    rows[first, column] = unit
    cosines = rows @ rows.transpose(0, 2, 1)
    real = np.arange(width) < counts[:, None]
    pair = real[:, :, None] & real[:, None] & ~np.eye(width, dtype=bool)
    cosines = np.where(pair, cosines, -2.0)
    centre = int(cosines.max((1, 2)).argmax())
    return float(np.degrees(np.arccos(np.clip(cosines[centre].max(), -1, 1)))), centre


def dimension(bonds: NeighbourPairs, atoms: int) -> int:
    """Largest dimension of the bonded pieces: 0 molecules, 1 chains, 2 layers, 3 a network."""
    import itertools

    neighbours: list[list[tuple[int, tuple[int, int, int]]]] = [[] for _ in range(atoms)]
    triples = zip(bonds.first.tolist(), bonds.second.tolist(), bonds.image.tolist(), strict=True)
    for i, j, (x, y, z) in triples:
        neighbours[i].append((j, (x, y, z)))
    where: dict[int, tuple[int, int, int]] = {}
    highest = 0
    for root in range(atoms):
        if root in where:
            continue
        where[root] = (0, 0, 0)
        stack, loops = [root], set()
        while stack:
            i = stack.pop()
            here = where[i]
            for j, step in neighbours[i]:
                there = (here[0] + step[0], here[1] + step[1], here[2] + step[2])
                if j not in where:
                    where[j] = there
                    stack.append(j)
                elif there != where[j]:
                    known = where[j]
                    loop = (there[0] - known[0], there[1] - known[1], there[2] - known[2])
                    loops.add(max(loop, (-loop[0], -loop[1], -loop[2])))
        if loops:
            highest = max(highest, _rank(list(itertools.islice(loops, 200))))
        if highest == 3:
            break
    return highest


def _rank(vectors: list[tuple[int, int, int]]) -> int:
    return int(np.linalg.matrix_rank(np.array(vectors, np.float64)))
