"""Each check: a crystal that passes, one that fails, one on the limit, and the message."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.physics.crystal_geometry import CrystalGeometry
from crystal_diffusion.physics.limits import PROFILES, Limits
from crystal_diffusion.physics.report import CheckResult
from crystal_diffusion.physics.validator import CHECKS, PhysicsValidator
from tests import crystals as named

DEFAULT = PROFILES["default"]


def run(name: str, structure: Structure, limits: Limits = DEFAULT) -> CheckResult:
    return CHECKS[name](CrystalGeometry.of(structure), limits)


def scaled(structure: Structure, factor: float) -> Structure:
    lattice = Lattice(structure.lattice.matrix * factor)
    return Structure(lattice, structure.species, structure.frac_coords)


def value_of(result: CheckResult) -> float:
    assert isinstance(result.value, float)
    return result.value


@pytest.mark.parametrize("make", named.ALL.values(), ids=named.ALL)
def test_real_crystals_are_valid(make: object) -> None:
    report = PhysicsValidator().validate(make())  # type: ignore[operator]
    assert report.valid, [c.reason for c in report.errors]


@pytest.mark.parametrize("make", [named.rock_salt, named.rutile, named.diamond, named.polonium])
def test_ordinary_crystals_have_no_warnings_either(make: object) -> None:
    report = PhysicsValidator().validate(make())  # type: ignore[operator]
    assert not report.warnings, [c.reason for c in report.warnings]


# name, crystal that fails, severity of the failure, part of the message
FAILURES = [
    ("minimum_distance", lambda: named.polonium().copy().scale_lattice(0.2), "error", "below 0.7"),
    ("pair_distance", lambda: scaled(named.rock_salt(), 0.55), "error", "Na-Cl distance 1.55"),
    ("pair_distance", lambda: scaled(named.rock_salt(), 0.7), "warning", "Na-Cl distance 1.97"),
    ("crowding", lambda: scaled(named.rutile(), 0.65), "error", "around atom"),
    ("contacts", lambda: scaled(named.rutile(), 0.7), "error", "mean nearest distance"),
    ("contacts", lambda: scaled(named.rutile(), 1.4), "warning", "above 1.25"),
    ("volume_per_atom", lambda: scaled(named.rutile(), 0.7), "error", "volume per atom"),
    ("volume_per_atom", lambda: scaled(named.rutile(), 1.4), "warning", "above"),
    ("density", named.osmium, "warning", "22.6 g/cm3, above 20"),
    ("density", lambda: scaled(named.osmium(), 0.85), "error", "above 30"),
    ("density", lambda: scaled(named.diamond(), 2.2), "warning", "below 0.5"),
    ("edges", lambda: Structure(np.diag([1.0, 5, 5]), ["H"], [[0, 0, 0]]), "error", "1 Å, below"),
    ("edges", lambda: Structure(np.diag([5, 5, 70.0]), ["W"], [[0, 0, 0]]), "warning", "70 Å"),
    ("edges", lambda: Structure(np.diag([5, 5, 200.0]), ["W"], [[0, 0, 0]]), "error", "200 Å"),
    (
        "angles",
        lambda: Structure(Lattice.from_parameters(9, 9, 9, 90, 90, 8), ["W"], [[0, 0, 0]]),
        "warning",
        "8 degrees, below 14",
    ),
    (
        "angles",
        lambda: Structure(Lattice.from_parameters(9, 9, 9, 90, 90, 178), ["W"], [[0, 0, 0]]),
        "error",
        "below 3",
    ),
    (
        "wrapped",
        lambda: Structure(np.eye(3) * 3, ["Po"], [[1.2, 0, 0]]),
        "note",
        "1 of 1 atoms have fractional coordinates outside",
    ),
    (
        "charge_neutrality",
        lambda: Structure(
            Lattice.cubic(5), ["Na", "Cl", "Cl"], [[0, 0, 0], [0.5] * 3, [0.5, 0, 0]]
        ),
        "warning",
        "no assignment of known oxidation states sums to zero",
    ),
    (
        "electronegativity",
        # Tl3Cl has no assignment but Tl-1 and Cl+3, against the order.
        lambda: Structure(Lattice.cubic(5), ["Cl", "Tl", "Tl", "Tl"], named.FCC),
        "warning",
        "less most electronegative cation",
    ),
    ("bond_valence", lambda: scaled(named.rutile(), 0.8), "warning", "bond valence sum"),
    ("like_charges", named.like_ions, "warning", "share of ions"),
    ("coordination", named.crowded_oxygen, "warning", "atoms are outside"),
    ("bond_angles", named.sharp_angle, "warning", "smallest angle between bonds"),
    ("dimension", named.graphite, "note", "layered (2D)"),
    ("dimension", named.selenium, "note", "chains (1D)"),
    ("dimension", named.dry_ice, "note", "molecular (0D)"),
]


@pytest.mark.parametrize(
    ("name", "make", "severity", "message"), FAILURES, ids=[f"{f[0]}-{f[2]}" for f in FAILURES]
)
def test_failures_and_their_messages(name: str, make: object, severity: str, message: str) -> None:
    result = run(name, make())  # type: ignore[operator]
    assert not result.passed
    assert result.severity == severity
    assert message in result.reason
    assert result.source and (result.limit or result.value is None)


def test_every_check_has_a_failure_above() -> None:
    assert {f[0] for f in FAILURES} == set(CHECKS)


@pytest.mark.parametrize("name", list(CHECKS))
def test_rock_salt_passes_every_check(name: str) -> None:
    result = run(name, named.rock_salt())
    assert result.passed and bool(result)
    assert result.name == name and result.reason.endswith(".")


ON_THE_LIMIT = [
    ("minimum_distance", "min_distance", named.rock_salt, -1),
    ("pair_distance", "pair_warning", named.rock_salt, -1),
    ("contacts", "contact_warning", named.rock_salt, -1),
    ("contacts", "contact_high_warning", named.rock_salt, 1),
    ("edges", "edge_high_warning", named.rock_salt, 1),
    ("angles", "angle_low_warning", named.rock_salt, -1),
    ("density", "density_low_warning", named.rock_salt, -1),
    ("density", "density_high_warning", named.rock_salt, 1),
    ("bond_valence", "bond_valence_warning", named.rutile, 1),
    ("bond_angles", "bond_angle_warning", named.rutile, -1),
    ("electronegativity", "electronegativity_warning", named.rock_salt, -1),
    ("crowding", "crowding_warning", lambda: scaled(named.rutile(), 0.8), 1),
    ("like_charges", "like_charge_warning", lambda: named.like_ions(), 1),
]


@pytest.mark.parametrize(("name", "field", "make", "side"), ON_THE_LIMIT)
def test_on_the_limit_passes_and_beyond_fails(
    name: str, field: str, make: object, side: int
) -> None:
    structure = make()  # type: ignore[operator]
    lenient = replace(DEFAULT, crowding_warning=99.0, like_charge_warning=1.0)
    value = value_of(run(name, structure, lenient))
    assert run(name, structure, replace(DEFAULT, **{field: value})).passed
    beyond = replace(DEFAULT, **{field: value - side * 1e-3})
    assert not run(name, structure, beyond).passed


def test_volume_on_the_limit() -> None:
    structure = named.rutile()
    result = run("volume_per_atom", structure)
    low = float(result.limit.split()[1])
    per_atom = structure.volume / len(structure)
    at = scaled(structure, (low * 1.001 / per_atom) ** (1 / 3))
    under = scaled(structure, (low * 0.99 / per_atom) ** (1 / 3))
    assert run("volume_per_atom", at).passed
    assert not run("volume_per_atom", under).passed


def test_coordination_on_the_limit() -> None:
    outside = run("coordination", named.crowded_oxygen())
    assert not outside.passed
    tolerant = replace(DEFAULT, coordination_tolerance=30.0)
    assert run("coordination", named.crowded_oxygen(), tolerant).passed


def test_given_charges_are_used() -> None:
    structure = named.rock_salt()
    structure.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert run("charge_neutrality", structure).value == 0.0
    structure.add_oxidation_state_by_element({"Na": 2, "Cl": -1})
    result = run("charge_neutrality", structure)
    assert not result.passed and "sum to +4" in result.reason


@pytest.mark.parametrize(
    ("structure", "verdict"),
    [(named.osmium(), "element"), (named.diamond(), "element"), (named.rutile(), "ionic")],
)
def test_verdicts_of_neutrality(structure: Structure, verdict: str) -> None:
    result = run("charge_neutrality", structure)
    assert result.passed and result.value == verdict


def test_alloys_are_metallic() -> None:
    alloy = Structure(Lattice.cubic(2.95), ["Cu", "Zn"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    result = run("charge_neutrality", alloy)
    assert result.passed and result.value == "metallic"


def test_squeezed_cells_are_told_without_listing_neighbours() -> None:
    squeezed = scaled(named.rutile(), 0.05)
    report = PhysicsValidator().validate(squeezed)
    assert not report.valid
    assert "neighbours cannot be listed" in report.check("pair_distance").reason
    assert report.check("bond_valence").passed


def test_density_is_that_of_pymatgen() -> None:
    for make in named.ALL.values():
        structure = make()
        assert value_of(run("density", structure)) == pytest.approx(structure.density, rel=1e-3)


def test_coordination_numbers_are_the_known_ones() -> None:
    for make, expected in (
        (named.rock_salt, "Na 6, Cl 6"),
        (named.rutile, "O 3, Ti 6"),
        (named.diamond, "C 4"),
        (named.osmium, "Os 12"),
        (named.polonium, "Po 6"),
    ):
        assert expected in run("coordination", make()).reason
