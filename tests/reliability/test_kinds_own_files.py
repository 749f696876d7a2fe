"""Folders of ours besides runs and plain models: kinds 1, 9, 10 and 15 of docs/reliability.md."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))

import seeds

from crystal_diffusion.app.jobs import FAILED, RUNNING, Jobs
from crystal_diffusion.cli import verbs
from crystal_diffusion.discovery.loop import Discovery
from crystal_diffusion.energy import potentials
from crystal_diffusion.energy.pair_potential import PAIR_ELEMENTS, PairPotential
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.generation.loading import load
from crystal_diffusion.known.index import load_known
from crystal_diffusion.prediction.own import read_own
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.training.checkpoint import read_header

QUEUED = "2123456789ab"


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, raw in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder


def with_header(raw: bytes, **entries: Any) -> bytes:
    """A file of tensors whose header says something else, as one of before there were checksums."""
    length = int.from_bytes(raw[:8], "little")
    tree = json.loads(raw[8 : 8 + length])
    own = json.loads(tree["__metadata__"]["crystal_diffusion"]) | entries
    own.pop("header_sha256", None)
    tree["__metadata__"]["crystal_diffusion"] = json.dumps(own)
    header = json.dumps(tree).encode()
    return len(header).to_bytes(8, "little") + header + raw[8 + length :]


@pytest.fixture
def discovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Discovery:
    made = potentials.NamedPotential("springs", "1", "test", PAIR_ELEMENTS, PairPotential)
    monkeypatch.setitem(potentials.POTENTIALS, "springs", lambda: made)
    known = replace(load_known(), potential="springs", potential_version="1")
    folder = written(tmp_path / "d", seeds.discovery_folder())
    return Discovery(folder, seeds.DISCOVERY, load(None, "cpu"), known)


def test_kind_01_a_round_chosen_anew_has_no_energies_of_the_one_before(
    discovery: Discovery,
) -> None:
    log = discovery.folder / "discovery" / "rounds.jsonl"
    first, second = log.read_text().splitlines()
    other = json.loads(first)
    entry = other["row"]["candidates"][0]
    entry["structure"] = json.loads(second)["row"]["candidates"][0]["structure"]
    log.write_text(f"{json.dumps(other)}\n{second}\n")
    discovery._open_logs()
    assert [one.id for one in discovery.found()] == ["001-001", "002-000", "002-001"]
    log.write_text(f"{first[:-20]}\n{second}\n")
    discovery._open_logs()
    assert [one.id for one in discovery.found()] == ["002-000", "002-001"]


def test_kind_05_a_relaxation_without_its_verdict_is_judged_when_the_budget_is_spent(
    discovery: Discovery,
) -> None:
    log = discovery.folder / "discovery" / "verdicts.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    found = [one.id for one in discovery.run()]
    assert found == ["001-000", "001-001", "002-000", "002-001"]


def test_kind_10_a_planted_link_in_a_discovery_is_not_followed(discovery: Discovery) -> None:
    target = discovery.folder.parent / "target"
    target.write_text(discovery.settings.key)
    stamp = discovery.folder / "wish.txt"
    stamp.unlink()
    stamp.symlink_to(target)
    discovery._open_logs()
    assert not stamp.is_symlink() and target.read_text() == discovery.settings.key


def changed(folder: Path, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(folder / "jobs.sqlite")) as table:
        table.execute(sql, values)
        table.commit()


def test_kind_10_a_job_of_an_app_somebody_sent_runs_what_its_form_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, seeds.app_folder())
    planted = json.dumps([["train", "x", "--out", "/tmp/elsewhere"]])
    changed(folder, "UPDATE jobs SET state = 'done' WHERE state = 'running'")
    changed(folder, "UPDATE jobs SET commands = ? WHERE id = ?", planted, QUEUED)
    (folder / "jobs" / QUEUED / "job.json").write_text(
        json.dumps({"commands": json.loads(planted)})
    )
    written(folder, {"uploads/0123456789ab/x.cif": seeds.SYMMETRIC_CIF})
    started: list[list[str]] = []

    class Started:
        pid = 0

        def __init__(self, words: list[str], **_: Any) -> None:
            started.append(words)

    monkeypatch.setattr("subprocess.Popen", Started)
    jobs = Jobs(folder)
    jobs.look()
    assert jobs.get(QUEUED).state == RUNNING and len(started) == 1
    said = json.loads((folder / "jobs" / QUEUED / "job.json").read_text())
    assert said == {"commands": [["check", "uploads/0123456789ab"]]}
    jobs.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("commands", "no JSON"), ("created", "x"), ("out", "../../x"), ("id", "../x")],
)
def test_kind_15_a_damaged_table_of_jobs_is_one_sentence(
    tmp_path: Path, column: str, value: str
) -> None:
    folder = written(tmp_path, seeds.app_folder())
    changed(folder, f"UPDATE jobs SET {column} = ? WHERE id = ?", value, QUEUED)
    with pytest.raises(InputError, match=r"jobs\.sqlite: cannot be used .*--folder"):
        Jobs(folder)


def test_kind_15_a_table_of_jobs_without_a_column_is_one_sentence(tmp_path: Path) -> None:
    folder = written(tmp_path, seeds.app_folder())
    changed(folder, "ALTER TABLE jobs DROP COLUMN exit_code")
    with pytest.raises(InputError, match=r"jobs\.sqlite: cannot be used"):
        Jobs(folder)


def test_kind_15_a_table_of_jobs_whose_index_is_damaged_is_one_sentence(tmp_path: Path) -> None:
    """Such a table lists jobs that it does not find by their names."""
    folder = written(tmp_path, seeds.app_folder())
    path = folder / "jobs.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as table:
        root = table.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs'"
        ).fetchone()[0]
        size = table.execute("PRAGMA page_size").fetchone()[0]
    raw = bytearray(path.read_bytes())
    page = raw[(root - 1) * size : root * size]
    raw[(root - 1) * size : root * size] = page.replace(QUEUED.encode(), b"f" * len(QUEUED))
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"jobs\.sqlite: cannot be used"):
        Jobs(folder)


def test_kind_15_a_worker_that_ended_with_half_a_word(tmp_path: Path) -> None:
    folder = written(tmp_path, seeds.app_folder())
    (folder / "jobs" / "1123456789ab" / "end.json").write_text('{"exit_co')
    jobs = Jobs(folder)
    jobs.look()
    job = jobs.get("1123456789ab")
    assert (job.state, job.problem) == (FAILED, "error: x")
    jobs.close()


def test_kind_09_one_changed_number_of_a_header_is_noticed(tmp_path: Path) -> None:
    raw = seeds.model_folder()["model.safetensors"]
    assert raw.count(rb"max_train_atoms\": 2") == 1
    file = tmp_path / "model.safetensors"
    file.write_bytes(raw.replace(rb"max_train_atoms\": 2", rb"max_train_atoms\": 3"))
    with pytest.raises(CheckpointError, match=r"its header is damaged"):
        read_header(file)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"base": 3}, "trained from is damaged"),
        ({"base": {"sha256": "x", "version": 1}}, "trained from is damaged"),
        ({"evidence": {"luck": 1.0}}, "says of your crystals is damaged"),
        ({"model": {"network": "none"}}, "another network"),
    ],
)
def test_kind_15_what_an_adapted_model_says_of_its_base(
    tmp_path: Path, entries: dict[str, Any], says: str
) -> None:
    folder = written(tmp_path, seeds.adapted_folder())
    file = folder / "model.safetensors"
    assert load(folder, "cpu").knowledge.skeletons_file is not None
    file.write_bytes(with_header(file.read_bytes(), **entries))
    with pytest.raises(CheckpointError, match=says):
        load(folder, "cpu")


def test_kind_15_skeletons_and_properties_of_other_sizes(tmp_path: Path) -> None:
    folder = written(tmp_path, seeds.adapted_folder())
    file = folder / "skeletons.safetensors"
    raw = file.read_bytes()
    for entries in ({"config": {"dim": 10**9}}, {"config": 3}, {"trust": ["x"]}):
        file.write_bytes(with_header(raw, **entries))
        with pytest.raises(CheckpointError, match=r"skeletons\.safetensors"):
            SkeletonModel.load(file)
    file = folder / "own_properties.safetensors"
    (own,) = read_own(folder)
    assert own.name == "hardness"
    entry = read_header(file)["properties"][0]
    for changes in (
        {"recipe": {**entry["recipe"], "features": "plain"}},
        {"spread": 0.0},
        {"calibration": {**entry["calibration"], "errors": [0.0]}},
    ):
        file.write_bytes(
            with_header(
                seeds.adapted_folder()["own_properties.safetensors"],
                properties=[{**entry, **changes}],
            )
        )
        with pytest.raises(CheckpointError, match=r"own_properties\.safetensors"):
            read_own(folder)


def test_kind_15_inspect_says_what_any_file_of_ours_is(tmp_path: Path) -> None:
    folder = written(tmp_path, seeds.adapted_folder())
    answer = CliRunner().invoke(verbs, ["inspect", str(folder / "skeletons.safetensors")])
    assert answer.exit_code == 0 and "skeletons" in answer.output
    file = folder / "model.safetensors"
    file.write_bytes(with_header(file.read_bytes(), model=[]))
    answer = CliRunner().invoke(verbs, ["inspect", str(file)])
    assert isinstance(answer.exception, CheckpointError)
    assert "header is damaged" in str(answer.exception)
