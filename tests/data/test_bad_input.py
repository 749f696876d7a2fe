"""One defect, one recorded problem with cause and remedy; the other crystals are kept."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.data.formats import SUFFIXES
from crystal_diffusion.data.poscar import parse_poscar
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.data.records import PlainCrystal, settle, to_float
from crystal_diffusion.errors import InputError

CUBE = np.eye(3) * 4.0
GOOD = {"positions": [[0.0, 0, 0]], "atom_types": [11], "lattice": CUBE}


def problem_of(entry: object) -> tuple[str | None, str]:
    (record,) = iter_crystals([entry])
    assert record.structure is None and record.problem is not None
    return record.problem_kind, record.problem


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"positions": [[float("nan"), 0, 0]]}, "not finite", "atom 1"),
        ({"positions": [[float("inf"), 0, 0]]}, "not finite", "atom 1"),
        ({"positions": []}, "empty", "no atoms"),
        ({"positions": [[0, 0]]}, "unreadable", "3 numbers for each atom"),
        ({"positions": [["a", 0, 0]]}, "unreadable", "not a table of numbers"),
        ({"atom_types": [0]}, "unknown element", "atomic number 0"),
        ({"atom_types": [119]}, "unknown element", "atomic number 119"),
        ({"atom_types": ["Xx"]}, "unknown element", "'Xx'"),
        ({"atom_types": [1.5]}, "unreadable", "not atomic numbers"),
        ({"atom_types": [11, 17]}, "unreadable", "1 positions but 2 atom types"),
        ({"lattice": np.zeros((3, 3))}, "no volume", "no volume"),
        ({"lattice": [[4, 0, 0], [8, 0, 0], [0, 0, 4]]}, "no volume", "zero volume"),
        ({"lattice": CUBE * 1e-3}, "no volume", "unit must be Å"),
        ({"lattice": CUBE * 1e300}, "no volume", "unit must be Å"),
        ({"lattice": CUBE * np.nan}, "not finite", "lattice"),
        ({"lattice": np.eye(2)}, "unreadable", "3 rows"),
        ({"lattice": [[4, 0, 0], [0, True, 0], [0, 0, 4]]}, "unreadable", "true or false"),
        ({"positions": [[0, 0, 0], [0, 0, 1e-3]], "atom_types": [11, 11]}, "overlap", "on top"),
        ({"atom_types": [104]}, "unknown element", "use 1 to 103"),
        ({"mask": [1, 1]}, "unreadable", "mask"),
    ],
)
def test_defects_of_dicts(change: dict[str, object], kind: str, words: str) -> None:
    found, text = problem_of({**GOOD, **change})
    assert found == kind
    assert words in text


@pytest.mark.parametrize("key", ["positions", "atom_types", "lattice"])
def test_a_missing_key(key: str) -> None:
    entry = {k: v for k, v in GOOD.items() if k != key}
    assert repr(key) in problem_of(entry)[1]


def test_a_molecule_without_cell() -> None:
    assert problem_of(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))[0] == "no volume"


def test_partial_occupancy_of_structures() -> None:
    structure = Structure(CUBE, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    kind, text = problem_of(structure)
    assert kind == "partial occupancy"
    assert "0.5 Na" in text and "disorder='order'" in text
    with pytest.raises(InputError, match="partial occupancy"):
        list(iter_crystals([structure], disorder="stop"))


def test_partial_occupancy_left_by_ases_cif_reader(tmp_path: Path) -> None:
    import ase.io

    structure = Structure(CUBE, [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    structure.to(filename=str(tmp_path / "x.cif"))
    atoms = ase.io.read(tmp_path / "x.cif")
    assert problem_of(atoms)[0] == "partial occupancy"


def test_dummy_species_are_no_elements() -> None:
    assert problem_of(Structure(CUBE, ["X0+"], [[0, 0, 0]]))[0] == "unknown element"


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_empty_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    (record,) = iter_crystals(path)
    assert record.problem_kind == "empty", record.problem


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("content", [b"hello\nworld\n", b"\x00\xff\xfe" * 50, b"\n \n"])
def test_files_with_something_else_inside(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"eval_bad{suffix}").write_bytes(content)
    Structure(CUBE, ["Na"], [[0, 0, 0]]).to(filename=str(tmp_path / "good.cif"))
    records = {record.id: record for record in iter_crystals(tmp_path)}
    assert records["good"].problem is None
    bad = [record for name, record in records.items() if name != "good"]
    assert bad and all(record.structure is None for record in bad)
    assert all(record.problem for record in bad)
    # A file of another kind is left as it was, also one that only has the name of a database.
    assert (tmp_path / f"eval_bad{suffix}").read_bytes() == content


@pytest.mark.parametrize("suffix", [".cif", ".extxyz", ".traj", ".db", ".json", ".csv", ".vasp"])
def test_broken_gzip(tmp_path: Path, suffix: str) -> None:
    packed = gzip.compress(b"data_x\n" * 100)
    (tmp_path / f"x{suffix}.gz").write_bytes(packed[: len(packed) // 2])
    (record,) = iter_crystals(tmp_path)
    assert record.problem_kind == "unreadable"


def test_a_sqlite_file_that_is_no_ase_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("CREATE TABLE prices (id INTEGER)")
    (record,) = iter_crystals(tmp_path)
    assert record.problem is not None and "no ASE database" in record.problem


def test_json_does_not_import_what_it_names(tmp_path: Path) -> None:
    structure = Structure(CUBE, ["Na"], [[0, 0, 0]]).as_dict()
    structure["@module"], structure["@class"] = "os", "system"
    structure["sites"][0]["properties"] = {"x": {"@module": "antigravity", "@class": "geohash"}}
    (tmp_path / "x.json").write_text(json.dumps(structure))
    (record,) = iter_crystals(tmp_path)
    import sys

    assert record.problem is None
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [{}, [], [1], {"structure": 3}, {"lattice": {}, "sites": [{}]}, "x", None, {"a": {"b": 1}}],
)
def test_json_of_other_shapes(tmp_path: Path, data: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps(data))
    records = list(iter_crystals(tmp_path))
    assert records and all(record.problem for record in records)


def test_a_broken_frame_keeps_the_frames_before_it(tmp_path: Path) -> None:
    frame = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3\nNa 0 0 0\n'
    (tmp_path / "x.extxyz").write_text(frame + frame + frame.replace("Na 0 0 0", "Na 0"))
    records = list(iter_crystals(tmp_path))
    assert [record.problem is None for record in records][:-1] == [True] * (len(records) - 1)
    assert records[-1].problem is not None


def test_a_broken_line_keeps_the_other_lines(tmp_path: Path) -> None:
    line = json.dumps({"structure": Structure(CUBE, ["Na"], [[0, 0, 0]]).as_dict()})
    (tmp_path / "x.jsonl").write_text(f"{line}\n{{broken\n{line}\n")
    assert [r.problem is None for r in iter_crystals(tmp_path)] == [True, False, True]


def test_csv_without_cif_column_and_with_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,energy\nx,1\n")
    (record,) = iter_crystals(tmp_path / "a.csv")
    assert record.problem is not None and "no column of CIF texts" in record.problem
    (tmp_path / "b.csv").write_text("id,cif\nx,nothing\ny,\n")
    assert [r.id for r in iter_crystals(tmp_path / "b.csv")] == ["x", "y"]
    assert all(r.problem for r in iter_crystals(tmp_path / "b.csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("salt\n1.0\n4 0 0\n0 4 0\n0 0 4\n1\nDirect\n0 0 0\n", "elements are not named"),
        ("salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nXx\n1\nDirect\n0 0 0\n", "line 6 says 'Xx'"),
        ("salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n2\nDirect\n0 0 0\n", "fewer are listed"),
        ("salt\n1.0\n4 0 0\n", "lattice"),
        ("salt\n1.0\n", "lattice"),
        ("", "too early"),
        ("salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n99999999999\nDirect\n0 0 0\n", "more than a file"),
        ("salt\n-1\n0 0 0\n0 4 0\n0 0 4\nNa\n1\nDirect\n0 0 0\n", "zero volume"),
    ],
)
def test_poscars_with_defects(text: str, words: str) -> None:
    crystal = parse_poscar(text, "x", "x")
    assert crystal.problem is not None and words in crystal.problem


def test_the_dataset_records_the_bad_and_keeps_the_good() -> None:
    bad = {**GOOD, "positions": [[np.nan, 0, 0]], "name": "broken"}
    dataset = CrystalStructureDataset([GOOD, bad, *create_demo_dataset()[:2]])
    assert len(dataset) == 3
    assert [s.id for s in dataset.skipped] == ["broken"]
    assert "not finite" in dataset.skipped[0].reason
    with pytest.raises(InputError, match="broken.*not finite"):
        CrystalStructureDataset([GOOD, bad], on_bad="stop")
    with pytest.raises(InputError, match="no usable crystal.*broken"):
        CrystalStructureDataset([bad])


def test_the_dataset_leaves_out_large_cells_and_elements_no_model_knows() -> None:
    two = {"positions": [[0, 0, 0], [0.5] * 3], "atom_types": [11, 17], "lattice": CUBE}
    heavy = {**GOOD, "atom_types": [102]}
    dataset = CrystalStructureDataset([GOOD, two, heavy], max_atoms=1)
    assert [s.reason.split(";")[0] for s in dataset.skipped] == [
        "2 atoms are more than max_atoms=1",
        "element 102 is beyond number 100, which no model here knows",
    ]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_any_bytes_are_a_cif_or_a_problem(content: bytes) -> None:
    for crystal in parse_cif(content, "x", "x"):
        settled = settle(crystal)
        assert isinstance(settled, PlainCrystal)
        assert (settled.problem is None) == (len(settled.atomic_numbers) > 0)


LINES = [
    "data_a",
    "_cell_length_a 4",
    "_cell_length_b 4.0(1)",
    "_cell_length_c ?",
    "_cell_length_c -4",
    "_cell_length_c 1e999",
    "_cell_angle_alpha 90",
    "_cell_angle_beta 90",
    "_cell_angle_gamma 900",
    "_cell_angle_gamma 120",
    "loop_",
    "_atom_site_label",
    "_atom_site_type_symbol",
    "_atom_site_fract_x",
    "_atom_site_fract_y",
    "_atom_site_fract_z",
    "_atom_site_occupancy",
    "_symmetry_equiv_pos_as_xyz",
    "'x,y,z'",
    "'-x,-y,z+1/2'",
    "'x,y'",
    "_symmetry_space_group_name_H-M 'P 1'",
    "_symmetry_space_group_name_H-M nonsense",
    "Na1 Na 0 0 0",
    "Na1 Na 0 0 0 0.5",
    "Qq1 Qq . ? nan",
    ";",
    "#",
]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=12), max_size=25))
def test_any_text_like_a_cif_is_a_crystal_or_a_problem(lines: list[str]) -> None:
    for crystal in parse_cif("\n".join(lines), "x", "x"):
        settled = settle(crystal) if crystal.occupancy is None else crystal
        assert settled.problem or len(settled.atomic_numbers) or settled.occupancy is not None


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["1", "4 0 0", "Na", "D", "0 0 0", "x"]), max_size=12).map("\n".join)
)
def test_any_text_is_a_poscar_or_a_problem(text: str) -> None:
    assert isinstance(settle(parse_poscar(text, "x", "x")), PlainCrystal)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=200), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_any_file_is_read_or_recorded(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    for record in iter_crystals(path):
        assert (record.structure is None) == (record.problem is not None)


@settings(max_examples=60, deadline=None)
@given(
    edges=st.tuples(*[st.floats(2, 20)] * 3),
    angles=st.tuples(*[st.floats(60, 120)] * 3),
    coords=st.lists(st.tuples(*[st.floats(-2, 2)] * 3), min_size=1, max_size=6),
)
def test_what_is_read_from_dicts_is_the_same_crystal(
    edges: tuple[float, float, float],
    angles: tuple[float, float, float],
    coords: list[tuple[float, float, float]],
) -> None:
    lattice = Lattice.from_parameters(*edges, *angles).matrix
    if not np.isfinite(lattice).all():
        return
    entry = {"positions": coords, "atom_types": [6] * len(coords), "lattice": lattice}
    (record,) = iter_crystals([entry])
    if record.problem is not None:
        assert record.problem_kind in ("no volume", "left-handed", "overlap")
        return
    assert record.structure is not None
    found = record.structure.frac_coords
    assert (found >= 0).all() and (found < 1).all()
    delta = found - np.array(coords)
    assert np.abs(delta - np.round(delta)).max() < 1e-9


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("", None),
        ("nan", None),
        ("x", None),
        (None, None),
        (float("inf"), None),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        ([1], None),
        (10**400, None),
    ],
)
def test_labels(value: object, number: float | None) -> None:
    assert to_float(value) == number
