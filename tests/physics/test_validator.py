"""Whole reports, arrays of all kinds, and single checks of symmetry, charges and angles."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.advanced import AdvancedPhysicsValidator
from crystal_diffusion.physics.geometry_checks import GEOMETRY_CHECKS
from crystal_diffusion.physics.report import CheckResult
from crystal_diffusion.physics.validator import CHECKS, PhysicsValidator
from tests import crystals as named

VALIDATOR = PhysicsValidator()


def test_a_report_has_every_check_in_order() -> None:
    report = VALIDATOR.validate(named.rock_salt())
    assert [c.name for c in report.checks] == list(CHECKS)
    assert report.valid and bool(report)
    assert json.loads(json.dumps(report.to_dict()))["valid"] is True
    with pytest.raises(InputError, match="no check 'beauty'"):
        report.check("beauty")


def test_geometry_only_leaves_chemistry_out() -> None:
    report = VALIDATOR.validate(named.rock_salt(), geometry_only=True)
    assert [c.name for c in report.checks] == list(GEOMETRY_CHECKS)


def test_severities_are_sorted_out() -> None:
    def result(name: str, severity: str) -> CheckResult:
        return CheckResult(name, False, 1.0, "", "", "bad.", "test", severity)  # type: ignore[arg-type]

    from crystal_diffusion.physics.report import ValidationReport

    report = ValidationReport((result("a", "note"), result("b", "warning")))
    assert report.valid and not report.errors
    assert [c.name for c in report.warnings] == ["b"]
    assert [c.name for c in report.notes] == ["a"]
    assert not ValidationReport((result("c", "error"),)).valid
    with pytest.raises(InputError, match="severity of check 'd'"):
        result("d", "fatal")


def test_atoms_and_structures_give_the_same() -> None:
    structure = named.rutile()
    atoms = AseAtomsAdaptor.get_atoms(structure)
    first, second = VALIDATOR.validate(structure), VALIDATOR.validate(atoms)
    for a, b in zip(first.checks, second.checks, strict=True):
        assert (a.name, a.passed) == (b.name, b.passed)


def test_the_verdict_does_not_depend_on_the_cell() -> None:
    structure = named.rutile()
    other = structure.copy()
    other.make_supercell([[1, 2, 0], [0, 1, 0], [-1, 0, 1]])
    for name in (
        "minimum_distance",
        "pair_distance",
        "contacts",
        "volume_per_atom",
        "bond_valence",
    ):
        one, two = VALIDATOR.validate(structure).check(name), VALIDATOR.validate(other).check(name)
        assert one.value == pytest.approx(two.value, rel=1e-5)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]), "partial occupancy"),
        (Structure(Lattice.cubic(4), ["Na"], [[0, 0, np.nan]]), "not finite"),
        (Structure(Lattice.cubic(4), [], []), "no atoms"),
        (Structure(Lattice.cubic(4), ["Rf"], [[0, 0, 0]]), "not in the tables"),
        ("rock salt", "got str"),
    ],
    ids=["disorder", "nan", "empty", "element", "text"],
)
def test_what_cannot_be_checked_is_a_failed_report(structure: object, message: str) -> None:
    report = VALIDATOR.validate(structure)
    assert not report.valid
    assert message in report.check("readable").reason


def test_flat_cell_is_an_error_not_a_crash() -> None:
    atoms = AseAtomsAdaptor.get_atoms(named.rock_salt())
    atoms.set_cell([[5, 0, 0], [0, 5, 0], [5, 5, 0]])
    atoms.set_scaled_positions(named.rock_salt().frac_coords)
    report = VALIDATOR.validate(atoms)
    assert not report.valid


def test_many_in_processes_are_those_of_one() -> None:
    crystals = [make() for make in named.ALL.values()] + [named.like_ions()]
    one = VALIDATOR.validate_many(crystals, processes=1)
    two = VALIDATOR.validate_many(crystals, processes=2)
    assert one == two
    with pytest.raises(InputError, match="at least 1"):
        VALIDATOR.validate_many(crystals, processes=0)


def test_usage_guide_of_the_original_design() -> None:
    positions, lattice, mask = torch.rand(1, 8, 3), torch.eye(3)[None] * 5, torch.ones(1, 8)
    validator = PhysicsValidator(min_distance=0.7)
    valid, min_dist = validator.check_minimum_distance(positions, lattice, mask)
    assert f"Valid: {valid}, Min distance: {min_dist:.2f} Å"
    corrected = validator.correct_structure(positions, lattice, mask, max_iterations=10)
    assert validator.check_minimum_distance(corrected, lattice, mask)[0]


@pytest.mark.parametrize("kind", ["numpy", "torch", "float32", "list"])
def test_enforce_pbc(kind: str) -> None:
    values = [[-0.25, 1.0, 2.5], [0.0, -1e-12, 0.999]]
    given: object = values
    if kind == "numpy":
        given = np.array(values)
    elif kind == "torch":
        given = torch.tensor(values)
    elif kind == "float32":
        given = np.array(values, np.float32)
    out = VALIDATOR.enforce_pbc(given)
    array = np.asarray(out)
    assert (array >= 0).all() and (array < 1).all()
    assert array[0] == pytest.approx([0.75, 0.0, 0.5])
    if kind != "list":
        assert type(out) is type(given) and out.dtype == given.dtype  # type: ignore[attr-defined]


def test_minimum_distance_of_a_batch_is_that_of_the_worst() -> None:
    frac = np.array([[[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 0, 0], [0.1, 0, 0]]])
    lattice = np.eye(3) * 4
    each = VALIDATOR.minimum_distances(frac, lattice)
    assert each == pytest.approx([2 * np.sqrt(3), 0.4])
    assert VALIDATOR.check_minimum_distance(frac, lattice) == (False, pytest.approx(0.4))
    mask = np.array([[1, 1], [1, 0]])
    assert VALIDATOR.minimum_distances(frac, lattice, mask)[1] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 2), (3, 3), None), "positions have shape"),
        (((4, 3), (2, 2), None), "lattice has shape"),
        (((2, 4, 3), (3, 3, 3), None), "3 lattices for 2 crystals"),
        (((4, 3), (3, 3), (5,)), "mask has shape"),
    ],
)
def test_bad_shapes(shapes: tuple, message: str) -> None:
    frac, cell, mask = (None if s is None else np.ones(s) for s in shapes)
    with pytest.raises(InputError, match=message):
        VALIDATOR.check_minimum_distance(frac, cell, mask)


ADVANCED = AdvancedPhysicsValidator()


@pytest.mark.parametrize(
    ("group", "passes", "message"),
    [
        (225, True, "is 225, the group asked for"),
        ("Fm-3m", True, "the group asked for"),
        (216, True, "225, which contains group 216"),
        (221, True, "225, which contains group 221"),
        (227, False, "225, which does not contain group 227"),
        (194, False, "does not contain"),
    ],
)
def test_symmetry_with_a_lattice(group: int | str, passes: bool, message: str) -> None:
    salt = named.rock_salt()
    result = ADVANCED.check_symmetry(
        salt.frac_coords, group, salt.lattice.matrix, salt.atomic_numbers
    )
    assert bool(result) is passes
    assert message in result.reason


def test_symmetry_of_positions_alone() -> None:
    salt = named.rock_salt()
    numbers = salt.atomic_numbers
    assert ADVANCED.check_symmetry(salt.frac_coords, 225, atom_types=numbers)
    moved = salt.frac_coords.copy()
    moved[0, 0] += 0.03
    result = ADVANCED.check_symmetry(moved, 225, atom_types=numbers)
    assert not result and "farthest atom" in result.reason
    on_limit = ADVANCED.check_symmetry(moved, 225, atom_types=numbers, symprec=0.0600001)
    assert on_limit.passed


@pytest.mark.parametrize("number", [5, 38, 42, 44, 139, 146, 166, 194, 225, 229])
def test_the_primitive_cell_is_that_of_the_tables(number: int) -> None:
    import moyopy

    from crystal_diffusion.physics.subgroups import _conventional_cell

    whole = moyopy.operations_from_number(number)
    primitive = moyopy.operations_from_number(number, primitive=True)
    cell = _conventional_cell(number)
    turned = {
        np.rint(cell @ np.array(r) @ np.linalg.inv(cell)).astype(int).tobytes()
        for r in whole.rotations
    }
    assert turned == {np.array(r).astype(int).tobytes() for r in primitive.rotations}


@pytest.mark.parametrize(
    ("number", "wanted", "expected"),
    [
        (225, 216, True),
        (225, 221, True),
        (225, 62, True),
        (225, 229, False),
        (225, 227, False),
        (194, 186, True),
        (194, 225, False),
        (166, 167, False),
        (221, 99, True),
        (62, 1, True),
    ],
)
def test_which_groups_contain_which(number: int, wanted: int, expected: bool) -> None:
    from crystal_diffusion.physics.subgroups import contains_group

    assert contains_group(number, wanted) is expected


@pytest.mark.parametrize("group", [0, 231, "Xy"])
def test_unknown_groups(group: int | str) -> None:
    with pytest.raises(InputError, match="space group"):
        ADVANCED.check_symmetry([[0, 0, 0]], group)


def test_charges_of_arrays() -> None:
    assert ADVANCED.check_charge_neutrality(np.array([11, 17])).value == "ionic"
    assert ADVANCED.check_charge_neutrality(torch.tensor([11, 17, 17])).passed is False
    assert ADVANCED.check_charge_neutrality(["Mg", "O"], charges=[2, -2]).value == 0.0
    assert not ADVANCED.check_charge_neutrality(["Mg", "O"], charges=[2, -1])
    with pytest.raises(InputError, match="1 charges for 2 atoms"):
        ADVANCED.check_charge_neutrality(["Mg", "O"], charges=[2])


def test_angles_of_a_molecule_and_a_crystal() -> None:
    water = [[0, 0, 0], [0.958, 0, 0], [-0.24, 0.927, 0]]
    assert ADVANCED.check_bond_angles(water).value == pytest.approx(104.5, abs=0.3)
    salt = named.rock_salt()
    found = ADVANCED.check_bond_angles(salt.frac_coords, salt.lattice.matrix, salt.atomic_numbers)
    assert found.value == pytest.approx(90.0)
    assert ADVANCED.check_bond_angles([[0, 0, 0]]).value is None
