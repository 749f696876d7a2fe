"""What the property network sees of a crystal: its different atoms and their neighbours.

Atoms that see the same are taken together, so a crystal of high symmetry costs little whatever
the size of its cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystal_diffusion.cell_geometry import images_within
from crystal_diffusion.networks.properties import SiteBatch

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Neighbours of each atom that are looked at, and how far, in units of (V/N)^(1/3).
NEIGHBOURS = 16
REACH = 2.0


@dataclass(frozen=True, eq=False)
class SiteGraph:
    """The different atoms of one crystal.

    Attributes:
        numbers: ``(sites,)`` atomic numbers; share: ``(sites,)`` part of all atoms, sum 1.
        neighbour: ``(sites, NEIGHBOURS)`` which site a neighbour is like.
        vector: ``(sites, NEIGHBOURS, 3)`` Å from the atom to the neighbour.
        cutoff: ``(sites,)`` Å; distance of the first neighbour that is not looked at, where
            messages have faded to nothing. So it does not matter which of several neighbours at
            one distance are among those kept.
    """

    numbers: NDArray[np.uint8]
    share: NDArray[np.float32]
    neighbour: NDArray[np.int16]
    vector: NDArray[np.float32]
    cutoff: NDArray[np.float32]


def sites(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[Any]
) -> SiteGraph:
    """The different atoms of a crystal and their nearest neighbours.

    Args:
        lattice: ``(3, 3)`` rows in Å; frac_coords: ``(atoms, 3)``; numbers: ``(atoms,)``.
    """
    atoms = len(numbers)
    reach = REACH * (abs(float(np.linalg.det(lattice))) / atoms) ** (1 / 3)
    vectors, distances, images = images_within(lattice, frac_coords, reach)
    if distances.shape[1] <= NEIGHBOURS:
        missing = NEIGHBOURS + 1 - distances.shape[1]
        distances = np.pad(distances, ((0, 0), (0, missing)), constant_values=np.inf)
        vectors = np.pad(vectors, ((0, 0), (0, missing), (0, 0)))
    nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
    found = np.take_along_axis(distances, nearest, 1)
    last = np.argmax(found, axis=1)
    cutoff = np.minimum(found.max(1), reach)
    keep = np.ones(found.shape, dtype=bool)
    keep[np.arange(atoms), last] = False
    nearest, found = nearest[keep].reshape(atoms, -1), found[keep].reshape(atoms, -1)
    kinds = np.asarray(numbers, dtype=np.int64)
    neighbour = np.minimum(nearest // images, atoms - 1)
    # neighbours at (almost) the same distance in order of element, so that twins look alike
    order = np.lexsort((kinds[neighbour], np.round(found, 2)), axis=1)
    found, neighbour = np.take_along_axis(found, order, 1), np.take_along_axis(neighbour, order, 1)
    chosen = np.take_along_axis(nearest, order, 1)
    vector = np.take_along_axis(vectors, chosen[..., None], 1)
    far = found >= cutoff[:, None]
    vector[far] = (0.0, 0.0, 1.0) * cutoff[:, None, None].repeat(NEIGHBOURS, 1)[far]
    neighbour[far] = 0
    seen = _seen(kinds, np.where(far, 0.0, found), np.where(far, 0, kinds[neighbour]), vector, far)
    _, first, site, count = np.unique(
        seen, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    site = site.reshape(-1)
    return SiteGraph(
        kinds[first].astype(np.uint8),
        (count / atoms).astype(np.float32),
        site[neighbour[first]].astype(np.int16),
        vector[first].astype(np.float32),
        cutoff[first].astype(np.float32),
    )


def _seen(
    kinds: NDArray[np.int64],
    found: NDArray[np.float64],
    others: NDArray[np.int64],
    vector: NDArray[np.float64],
    far: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """``(atoms, numbers)`` equal for atoms that see the same, up to rotations and 0.1 Å.

    Distances and elements alone do not tell a square from a tetrahedron: the spread of the
    neighbours' directions (sum of squared cosines between them) does.
    """
    unit = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
    weight = np.where(
        far, 0.0, np.exp(-((found / np.maximum(found.max(1, keepdims=True), 1e-6)) ** 2))
    )
    cosines = np.einsum("ikc,ilc->ikl", unit, unit)
    spread = [np.einsum("ik,il,ikl->i", weight, weight, cosines**power) for power in (1, 2, 3)]
    near = slice(0, 12)
    columns = [kinds[:, None], np.round(found[:, near] * 10), others[:, near]]
    columns.append(np.round(np.stack(spread, 1) * 4))
    return np.concatenate(columns, 1).astype(np.int64)


def sites_of(structure: Structure) -> SiteGraph:
    """The different atoms of a structure."""
    numbers = np.array(structure.atomic_numbers)
    return sites(structure.lattice.matrix, structure.frac_coords, numbers)


def site_batch(crystals: Sequence[SiteGraph]) -> SiteBatch:
    """Several crystals for the network."""
    sizes = np.array([len(crystal.numbers) for crystal in crystals])
    offsets = np.cumsum(sizes) - sizes
    near = [c.neighbour.astype(np.int64) + o for c, o in zip(crystals, offsets, strict=True)]
    return SiteBatch(
        torch.from_numpy(np.concatenate([c.numbers for c in crystals]).astype(np.int64)),
        torch.from_numpy(np.concatenate([c.share for c in crystals])),
        torch.from_numpy(np.concatenate(near)),
        torch.from_numpy(np.concatenate([c.vector for c in crystals])),
        torch.from_numpy(np.concatenate([c.cutoff for c in crystals])),
        torch.from_numpy(np.repeat(np.arange(len(crystals)), sizes)),
        len(crystals),
    )
