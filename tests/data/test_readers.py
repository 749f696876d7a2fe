"""Every format there and back, and what a source can be."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from crystal_diffusion.data.check import check_source
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.data.poscar import parse_poscar
from crystal_diffusion.data.readers import find_files, iter_crystals, iter_plain
from crystal_diffusion.errors import InputError

NAMES = ("rutile", "zincite", "diphosphorus tetraiodide", "corundum")


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    """Tetragonal, hexagonal, triclinic and rhombohedral cells."""
    chosen = {entry["name"]: entry for entry in create_demo_dataset()}
    return [
        Structure(chosen[n]["lattice"], chosen[n]["atom_types"], chosen[n]["positions"])
        for n in NAMES
    ]


def atoms_of(structure: Structure) -> Atoms:
    return Atoms(
        numbers=structure.atomic_numbers,
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def close(a: Structure | None, b: Structure, atol: float = 1e-5) -> bool:
    """Same cell, same atoms in the same places, whatever their order."""
    if a is None or len(a) != len(b) or not np.allclose(a.lattice.abc, b.lattice.abc, atol=atol):
        return False
    if not np.allclose(a.lattice.angles, b.lattice.angles, atol=1e-3):
        return False
    left = [b[i] for i in range(len(b))]
    for site in a:
        delta = np.array([site.frac_coords - other.frac_coords for other in left])
        delta -= np.round(delta)
        match = [
            i
            for i, other in enumerate(left)
            if other.specie == site.specie and np.abs(delta[i]).max() < 1e-4
        ]
        if not match:
            return False
        left.pop(match[0])
    return True


def write_all(folder: Path, structure: Structure) -> list[Path]:
    """One structure in every format that holds one."""
    atoms = atoms_of(structure)
    structure.to(filename=str(folder / "plain.cif"))
    Poscar(structure).write_file(folder / "POSCAR")
    ase.io.write(folder / "cell.vasp", atoms, format="vasp", direct=False)
    ase.io.write(folder / "cell.extxyz", atoms)
    ase.io.write(folder / "cell.traj", atoms)
    (folder / "cell.json").write_text(json.dumps(structure.as_dict()))
    (folder / "cell.jsonl").write_text(json.dumps({"structure": structure.as_dict()}) + "\n")
    with ase.db.connect(folder / "cell.db") as database:
        database.write(atoms, formation_energy=-1.5)
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_every_format_gives_the_same_crystal(tmp_path: Path, structures: list[Structure]) -> None:
    for number, structure in enumerate(structures):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = write_all(folder, structure)
        assert len(files) == 8
        for path in files:
            (record,) = iter_crystals(path)
            assert record.problem is None, (path.name, record.problem)
            assert close(record.structure, structure), path.name


def test_gzipped_files_are_read(tmp_path: Path, structures: list[Structure]) -> None:
    (tmp_path / "plain").mkdir()
    for path in write_all(tmp_path / "plain", structures[0]):
        packed = tmp_path / (path.name + ".gz")
        with path.open("rb") as source, gzip.open(packed, "wb") as target:
            shutil.copyfileobj(source, target)
        (record,) = iter_crystals(packed)
        assert close(record.structure, structures[0]), packed.name


def test_extxyz_frames_carry_labels_and_names(tmp_path: Path, structures: list[Structure]) -> None:
    frames = [atoms_of(s) for s in structures]
    frames[0].info.update(id="first", band_gap=3.0, comment="text is no label")
    frames[1].calc = SinglePointCalculator(frames[1], energy=-12.5)
    ase.io.write(tmp_path / "many.extxyz", frames)
    records = list(iter_crystals(tmp_path / "many.extxyz"))
    assert [r.id for r in records] == ["first", "many#2", "many#3", "many#4"]
    assert dict(records[0].properties) == {"band_gap": 3.0}
    assert dict(records[1].properties) == {"energy": -12.5}
    assert all(close(r.structure, s) for r, s in zip(records, structures, strict=True))


def test_trajectory_and_database_of_many(tmp_path: Path, structures: list[Structure]) -> None:
    frames = [atoms_of(s) for s in structures]
    ase.io.write(tmp_path / "many.traj", frames)
    with ase.db.connect(tmp_path / "many.db") as database:
        for frame in frames:
            database.write(frame, hardness=2.0, name_of_person="x")
    for name in ("many.traj", "many.db"):
        records = list(iter_crystals(tmp_path / name))
        assert len(records) == len(frames)
        assert all(close(r.structure, s) for r, s in zip(records, structures, strict=True))
    assert dict(records[0].properties) == {"hardness": 2.0}


def test_reading_a_database_leaves_it_as_it_was(
    tmp_path: Path, structures: list[Structure]
) -> None:
    path = tmp_path / "one.db"
    with ase.db.connect(path) as database:
        database.write(atoms_of(structures[0]))
    before = path.read_bytes()
    list(iter_crystals(path))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["one.db"]


def test_json_of_many(tmp_path: Path, structures: list[Structure]) -> None:
    listed = [
        {"material_id": f"mp-{i}", "structure": s.as_dict()} for i, s in enumerate(structures)
    ]
    listed[0]["band_gap"] = 1.25
    (tmp_path / "list.json").write_text(json.dumps(listed))
    (tmp_path / "map.json").write_text(
        json.dumps({str(i): s.as_dict() for i, s in enumerate(structures)})
    )
    records = list(iter_crystals(tmp_path / "list.json"))
    assert [r.id for r in records] == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert dict(records[0].properties) == {"band_gap": 1.25} and not records[1].properties
    mapped = list(iter_crystals(tmp_path / "map.json"))
    assert [r.id for r in mapped] == ["0", "1", "2", "3"]
    assert all(close(r.structure, s) for r, s in zip(mapped, structures, strict=True))


def test_json_of_ase(tmp_path: Path, structures: list[Structure]) -> None:
    with ase.db.connect(tmp_path / "ase.json", type="json") as database:
        database.write(atoms_of(structures[0]), band_gap=0.5)
    (record,) = iter_crystals(tmp_path / "ase.json")
    assert close(record.structure, structures[0])
    assert dict(record.properties) == {"band_gap": 0.5}


def test_csv_in_the_shape_of_mp_20(tmp_path: Path, structures: list[Structure]) -> None:
    path = tmp_path / "mp.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "material_id", "formation_energy", "elements", "cif"])
        for i, structure in enumerate(structures):
            energy = "" if i == 1 else -0.5 * i
            writer.writerow([i, f"mp-{i}", energy, "['O']", structure.to(fmt="cif")])
    records = list(iter_crystals(path))
    assert [r.id for r in records] == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert dict(records[2].properties) == {"formation_energy": -1.0}
    assert not records[1].properties
    assert all(close(r.structure, s) for r, s in zip(records, structures, strict=True))


def write_parquet(path: Path, structures: list[Structure]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = {
        name: [s.lattice.parameters[i] for s in structures]
        for i, name in enumerate(("a", "b", "c", "alpha", "beta", "gamma"))
    }
    table = pa.table(
        {
            "material_id": [f"mp-{i}" for i in range(len(structures))],
            "formula": [s.reduced_formula for s in structures],
            "num_sites": [len(s) for s in structures],
            **cells,
            "atomic_numbers": pa.array(
                [list(s.atomic_numbers) for s in structures], pa.list_(pa.uint8())
            ),
            "frac_coords": pa.array(
                [s.frac_coords.reshape(-1).tolist() for s in structures], pa.list_(pa.float32())
            ),
            "spacegroup_number": [1] * len(structures),
            "band_gap": [1.0, float("nan"), 2.0, None],
        }
    )
    pq.write_table(table, path)


def test_parquet(tmp_path: Path, structures: list[Structure]) -> None:
    write_parquet(tmp_path / "t.parquet", structures)
    records = list(iter_crystals(tmp_path / "t.parquet"))
    assert [r.id for r in records] == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert [dict(r.properties) for r in records] == [{"band_gap": 1.0}, {}, {"band_gap": 2.0}, {}]
    assert all(close(r.structure, s) for r, s in zip(records, structures, strict=True))


def test_old_poscar_takes_the_elements_from_the_comment(structures: list[Structure]) -> None:
    from crystal_diffusion.data.poscar import parse_poscar

    text = "Na Cl\n1.0\n5 0 0\n0 5 0\n0 0 5\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    assert parse_poscar(text, "x", "x").atomic_numbers.tolist() == [11, 17]


@pytest.mark.parametrize("scale", ["2.0", "-64.0", "2 2 2"])
def test_poscar_scaling_and_cartesian_coordinates(scale: str) -> None:
    from crystal_diffusion.data.poscar import parse_poscar

    text = (
        f"salt\n{scale}\n2 0 0\n0 2 0\n0 0 2\nNa Cl\n1 1\nSelective dynamics\nCartesian\n"
        "0 0 0 T T F\n1 1 1 F F F\n"
    )
    crystal = parse_poscar(text, "x", "x")
    assert np.allclose(crystal.lattice, 4 * np.eye(3))
    assert np.allclose(crystal.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_objects_in_memory(structures: list[Structure]) -> None:
    dicts = create_demo_dataset()[:3]
    mixed = [structures[0], atoms_of(structures[1]), *dicts]
    records = list(iter_crystals(mixed))
    assert [r.id for r in records] == ["0", "1", "copper", "aluminium", "alpha iron"]
    assert close(records[0].structure, structures[0])
    assert close(records[1].structure, structures[1])
    for single in (structures[0], atoms_of(structures[0]), dicts[0]):
        assert len(list(iter_crystals(single))) == 1


def test_records_can_be_read_again(structures: list[Structure]) -> None:
    first = list(iter_crystals([structures[0], {"positions": [[0, 0, 0]]}]))
    second = list(iter_crystals(first))
    assert second[0].structure == first[0].structure
    assert [r.problem for r in second] == [r.problem for r in first]


def test_symbols_and_padding_in_dicts() -> None:
    cell = np.eye(3) * 5
    spelled = {"positions": [[0, 0, 0], [0.5] * 3], "atom_types": ["Na", "Cl"], "lattice": cell}
    padded = {
        "positions": np.zeros((3, 3)) + [[0], [0.5], [0]],
        "atom_types": [11, 17, 0],
        "lattice": cell,
        "mask": [1, 1, 0],
    }
    one, two = iter_crystals([spelled, padded])
    assert one.structure == two.structure


def test_folders_are_read_with_their_subfolders(
    tmp_path: Path, structures: list[Structure]
) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for place in ("b.cif", "a.cif", "sub/a.cif", "sub/deep/POSCAR", ".hidden/c.cif"):
        path = tmp_path / place
        if path.suffix:
            structures[0].to(filename=str(path))
        else:
            Poscar(structures[0]).write_file(path)
    (tmp_path / "README.txt").write_text("not a crystal")
    assert [r.id for r in iter_crystals(tmp_path)] == ["a", "b", "sub/a", "sub/deep"]
    _, ignored = find_files(tmp_path)
    assert [path.name for path in ignored] == ["README.txt"]
    assert [r.id for r in iter_crystals(str(tmp_path / "*.cif"))] == ["a", "b"]
    assert [r.id for r in iter_crystals(str(tmp_path / "**" / "a.cif"))] == ["a", "sub/a"]


def test_equal_names_are_told_apart(tmp_path: Path, structures: list[Structure]) -> None:
    structures[0].to(filename=str(tmp_path / "a.cif"))
    ase.io.write(tmp_path / "a.extxyz", atoms_of(structures[0]))
    assert [r.id for r in iter_crystals(tmp_path)] == ["a", "a~2"]


def test_a_run_folder_is_read_once(tmp_path: Path, structures: list[Structure]) -> None:
    (tmp_path / "cif").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    structures[0].to(filename=str(tmp_path / "cif" / "x.cif"))
    ase.io.write(tmp_path / "structures.extxyz", atoms_of(structures[0]))
    assert [r.id for r in iter_crystals(tmp_path)] == ["x"]


def test_progress_ends_at_the_number_of_files(tmp_path: Path, structures: list[Structure]) -> None:
    for name in ("a", "b", "c"):
        structures[0].to(filename=str(tmp_path / f"{name}.cif"))
    seen: list[tuple[int, int | None]] = []
    list(iter_crystals(tmp_path, progress=lambda done, total: seen.append((done, total))))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_several_processes_give_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = Structure(np.eye(3) * 4, ["Na"], [[0, 0, 0]])
    text = structure.to(fmt="cif")
    for number in range(70):
        (tmp_path / f"{number:03d}.cif").write_text(text if number != 7 else "nothing")
    monkeypatch.setattr("crystal_diffusion.data.readers._PARALLEL_FROM", 10)
    alone = list(iter_plain(tmp_path))
    together = list(iter_plain(tmp_path, processes=2))
    assert [c.id for c in together] == [c.id for c in alone]
    assert [c.problem for c in together] == [c.problem for c in alone]
    assert sum(c.problem is not None for c in together) == 1


def test_several_processes_parse_the_rows_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Structure(np.eye(3) * 4, ["Na"], [[0, 0, 0]]).to(fmt="cif")
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "gap", "cif"])
        writer.writerows([f"m{i}", i / 4, text if i != 3 else ""] for i in range(20))
    monkeypatch.setattr("crystal_diffusion.data.readers._PARALLEL_FROM", 10)
    seen: list[tuple[int, int | None]] = []
    crystals = list(
        iter_plain(
            tmp_path / "t.csv", processes=2, progress=lambda done, total: seen.append((done, total))
        )
    )
    assert [c.id for c in crystals] == [f"m{i}" for i in range(20)]
    assert [c.problem_kind for c in crystals if c.problem] == ["empty"]
    assert crystals[8].properties == {"gap": 2.0}
    assert seen[-1] == (20, 20)


def test_primitive_cells_on_request(structures: list[Structure]) -> None:
    doubled = structures[0] * [2, 1, 1]
    (record,) = iter_crystals([doubled], primitive=True)
    assert record.structure is not None and len(record.structure) == len(structures[0])


def test_left_handed_cells_can_be_swapped(structures: list[Structure]) -> None:
    structure = structures[2]
    mirror = structure.lattice.matrix[[1, 0, 2]]
    given = Structure(mirror, structure.atomic_numbers, structure.frac_coords[:, [1, 0, 2]])
    (record,) = iter_crystals([given], left_handed="swap")
    assert record.structure == structure
    assert "a and b exchanged" in record.notes[0]


def test_converted_structures_agree_with_pymatgens_adaptor(structures: list[Structure]) -> None:
    for structure in structures:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        (record,) = iter_crystals([atoms])
        assert close(record.structure, structure)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/file.cif", "does not exist"),
        ([], "is empty"),
        ([3.0], "item 0 is a float"),
        ("*.nothing", "no crystal file"),
    ],
)
def test_sources_that_are_none(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(iter_crystals(source))  # type: ignore[arg-type]


def test_a_folder_without_crystals(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="no crystal file"):
        list(iter_crystals(tmp_path))
    with pytest.raises(InputError, match="no known format"):
        list(iter_crystals(tmp_path / "notes.txt"))


@pytest.mark.parametrize("argument", ["disorder", "left_handed"])
def test_unknown_choices(argument: str) -> None:
    with pytest.raises(InputError, match=argument):
        list(iter_crystals(create_demo_dataset(), **{argument: "maybe"}))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "db"])
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((False, False, False), "not periodic (pbc F F F): a molecule"),
        ((True, True, False), "periodic along a and b only (pbc T T F): a slab"),
        ((False, False, True), "periodic along c only (pbc F F T): a chain"),
    ],
)
def test_what_is_no_crystal_is_said_and_not_trained_on(
    tmp_path: Path, suffix: str, flags: tuple[bool, bool, bool], words: str
) -> None:
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[4, 4, 4], pbc=flags)
    path = tmp_path / f"x.{suffix}"
    if suffix == "db":
        ase.db.connect(str(path)).write(atoms)
    else:
        ase.io.write(path, atoms)
    (row,) = check_source(path).rows
    assert (row.findings[0].kind, row.severity) == ("not periodic", "bad")
    assert row.findings[0].text.startswith(words)
    with pytest.raises(InputError, match="pbc"):
        CrystalStructureDataset(path)
    (record,) = iter_crystals(path)
    assert record.structure is not None


POSCAR = (
    "{comment}\n1.0\n5.46 0 0\n0 5.46 0\n0 0 5.46\n{line}\n1 2\nDirect\n0 0 0\n.25 .25 .25\n"
    ".75 .75 .75\n"
)


@pytest.mark.parametrize(
    "line",
    [
        "Ca F",
        "Ca2+ F-",
        "Ca1 F2",
        "CA F",
        "Ca_sv F",
        "Ca/0a1b F/9c",
        "Ca F ! fluorite",
        "Ca F #2",
        "ca f",
    ],
)
def test_line_6_in_its_variants_never_falls_back_on_the_comment(line: str) -> None:
    crystal = parse_poscar(POSCAR.format(comment="F Ca", line=line), "x", "x")
    assert crystal.atomic_numbers.tolist() == [20, 9, 9]


@pytest.mark.parametrize("line", ["A B", "Ca", "Ca F O", "calcium fluoride", "OH F"])
def test_a_line_6_that_is_not_understood_is_refused(line: str) -> None:
    crystal = parse_poscar(POSCAR.format(comment="F Ca", line=line), "x", "x")
    assert crystal.problem is not None and "line 6 says" in crystal.problem


def test_deuterium_and_charges_in_extended_xyz(tmp_path: Path) -> None:
    frame = (
        '3\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\n'
        "Fe3+ 0 0 0\nD 2 2 2\nO 3 3 3\n"
    )
    (tmp_path / "x.extxyz").write_text(f"{frame}\n\n{frame.replace('Fe3+', 'Xy')}{frame}")
    records = list(iter_crystals(tmp_path / "x.extxyz"))
    numbers = [r.structure.atomic_numbers if r.structure else None for r in records]
    assert numbers == [(26, 1, 8), None, (26, 1, 8)]
    assert "unknown element 'Xy'" in str(records[1].problem)


def test_csv_with_semicolons_json_and_several_blocks(tmp_path: Path) -> None:
    salt = Structure(np.eye(3) * 4, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    text = str(CifWriter(salt))
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "cif", "pretty_formula"])
        writer.writerow(["two", text + text.replace("Na", "K"), ""])
        writer.writerow(["json", json.dumps(salt.as_dict()), "NaCl"])
        writer.writerow(["false", text, "KCl"])
    records = {record.id: record for record in iter_crystals(tmp_path / "x.csv")}
    assert list(records) == ["two#1", "two#2", "json", "false"]
    assert records["false"].problem_kind == "contradiction"
    assert "Cl1 K1" in str(records["false"].problem)
    assert records["two#2"].structure is not None
    assert records["two#2"].structure.composition.reduced_formula == "KCl"
