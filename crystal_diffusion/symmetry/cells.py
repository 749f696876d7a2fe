"""A crystal as plain arrays, and its primitive, conventional and Niggli cells.

Lattices are rows in Å. A change of cell is L' = M L with coordinates f' = f M⁻¹ (row vectors); no
atom moves and nothing is rotated.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.groups import Floats, Integers, SpaceGroup, wrap

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Steps of the reduction; each takes the best of 1,740 changes, so a few are enough.
_MOST_ROUNDS = 200


@dataclass(frozen=True, eq=False)
class Cell:
    """One crystal in double precision.

    Attributes:
        lattice: ``(3, 3)`` rows in Å.
        frac_coords: ``(atoms, 3)`` in [0, 1).
        numbers: ``(atoms,)`` atomic numbers.
    """

    lattice: Floats
    frac_coords: Floats
    numbers: Integers

    def __len__(self) -> int:
        return len(self.numbers)

    def to_structure(self) -> Structure:
        """The pymatgen ``Structure``."""
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice), self.numbers.tolist(), self.frac_coords)

    def as_spglib(self) -> tuple[Floats, Floats, Integers]:
        """What spglib calls a cell."""
        return self.lattice, self.frac_coords, self.numbers


def make_cell(lattice: Any, frac_coords: Any, numbers: Any) -> Cell:
    """A :class:`Cell` from anything array-like.

    Raises:
        InputError: for shapes that do not fit each other.
    """
    rows = np.asarray(lattice, np.float64)
    coords = np.asarray(frac_coords, np.float64)
    kinds = np.asarray(numbers, np.int64)
    if rows.shape != (3, 3) or coords.shape != (len(kinds), 3):
        raise InputError(
            f"lattice {rows.shape}, frac_coords {coords.shape} and numbers {kinds.shape} make no "
            "crystal; give (3, 3), (atoms, 3) and (atoms,)."
        )
    return Cell(rows, wrap(coords), kinds)


def to_cell(crystal: Any) -> Cell:
    """A :class:`Cell` from a pymatgen ``Structure``, ASE ``Atoms`` or :class:`Cell`.

    Raises:
        InputError: for anything else, or a structure with partial occupancy.
    """
    if isinstance(crystal, Cell):
        return crystal
    if hasattr(crystal, "get_scaled_positions"):
        return make_cell(
            np.array(crystal.cell), crystal.get_scaled_positions(wrap=True), crystal.numbers
        )
    if hasattr(crystal, "frac_coords") and hasattr(crystal, "is_ordered"):
        if not crystal.is_ordered:
            raise InputError(
                f"{crystal.formula} has partial occupancy and no definite symmetry; order it first."
            )
        return make_cell(crystal.lattice.matrix, crystal.frac_coords, [s.specie.Z for s in crystal])
    raise InputError(
        f"expected a pymatgen Structure, ASE Atoms or Cell, got {type(crystal).__name__}."
    )


def to_conventional(cell: Cell, group: SpaceGroup | str | int) -> Cell:
    """The conventional cell of a crystal in the primitive cell of :attr:`SpaceGroup.to_primitive`.

    All atoms of one lattice point come first, then those of the next centring translation.
    """
    group = SpaceGroup.from_any(group)
    change = np.linalg.inv(group.to_primitive)  # rows: conventional = change @ primitive
    centrings = centring_translations(group)
    coords = cell.frac_coords @ group.to_primitive  # f_c = f_p · M, since L_p = M L_c
    return Cell(
        change @ cell.lattice,
        wrap((coords[None] + centrings[:, None]).reshape(-1, 3)),
        np.tile(cell.numbers, len(centrings)),
    )


def centring_translations(group: SpaceGroup) -> Floats:
    """Lattice points of the conventional cell, ``(1 to 4, 3)``, the origin first."""
    identity = np.all(group.rotations == np.eye(3), axis=(1, 2))
    found = wrap(group.translations[identity])
    return found[np.lexsort((*found.T, np.abs(found).sum(1) > 0))]


def to_niggli(cell: Cell) -> Cell:
    """The same crystal in its Niggli cell (Křivý and Gruber 1976), right-handed.

    Only the cell is reduced, so give a primitive cell for the primitive Niggli cell.

    Raises:
        InputError: for a cell without volume.
    """
    change = stable_change(cell.lattice @ cell.lattice.T)
    return Cell(
        change @ cell.lattice,
        wrap(cell.frac_coords @ np.linalg.inv(change)),
        cell.numbers,
    )


def niggli_change(lattice: Floats) -> Floats:
    """Integer ``(3, 3)`` M for which M @ lattice is the Niggli cell.

    Raises:
        InputError: for a cell without volume.
    """
    import moyopy

    try:
        reduced, _ = moyopy.niggli_reduce(np.asarray(lattice, np.float64).tolist())
    except ValueError as error:
        raise InputError(
            f"the cell {np.round(lattice, 4).tolist()} cannot be reduced ({error}); check that it "
            "has a volume."
        ) from error
    change: Floats = np.round(np.asarray(reduced) @ np.linalg.inv(lattice))
    return change


#: Lengths and angles this near (relative to the mean squared edge) count as equal.
TIE = 1e-4


@functools.cache
def _small_changes() -> Integers:
    """``(1740, 3, 3)`` integer matrices with entries -1, 0, 1 and determinant 1."""
    rows = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    return rows[np.abs(np.linalg.det(rows) - 1) < 0.5]


def stable_change(metric: Floats) -> Floats:
    """Integer ``(3, 3)`` M for which M @ lattice is the Niggli cell, the same under rounding.

    A symmetric cell has many reduced bases of equal lengths and angles, and noise in the last digit
    decides which of them an algorithm finds. Here what differs by less than ``TIE`` is a tie, and
    ties are decided by the integers alone. Where there are none it is the Niggli cell (Křivý and
    Gruber 1976): three shortest vectors in order of length, angles all acute or all not.

    Args:
        metric: ``(3, 3)`` scalar products of the lattice vectors, Å2.

    Raises:
        InputError: for a cell without volume.
    """
    if not np.isfinite(metric).all() or np.linalg.det(metric) <= 0:
        raise InputError("the cell has no volume and cannot be reduced; check it.")
    changes = _small_changes()
    found = np.eye(3, dtype=np.int64)
    current = np.asarray(metric, np.float64)
    tie = TIE * float(np.cbrt(np.linalg.det(current)))
    for _ in range(_MOST_ROUNDS):
        traces = np.einsum("cij,jk,cik->c", changes, current, changes)
        best = int(traces.argmin())
        if traces[best] > np.trace(current) - tie:
            break
        found = changes[best] @ found
        current = found @ metric @ found.T
    equal = changes[traces <= traces.min() + tie]
    products = equal @ current @ equal.transpose(0, 2, 1)
    edges = products[:, (0, 1, 2), (0, 1, 2)]
    angles = products[:, (1, 0, 0), (2, 2, 1)]
    ordered = (np.diff(edges, axis=1) > -tie).all(1)
    acute, obtuse = (angles > tie).all(1), (angles <= tie).all(1)
    for wanted in (ordered & acute, ordered & obtuse, ordered):
        if wanted.any():
            equal, angles = equal[wanted], angles[wanted]
            break
    # Of several, the angles nearest to right ones first, as the Niggli conditions have it.
    for column in (0, 1, 2):
        size = np.abs(angles[:, column])
        kept = size <= size.min() + tie
        equal, angles = equal[kept], angles[kept]
    candidates = equal @ found
    first = np.lexsort(candidates.reshape(len(candidates), 9).T[::-1])[0]
    return np.asarray(candidates[first], np.float64)
