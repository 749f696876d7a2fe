"""Structure matching with the answers of pymatgen's ``StructureMatcher``, in less time."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.reduced import ReducedCrystal, is_plain, reduce_crystal
from crystal_diffusion.matching.search import Tolerances, best_match

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Reduced forms that one matcher keeps, by content; one of 20 atoms takes about 2 kB.
CACHE_SIZE = 20_000

Crystal: TypeAlias = Union["Structure", ReducedCrystal]


class StructureMatch:
    """``StructureMatcher(ltol, stol, angle_tol)`` of pymatgen with its other settings as they are.

    The reduced cell of each structure is worked out once and kept. Pairs with different
    composition or number of atoms, or with cells that cannot be laid on each other, are turned
    away first; the answer is always the one of pymatgen. Structures with partial occupancy or
    with charges on their species are handed to pymatgen itself.

    Args:
        ltol: fractional tolerance of cell edges.
        stol: tolerance of positions, in units of (V/N)^(1/3).
        angle_tol: tolerance of cell angles, degrees.
    """

    def __init__(self, ltol: float = 0.3, stol: float = 0.5, angle_tol: float = 10) -> None:
        if not (ltol > 0 and stol > 0 and angle_tol > 0):
            raise InputError(
                f"tolerances ltol={ltol}, stol={stol}, angle_tol={angle_tol} must be above zero; "
                "the field's are 0.3, 0.5 and 10."
            )
        self.ltol, self.stol, self.angle_tol = float(ltol), float(stol), float(angle_tol)
        self._tolerances = Tolerances(self.ltol, self.stol, self.angle_tol)
        self._cache: OrderedDict[bytes, ReducedCrystal | None] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"ltol": self.ltol, "stol": self.stol, "angle_tol": self.angle_tol}

    def __setstate__(self, state: dict[str, Any]) -> None:
        StructureMatch.__init__(self, **state)

    def __repr__(self) -> str:
        return (
            f"StructureMatch(ltol={self.ltol:g}, stol={self.stol:g}, angle_tol={self.angle_tol:g})"
        )

    @cached_property
    def original(self) -> Any:
        """Pymatgen's own matcher with these tolerances."""
        from pymatgen.analysis.structure_matcher import StructureMatcher

        return StructureMatcher(ltol=self.ltol, stol=self.stol, angle_tol=self.angle_tol)

    def reduced(self, structure: Crystal) -> ReducedCrystal | None:
        """The form in which a structure is compared; ``None`` if pymatgen itself must do it.

        Raises:
            InputError: for a structure that cannot be compared (no volume, no atoms).
        """
        if isinstance(structure, ReducedCrystal):
            return structure
        key = _content(structure)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        form = reduce_crystal(structure) if is_plain(structure) else None
        self._cache[key] = form
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return form

    def rms(self, a: Crystal, b: Crystal) -> float | None:
        """Root mean square displacement in units of (V/N)^(1/3); ``None`` where nothing matches.

        Equal to the first number of ``StructureMatcher.get_rms_dist(a, b)``.
        """
        first, second = self.reduced(a), self.reduced(b)
        if first is not None and second is not None:
            return best_match(first, second, self._tolerances, use_rms=True)
        found = self.original.get_rms_dist(*_structures(a, b))
        return None if found is None else float(found[0])

    def fit(self, a: Crystal, b: Crystal) -> bool:
        """Whether no atom is displaced by more than ``stol``; as ``StructureMatcher.fit(a, b)``."""
        first, second = self.reduced(a), self.reduced(b)
        if first is not None and second is not None:
            return best_match(first, second, self._tolerances, use_rms=False) is not None
        return bool(self.original.fit(*_structures(a, b)))


def _structures(a: Crystal, b: Crystal) -> tuple[Structure, Structure]:
    if isinstance(a, ReducedCrystal) or isinstance(b, ReducedCrystal):
        raise InputError(
            "a reduced crystal cannot be compared with one that has partial occupancy or charges; "
            "give both as Structure."
        )
    return a, b


def _content(structure: Structure) -> bytes:
    """Elements, positions and cell as bytes: equal for equal content only."""
    species = ",".join(site.species_string for site in structure)
    coords = np.array([site.frac_coords for site in structure])
    matrix = np.asarray(structure.lattice.matrix)
    return species.encode() + b"|" + matrix.tobytes() + coords.tobytes()
