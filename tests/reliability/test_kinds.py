"""What may not happen again: one test or more for each numbered kind of docs/reliability.md.

Kinds 1, 4, 8, 9, 12 and 15 have further tests in ``test_kinds_training.py``.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.energy.reference_energies import (
    ReferenceEnergies,
    ReferenceEntry,
    reference_limits,
)
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import CrystalDiffusionError, InputError
from crystal_diffusion.files import (
    atomic_write,
    below,
    cell_text,
    file_name,
    file_names,
    locked,
    write_text,
)
from crystal_diffusion.runs.folder import RunFolder, extxyz_text
from crystal_diffusion.runs.reading import read_frames, read_rows
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.settings import ScreenSettings, read_candidates
from crystal_diffusion.screening.store import Store
from crystal_diffusion.symmetry.cells import niggli_change, stable_change
from crystal_diffusion.viewer.report_data import gather


def rock_salt(cation: str, anion: str, edge: float) -> Structure:
    return Structure.from_spacegroup(
        225, Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


SALT, OXIDE = rock_salt("Na", "Cl", 5.6), rock_salt("Mg", "O", 4.2)


def write_run(path: Path, found: dict[str, Structure], made: int | None = None) -> RunFolder:
    run = RunFolder.create(path, overwrite=True)
    run.write_structures(found, [{"id": name, "rank": i} for i, name in enumerate(found, 1)])
    run.write_rejected({})
    run.write_manifest({"made": len(found) if made is None else made})
    return run


def screened(folder: Path, out: Path, cache: Path, **more: Any) -> dict[str, dict[str, Any]]:
    chosen = ScreenSettings(
        stages=("validate", "relax", "rank"), potentials=("pair",), executor="here",
        profile="permissive", limits=RelaxLimits(max_steps=3), cache=cache, **more,
    )  # fmt: skip
    outcome = screen(read_candidates(folder, out), chosen)
    return {row["id"]: row for row in outcome.rows}


def cif(path: Path, structure: Structure) -> None:
    structure.to(filename=str(path))


def command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crystal_diffusion", *words], capture_output=True, text=True,
        errors="replace", timeout=300, check=False, **options,
    )  # fmt: skip


# 1 to 9: nothing is mixed up


def test_kind_01_a_replaced_file_is_screened_anew(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    cif(source / "x.cif", SALT)
    screened(source, out, tmp_path / "cache")
    cif(source / "x.cif", OXIDE)
    screened(source, out, tmp_path / "cache")
    relaxed = read_frames(out / "relaxed.extxyz")
    assert relaxed["x"].composition.reduced_formula == "MgO"
    ((key, stored, _),) = Store(out / "screening.db").rows()
    assert (key, stored.composition.reduced_formula) == ("x", "MgO")
    (source / "x.cif").unlink()
    cif(source / "y.cif", SALT)
    assert set(screened(source, out, tmp_path / "cache")) == {"y"}
    assert [p.name for p in (out / "relaxed").iterdir()] == ["y.cif"]
    assert [key for key, _, _ in Store(out / "screening.db").rows()] == ["y"]


def test_kind_01_a_shared_database_keeps_crystals_of_one_id_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "all.db")
    store.put("cd0001", SALT, {"content": "a", "energy_per_atom_eV": -1.0})
    store.put("cd0001", OXIDE, {"content": "b", "energy_per_atom_eV": -2.0})
    store.put("cd0001", SALT, {"content": "a", "energy_per_atom_eV": -3.0})
    found = {s.composition.reduced_formula: row["energy_per_atom_eV"] for _, s, row in store.rows()}
    assert found == {"NaCl": -3.0, "MgO": -2.0}


def test_kind_02_the_cache_holds_converged_references_only(tmp_path: Path) -> None:
    file = tmp_path / "references.jsonl"
    known = ReferenceEnergies("p", "1", cache=file)
    known.add(ReferenceEntry("good", {"Na": 1.0}, -1.0, True, "2026-01-01"))
    known.add(ReferenceEntry("quick", {"K": 1.0}, -0.5, False, "2026-01-01"))
    known.add(ReferenceEntry("broken", {"Li": 1.0}, float("nan"), False, "2026-01-01", "failed"))
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["good"]
    quick = reference_limits(RelaxLimits(max_steps=1, fmax=5.0, smax=9.0))
    assert quick.max_steps >= 100 and quick.fmax <= 0.05 and quick.smax <= 0.1


def test_kind_02_the_cache_can_be_listed_and_cleared(tmp_path: Path) -> None:
    write_text(tmp_path / "references2_p_1.jsonl", "{}\n{}\n")
    listed = command("cache", "list", "--folder", str(tmp_path))
    assert "references2_p_1.jsonl" in listed.stdout and "2 entries" in listed.stdout
    refused = command("cache", "clear", "../x", "--folder", str(tmp_path))
    assert refused.returncode == 2
    assert command("cache", "clear", "--folder", str(tmp_path)).returncode == 0
    assert not list(tmp_path.glob("*.jsonl"))


HOSTILE = ["001", "1e5", "True", "nan", "1", "1.0", "01", 'a"b', "a b", "x=1", "=1+1", "ä☃", "a\\b"]
IDS = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1)),
    min_size=1, max_size=6, unique=True,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(ids=IDS)
def test_kind_03_hostile_ids_come_back_from_every_file(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    path = tmp_path_factory.mktemp("ids") / "run"
    found = {name: rock_salt("Na", "Cl", 5.0 + 0.1 * place) for place, name in enumerate(ids)}
    run = write_run(path, found)
    back = RunFolder.open(path).structures()
    assert list(back) == ids
    assert [row["id"] for row in run.rows()] == ids
    for name in ids:
        assert back[name].lattice.a == pytest.approx(found[name].lattice.a)
    assert len(list((path / "cif").iterdir())) == len(ids)
    data = gather(path)
    assert set(data.made) == set(ids) and not data.gaps
    store = Store(path / "x.db")
    store.put_many((name, s, {"content": name}) for name, s in found.items())
    assert {key for key, _, _ in store.rows()} == set(ids)


def test_kind_03_ids_that_look_like_numbers_stay_apart_in_foreign_files(tmp_path: Path) -> None:
    ids = ["001", "1", "1e5", "100000", "True", "nan", "01"]
    text = "".join(extxyz_text(SALT, name) for name in ids).replace('id="', 'id="')
    (tmp_path / "some.extxyz").write_text(text)
    assert [r.id for r in iter_crystals(tmp_path / "some.extxyz")] == ids


def test_kind_03_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": SALT})
    (tmp_path / "structures.extxyz").write_text(extxyz_text(SALT, "a") + extxyz_text(OXIDE, "a"))
    with pytest.raises(InputError, match="occurs twice"):
        RunFolder.open(tmp_path).structures()


def test_kind_04_a_refused_request_leaves_the_run_before(tmp_path: Path) -> None:
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.request import Request
    from crystal_diffusion.workflows.generate import generate_run

    run = write_run(tmp_path / "run", {"a": SALT, "b": OXIDE})
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    impossible = Request(formula="NaCl", num_atoms=(3, 3))
    for folder, kept in ((run.path, before), (tmp_path / "new", {})):
        with pytest.raises(CrystalDiffusionError):
            generate_run(load(device="cpu"), impossible, 2, folder, overwrite=True)
        left = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
        assert left == kept
    assert not (tmp_path / "new").exists()


def test_kind_05_a_run_that_was_stopped_is_not_read_as_a_whole_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"a": SALT, "b": OXIDE})
    begun = RunFolder.create(run.path, overwrite=True)
    begun.write_structures({"a": SALT}, [{"id": "a"}])
    for reader in (RunFolder.open, gather):
        with pytest.raises(InputError, match="stopped before it was whole"):
            reader(run.path)
    # The same command completes it, without --overwrite.
    RunFolder.create(run.path).write_structures({"a": SALT}, [{"id": "a"}])
    begun.write_manifest({"made": 1})
    assert list(RunFolder.open(run.path).structures()) == ["a"]


def test_kind_05_fewer_crystals_leave_nothing_of_the_run_before(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": SALT, "b": OXIDE})
    write_run(tmp_path, {"c": OXIDE})
    assert [p.name for p in (tmp_path / "cif").iterdir()] == ["c.cif"]
    write_run(tmp_path, {"c": OXIDE}, made=3)
    with pytest.raises(InputError, match="1 of 3"):
        RunFolder.open(tmp_path).structures()
    assert any("1 of 3" in gap for gap in gather(tmp_path).gaps)


def test_kind_05_validate_says_that_a_run_is_not_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"a": SALT, "b": OXIDE})
    (run.path / "cif" / "a.cif").unlink()
    answer = command("validate", str(run.path))
    assert answer.returncode != 0 and "1 of 2" in answer.stdout + answer.stderr
    RunFolder.create(run.path, overwrite=True)
    answer = command("validate", str(run.path))
    assert answer.returncode == 2 and "stopped" in answer.stderr


def test_kind_06_a_folder_is_written_by_one_command_at_a_time(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": SALT})
    with locked(tmp_path):
        with pytest.raises(InputError, match="another command is writing"), locked(tmp_path):
            pass
        answer = command("relax", str(tmp_path), "--potential", "pair", "--out", str(tmp_path))
        assert answer.returncode == 2 and "another command" in answer.stderr
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "cell",
    [
        [[0, 2, 2], [2, 0, 2], [2, 2, 0]],
        [[-2, 2, 2], [2, -2, 2], [2, 2, -2]],
        [[3, 0, 0], [-1.5, 2.598076211353316, 0], [0, 0, 5]],
        [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
        [[2, 1.5, 0], [-2, 1.5, 0], [0, 0, 5]],
    ],
)
def test_kind_07_rounding_does_not_choose_between_equal_reduced_cells(cell: Any) -> None:
    rng = np.random.default_rng(0)
    turned = np.array(cell) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = set()
    for _ in range(30):
        noisy = turned * (1 + 1e-7 * rng.normal(size=(3, 3)))
        found.add(stable_change(noisy @ noisy.T).tobytes())
    assert len(found) == 1


def test_kind_07_without_ties_it_is_the_niggli_cell() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        lattice = 3 * rng.normal(size=(3, 3)) + 3 * np.eye(3)
        one, two = niggli_change(lattice), stable_change(lattice @ lattice.T)
        np.testing.assert_allclose(
            one @ lattice @ lattice.T @ one.T, two @ lattice @ lattice.T @ two.T, atol=1e-6
        )


CELL = "".join(f"_cell_length_{x} 5\n_cell_angle_{y} 90\n" for x, y in
               zip("abc", ("alpha", "beta", "gamma"), strict=True))  # fmt: skip
SITES = (
    "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\n_atom_site_occupancy\n"
)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'2*x,y,z'\n{SITES}"
         "Na1 Na 0.1 0.2 0.3 1\n", "2"),
        (f"data_x\n{CELL}_symmetry_space_group_name_H-M 'F m -3 q'\n{SITES}Na1 Na 0 0 0 1\n",
         "F m -3 q"),
        (f"data_x\n{CELL}{SITES}Na1 Na 1e300 0.2 0.3 1\n", "1e"),
        (f"data_x\n{CELL}{SITES}Na1 Na 0 0 0 -0.5\n", "occupancy"),
        (f"data_x\n{CELL}{SITES}Na1 Na 0 0 0 2\n", "occupancy"),
    ],
)  # fmt: skip
def test_kind_09_what_cannot_be_is_not_accepted(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "x.cif").write_text(text)
    (record,) = iter_crystals(tmp_path / "x.cif", disorder="order")
    assert record.structure is None and wrong in (record.problem or "")


def test_kind_09_atomic_numbers_are_whole(tmp_path: Path) -> None:
    crystal = {"positions": [[0, 0, 0]], "atom_types": [11.7], "lattice": np.eye(3) * 4}
    (record,) = iter_crystals(crystal)
    assert record.structure is None and "11.7" in (record.problem or "")


# 10 to 12: nothing is let in


@pytest.mark.parametrize("name", ["/etc/x", "../../x", "..", "", "a/b", "a\\b", "x\0y"])
def test_kind_10_no_path_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        below(tmp_path, name)
    assert below(tmp_path, file_name(name)).parent == tmp_path


def test_kind_10_a_run_somebody_sent_writes_below_its_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.cif"
    secret.write_text("mine")
    ids = [str(secret.with_suffix("")), "../../secret", "../secret", "a/../../secret"]
    run = write_run(tmp_path / "sent" / "run", dict.fromkeys(ids, SALT))
    out = tmp_path / "deep" / "er" / "out"
    screened(run.path, out, tmp_path / "cache")
    assert secret.read_text() == "mine"
    others = [p for p in tmp_path.rglob("*.cif") if "run" not in p.parts and "out" not in p.parts]
    assert others == [secret]


def test_kind_10_planted_links_are_not_followed(tmp_path: Path) -> None:
    victim, outside = tmp_path / "victim", tmp_path / "outside"
    victim.write_text("mine")
    outside.mkdir()
    run = write_run(tmp_path / "run", {"a": SALT})
    for name in ("hull.json", "screening.jsonl.part", "report.html", "relaxed.extxyz"):
        (run.path / name).symlink_to(victim)
    (run.path / "screening").mkdir()
    (run.path / "screening" / "relax.jsonl").symlink_to(victim)
    with pytest.raises(InputError, match="symbolic link"):
        screened(run.path, run.path, tmp_path / "cache")
    (run.path / "screening" / "relax.jsonl").unlink()
    (run.path / "relaxed").symlink_to(outside)
    with pytest.raises(InputError, match="symbolic link"):
        screened(run.path, run.path, tmp_path / "cache")
    assert victim.read_text() == "mine" and not list(outside.iterdir())


TINY = {
    "a.extxyz": b'1000000000\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n',
    "b.extxyz": b'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:1000000000\n'
                b"Na 0 0 0\n",
    "c.json.gz": gzip.compress(b"[" * 40_000_000),
    "d.csv.gz": gzip.compress(b"cif,x\n" + b"0" * 60_000_000),
    "e.cif": (f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 20_000
              + f"{SITES}Na1 Na 0 0 0 1\n").encode(),
    "f.json": b'{"lattice": [[4,0,0],[0,4,0],[0,0,4]], "positions": [[0,0,0]], "atom_types": [1'
              + b"0" * 5000 + b"]}",
}  # fmt: skip


@pytest.mark.parametrize("name", list(TINY))
def test_kind_11_tiny_files_take_neither_memory_nor_time(tmp_path: Path, name: str) -> None:
    import resource

    (tmp_path / name).write_bytes(TINY[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    records = list(iter_crystals(tmp_path / name))
    assert [r.structure for r in records] == [None] and records[0].problem
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


def test_kind_11_a_database_without_end(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
            "FROM n) SELECT id, id AS numbers FROM n"
        )
    (record,) = iter_crystals(tmp_path / "x.db")
    assert record.structure is None and record.problem


def test_kind_11_a_parquet_table_announces_no_more_than_it_may(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    count = 10_000_000
    table = pyarrow.table(
        {
            **{n: [5.0] for n in ("a", "b", "c")},
            **{n: [90.0] for n in ("alpha", "beta", "gamma")},
            "atomic_numbers": [np.ones(count, np.int64)],
            "frac_coords": [np.zeros(3 * count)],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 200_000
    (record,) = iter_crystals(tmp_path / "x.parquet")
    assert record.structure is None and "announce" in (record.problem or "")


def test_kind_12_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    ids = ["=1+1", "@x", "+a", "-b", "plain"]
    run = write_run(tmp_path, dict.fromkeys(ids, SALT))
    run = write_run(tmp_path, dict.fromkeys(ids, SALT))
    with (run.path / "structures.csv").open(newline="") as handle:
        found = [row["id"] for row in csv.DictReader(handle)]
    assert found == ["'=1+1", "'@x", "'+a", "'-b", "plain"]
    assert cell_text("-1.5") == "-1.5" and cell_text(-1.5) == -1.5


# 13 to 17: nothing falls over


def test_kind_13_one_bad_entry_does_not_cost_the_others(tmp_path: Path) -> None:
    good = (
        '{"id": "g%d", "lattice": [[4,0,0],[0,4,0],[0,0,4]], "positions": [[0,0,0]], '
        '"atom_types": [11]}'
    )
    bad = [
        '{"id": "b", "lattice": {"matrix": [[4,0,0],[0,4,0],[0,0,4]]}, "sites": [{"abc": [0,0,0], '
        '"species": [{"element": "Na", "occu": NaN}]}]}',
        '{"id": "b", "lattice": [[4,0,0],[0,4,0],[0,0,4]], "positions": [[0,0,1%s]], '
        '"atom_types": [11]}' % ("0" * 400),
        '{"id": 1%s, "lattice": 3, "positions": 4}' % ("0" * 5000),
        '{"id": "b", "lattice": [[4,0,0],[0,4,0],[0,0,4]], "sites": [{"abc": [0,0,0], '
        '"species": []}]}',
        "[" * 100_000,
    ]
    lines = [line for i, b in enumerate(bad) for line in (good % i, b)] + [good % 99]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    (tmp_path / "y.cif").write_bytes(b"data_\xff\xfe\n\x80")
    records = list(iter_crystals(tmp_path, disorder="order"))
    usable = [r.id for r in records if r.structure is not None]
    assert usable == ["g0", "g1", "g2", "g3", "g4", "g99"]
    assert all(r.problem for r in records if r.structure is None)


def test_kind_14_handlers_of_errors_do_not_fail_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with pytest.raises(InputError, match="Read-only"), atomic_write(tmp_path / "x") as part:
        part.write_text("x")
        monkeypatch.setattr(Path, "unlink", refuse)
        monkeypatch.setattr("crystal_diffusion.files.os.replace", refuse)
    monkeypatch.undo()
    for path in (tmp_path / ("a" * 300), tmp_path / ("b/" * 3000) / "x", Path("/proc/x/y")):
        with pytest.raises(CrystalDiffusionError):
            RunFolder.create(path)
        with pytest.raises(CrystalDiffusionError):
            write_text(path / "file", "text")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CrystalDiffusionError):
        RunFolder.create(tmp_path / "file" / "run")
    long = "n" * 5000
    assert len(file_name(long)) < 200 and file_name(long) != file_name(long + "x")
    assert len(set(file_names(["A", "a", "a/", "a_"]).values())) == 4


@pytest.mark.parametrize("name", ["manifest.json", "structures.jsonl", "structures.extxyz"])
def test_kind_15_damaged_files_of_a_run_are_one_sentence(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path, {"a": SALT, "b": OXIDE})
    whole = (run.path / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff" + whole, whole.replace(b"0", b"nan"), b"[]"):
        (run.path / name).write_bytes(damaged)
        for reader in (
            lambda: RunFolder.open(tmp_path).manifest,
            lambda: RunFolder.open(tmp_path).rows(),
            lambda: RunFolder.open(tmp_path).structures(),
            lambda: read_rows(tmp_path / "structures.jsonl"),
        ):
            try:
                reader()
            except InputError as error:
                assert name in str(error)
        gather(tmp_path)


ARGUMENTS = [
    ["train", "{cif}", "--dim", "7", "--out", "{new}"],
    ["train", "{cif}", "--learning-rate", "nan", "--out", "{new}"],
    ["generate", "--formula", "NaCl", "--seed", "-1", "--out", "{new}"],
    ["generate", "--lattice", "1e300,5,5,90,90,90", "--natoms", "2", "--out", "{new}"],
    ["dft", "{new}", "--kpoints", "inf"],
    ["benchmark", "mp20", "--split", "{cif}", "-n", "-1"],
    ["check", "x[/y]"],
    ["check", "a" * 4000],
    ["report", "[bold]x[/y]"],
]


@pytest.mark.parametrize("words", ARGUMENTS, ids=lambda w: " ".join(w)[:40])
def test_kind_16_odd_arguments_are_one_sentence(tmp_path: Path, words: list[str]) -> None:
    cif(tmp_path / "x.cif", SALT)
    places = {"{cif}": str(tmp_path / "x.cif"), "{new}": str(tmp_path / "new")}
    answer = command(*(places.get(word, word) for word in words))
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr and answer.stderr.strip()
    assert not (tmp_path / "new").exists()


def test_kind_16_file_names_need_not_be_text(tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"\xff\xfe[x].cif")
    cif(tmp_path / "plain.cif", SALT)
    (tmp_path / "plain.cif").rename(source)
    answer = command("check", str(source))
    assert answer.returncode in (0, 1) and "Traceback" not in answer.stderr
    out = tmp_path / "out"
    answer = command("relax", str(source), "--potential", "pair", "--executor", "here",
                     "--relax-steps", "1", "--out", str(out))  # fmt: skip
    assert "Traceback" not in answer.stderr and (out / "screening.jsonl").is_file()


def test_kind_16_a_traceback_has_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from crystal_diffusion import cli

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "verbs", broken)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 70


def test_kind_17_ctrl_c_while_writing_waits_and_while_describing_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.request import Request
    from crystal_diffusion.workflows.generate import generate_run

    generator = load(device="cpu")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(generator), "describe", interrupted)
    run, result = generate_run(generator, Request(formula="NaCl"), 2, tmp_path / "run")
    assert result.interrupted and len(RunFolder.open(run.path).structures()) == len(result) > 0
    assert run.manifest["interrupted"] is True

    write = RunFolder.write_rejected

    def pressed(self: RunFolder, reasons: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(self, reasons)

    monkeypatch.setattr(RunFolder, "write_rejected", pressed)
    with pytest.raises(KeyboardInterrupt):
        generate_run(generator, Request(formula="NaCl"), 2, tmp_path / "second")
    assert len(RunFolder.open(tmp_path / "second").structures()) > 0
