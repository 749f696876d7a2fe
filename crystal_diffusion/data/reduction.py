"""The primitive Niggli cell of a crystal, without moving or symmetrising anything.

Only pure translations are looked for (Grosse-Kunstleve et al. 2004 for the reduction of the cell
that is left), so the answer describes the same crystal in the same orientation: every atom of the
answer is an atom of the input up to the tolerance.

The Niggli reduction is moyopy's. Its primitive cell is the standard one: of 300 crystals 204 would
be turned or get another lattice, and atoms are moved onto their symmetry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import moyopy
import numpy as np

from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Å by which atoms may miss their translated image. Relaxed cells of databases repeat to 1e-4;
#: a real superstructure with smaller displacements would not survive any relaxation.
TOLERANCE = 1e-3


def reduce_cell(structure: Structure, tolerance: float = TOLERANCE) -> Structure:
    """The same crystal in its primitive Niggli cell, right-handed.

    Args:
        structure: ordered pymatgen ``Structure``.
        tolerance: Å by which an atom may miss its translated image.

    Raises:
        InputError: for a structure with partial occupancy, or without volume.
    """
    from pymatgen.core import Lattice, Structure

    if not structure.is_ordered:
        raise InputError(
            f"{structure.formula} has partial occupancy and no single primitive cell; "
            "order it first, for example with iter_crystals(..., disorder='order')."
        )
    lattice, coords, numbers = reduce_arrays(
        np.array(structure.lattice.matrix),
        np.array(structure.frac_coords).reshape(-1, 3),
        np.array([site.specie.Z for site in structure], dtype=np.int64),
        tolerance,
    )
    return Structure(Lattice(lattice), numbers.tolist(), coords)


def reduce_arrays(
    lattice: np.ndarray,
    frac_coords: np.ndarray,
    atomic_numbers: np.ndarray,
    tolerance: float = TOLERANCE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`reduce_cell` on arrays.

    Args:
        lattice: ``(3, 3)`` rows in Å.
        frac_coords: ``(atoms, 3)``.
        atomic_numbers: ``(atoms,)``.
        tolerance: Å by which an atom may miss its translated image.

    Returns:
        lattice ``(3, 3)``, coordinates in [0, 1) and numbers of the primitive Niggli cell.

    Raises:
        InputError: for a cell without volume.
    """
    lattice = np.asarray(lattice, dtype=np.float64)
    numbers = np.asarray(atomic_numbers)
    coords = wrap(np.asarray(frac_coords, dtype=np.float64))
    translations = pure_translations(lattice, coords, numbers, tolerance)
    if len(translations) > 1:
        lattice, coords, numbers = _fold(lattice, coords, numbers, translations)
    try:
        _, transposed = moyopy.niggli_reduce(lattice.tolist())
    except ValueError as error:
        raise InputError(
            f"the cell {lattice.round(4).tolist()} cannot be reduced ({error}); "
            "give three independent lattice vectors."
        ) from error
    change = np.array(transposed, dtype=np.float64).T
    return change @ lattice, wrap(coords @ np.linalg.inv(change)), numbers


def pure_translations(
    lattice: np.ndarray, frac_coords: np.ndarray, atomic_numbers: np.ndarray, tolerance: float
) -> np.ndarray:
    """All translations within the cell that map the crystal onto itself.

    Returns:
        ``(translations, 3)`` fractional, exact multiples of 1/translations; the first is zero.
    """
    nothing = np.zeros((1, 3))
    elements, counts = np.unique(atomic_numbers, return_counts=True)
    common = int(np.gcd.reduce(counts))
    if common == 1:
        return nothing
    rare = np.flatnonzero(atomic_numbers == elements[np.argmin(counts)])
    groups = [frac_coords[atomic_numbers == z] for z in elements[np.argsort(counts)]]
    found = [np.zeros(3)]
    for candidate in frac_coords[rare[1:]] - frac_coords[rare[0]]:
        shift = _mean_shift(groups, candidate, lattice, tolerance)
        if shift is not None:
            found.append(shift)
    order = len(found)
    if order == 1 or common % order:
        return nothing
    whole = np.round(np.array(found) * order)
    if (np.abs((np.array(found) - whole / order) @ lattice) > tolerance).any():
        return nothing
    steps = {tuple(row) for row in (whole % order).astype(int).tolist()}
    sums = ((whole[:, None] + whole[None]) % order).astype(int).reshape(-1, 3)
    if len(steps) < order or not {tuple(row) for row in sums.tolist()} <= steps:
        return nothing
    return (whole % order) / order


def _mean_shift(
    groups: list[np.ndarray], shift: np.ndarray, lattice: np.ndarray, tolerance: float
) -> np.ndarray | None:
    """The translation near ``shift`` that fits all atoms best; ``None`` when one has no image."""
    misses = []
    for coords in groups:
        delta = coords[None] - coords[:, None] - shift
        delta -= np.round(delta)
        partner = np.square(delta @ lattice).sum(-1).argmin(1)
        if len(set(partner.tolist())) < len(coords):
            return None
        misses.append(delta[np.arange(len(coords)), partner])
        # The candidate joins two atoms, each of which may be off; the mean below is what counts.
        if np.square(misses[-1] @ lattice).sum(-1).max() > (2 * tolerance) ** 2:
            return None
    miss = np.concatenate(misses)
    mean = miss.mean(0)
    if np.square((miss - mean) @ lattice).sum(-1).max() > tolerance**2:
        return None
    return np.asarray(shift + mean)


def _fold(
    lattice: np.ndarray, coords: np.ndarray, numbers: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crystal in a cell spanned by its translations; images are averaged."""
    order = len(translations)
    rows = np.concatenate([np.eye(3) * order, translations * order])
    basis = _integer_basis(np.round(rows).astype(np.int64)) / order
    small = wrap(coords @ np.linalg.inv(basis))
    taken = np.zeros(len(coords), bool)
    new_coords, new_numbers = [], []
    for atom in range(len(coords)):
        if taken[atom]:
            continue
        same = np.flatnonzero(~taken & (numbers == numbers[atom]))
        delta = small[same] - small[atom]
        delta -= np.round(delta)
        near = np.square(delta @ basis @ lattice).sum(-1).argsort(kind="stable")[:order]
        taken[same[near]] = True
        new_coords.append(small[atom] + delta[near].mean(0))
        new_numbers.append(numbers[atom])
    return basis @ lattice, np.array(new_coords), np.array(new_numbers)


def _integer_basis(rows: np.ndarray) -> np.ndarray:
    """Three rows that span the same integer lattice: Hermite elimination, column by column."""
    rest = rows.copy()
    basis = []
    for column in range(3):
        while np.count_nonzero(rest[:, column]) > 1:
            entries = np.abs(rest[:, column])
            pivot = int(np.where(entries > 0, entries, np.iinfo(np.int64).max).argmin())
            factors = rest[:, column] // rest[pivot, column]
            factors[pivot] = 0
            rest = rest - factors[:, None] * rest[pivot]
        pivot = int(np.flatnonzero(rest[:, column])[0])
        basis.append(rest[pivot])
        rest = np.delete(rest, pivot, axis=0)
    return np.array(basis)
