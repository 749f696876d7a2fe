"""Make symmetry exact that a crystal has nearly, in its own cell and with its atoms in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.symmetry.cells import Cell, to_cell
from crystal_diffusion.symmetry.groups import Floats
from crystal_diffusion.symmetry.metric import allowed_lattice

#: Å; a group found at this tolerance holds for all that follows.
EXACT_A = 1e-3
#: Averages over the operations; the first does nearly all.
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Idealised:
    """A crystal whose symmetry was made exact.

    Attributes:
        cell: with the atoms in the order they had.
        number: of its space group now.
        before: that of the group it had exactly.
        moved: root mean square displacement of the atoms, Å, in the new cell.
        farthest: largest displacement, Å.
    """

    cell: Cell
    number: int
    before: int
    moved: float
    farthest: float


def idealise(crystal: Any, tolerance: float = 0.1) -> Idealised | None:
    """The crystal with the group it has within a tolerance made exact, where that is a larger one.

    Positions are averaged over the operations that moyopy finds, the lattice over what they do to
    the metric; volume, orientation, number and order of the atoms stay.

    Args:
        crystal: pymatgen ``Structure``, ASE ``Atoms`` or symmetry ``Cell``.
        tolerance: Å; also the farthest an atom may move.

    Returns:
        None where no larger group is found, or making it exact would move an atom farther.
    """
    start = to_cell(crystal)
    found, exact = _search(start, tolerance), _search(start, EXACT_A)
    before = exact.number if exact is not None else 1
    if found is None or len(found.rotations) <= (len(exact.rotations) if exact else 1):
        return None
    cell = start
    for _ in range(_ROUNDS):
        averaged = _average(cell, found)
        if averaged is None:
            return None
        cell = averaged
    now = _search(cell, EXACT_A)
    if now is None or len(now.rotations) < len(found.rotations):
        return None
    step = cell.frac_coords - start.frac_coords
    step -= np.round(step)
    step -= step.mean(0)
    apart = np.linalg.norm(step @ cell.lattice, axis=1)
    if float(apart.max()) > tolerance:
        return None
    moved = float(np.sqrt((apart**2).mean()))
    return Idealised(cell, now.number, before, moved, float(apart.max()))


@dataclass(frozen=True, eq=False)
class _Closest:
    number: int
    rotations: Floats
    translations: Floats


def _search(cell: Cell, tolerance: float) -> _Closest | None:
    try:
        dataset = symmetry_search(cell.lattice, cell.frac_coords, cell.numbers, tolerance)
    # Raised where no group is found, such as for atoms on top of each other.
    except ValueError:
        return None
    operations = dataset.operations
    return _Closest(
        int(dataset.number),
        np.array(operations.rotations, float).reshape(-1, 3, 3),
        np.array(operations.translations, float).reshape(-1, 3),
    )


def _average(cell: Cell, found: _Closest) -> Cell | None:
    """Mean over the operations; None where they do not map the atoms onto each other."""
    coords = cell.frac_coords
    images = np.einsum("oij,nj->oni", found.rotations, coords) + found.translations[:, None]
    total = np.zeros_like(coords)
    for image in images:
        step = image[:, None] - coords[None]
        step -= np.round(step)
        apart = np.linalg.norm(step @ cell.lattice, axis=-1)
        apart[cell.numbers[:, None] != cell.numbers[None]] = np.inf
        target = apart.argmin(1)
        if len(set(target.tolist())) < len(coords) or not np.isfinite(apart.min(1)).all():
            return None
        total[target] += step[np.arange(len(coords)), target]
    moved = (coords + total / len(images)) % 1.0
    turns = found.rotations
    metrics = np.einsum("nki,nlj->ijkl", turns, turns).reshape(9, 9) / len(turns)
    return Cell(allowed_lattice(cell.lattice, metrics), moved, cell.numbers)
