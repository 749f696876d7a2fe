"""Checks of chemistry: charges, bond valence, neighbours, coordination, angles, dimension.

None of them makes a crystal invalid by itself in the profiles that come with the library: nature
has exceptions to each, and `benchmarks/validator_real_world.py` prints how many. Each function
takes a crystal and the limits and gives one result; ``CHEMISTRY_CHECKS`` holds them by name.
"""

from __future__ import annotations

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.physics import bonding, ions
from crystal_diffusion.physics.crystal_geometry import CrystalGeometry
from crystal_diffusion.physics.geometry_checks import Check, range_result
from crystal_diffusion.physics.limits import Limits
from crystal_diffusion.physics.report import CheckResult, Severity

_STATES = "oxidation states of the ICSD 2024 as tabulated in SMACT (Davies et al. 2019)"
_PAULING = "Pauling (1929), electronegativity order; SMACT (Davies et al. 2019)"
_BRESE = "O'Keeffe and Brese (1991), bond valence; Brown (1992), global instability index"


def not_applied(name: str, reason: str, source: str, severity: Severity = "warning") -> CheckResult:
    """The result of a rule that says nothing about this crystal."""
    return CheckResult(name, True, None, "", "", reason, source, severity)


def _squeezed(name: str, source: str) -> CheckResult:
    return not_applied(name, "not applied: the cell is too small to list neighbours.", source)


def check_charge_neutrality(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Charges sum to zero: those that the crystal came with, or the best that can be assigned."""
    name = "charge_neutrality"
    if crystal.charges is not None:
        total = float(crystal.charges.sum())
        passed = abs(total) < 1e-3
        return CheckResult(
            name,
            passed,
            total,
            "0",
            "e",
            f"the given charges sum to {total:+.3g}" + ("." if passed else ", not to zero."),
            "charges given with the crystal",
            "warning",
        )
    found = crystal.assignment
    words = {
        "ionic": f"neutral: {found.describe()}.",
        "metallic": "metallic: metals only, no charges needed.",
        "element": "element: no charges needed.",
        "covalent": "covalent or metallic: no strong anion former, no charges needed.",
        "none": "no assignment of known oxidation states sums to zero.",
    }
    return CheckResult(
        name, found.neutral, found.kind, "sum 0", "e", words[found.kind], _STATES, "warning"
    )


def check_electronegativity(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Every anion is more electronegative than every cation."""
    name = "electronegativity"
    charges = crystal.assignment.mean_charges
    if not charges:
        return not_applied(name, f"not applied: {crystal.assignment.kind}.", _PAULING)
    scale = chemistry.ELECTRONEGATIVITY
    cations = {z: float(scale[z]) for z, q in charges.items() if q > 0 and not np.isnan(scale[z])}
    anions = {z: float(scale[z]) for z, q in charges.items() if q < 0 and not np.isnan(scale[z])}
    if not cations or not anions:
        return not_applied(name, "not applied: no electronegativity is known.", _PAULING)
    high = max(cations, key=cations.__getitem__)
    low = min(anions, key=anions.__getitem__)
    margin = anions[low] - cations[high]
    symbols = chemistry.SYMBOLS
    what = (
        f"least electronegative anion {symbols[low]} ({anions[low]:.2f}) less most electronegative "
        f"cation {symbols[high]} ({cations[high]:.2f})"
    )
    least = limits.electronegativity_warning
    return range_result(name, margin, "", what, _PAULING, low=(-np.inf, least))


def check_bond_valence(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Bond valences around each ion sum to its charge (root mean square deviation)."""
    name = "bond_valence"
    if crystal.squeezed:
        return _squeezed(name, _BRESE)
    if crystal.assignment.kind != "ionic":
        return not_applied(name, f"not applied: {crystal.assignment.kind}.", _BRESE)
    index = ions.global_instability(crystal)
    if index is None:
        return not_applied(name, "not applied: no bond valence parameters are known.", _BRESE)
    return range_result(
        name,
        index,
        "v.u.",
        f"root mean square of bond valence sum less charge ({crystal.assignment.describe()})",
        _BRESE,
        high=(limits.bond_valence_warning, np.inf),
    )


def check_like_charges(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Ions have ions of the other sign nearest to them."""
    name, source = "like_charges", "Pauling (1929), electrostatic valence; electrostatics"
    if crystal.squeezed:
        return _squeezed(name, source)
    if crystal.assignment.kind != "ionic":
        return not_applied(name, f"not applied: {crystal.assignment.kind}.", source)
    return range_result(
        name,
        ions.like_charge_share(crystal),
        "",
        "share of ions whose bonds go to ions of the same sign",
        source,
        high=(limits.like_charge_warning, np.inf),
    )


def check_coordination(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Number of neighbours of each atom against the range of its element."""
    name = "coordination"
    source = "numbers of neighbours of each element, 0.1 to 99.9 % of Materials Project 2025"
    if crystal.squeezed:
        return _squeezed(name, source)
    counts = crystal.coordination
    low, high = chemistry.COORDINATION_RANGE[crystal.atomic_numbers].T
    low = low - limits.coordination_tolerance
    high = high + limits.coordination_tolerance
    outside = (counts < low) | (counts > high)
    shown = []
    for z in np.unique(crystal.atomic_numbers):
        mine = counts[crystal.atomic_numbers == z]
        span = f"{mine.min()}" if mine.min() == mine.max() else f"{mine.min()}-{mine.max()}"
        shown.append(f"{chemistry.SYMBOLS[z]} {span}")
    reason = "neighbours: " + ", ".join(shown)
    limit = "inside the range of each element"
    if outside.any():
        atom = int(np.flatnonzero(outside)[0])
        reason += (
            f"; {int(outside.sum())} of {crystal.atoms} atoms are outside, for example "
            f"{chemistry.SYMBOLS[crystal.atomic_numbers[atom]]} with {counts[atom]} "
            f"(usual {max(low[atom], 0):.0f} to {high[atom]:.0f})"
        )
    share = float(outside.mean())
    return CheckResult(
        name, not outside.any(), share, limit, "of atoms", reason + ".", source, "warning"
    )


def check_bond_angles(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Smallest angle between two bonds of one atom."""
    name, source = "bond_angles", "steric: 60 degrees in a triangle of equal bonds, less in M-O2"
    if crystal.squeezed:
        return _squeezed(name, source)
    smallest = bonding.smallest_angle(crystal.bonds, crystal.frac_coords, crystal.lattice)
    if smallest is None:
        return not_applied(name, "not applied: no atom has two bonds.", source)
    angle, centre = smallest
    return range_result(
        name,
        angle,
        "degrees",
        f"smallest angle between bonds (at {chemistry.SYMBOLS[crystal.atomic_numbers[centre]]})",
        source,
        low=(-np.inf, limits.bond_angle_warning),
    )


def check_dimension(crystal: CrystalGeometry, limits: Limits) -> CheckResult:
    """Names crystals that hang together in fewer than three dimensions: layers, chains, molecules.

    The bonded pieces of the crystal are followed through the cells; the rank of the translations
    that come back to the same piece is its dimension (Larsen et al. 2019).
    """
    name, source = "dimension", "Larsen et al. (2019), dimension of bonded components"
    if crystal.squeezed:
        return _squeezed(name, source)
    dimension = bonding.dimension(crystal.bonds, crystal.atoms)
    words = ("molecular (0D)", "chains (1D)", "layered (2D)", "network (3D)")
    return CheckResult(
        name,
        dimension == 3,
        words[dimension],
        "network (3D)",
        "",
        f"the bonded pieces of highest dimension are: {words[dimension]}.",
        source,
        "note",
    )


CHEMISTRY_CHECKS: dict[str, Check] = {
    "charge_neutrality": check_charge_neutrality,
    "electronegativity": check_electronegativity,
    "bond_valence": check_bond_valence,
    "like_charges": check_like_charges,
    "coordination": check_coordination,
    "bond_angles": check_bond_angles,
    "dimension": check_dimension,
}
