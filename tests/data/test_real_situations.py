"""Situations that people met with other programs, by the kinds of issue 13, with inputs of ours."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.poscar import parse_poscar
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.space_groups import settings_named
from crystal_diffusion.data.witness import formula_text, read_formula
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.request import parse_formula

CUBE = (5.02, 5.02, 5.02, 90, 90, 90)
_ANGLES = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
PLACES = "label type_symbol fract_x fract_y fract_z"
SALT = ("K1 K 0 0 0", "F1 F 0.5 0.5 0.5")


def cif(head: str, rows: tuple[str, ...], columns: str = PLACES, cell: Any = CUBE) -> str:
    """A CIF with a cell, further tags and an atom table."""
    cell_lines = [f"_cell_{tag} {value}" for tag, value in zip(_ANGLES, cell, strict=True)]
    tags = [f"_atom_site_{name}" for name in columns.split()]
    return "\n".join(["data_a", *cell_lines, head, "loop_", *tags, *rows, ""])


def read(*args: Any, **more: Any) -> PlainCrystal:
    """The only crystal of a CIF."""
    (crystal,) = parse_cif(cif(*args, **more), "a", "a.cif")
    return crystal


def named(group: str, rows: tuple[str, ...] = SALT, **more: Any) -> PlainCrystal:
    """The crystal of a CIF that names its group only."""
    return read(f"_symmetry_space_group_name_H-M '{group}'", rows, **more)


def salt() -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.02), ["K", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


# Kind 1: symmetry


@pytest.mark.parametrize(
    "name",
    ["F m -3 m (225)", "Fm-3m (No. 225)", "F m -3 m (#225)", "#225", "No. 225", r"F m \=3 m",
     r"F m 3\= m", r"Fm$\bar{3}$m", r"F m \bar 3 m"],
)  # fmt: skip
def test_a_number_behind_the_symbol_and_overlined_digits(name: str) -> None:
    assert [s.number for s in settings_named(name)] == [225]


def test_a_number_of_another_group_behind_the_symbol_is_no_name() -> None:
    assert settings_named("F m -3 m (No. 221)") == ()
    problem = named("F m -3 m (No. 221)").problem
    assert problem is not None and "unknown" in problem


@pytest.mark.parametrize(("code", "choice"), [("O1", "1"), ("O2", "2")])
def test_origins_with_a_letter(code: str, choice: str) -> None:
    assert {s.choice for s in settings_named(f"F d -3 m {code}")} == {choice}


def test_rhombohedral_axes_called_rs() -> None:
    rows = ("Mg1 Mg 0 0 0", "C1 C 0.25 0.25 0.25", "O1 O 0.528 -0.028 0.25")
    crystal = named("R -3 c RS", rows, cell=(5.61, 5.61, 5.61, 48.2, 48.2, 48.2))
    assert formula_text(crystal.amounts()) == "C2 Mg2 O6"


def test_a_magnetic_group_without_operations_is_not_p1() -> None:
    head = '_space_group_magn.number_BNS 62.441\n_space_group_magn.name_BNS "Pnma"'
    problem = read(head, SALT).problem
    assert problem is not None and "magnetic space group '62.441'" in problem


def test_a_modulated_structure_is_not_its_average() -> None:
    head = (
        "_space_group_ssg_name 'P2/m(0b0)s0'\n_cell_modulation_dimension 1\n"
        "_symmetry_space_group_name_H-M 'P 1 2/m 1'"
    )
    problem = read(head, SALT).problem
    assert problem is not None and "modulated" in problem


def test_a_magnetic_cell_with_two_axes_of_one_length_apart() -> None:
    """Operations such as x, 2x-y, z of a cell doubled along a, centred by an antitranslation."""
    operations = ("x,y,z,+1", "-x,-y,z+1/2,+1", "x,2*x-y,z,+1", "-x,-2*x+y,z+1/2,+1")
    lines = [
        "_space_group_magn.number_BNS 36.178", "loop_", "_space_group_symop_magn_operation.id",
        "_space_group_symop_magn_operation.xyz", *(f"{i} {o}" for i, o in enumerate(operations)),
        "loop_", "_space_group_symop_magn_centering.id", "_space_group_symop_magn_centering.xyz",
        "1 x,y,z,+1", "2 x+1/2,y,z,-1",
    ]  # fmt: skip
    rows = ("Tb1 Tb 0.166667 0.666667 0", "Ag1 Ag 0.166667 0.666667 0.5")
    crystal = read("\n".join(lines), rows, cell=(9.4, 4.7, 7.3, 90, 90, 120))
    assert formula_text(crystal.amounts()) == "Ag4 Tb4"


# Kinds 2 and 3: what the file says of itself


def test_multiplicities_that_nothing_else_confirms() -> None:
    rows = ("K1 K 4 0 0 0", "F1 F 4 0.5 0.5 0.5")
    columns = "label type_symbol symmetry_multiplicity fract_x fract_y fract_z"
    identity = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z"
    crystal = read(identity, rows, columns)
    assert crystal.problem_kind == "contradiction"
    assert "K1 is 1 times in the cell, but its multiplicity in the file is 4" in str(
        crystal.problem
    )
    # Where formula and Z agree with the atoms, the column is a remark.
    formula = identity + "\n_chemical_formula_sum 'F K'\n_cell_formula_units_Z 1"
    assert read(formula, rows, columns).problem is None


def test_the_molar_mass_is_a_witness_without_a_formula() -> None:
    head = "_symmetry_space_group_name_H-M 'F m -3 m'\n_cell_formula_units_Z 4\n"
    assert read(head + "_chemical_formula_weight 58.10", SALT).problem is None
    wrong = read(head + "_chemical_formula_weight 151.9", SALT)
    assert wrong.problem_kind == "contradiction" and "151.9 g/mol" in str(wrong.problem)


@pytest.mark.parametrize(
    ("text", "amounts"),
    [("CaSO4.2H2O", {20: 1, 16: 1, 8: 6, 1: 4}), ("CaSO4·0.5H2O", {20: 1, 16: 1, 8: 4.5, 1: 1}),
     ("Al Cl3 * 6 H2 O", {13: 1, 17: 3, 8: 6, 1: 12}), ("n(C2 H4)", None), ("x H2 O", None)],
)  # fmt: skip
def test_formulas_of_hydrates_and_of_unknown_amounts(text: str, amounts: Any) -> None:
    assert read_formula(text) == amounts


# Kind 4: labels and types


@pytest.mark.parametrize(
    ("symbol", "wanted"),
    [("'0.615(5)Cu + 0.385(5)Al'", {29: 0.615, 13: 0.385}), ("'0.8Nb + 0.2Zr'", {41: 0.8, 40: 0.2}),
     ("'.75Si + .25Al'", {14: 0.75, 13: 0.25})],
)  # fmt: skip
def test_parts_before_the_elements(symbol: str, wanted: dict[int, float]) -> None:
    crystal = named("P 1", (f"M1 {symbol} 0 0 0", "O1 O 0.5 0.5 0.5"))
    assert crystal.occupancy is not None
    assert crystal.occupancy.species[0] == pytest.approx(wanted)


@pytest.mark.parametrize("symbol", ["PO4", "NO3", "SO4", "CO3", "CN"])
def test_a_group_of_several_heavy_atoms_is_not_one_of_them(symbol: str) -> None:
    problem = named("P 1", (f"A1 {symbol} 0 0 0", "K1 K 0.5 0.5 0.5")).problem
    assert problem is not None and "several atoms" in problem


def test_water_as_a_type_is_its_oxygen() -> None:
    crystal = named("P 1", ("A1 H2O 0 0 0", "K1 K 0.5 0.5 0.5"))
    assert crystal.amounts() == {8: 1, 19: 1} and "hydrogens" in crystal.notes[0]


def test_tetrahedra_are_not_tritium_and_centroids_are_no_cerium() -> None:
    columns = "label fract_x fract_y fract_z"
    assert named("P 1", ("T1 0 0 0", "O1 0.5 0.5 0.5"), columns=columns).problem_kind == (
        "unknown element"
    )
    for label in ("Cent1", "Cnt1", "Cg2"):
        crystal = named("P 1", (f"{label} 0 0 0", "O1 0.5 0.5 0.5"), columns=columns)
        assert crystal.amounts() == {8: 1} and label in crystal.notes[0]


def test_two_elements_in_a_label_are_both_on_the_site() -> None:
    rows, columns = ("CaNa1 0 0 0", "O1 0.5 0.5 0.5"), "label fract_x fract_y fract_z"
    assert named("P 1", rows, columns=columns).amounts() == {20: 0.5, 11: 0.5, 8: 1}
    formula = "_symmetry_space_group_name_H-M 'P 1'\n_chemical_formula_sum 'Ca0.8 Na0.2 O'"
    assert read(formula, rows, columns).amounts() == pytest.approx({20: 0.8, 11: 0.2, 8: 1})


# Kinds 5 and 8: other formats

POSCAR = "salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nK F\n1 1\nDirect\n0 0 0 {0}\n0.5 0.5 0.5 {1}\n"


def test_symbols_on_the_lines_of_a_poscar_contradict_line_6() -> None:
    assert parse_poscar(POSCAR.format("K", "F"), "a", "POSCAR").problem is None
    assert parse_poscar(POSCAR.format("at corner", "in centre"), "a", "POSCAR").problem is None
    problem = parse_poscar(POSCAR.format("F", "K"), "a", "POSCAR").problem
    assert problem is not None and "atom 1 is K by the order" in problem


def frame(comment: str, extra: str = "", columns: str = "") -> str:
    head = f'2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{columns} {comment}\n'
    return f"{head}K 0 0 0 {extra}\nF 2 2 2 {extra and '1'}\n"


def test_periodicity_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(frame('PBC="F F F"'))
    (record,) = iter_crystals(path)
    assert record.notes and record.notes[0].startswith("not periodic")


def test_a_column_of_occupancies_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(frame("", "0.5", ":occupancy:R:1"))
    (record,) = iter_crystals(path)
    assert record.problem_kind == "partial occupancy"


def as_json(tmp_path: Path, data: Any) -> Any:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    return list(iter_crystals(path))


def test_json_keeps_frozen_atoms_and_says_what_is_not_periodic(tmp_path: Path) -> None:
    data = salt().as_dict()
    for site in data["sites"][:2]:
        site["properties"] = {"selective_dynamics": [False, False, True]}
    (record,) = as_json(tmp_path, data)
    free = record.structure.site_properties["selective_dynamics"]
    assert [list(row) for row in free[:2]] == [[False, False, True]] * 2 and all(free[7])
    data["lattice"]["pbc"] = [True, True, False]
    (record,) = as_json(tmp_path, data)
    assert "periodic along a and b only" in record.notes[0]
    del data["lattice"]["matrix"]
    (record,) = as_json(tmp_path, data)
    assert record.structure.volume == pytest.approx(5.02**3)


def test_the_composition_of_an_entry_is_a_witness(tmp_path: Path) -> None:
    entry = {"structure": salt().as_dict(), "energy": -1.0, "entry_id": "e-1"}
    (record,) = as_json(tmp_path, {**entry, "composition": {"K": 4.0, "F": 4.0}})
    assert record.problem is None
    (record,) = as_json(tmp_path, {**entry, "composition": {"Na": 4.0, "F": 4.0}})
    assert record.problem_kind == "contradiction"


def nomad(formula: str) -> dict[str, Any]:
    edge = 4e-10
    atoms = {
        "labels": ["K", "F"], "positions": [[0, 0, 0], [edge / 2] * 3],
        "lattice_vectors": [[edge, 0, 0], [0, edge, 0], [0, 0, edge]], "periodic": [True] * 3,
    }  # fmt: skip
    start = {**atoms, "lattice_vectors": [[9e-10, 0, 0], [0, 9e-10, 0], [0, 0, 9e-10]]}
    energy = {"total": {"value": -1.602176634e-18}}
    return {
        "metadata": {"entry_id": "zQJM", "license": "CC BY 4.0"},
        "run": [{"system": [{"atoms": start}, {"atoms": atoms}], "calculation": [
            {"energy": energy}]}],
        "results": {"material": {"chemical_formula_hill": formula}},
    }  # fmt: skip


def test_nomad_archives_are_in_metres_and_end_with_the_last_step(tmp_path: Path) -> None:
    answer = {"data": [{"entry_id": "zQJM", "archive": nomad("FK")}]}
    for data in (nomad("FK"), answer, {"data": answer["data"][0]}):
        (record,) = as_json(tmp_path, data)
        assert record.structure.volume == pytest.approx(64.0)
        assert record.id == "zQJM" and record.properties == pytest.approx({"energy": -10.0})
        assert record.provenance.provider == "nomad"
    (record,) = as_json(tmp_path, nomad("FNa"))
    assert record.problem_kind == "contradiction"


def test_nomad_results_without_a_run(tmp_path: Path) -> None:
    original = {
        "species_at_sites": ["K", "F"], "cartesian_site_positions": [[0, 0, 0], [2e-10] * 3],
        "lattice_vectors": [[4e-10, 0, 0], [0, 4e-10, 0], [0, 0, 4e-10]],
        "dimension_types": [1, 1, 0],
    }  # fmt: skip
    data = {"results": {"properties": {"structures": {"structure_original": original}}}}
    (record,) = as_json(tmp_path, {"archive": data, "entry_id": "x"})
    assert record.structure.volume == pytest.approx(64.0) and record.notes


# Kind 7 and tables


def table(tmp_path: Path, rows: list[list[str]], header: list[str], encoding: str = "utf-8") -> Any:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(buffer.getvalue().encode(encoding))
    return list(iter_crystals(path))


def test_cells_of_a_table_hold_what_programs_write(tmp_path: Path) -> None:
    python = str(salt().as_dict())
    records = table(tmp_path, [["a", python], ["b", POSCAR.format("", "")]], ["id", "structure"])
    assert [r.structure and len(r.structure) for r in records] == [8, 2]
    text = cif("_symmetry_space_group_name_H-M 'F m -3 m'", SALT)
    (record,) = table(tmp_path, [["é", text]], ["id", "cif"], "cp1252")
    assert record.id == "é"
    (record,) = table(tmp_path, [["a", text, "{'Na': 1, 'F': 1}"]], ["id", "cif", "composition"])
    assert record.problem_kind == "contradiction"


def test_python_notation_runs_nothing(tmp_path: Path) -> None:
    rows = [["a", "{'lattice': __import__('os').getcwd()}"]]
    (record,) = table(tmp_path, rows, ["id", "structure"])
    assert record.problem is not None


def arrays(**more: Any) -> Any:
    """A table of one crystal as cell and coordinates, twice."""
    structure = salt()
    columns = {name: [5.02] * 2 for name in "abc"} | {
        name: [90.0] * 2 for name in ("alpha", "beta", "gamma")
    }
    numbers = [s.specie.Z for s in structure]
    coords = np.asarray(structure.frac_coords).ravel().tolist()
    return pa.table(
        {"material_id": ["a", "b"], **columns, "atomic_numbers": [numbers] * 2,
         "frac_coords": [coords] * 2, **more}
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"formula": ["KF", "NaF"]}, {"num_sites": [8, 6]}, {"formula_pretty": ["KF", "KF2"]}]
)
def test_the_formula_column_of_parquet_is_a_witness(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(arrays(formula=["KF", "K4F4"], num_sites=[8, 8]), path)
    assert [r.problem for r in iter_crystals(path)] == [None, None]
    assert len(CrystalStructureDataset(path)) == 2
    pq.write_table(arrays(**wrong), path)
    good, bad = iter_crystals(path)
    assert good.problem is None and bad.problem_kind == "contradiction"
    # What trains leaves it out as well.
    dataset = CrystalStructureDataset(path)
    assert len(dataset) == 1 and dataset.skipped[0].id == "b"


def test_parquet_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = cif("_symmetry_space_group_name_H-M 'F m -3 m'", SALT)
    pq.write_table(pa.table({"id": ["a", "b"], "cif": [text] * 2, "formula": ["KF", "NaF"]}), path)
    good, bad = iter_crystals(path)
    assert good.id == "a" and len(good.structure or ()) == 8
    assert bad.problem_kind == "contradiction"
    columns = {
        "material_id": ["agm1"], "lattice_vectors": [[[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]],
        "cartesian_site_positions": [[[0.0, 0, 0], [2.0, 2, 2]]], "species_at_sites": [["K", "F"]],
        "chemical_formula_reduced": ["FK"], "nsites": [2], "energy": [-3.5],
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    (record,) = iter_crystals(path)
    assert record.id == "agm1" and record.structure is not None
    assert record.structure.volume == pytest.approx(64.0)
    assert record.properties["energy"] == -3.5


def test_documents_of_a_client_in_memory() -> None:
    document = SimpleNamespace(
        material_id="mp-463", structure=salt(), formula_pretty="KF", band_gap=6.1
    )
    (record,) = iter_crystals([document])
    assert record.id == "mp-463" and record.properties["band_gap"] == 6.1
    document.formula_pretty = "NaF"
    (record,) = iter_crystals([document])
    assert record.problem_kind == "contradiction"


# Kind 9: requests


@pytest.mark.parametrize("text", ["NaCl0", "Na0.0Cl", "Ca(OH)0"])
def test_an_amount_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="amount of 0"):
        parse_formula(text)


@pytest.mark.parametrize("text", ["NaCl10", "Li0.5CoO2", "Na10Cl", "C60"])
def test_zeros_within_a_number_are_digits(text: str) -> None:
    assert parse_formula(text)


@pytest.mark.parametrize("damage", [5, [5], None, [{"system": 5}], [{"system": [{"atoms": 5}]}]])
def test_a_damaged_archive_costs_only_itself(tmp_path: Path, damage: Any) -> None:
    bad = {**nomad("FK"), "run": damage}
    good, lost = as_json(tmp_path, [nomad("FK"), bad])
    assert good.structure is not None and lost.problem is not None


def test_a_long_text_that_is_stored_once_is_not_made_for_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array(["data_a\n" + " " * 2**20]).take(pa.array([0] * 300))
    pq.write_table(pa.table({"cif": texts}), path, compression="zstd")
    tracemalloc.start()
    records = list(iter_crystals(path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 300 and all(r.problem for r in records)
    assert most < 100 * 2**20
