"""CIF texts: the same crystals as pymatgen's parser reads, and what goes through that parser."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser, CifWriter

from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.data.labels import read_label, read_type
from crystal_diffusion.data.orbits import expand
from crystal_diffusion.data.records import settle
from crystal_diffusion.data.space_groups import from_arrays

CELL = (
    "_cell_length_a 5\n_cell_length_b 5\n_cell_length_c 5\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
)
SITES = (
    "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\n"
)
SALT = f"data_salt\n{CELL}{SITES}Na1 Na+ 0 0 0\nCl1 Cl- 0.5 0.5 0.5\n"


def reference(text: str) -> Structure:
    """What pymatgen reads, without oxidation states."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    structure.remove_oxidation_states()
    return structure


def demo_structures() -> list[tuple[str, Structure]]:
    return [
        (entry["name"], Structure(entry["lattice"], entry["atom_types"], entry["positions"]))
        for entry in create_demo_dataset()
    ]


@pytest.mark.parametrize(("symprec", "step"), [(None, 2), (0.01, 5)])
def test_the_same_crystal_as_pymatgen(symprec: float | None, step: int) -> None:
    for name, structure in demo_structures()[::step]:
        text = str(CifWriter(structure, symprec=symprec))
        (crystal,) = parse_cif(text, name, name)
        assert settle(crystal).to_structure() == reference(text), name


def test_a_plain_text_with_charges() -> None:
    (crystal,) = parse_cif(SALT, "salt", "salt.cif")
    assert crystal.to_structure() == reference(SALT)
    assert crystal.atomic_numbers.tolist() == [11, 17]


def test_printed_thirds_close_under_the_operations() -> None:
    text = (
        "data_mg\n_cell_length_a 3.2095\n_cell_length_b 3.2095\n_cell_length_c 5.2107\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 120\n"
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'-y, x-y, z'\n'-x+y, -x, z'\n"
        "'-x, -y, z+1/2'\n'y, -x+y, z+1/2'\n'x-y, x, z+1/2'\n"
        f"{SITES}Mg1 Mg 0.3333 0.6667 0.25\n"
    )
    (crystal,) = parse_cif(text, "mg", "mg.cif")
    assert len(crystal.atomic_numbers) == 2
    assert crystal.to_structure() == reference(text)


def test_uncertainties_are_taken_off() -> None:
    (crystal,) = parse_cif(SALT.replace("_cell_length_a 5", "_cell_length_a 5.640(3)"), "a", "a")
    assert np.linalg.norm(crystal.lattice, axis=-1) == pytest.approx([5.64, 5, 5])


def test_occupancy_zero_is_no_atom_and_one_is_an_atom() -> None:
    sites = SITES + "_atom_site_occupancy\n"
    text = f"data_x\n{CELL}{sites}Na1 Na 0 0 0 1.0\nCl1 Cl 0.5 0.5 0.5 0\n"
    (crystal,) = parse_cif(text, "x", "x")
    assert crystal.atomic_numbers.tolist() == [11]
    assert crystal.to_structure() == reference(text)


def test_partial_occupancy_waits_for_a_choice() -> None:
    sites = SITES + "_atom_site_occupancy\n"
    text = f"data_x\n{CELL}{sites}Na1 Na 0 0 0 0.5\nK1 K 0 0 0 0.5\nCl1 Cl 0.5 0.5 0.5 1\n"
    (crystal,) = parse_cif(text, "x", "x")
    assert crystal.occupancy is not None
    assert crystal.occupancy.species == ({19: 0.5, 11: 0.5}, {17: 1.0})


@pytest.mark.parametrize(
    "group", ["_space_group_IT_number 71", "_space_group_name_H-M_alt 'I m m m'"]
)
def test_a_space_group_without_operations_is_expanded(group: str) -> None:
    text = f"data_x\n{CELL}{group}\n{SITES}Cu1 Cu 0.1 0 0\n"
    (crystal,) = parse_cif(text, "x", "x")
    assert len(crystal.atomic_numbers) == 4
    assert crystal.to_structure() == reference(text)


def test_a_space_group_with_two_origins_is_read_only_where_the_file_says_which() -> None:
    text = f"data_x\n{CELL}_symmetry_space_group_name_H-M 'P n n n'\n{SITES}Cu1 Cu 0 0 0\n"
    (crystal,) = parse_cif(text, "x", "x")
    assert (
        crystal.problem is not None and "P n n n:1 or the space group P n n n:2" in crystal.problem
    )
    counts = [
        len(
            parse_cif(text + f"_cell_formula_units_Z {z}\n_chemical_formula_sum Cu\n", "x", "x")[
                0
            ].atomic_numbers
        )
        for z in (2, 4)
    ]
    assert counts == [2, 4]


def test_every_block_is_a_crystal_of_its_own() -> None:
    second = SALT.replace("data_salt", "data_two").replace("Na", "K")
    crystals = parse_cif("data_global\n_journal_year 1999\n" + SALT + second, "pair", "pair.cif")
    assert [crystal.id for crystal in crystals] == ["pair#1", "pair#2"]
    assert crystals[1].atomic_numbers.tolist() == [19, 17]


def test_equally_named_blocks_are_both_read() -> None:
    crystals = parse_cif(SALT + SALT.replace("Na", "K"), "pair", "pair.cif")
    assert [crystal.atomic_numbers.tolist() for crystal in crystals] == [[11, 17], [19, 17]]


def test_a_broken_block_does_not_cost_the_other() -> None:
    crystals = parse_cif(SALT + SALT.replace("data_salt", "data_b").replace("0.5", "?"), "p", "p")
    assert crystals[0].problem is None
    assert crystals[1].problem is not None and "not finite" in crystals[1].problem


@pytest.mark.parametrize(
    ("symbol", "number"),
    [
        ("Fe3+", 26),
        ("Fe+3", 26),
        ("O2-", 8),
        ("SI", 14),
        ("Cα", 6),
        ("Cval", 6),
        ("C_sp3", 6),
        ("D", 1),
        ("2H", 1),
        ("OH", 8),
        ("H2O", 8),
        ("NH4+", 7),
        ("Nh", 113),
        ("Wat", 8),
    ],
)
def test_type_symbols(symbol: str, number: int) -> None:
    assert read_type(symbol)[0].shares == ((number, 1.0),)


@pytest.mark.parametrize("symbol", ["Ux", "", "M1", "Iron", "?"])
def test_symbols_of_nothing(symbol: str) -> None:
    assert read_type(symbol) == ()


@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        ("C12", [6]),
        ("OA1", [8]),
        ("CA2", [20, 6]),
        ("Ho1", [67, 1]),
        ("HO1", [67, 1]),
        ("NH4", [7]),
        ("OH2", [8]),
        ("SiT1", [14, 16]),
        ("OBo", [8]),
        ("2H1", [1]),
        ("Zq1", []),
    ],
)
def test_labels(label: str, numbers: list[int]) -> None:
    assert [reading.shares[0][0] for reading in read_label(label)] == numbers


def test_deuterium_is_hydrogen() -> None:
    (crystal,) = parse_cif(SALT.replace("Na1 Na+", "D1 D"), "x", "x")
    assert sorted(crystal.atomic_numbers.tolist()) == [1, 17]


def test_hydrogens_that_are_only_counted_are_noted() -> None:
    sites = SITES + "_atom_site_attached_hydrogens\n"
    text = f"data_x\n{CELL}{sites}O1 O 0 0 0 2\nMg1 Mg 0.5 0.5 0.5 0\n"
    (crystal,) = parse_cif(text, "x", "x")
    assert "hydrogens" in crystal.notes[-1]


def test_large_cells_are_searched_for_coinciding_sites() -> None:
    rows = [f"C{i} C {i % 8 / 8} {i // 8 % 8 / 8} {i // 64 / 8}\n" for i in range(512)]
    good = f"data_x\n{CELL.replace('5', '20')}{SITES}{''.join(rows)}"
    (crystal,) = parse_cif(good, "x", "x")
    assert len(crystal.atomic_numbers) == 512
    (twice,) = parse_cif(good + rows[100], "x", "x")
    assert len(twice.atomic_numbers) == 512
    assert "listed more than once, taken once: C100" in twice.notes


def test_expand_keeps_one_of_equal_images() -> None:
    inversion = np.stack([np.eye(3), -np.eye(3)])
    sites = np.array([[0.0, 0, 0], [0.25, 0, 0], [0.5, 0.5, 0.5]])
    orbits = expand(sites, from_arrays(inversion, np.zeros((2, 3))), 4.0 * np.eye(3))
    assert orbits.rows.tolist() == [0, 1, 1, 2]
    assert orbits.frac_coords[2].tolist() == [0.75, 0, 0]


def test_a_lattice_that_cannot_be_is_a_problem() -> None:
    text = SALT.replace("_alpha 90", "_alpha 170").replace("_gamma 90", "_gamma 45")
    (crystal,) = parse_cif(text, "x", "x")
    assert settle(crystal).problem_kind in ("not finite", "no volume")


def test_triclinic_cells_have_pymatgens_orientation() -> None:
    lattice = Lattice.from_parameters(4, 5, 6, 75, 95, 110)
    text = str(CifWriter(Structure(lattice, ["Si", "O"], [[0, 0, 0], [0.4, 0.3, 0.2]])))
    (crystal,) = parse_cif(text, "x", "x")
    assert np.allclose(crystal.lattice, lattice.matrix, atol=1e-6)
