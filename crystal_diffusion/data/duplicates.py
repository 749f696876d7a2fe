"""Which crystals of a set are the same crystal.

Only crystals with the same formula and the same number of atoms in the primitive cell are
compared, and of those only the ones whose neighbour distances are near enough. A match moves
no atom by more than ``SITE_TOLERANCE`` mean spacings and strains the cell by ``LENGTH_TOLERANCE``,
so it cannot change a neighbour distance by more than both together: what is rejected here would
be rejected by the matcher too. The answer itself is that of pymatgen's ``StructureMatcher``
(Ong et al. 2013), without scaling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.reduction import reduce_arrays

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Tolerances of the match: relative cell edges, largest site displacement in units of
#: (volume per atom)^(1/3), degrees.
LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.02, 0.02, 1.0
#: Å by which an atom may miss its translated image when cells are made primitive for comparing.
_PRIMITIVE_TOLERANCE = 0.05
#: How many neighbour distances make the fingerprint.
_NEIGHBOURS = 8
#: One degree in each angle changes lengths by this much at most, relatively.
_ANGLE_STRAIN = 0.02


def find_duplicates(
    crystals: Sequence[PlainCrystal],
    max_matches: int = 20_000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[int, int], int]:
    """Crystals that are the same as an earlier one.

    Args:
        crystals: ordered crystals without problems.
        max_matches: how many pairs are matched at most; a match takes some milliseconds.
        progress: called with the crystals looked at and their number.

    Returns:
        index of a crystal -> index of the first one that it equals; and the number of pairs that
        were left unmatched because ``max_matches`` was reached.
    """
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    reduced: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index, crystal in enumerate(crystals):
        cell = reduce_arrays(
            crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, _PRIMITIVE_TOLERANCE
        )
        reduced.append(cell)
        elements, counts = np.unique(cell[2], return_counts=True)
        groups[tuple(elements.tolist()), tuple(counts.tolist())].append(index)
    same: dict[int, int] = {}
    done = matches = left = 0
    for members in groups.values():
        if len(members) > 1:
            used, missed = _within_group(members, reduced, same, max_matches - matches)
            matches += used
            left += missed
        done += len(members)
        if progress is not None:
            progress(done, len(crystals))
    return same, left


def _within_group(
    members: list[int],
    reduced: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    same: dict[int, int],
    budget: int,
) -> tuple[int, int]:
    """Match the members of one group; answers go to ``same``. Returns pairs matched and left."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(
        ltol=LENGTH_TOLERANCE,
        stol=SITE_TOLERANCE,
        angle_tol=ANGLE_TOLERANCE,
        primitive_cell=False,
        scale=False,
    )
    prints = np.array([fingerprint(*reduced[index]) for index in members])
    volumes = np.array([abs(float(np.linalg.det(reduced[i][0]))) for i in members])
    spacing = np.cbrt(volumes / len(reduced[members[0]][2]))
    structures: dict[int, Structure] = {}
    firsts: list[int] = []
    used = missed = 0
    for place, index in enumerate(members):
        near = _candidates(prints, spacing, place, firsts)
        for other in near:
            if used >= budget:
                missed += 1
                continue
            for i in (place, other):
                if i not in structures:
                    lattice, coords, numbers = reduced[members[i]]
                    plain = PlainCrystal("", lattice, coords, numbers)
                    structures[i] = plain.to_structure()
            used += 1
            if matcher.fit(structures[place], structures[other]):
                same[index] = members[other]
                break
        if index not in same:
            firsts.append(place)
    return used, missed


def _candidates(
    prints: np.ndarray, spacing: np.ndarray, place: int, firsts: list[int]
) -> list[int]:
    """Those of the earlier crystals that the fingerprint does not exclude, nearest first."""
    if not firsts:
        return []
    rows = np.array(firsts)
    miss = np.abs(prints[rows] - prints[place])
    shift = 2 * SITE_TOLERANCE * np.maximum(spacing[rows], spacing[place])
    strain = LENGTH_TOLERANCE + _ANGLE_STRAIN
    allowed = shift[:, None] + strain * np.maximum(prints[rows], prints[place])
    kept = rows[(miss <= allowed).all(-1)]
    order = np.argsort(miss[(miss <= allowed).all(-1)].sum(-1), kind="stable")
    return [int(i) for i in kept[order]]


def fingerprint(
    lattice: np.ndarray, frac_coords: np.ndarray, atomic_numbers: np.ndarray
) -> np.ndarray:
    """Distances (Å) to the 1st, 2nd, ... 8th neighbour, sorted over the atoms of each element.

    Moving every atom by at most d changes no entry by more than 2 d.

    Args:
        lattice: ``(3, 3)`` of a Niggli cell, rows in Å.
        frac_coords: ``(atoms, 3)``.
        atomic_numbers: ``(atoms,)``.

    Returns:
        ``(8 atoms,)``.
    """
    nearest = neighbour_distances(lattice, frac_coords)
    parts = [np.sort(nearest[atomic_numbers == z], axis=0) for z in np.unique(atomic_numbers)]
    return np.concatenate(parts).reshape(-1)


def neighbour_distances(lattice: np.ndarray, frac_coords: np.ndarray) -> np.ndarray:
    """``(atoms, 8)`` distances (Å) from each atom to its nearest neighbours, nearest first."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    coords = np.ascontiguousarray(frac_coords @ lattice)
    spacing = float(np.cbrt(abs(np.linalg.det(lattice)) / len(coords)))
    periodic = np.array([1, 1, 1], dtype=np.int64)
    matrix = np.ascontiguousarray(lattice, dtype=np.float64)
    radius = 2.0 * spacing
    while True:
        centre, _, _, distance = find_points_in_spheres(
            coords, coords, radius, periodic, matrix, 1e-8
        )
        # An atom is no neighbour of itself; sites that coincide are left to other checks.
        keep = distance > 1e-8
        centre, distance = centre[keep], distance[keep]
        counts = np.bincount(centre, minlength=len(coords))
        if counts.min() >= _NEIGHBOURS:
            break
        radius *= 1.5
    order = np.lexsort((distance, centre))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray(distance[order][starts[:, None] + np.arange(_NEIGHBOURS)])
