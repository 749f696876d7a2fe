"""Checks that need elements, coordinates and cell only: distances, cell, volume, density.

Each function takes a crystal and the limits and gives one result. ``GEOMETRY_CHECKS`` holds them
by name, in the order in which they are applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.physics import contacts
from crystal_diffusion.physics.crystal_geometry import REACH, CrystalGeometry
from crystal_diffusion.physics.limits import Limits
from crystal_diffusion.physics.report import CheckResult, Severity

Check = Callable[[CrystalGeometry, Limits], CheckResult]

_VOLUME_SOURCE = "volumes of the elements, least squares over Materials Project 2025"
_GEOMETRY = "geometry"


def range_result(
    name: str,
    value: float,
    unit: str,
    what: str,
    source: str,
    *,
    low: tuple[float, float] = (-math.inf, -math.inf),
    high: tuple[float, float] = (math.inf, math.inf),
    digits: int = 3,
) -> CheckResult:
    """A value against an inner (warning) and an outer (error) range; on the limit passes.

    Args:
        name: name of the check.
        value: what was found.
        unit: its unit, or empty.
        what: what the value is, to begin the sentence.
        source: where the limits come from.
        low: error limit and warning limit from below.
        high: warning limit and error limit from above.
        digits: significant digits in the sentence.
    """
    rounding = 1e-9 * max(1.0, abs(value) if math.isfinite(value) else 1.0)
    severity: Severity = "error" if _bounded(low[0], high[1]) else "warning"
    passed = low[1] - rounding <= value <= high[0] + rounding
    shown = f"{value:.{digits}g}" + (f" {unit}" if unit else "")
    if passed:
        limit = _limit(low[1], high[0])
        return CheckResult(name, True, value, limit, unit, f"{what} is {shown}.", source, severity)
    if not low[0] - rounding <= value <= high[1] + rounding:
        below = value < low[0]
        edge = low[0] if below else high[1]
        severity, limit = "error", _limit(low[0], high[1])
    else:
        below = value < low[1]
        edge = low[1] if below else high[0]
        severity, limit = "warning", _limit(low[1], high[0])
    side = "below" if below else "above"
    bound = f"{edge:.{digits}g}" + (f" {unit}" if unit else "")
    return CheckResult(
        name, False, value, limit, unit, f"{what} is {shown}, {side} {bound}.", source, severity
    )


def _bounded(*values: float) -> bool:
    return any(math.isfinite(v) for v in values)


def _limit(low: float, high: float) -> str:
    parts = [f">= {low:g}"] if math.isfinite(low) else []
    parts += [f"<= {high:g}"] if math.isfinite(high) else []
    return " and ".join(parts) or "none"


def _not_listed(name: str, source: str) -> CheckResult:
    """The result where the cell is too small or flat for neighbours to be listed."""
    return CheckResult(
        name,
        False,
        None,
        "",
        "",
        "the cell is too small or too flat for its atoms, so neighbours cannot be listed.",
        source,
        "error",
    )


def check_minimum_distance(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Smallest distance of any two atoms, own images included, against one limit in Å."""
    return range_result(
        "minimum_distance",
        crystal.smallest_distance,
        "Å",
        "smallest distance between two atoms",
        "Pauli exclusion; the shortest bond of all, H-H, has 0.74 Å",
        low=(limits.min_distance, limits.min_distance),
    )


def check_pair_distance(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Smallest ratio of a distance to what is typical for its two elements."""
    name = "pair_distance"
    if crystal.squeezed:
        return _not_listed(name, contacts.SOURCE)
    if len(crystal.pairs) == 0:
        value, what = REACH, "nearest pair, over the typical distance of its elements,"
    else:
        worst = int(crystal.ratios.argmin())
        i, j = int(crystal.pairs.first[worst]), int(crystal.pairs.second[worst])
        a, b = (chemistry.SYMBOLS[crystal.atomic_numbers[k]] for k in sorted((i, j)))
        value = float(crystal.ratios[worst])
        what = (
            f"{a}-{b} distance {crystal.pairs.distance[worst]:.2f} Å over the typical "
            f"{crystal.typical[i, j]:.2f} Å"
        )
    return range_result(
        name, value, "", what, contacts.SOURCE, low=(limits.pair_error, limits.pair_warning)
    )


def check_crowding(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """No atom has several neighbours that are all too near: none sits in a bond of others."""
    name = "crowding"
    if crystal.squeezed:
        return _not_listed(name, contacts.SOURCE)
    atom = int(crystal.crowding.argmax())
    return range_result(
        name,
        float(crystal.crowding[atom]),
        "",
        f"sum of (0.85 - distance / typical)² around atom {atom} "
        f"({chemistry.SYMBOLS[crystal.atomic_numbers[atom]]})",
        contacts.SOURCE,
        high=(limits.crowding_warning, limits.crowding_error),
    )


def check_contacts(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Mean over the atoms (geometric) of nearest distance over what is typical."""
    name = "contacts"
    if crystal.squeezed:
        return _not_listed(name, contacts.SOURCE)
    return range_result(
        name,
        float(np.exp(np.log(np.maximum(crystal.contact, 1e-6)).mean())),
        "",
        "mean nearest distance over the typical one",
        contacts.SOURCE,
        low=(limits.contact_error, limits.contact_warning),
        high=(limits.contact_high_warning, limits.contact_high_error),
    )


def check_edges(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Shortest lattice vector and longest edge: too short, too long, or neither."""
    if crystal.flat:
        return CheckResult(
            "edges",
            False,
            float(crystal.edges.min()),
            f">= {limits.edge_low_error:g}",
            "Å",
            "the three cell edges lie in one plane; the cell has no volume.",
            _GEOMETRY,
            "error",
        )
    from crystal_diffusion.physics.distances import shortest_lattice_vector

    shortest, longest = shortest_lattice_vector(crystal.lattice), float(crystal.edges.max())
    source = "Materials Project 2025: shortest period 2.2 Å, longest edge of ordinary cells 77 Å"
    if shortest < limits.edge_low_error:
        return range_result(
            "edges",
            shortest,
            "Å",
            "shortest lattice vector",
            source,
            low=(limits.edge_low_error, limits.edge_low_error),
        )
    return range_result(
        "edges",
        longest,
        "Å",
        f"shortest lattice vector is {shortest:.3g} Å; longest cell edge",
        source,
        high=(limits.edge_high_warning, limits.edge_high_error),
    )


def check_angles(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Cell angles away from 0 and 180 degrees, where a cell has no volume."""
    if crystal.flat:
        angles, distance = crystal.angles, 0.0
    else:
        angles = crystal.angles
        distance = float(np.minimum(angles, 180 - angles).min())
    shown = ", ".join(f"{a:.4g}" for a in angles)
    return range_result(
        "angles",
        distance,
        "degrees",
        f"cell angles {shown}: distance from 0 or 180 degrees",
        "Materials Project 2025: all deposited cells are 4 degrees away or more",
        low=(limits.angle_low_error, limits.angle_low_warning),
    )


def check_volume(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Volume per atom against the tables of volumes of the elements."""
    mean, low, _ = chemistry.expected_volume(crystal.atomic_numbers)
    return range_result(
        "volume_per_atom",
        crystal.volume / crystal.atoms,
        "Å3",
        f"volume per atom ({mean:.1f} Å3 expected)",
        _VOLUME_SOURCE,
        low=(limits.volume_low_error * low, limits.volume_low_warning * low),
        high=(limits.volume_high_warning * mean, limits.volume_high_error * mean),
    )


def check_density(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Mass over volume; osmium, the densest element, has 22.6 g/cm3."""
    return range_result(
        "density",
        crystal.density,
        "g/cm3",
        "density",
        "0.5 to 20 g/cm3 as in the original design; osmium 22.6 g/cm3 (Arblaster 1989)",
        low=(limits.density_low_error, limits.density_low_warning),
        high=(limits.density_high_warning, limits.density_high_error),
    )


def check_wrapped(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Fractional coordinates in [0, 1): a matter of form, the crystal is the same."""
    outside = int(((crystal.frac_coords < 0) | (crystal.frac_coords >= 1)).any(1).sum())
    return CheckResult(
        "wrapped",
        outside == 0,
        float(outside),
        "all in [0, 1)",
        "atoms",
        "all fractional coordinates are in [0, 1)."
        if outside == 0
        else f"{outside} of {crystal.atoms} atoms have fractional coordinates outside [0, 1).",
        "convention; wrapping changes nothing physical",
        "note",
    )


GEOMETRY_CHECKS: dict[str, Check] = {
    "minimum_distance": check_minimum_distance,
    "pair_distance": check_pair_distance,
    "crowding": check_crowding,
    "contacts": check_contacts,
    "edges": check_edges,
    "angles": check_angles,
    "volume_per_atom": check_volume,
    "density": check_density,
    "wrapped": check_wrapped,
}
