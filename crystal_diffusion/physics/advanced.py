"""AdvancedPhysicsValidator: single checks of symmetry, charges and angles on plain arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics import bonding
from crystal_diffusion.physics.arrays import to_array
from crystal_diffusion.physics.chemistry_checks import check_charge_neutrality, not_applied
from crystal_diffusion.physics.crystal_geometry import CrystalGeometry
from crystal_diffusion.physics.distances import (
    Floats,
    NeighbourPairs,
    distance_matrix,
    neighbour_pairs,
)
from crystal_diffusion.physics.geometry_checks import range_result
from crystal_diffusion.physics.report import CheckResult
from crystal_diffusion.physics.subgroups import contains_group
from crystal_diffusion.physics.validator import PhysicsValidator

_SYMMETRY = "International Tables for Crystallography A; moyopy"


class AdvancedPhysicsValidator(PhysicsValidator):
    """A :class:`PhysicsValidator` whose checks of chemistry and symmetry can be called one by one.

    Each answers with a :class:`CheckResult`, which is true where the check passed.
    """

    def check_symmetry(
        self,
        positions: Any,
        space_group: int | str,
        lattice: Any = None,
        atom_types: Any = None,
        symprec: float = 0.01,
    ) -> CheckResult:
        """Whether a crystal has a space group, or one that contains it.

        With a lattice the group is found (moyopy) in whatever cell is given; it may also be one
        that contains the group asked for without a larger cell. Without a lattice, the
        positions must map onto each other under the operations of the group in its standard
        setting, as moyopy tabulates it.

        Args:
            positions: ``(atoms, 3)`` fractional.
            space_group: number 1 to 230 or symbol, e.g. ``"Fm-3m"``.
            lattice: ``(3, 3)`` rows in Å.
            atom_types: ``(atoms,)`` atomic numbers; all alike if not given.
            symprec: tolerance in Å with a lattice, in fractional units without.

        Raises:
            InputError: for an unknown space group or shapes that do not fit.
        """
        frac = to_array(positions)
        if frac.ndim != 2 or frac.shape[1] != 3 or len(frac) == 0:
            raise InputError(f"positions have shape {frac.shape}; give (atoms, 3), one crystal.")
        numbers = np.ones(len(frac), np.int64)
        if atom_types is not None:
            numbers = to_array(atom_types).astype(np.int64)
        if numbers.shape != (len(frac),):
            raise InputError(f"{len(frac)} positions but {numbers.size} atom types; give one each.")
        wanted = _group_number(space_group)
        if lattice is None:
            return _maps_onto_itself(frac, numbers, wanted, symprec)
        return _has_group(frac, to_array(lattice), numbers, wanted, symprec)

    def check_charge_neutrality(self, atom_types: Any, charges: Any = None) -> CheckResult:
        """Whether charges sum to zero: those given, or the best that can be assigned.

        Args:
            atom_types: atomic numbers or symbols of the atoms.
            charges: oxidation state of each atom; guessed if not given (`neutrality.py`), where
                metals and single elements pass as such.

        Raises:
            InputError: for unknown elements or another number of charges than atoms.
        """
        kinds = atom_types.tolist() if hasattr(atom_types, "tolist") else list(atom_types)
        numbers = chemistry.as_numbers(kinds)
        given = None if charges is None else to_array(charges).reshape(-1)
        if given is not None and len(given) != len(numbers):
            raise InputError(f"{len(given)} charges for {len(numbers)} atoms; give one each.")
        frac = np.zeros((len(numbers), 3))
        crystal = CrystalGeometry.from_arrays(frac, np.eye(3), numbers, given)
        return check_charge_neutrality(crystal, self.limits)

    def check_bond_angles(
        self, positions: Any, lattice: Any = None, atom_types: Any = None
    ) -> CheckResult:
        """Smallest angle between two bonds of one atom, in degrees.

        Args:
            positions: ``(atoms, 3)`` fractional with a lattice, else Cartesian in Å.
            lattice: ``(3, 3)`` rows in Å; without it the atoms are a cluster in empty space.
            atom_types: ``(atoms,)`` atomic numbers; without them two atoms are bonded up to 1.2
                times the nearest distance of one of them.

        Raises:
            InputError: for shapes that do not fit or unknown elements.
        """
        frac = to_array(positions)
        if frac.ndim != 2 or frac.shape[1] != 3 or len(frac) == 0:
            raise InputError(f"positions have shape {frac.shape}; give (atoms, 3), one crystal.")
        if lattice is None:
            box = float(np.ptp(frac, axis=0).max()) + 30.0
            cell, frac = np.eye(3) * box, (frac - frac.min(0)) / box
        else:
            cell = to_array(lattice)
        if len(frac) == 1 and lattice is None:
            bonds = _no_pairs()
        elif atom_types is None:
            bonds = _near_pairs(frac, cell)
        else:
            bonds = CrystalGeometry.from_arrays(frac, cell, to_array(atom_types)).bonds
        found = bonding.smallest_angle(bonds, frac, cell)
        source = "steric: 60 degrees in a triangle of equal bonds"
        if found is None:
            return not_applied("bond_angles", "not applied: no atom has two bonds.", source)
        angle, centre = found
        return range_result(
            "bond_angles",
            angle,
            "degrees",
            f"smallest angle between bonds (at atom {centre})",
            source,
            low=(-np.inf, self.limits.bond_angle_warning),
        )


def _no_pairs() -> NeighbourPairs:
    none = np.zeros(0, np.int64)
    return NeighbourPairs(none, none, np.zeros((0, 3), np.int64), np.zeros(0))


def _near_pairs(frac: Floats, cell: Floats) -> NeighbourPairs:
    nearest = distance_matrix(frac, cell).min(1)
    pairs = neighbour_pairs(frac, cell, 1.2 * float(nearest.max()))
    keep = pairs.distance <= 1.2 * np.maximum(nearest[pairs.first], nearest[pairs.second])
    return NeighbourPairs(
        pairs.first[keep], pairs.second[keep], pairs.image[keep], pairs.distance[keep]
    )


def _group_number(space_group: int | str) -> int:
    if isinstance(space_group, str) and not space_group.strip().isdigit():
        numbers = _numbers_by_symbol()
        name = space_group.replace(" ", "").replace("_", "")
        if name not in numbers:
            raise InputError(
                f"space group '{space_group}' is unknown; give 1 to 230 or a symbol like Fm-3m."
            )
        return numbers[name]
    number = int(space_group)
    if not 1 <= number <= 230:
        raise InputError(f"space group {number} does not exist; give 1 to 230.")
    return number


@cache
def _numbers_by_symbol() -> dict[str, int]:
    """Short Hermann-Mauguin symbols without spaces and underscores, all 230."""
    import moyopy

    symbols = {n: str(moyopy.SpaceGroupType(n).hm_short) for n in range(1, 231)}
    return {s.replace(" ", "").replace("_", ""): n for n, s in symbols.items()}


def _maps_onto_itself(
    frac: Floats, numbers: np.ndarray, group: int, tolerance: float
) -> CheckResult:
    import moyopy

    worst = 0.0
    operations = moyopy.operations_from_number(group)
    for rotation, shift in zip(operations.rotations, operations.translations, strict=True):
        image = frac @ np.array(rotation).T + np.array(shift)
        step = image[:, None] - frac[None]
        step -= np.rint(step)
        miss = np.abs(step).max(-1)
        miss[numbers[:, None] != numbers[None]] = np.inf
        worst = max(worst, float(miss.min(1).max()))
    passed = worst <= tolerance
    reason = f"under the operations of group {group}, standard setting, the farthest atom is "
    reason += f"{worst:.3g} (fractional) from an atom of its kind."
    return CheckResult(
        "symmetry", passed, worst, f"<= {tolerance:g}", "fractional", reason, _SYMMETRY, "warning"
    )


def _has_group(
    frac: Floats, cell: Floats, numbers: np.ndarray, group: int, symprec: float
) -> CheckResult:
    limit = f"{group} or a group that contains it, symprec {symprec:g}"
    try:
        data = symmetry_search(cell, frac % 1.0, numbers, symprec)
    except ValueError as error:
        reason = f"no space group could be found ({error})."
        return CheckResult("symmetry", False, None, limit, "", reason, _SYMMETRY, "warning")
    found = int(data.number)
    if found == group:
        passed, words = True, "the group asked for"
    else:
        passed = contains_group(found, group)
        words = f"which {'contains' if passed else 'does not contain'} group {group}"
    reason = f"the space group at symprec {symprec:g} Å is {found}, {words}."
    return CheckResult("symmetry", passed, float(found), limit, "", reason, _SYMMETRY, "warning")
