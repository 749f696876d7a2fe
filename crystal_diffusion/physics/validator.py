"""PhysicsValidator: all checks of one crystal or of many, and the correction of close atoms."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.errors import InputError
from crystal_diffusion.parallel import process_pool, usable_cores
from crystal_diffusion.physics import contacts
from crystal_diffusion.physics.arrays import PaddedCrystals, same_kind, to_array
from crystal_diffusion.physics.chemistry_checks import CHEMISTRY_CHECKS
from crystal_diffusion.physics.correction import CorrectionResult, separate_atoms
from crystal_diffusion.physics.crystal_geometry import CrystalGeometry
from crystal_diffusion.physics.distances import Floats, minimum_distance
from crystal_diffusion.physics.geometry_checks import GEOMETRY_CHECKS, Check
from crystal_diffusion.physics.limits import Limits, make_limits
from crystal_diffusion.physics.report import CheckResult, ValidationReport

_log = logging.getLogger(__name__)

#: Every check by name, in the order in which it is applied.
CHECKS: dict[str, Check] = {**GEOMETRY_CHECKS, **CHEMISTRY_CHECKS}
#: Below this many crystals a second process costs more than it saves.
_PARALLEL_FROM = 200


class PhysicsValidator:
    """Checks crystals against physics, and moves atoms apart that are too close.

    Attributes:
        limits: the limits that are really used.
        profile: the profile they started from.
    """

    def __init__(
        self,
        min_distance: float | None = None,
        profile: str = "default",
        limits: Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        """A validator.

        Args:
            min_distance: smallest distance between any two atoms in Å; 0.7 if neither it nor
                ``limits`` say otherwise.
            profile: ``default``, ``strict`` (for generated crystals) or ``permissive``.
            limits: limits to change, by name, or a TOML file of them.

        Raises:
            InputError: for an unknown profile, limit or check, or a distance that is not positive.
        """
        self.profile = profile
        chosen: Limits = make_limits(profile, limits, checks=frozenset(CHECKS))
        if min_distance is not None:
            if not (np.isfinite(min_distance) and min_distance > 0):
                raise InputError(f"min_distance is {min_distance}; give a positive distance in Å.")
            chosen = replace(chosen, min_distance=float(min_distance))
        self.limits = chosen

    @property
    def min_distance(self) -> float:
        """Smallest allowed distance between any two atoms, Å."""
        return self.limits.min_distance

    def to_dict(self) -> dict[str, Any]:
        """Profile and the limits that are really used, for a manifest."""
        return {"profile": self.profile, "limits": self.limits.to_dict()}

    # ---- whole crystals -------------------------------------------------------------------

    def validate(self, structure: Any, geometry_only: bool = False) -> ValidationReport:
        """All checks of one crystal.

        A crystal that cannot be checked at all (no atoms, coordinates that are not finite, partial
        occupancy, an element beyond the tables) gives a report with the one failed check
        ``readable``.

        Args:
            structure: pymatgen ``Structure`` or ASE ``Atoms``.
            geometry_only: leave out the checks of chemistry, which cost most of the time.
        """
        try:
            crystal = CrystalGeometry.of(structure)
        except InputError as error:
            return _unreadable(str(error))
        checks = GEOMETRY_CHECKS if geometry_only else CHECKS
        return ValidationReport(tuple(self._apply(name, checks[name], crystal) for name in checks))

    def validate_many(
        self,
        structures: Iterable[Any],
        processes: int | None = None,
        geometry_only: bool = False,
    ) -> list[ValidationReport]:
        """One report for each crystal, in order.

        Args:
            structures: pymatgen ``Structure`` or ASE ``Atoms``.
            processes: worker processes; the usable cores by default, one for a short list.
            geometry_only: as in :meth:`validate`.
        """
        items = list(structures)
        workers = usable_cores() if processes is None else int(processes)
        if workers < 1:
            raise InputError(f"processes is {workers}; give at least 1.")
        if workers == 1 or (processes is None and len(items) < _PARALLEL_FROM):
            return [self.validate(item, geometry_only) for item in items]
        chunks = [items[k : k + 50] for k in range(0, len(items), 50)]
        with process_pool(min(workers, max(1, len(chunks)))) as pool:
            answers = pool.map(
                _validate_chunk,
                [self] * len(chunks),
                chunks,
                [geometry_only] * len(chunks),
            )
            return [report for answer in answers for report in answer]

    def check(self, name: str, structure: Any) -> CheckResult:
        """One check of one crystal.

        Raises:
            InputError: for an unknown check, or a crystal that cannot be checked at all.
        """
        if name not in CHECKS:
            raise InputError(f"no check '{name}'; there are {', '.join(CHECKS)}.")
        return self._apply(name, CHECKS[name], CrystalGeometry.of(structure))

    def _apply(self, name: str, check: Check, crystal: CrystalGeometry) -> CheckResult:
        result = check(crystal, self.limits)
        wanted = self.limits.severity.get(name)
        return result if wanted is None else replace(result, severity=wanted)

    # ---- positions, lattice and mask: numpy or torch, one crystal or a batch ---------------

    def check_minimum_distance(
        self, positions: Any, lattice: Any, mask: Any = None
    ) -> tuple[bool, float]:
        """Whether all atoms keep ``min_distance``, and the smallest distance in Å.

        Every periodic image counts, own images too. Of a batch, the worst crystal is told;
        :meth:`minimum_distances` tells each.

        Args:
            positions: ``(atoms, 3)`` or ``(crystals, atoms, 3)`` fractional, numpy or torch.
            lattice: ``(3, 3)`` or ``(crystals, 3, 3)`` rows in Å.
            mask: ``(atoms,)`` or ``(crystals, atoms)``; nonzero where there is an atom.
        """
        smallest = float(self.minimum_distances(positions, lattice, mask).min(initial=np.inf))
        return smallest >= self.min_distance, smallest

    def minimum_distances(self, positions: Any, lattice: Any, mask: Any = None) -> Floats:
        """``(crystals,)`` smallest distance in Å, infinite for a crystal without atoms."""
        crystals = PaddedCrystals.of(positions, lattice, mask)
        return np.array(
            [minimum_distance(frac[there], cell) for frac, cell, there in crystals], np.float64
        )

    def enforce_pbc(self, positions: Any) -> Any:
        """Positions wrapped into [0, 1), the same kind of array."""
        return same_kind(wrap(to_array(positions)), positions)

    def correct(
        self,
        frac_coords: Any,
        lattice: Any,
        atomic_numbers: Any = None,
        *,
        fixed: Any = None,
        max_iterations: int = 10,
        seed: int = 0,
    ) -> CorrectionResult:
        """One crystal with its atoms moved apart, or the reason why they do not fit.

        Args:
            frac_coords: ``(atoms, 3)``.
            lattice: ``(3, 3)`` rows in Å.
            atomic_numbers: ``(atoms,)``; if given, every pair must keep its own limit (see
                :meth:`pair_limits`) and not only ``min_distance``.
            fixed: ``(atoms,)`` true for atoms that must stay.
            max_iterations: rounds before giving up.
            seed: of the shaking between rounds.
        """
        frac = to_array(frac_coords)
        limit = self.min_distance if atomic_numbers is None else self.pair_limits(atomic_numbers)
        return separate_atoms(
            frac, to_array(lattice), limit, fixed=fixed, max_rounds=max_iterations, rng=seed
        )

    def correct_structure(
        self, positions: Any, lattice: Any, mask: Any = None, max_iterations: int = 10
    ) -> Any:
        """Positions moved apart until no two atoms are closer than ``min_distance``.

        What is valid already is only wrapped. A crystal for which no valid arrangement fits in the
        cell, or none was found, is given back as good as it could be made, with a warning in the
        log that says which and why; :meth:`correct` tells it as a result.

        Args:
            positions: ``(atoms, 3)`` or ``(crystals, atoms, 3)`` fractional, numpy or torch.
            lattice: ``(3, 3)`` or ``(crystals, 3, 3)`` rows in Å.
            mask: ``(atoms,)`` or ``(crystals, atoms)``; padding is left where it is.
            max_iterations: rounds before giving up; each runs to rest.

        Returns:
            The same kind of array, in [0, 1).
        """
        crystals = PaddedCrystals.of(positions, lattice, mask)
        out = wrap(crystals.positions)
        for index, (frac, cell, there) in enumerate(crystals):
            result = separate_atoms(
                frac[there], cell, self.min_distance, max_rounds=max_iterations, rng=0
            )
            out[index, there] = result.frac_coords
            if not result.valid:
                _log.warning("crystal %d was not corrected: %s", index, result.reason)
        return same_kind(out if crystals.several else out[0], positions)

    def pair_limits(self, atomic_numbers: Any) -> Floats:
        """``(atoms, atoms)`` smallest distance in Å that keeps ``pair_distance`` from an error."""
        numbers = np.asarray(to_array(atomic_numbers), np.int64)
        return contacts.pair_limits(numbers, self.limits.pair_error, self.min_distance)


def _unreadable(reason: str) -> ValidationReport:
    return ValidationReport(
        (
            CheckResult(
                "readable", False, None, "", "", reason, "needed by every other check", "error"
            ),
        )
    )


def _validate_chunk(
    validator: PhysicsValidator, structures: Sequence[Any], geometry_only: bool
) -> list[ValidationReport]:
    return [validator.validate(structure, geometry_only) for structure in structures]
