"""Atom tables of CIFs: labels, type symbols, occupancies, dummies, numbers, and the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystal_diffusion.data.check import check_source, formula_of
from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.cif_tags import NoNumber, number
from crystal_diffusion.data.disorder import settle_disorder
from crystal_diffusion.data.encodings import decode
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.witness import Statement, compare, read_formula

CELL = (
    "_cell_length_a 8\n_cell_length_b 8\n_cell_length_c 8\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
    "_space_group_name_H-M_alt 'P 1'\n"
)


def cif(columns: str, rows: str, more: str = "") -> str:
    tags = "".join(f"_atom_site_{c}\n" for c in columns.split())
    return f"data_x\n{CELL}{more}\nloop_\n{tags}{rows}"


def read(text: str) -> PlainCrystal:
    (crystal,) = parse_cif(text, "x", "x")
    return crystal


def labelled(*labels: str, formula: str = "") -> PlainCrystal:
    rows = "".join(f"'{label}' {i / 8} {i / 16} {i / 8}\n" for i, label in enumerate(labels))
    more = f"_chemical_formula_sum '{formula}'" if formula else ""
    return read(cif("label fract_x fract_y fract_z", rows, more))


def formula(crystal: PlainCrystal) -> str:
    assert crystal.problem is None, crystal.problem
    return formula_of(crystal.atomic_numbers)


@pytest.mark.parametrize(
    ("labels", "said", "read_as"),
    [
        (["HO1", "C1", "O1"], "C H O", "C1 H1 O1"),
        (["HO1", "N1"], "Ho N", "Ho1 N1"),
        (["HG1", "HG2", "C1"], "C H2", "C1 H2"),
        (["HG1", "S1"], "Hg S", "Hg1 S1"),
        (["CO1", "O1", "NI1"], "Ni C O", "C1 Ni1 O1"),
        (["CO1", "O1"], "Co O", "Co1 O1"),
        (["CA1", "CB1", "N1"], "C2 N", "C2 N1"),
        (["CA1", "F1", "F2"], "Ca F2", "Ca1 F2"),
        (["CA1", "C1", "O1", "O2", "O3"], "Ca C O3", "C1 Ca1 O3"),
        (["OH1", "OW1", "Ca1"], "Ca O2 H3", "Ca1 O2"),
        (["W1", "O1"], "O2 H4", "O2"),
        (["W1", "O1"], "W O", "O1 W1"),
        (["H2O1", "H2O2", "O1"], "H2 O", "H2 O1"),
        (["SiT1", "OA1", "OBo"], "Si O2", "O2 Si1"),
        (["Cg1", "C1"], "C", "C1"),
        (["D1", "O1", "2H1"], "D2 O", "H2 O1"),
    ],
)
def test_the_formula_decides_what_a_label_is(labels: list[str], said: str, read_as: str) -> None:
    assert formula(labelled(*labels, formula=said)) == read_as


@pytest.mark.parametrize("labels", [["HO1", "O1"], ["HG1"], ["CA1", "C1"], ["H2O1", "H1"]])
def test_without_a_formula_nothing_is_guessed(labels: list[str]) -> None:
    crystal = labelled(*labels)
    assert crystal.problem_kind == "unknown element"
    assert crystal.problem is not None and "can be" in crystal.problem


@pytest.mark.parametrize(
    ("labels", "read_as"),
    [
        (["NA1", "CL1"], "Cl1 Na1"),
        (["Ho1", "N1"], "Ho1 N1"),
        (["Wat1", "Ca1"], "Ca1 O1"),
        (["NH4", "Cl"], "Cl1 N1"),
        (["Fe1A", "O1W"], "Fe1 O1"),
    ],
)
def test_labels_that_leave_no_doubt(labels: list[str], read_as: str) -> None:
    assert formula(labelled(*labels)) == read_as


def test_missing_hydrogens_are_counted() -> None:
    crystal = labelled("NH4", "Cl", formula="N H4 Cl")
    assert "4 hydrogens of the formula have no coordinates and are not in the structure" in (
        crystal.notes
    )
    assert "hydrogens that the CIF only counts" in labelled("Wat", "Ca1").notes[0]


@pytest.mark.parametrize(
    ("symbol", "species"),
    [
        ("Fe/Mn", {26: 0.5, 25: 0.5}),
        ("Fe,Mn", {26: 0.5, 25: 0.5}),
        ("Fe0.7Mn0.3", {26: 0.7, 25: 0.3}),
    ],
)
def test_mixed_symbols_are_mixed_sites(symbol: str, species: dict[int, float]) -> None:
    text = cif("label type_symbol fract_x fract_y fract_z", f"M1 '{symbol}' 0 0 0\nO1 O .5 .5 .5\n")
    crystal = read(text)
    assert crystal.occupancy is not None
    assert crystal.occupancy.species[0] == pytest.approx(species)
    told = read(text.replace("data_x\n", "data_x\n_chemical_formula_sum 'Fe0.8 Mn0.2 O'\n"))
    if "0.7" in symbol:
        assert told.problem_kind == "contradiction"
    else:
        assert told.occupancy is not None
        assert told.occupancy.species[0] == pytest.approx({26: 0.8, 25: 0.2})


def test_hydrogen_on_a_shared_site_counts() -> None:
    rows = "N1 N 0 0 0 .5\nH1 H 0 0 0 .5\nK1 K .5 .5 .5 .\n"
    crystal = read(cif("label type_symbol fract_x fract_y fract_z occupancy", rows))
    assert crystal.occupancy is not None
    assert crystal.occupancy.species == ({7: 0.5, 1: 0.5}, {19: 1.0})


@pytest.mark.parametrize("value", ["1.5", "-0.2", "nan", "0,5", "half"])
def test_occupancies_that_are_none(value: str) -> None:
    crystal = read(cif("label fract_x fract_y fract_z occupancy", f"K1 0 0 0 {value}\n"))
    assert crystal.problem is not None and "occupancy of K1" in crystal.problem


def test_two_full_atoms_on_one_site_are_refused() -> None:
    crystal = read(cif("label fract_x fract_y fract_z", "Na1 0 0 0\nCl1 0 0 0.001\n"))
    assert crystal.problem is not None and "Cl1 and Na1 share one site" in crystal.problem


def test_dummies_and_lost_hydrogens_are_left_out_and_named() -> None:
    columns = "label type_symbol fract_x fract_y fract_z calc_flag"
    rows = "Zn1 Zn 0 0 0 d\nCg1 C .5 0 0 dum\nH1 H ? ? ? calc\nX1 . .5 .5 .5 .\n"
    crystal = read(cif(columns, rows))
    assert formula(crystal) == "Zn1"
    assert crystal.notes == (
        "left out: dummy sites Cg1",
        "left out: hydrogens without coordinates H1",
        "left out: points that are no atoms X1",
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.564(2)E+1", 5.64),
        ("5.640(3)", 5.64),
        (".25", 0.25),
        ("-1.", -1.0),
        ("1.2d1", 12.0),
        ("'0.5'", 0.5),
        ("1/3", 1 / 3),
        ("564(2)e-2", 5.64),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["5,64", "0,3(1)", "nan", "inf", "1_0", "\u0663", "1e", "abc", "--1"]
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(NoNumber, match="decimal comma" if "," in text else "is no number"):
        number(text)


def test_a_decimal_comma_is_refused_with_a_sentence() -> None:
    text = cif("label fract_x fract_y fract_z", "Na1 0,25 0 0\n")
    assert "x coordinate of Na1 in row 1: '0,25' has a decimal comma" in str(read(text).problem)
    assert "_cell_length_a: '8,0'" in str(read(text.replace("_a 8", "_a 8,0")).problem)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_encodings(encoding: str) -> None:
    text = "data_x\n_publ_author_name 'M\u00fcller'\n" + cif(
        "label fract_x fract_y fract_z", "Na1 0 0 0\n"
    ).removeprefix("data_x\n")
    assert decode(text.encode(encoding)).replace("\r", "") == text
    (crystal,) = parse_cif(text.replace("\n", "\r\n").encode(encoding), "x", "x")
    assert formula(crystal) == "Na1"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("_chemical_formula_sum 'Na2 Cl'", "the atoms are Cl1 Na1, but the formula"),
        ("_chemical_formula_sum 'K Cl'", "Cl1 K1"),
        ("_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4", "with Z = 4"),
        ("_exptl_crystal_density_diffrn 2.16", "give 0.190 g/cm3, the file says 2.16"),
        ("_cell_volume 179.4", "the cell has 512.00 \u00c53, the file says 179.40"),
    ],
)
def test_the_file_is_a_witness_against_what_was_read(said: str, words: str) -> None:
    text = cif("label fract_x fract_y fract_z", "Na1 0 0 0\nCl1 .5 .5 .5\n", said)
    crystal = read(text)
    assert crystal.problem_kind == "contradiction"
    assert crystal.problem is not None and words in crystal.problem


def test_witnesses_that_agree_or_forgive() -> None:
    salt = {11: 4.0, 17: 4.0}
    one = read_formula("Na Cl")
    assert compare(salt, 179.4, Statement(one, 4.0, 2.16)).agrees
    # The formula of the whole cell beside Z, as pymatgen writes it.
    assert compare(salt, 179.4, Statement(read_formula("Na4 Cl4"), 4.0)).agrees
    assert not compare({11: 1.0, 17: 1.0}, 44.8, Statement(one, 4.0)).agrees
    # A wrong Z is forgiven where the density vouches for the cell.
    forgiven = compare(salt, 179.4, Statement(one, 1.0, 2.16))
    assert forgiven.agrees and "Z = 1" in forgiven.notes[0]
    assert compare(salt, 179.4, Statement()).agrees is None
    assert compare(salt, 179.4, Statement(num_atoms=3)).agrees is False


def test_elements_beyond_the_tables_are_one_row_of_the_check(tmp_path: Path) -> None:
    good = cif("label fract_x fract_y fract_z", "Na1 0 0 0\nCl1 .5 .5 .5\n")
    (tmp_path / "a.cif").write_text(good)
    (tmp_path / "b.cif").write_text(good.replace("Na1", "Nh"))
    rows = check_source(tmp_path).rows
    assert [row.severity == "bad" for row in rows] == [False, True]
    assert "element Nh (113) is beyond the tables" in rows[1].findings[0].text


GROUPS = "label type_symbol fract_x fract_y fract_z occupancy disorder_assembly disorder_group"


def test_the_places_of_a_molecule_never_mix() -> None:
    rows = (
        "N1 N .5 .5 .5 1 . .\n"
        "O1A O .10 .1 .1 .6 A 1\nO2A O .10 .2 .1 .6 A 1\n"
        "O1B O .14 .1 .1 .4 A 2\nO2B O .14 .2 .1 .4 A 2\n"
    )
    crystal = settle_disorder(read(cif(GROUPS, rows)), "order")
    assert formula(crystal) == "N1 O2"
    assert sorted(crystal.frac_coords[:, 0].round(2)) == [0.1, 0.1, 0.5]
    assert "N1 O2 for N1 O2 of the file" in crystal.notes[-1]


def test_groups_of_different_molecules_take_turns() -> None:
    rows = "C1 C .1 .1 .1 .5 A 1\nO1 O .12 .1 .1 .5 A 2\nO2 O .12 .2 .1 .5 A 2\n"
    text = cif(GROUPS, rows).replace("'P 1'", "'P -1'")
    crystal = settle_disorder(read(text), "order")
    assert formula(crystal) == "C1 O2"


def test_a_group_about_an_inversion_centre_is_there_once() -> None:
    rows = "C1 C .48 .5 .5 .5 A -1\nN1 N .60 .5 .5 .5 A -1\n"
    crystal = settle_disorder(read(cif(GROUPS, rows).replace("'P 1'", "'P -1'")), "order")
    assert formula(crystal) == "C1 N1"
    step = crystal.frac_coords[0] - crystal.frac_coords[1]
    assert np.linalg.norm(step @ crystal.lattice) == pytest.approx(0.96)
