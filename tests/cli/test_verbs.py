"""The command line: every verb has an example, errors are one line, exit codes tell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crystal_diffusion.cli import VERBS, verbs
from crystal_diffusion.cli.made import _show, folded
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.generation.rows import GeneratedRow
from crystal_diffusion.known.share import KnownShare
from crystal_diffusion.physics.facts import crystal_facts
from crystal_diffusion.runs.reading import read_rows
from tests.crystals import rock_salt

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


def shell(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "crystal_diffusion", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=300,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(verb: str) -> None:
    done = RUNNER.invoke(verbs, [verb, "--help"])
    assert done.exit_code == 0
    assert f"crystal-diffusion {verb}" in done.output


def test_help_is_quick() -> None:
    before = os.times()
    assert shell("--help").returncode == 0
    after = os.times()
    took = after.children_user - before.children_user
    assert took < 1.0, "heavy imports at the top of a verb file"
    code = "import sys, crystal_diffusion.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout.split()
    assert not {"torch", "numpy", "pymatgen", "ase", "matplotlib"} & set(loaded)


def test_errors_are_one_line_with_exit_code_2(tmp_path: Path) -> None:
    for arguments, words in (
        (["generate", str(tmp_path / "none"), "--formula", "NaCl"], "no such model"),
        (["train", str(tmp_path / "none")], "none"),
        (["inspect", str(tmp_path)], "no such checkpoint"),
        (["generate", "--formula", "Qq3"], "Qq3"),
    ):
        done = shell(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr


def test_train_and_generate_from_files(tmp_path: Path) -> None:
    from pymatgen.core import Structure

    folder = tmp_path / "cifs"
    folder.mkdir()
    for crystal in create_demo_dataset()[11:19]:
        structure = Structure(crystal["lattice"], crystal["atom_types"], crystal["positions"])
        structure.to(str(folder / f"{crystal['formula']}.cif"))
    (folder / "broken.cif").write_text("data_x\n_cell_length_a nonsense\n")
    done = shell(
        "train",
        "cifs",
        "--out",
        "model",
        "--steps",
        "40",
        "--dim",
        "32",
        "--layers",
        "2",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "samples are valid" in done.stdout and "About" in done.stderr
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {
        "model.safetensors",
        "state.safetensors",
        "metrics.jsonl",
        "loss.png",
        "training_set.npz",
    }
    done = shell(
        "generate",
        "model",
        "--formula",
        "MgS",
        "-n",
        "2",
        "--seed",
        "1",
        "--out",
        "run",
        "--max-attempts",
        "40",
        "--sampling-steps",
        "8",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [json.loads(x) for x in (tmp_path / "run" / "structures.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and {row["formula"] for row in rows} == {"MgS"}
    assert "2 crystals in run" in done.stdout
    done = shell("inspect", "model", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["crystals"] == 8
    assert (
        shell("generate", "model", "--formula", "MgS", "--out", "run", cwd=tmp_path).returncode == 2
    )


def test_doctor() -> None:
    done = RUNNER.invoke(verbs, ["doctor"])
    assert done.exit_code == 0 and "torch" in done.output


def test_ctrl_c_while_training_can_go_on(tmp_path: Path) -> None:
    import signal

    from pymatgen.core import Structure

    crystal = create_demo_dataset()[11]
    Structure(crystal["lattice"], crystal["atom_types"], crystal["positions"]).to(
        str(tmp_path / "a.cif")
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "crystal_diffusion",
        "train",
        "a.cif",
        "--out",
        "model",
        "--steps",
        "100000",
        "--dim",
        "32",
        "--layers",
        "2",
    ]
    child = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 90
    metrics = tmp_path / "model" / "metrics.jsonl"
    while time.monotonic() < deadline and not metrics.exists():
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Traceback" not in errors
    assert (tmp_path / "model" / "state.safetensors").exists()


def test_workers_and_an_accelerator_exclude_each_other(tmp_path: Path) -> None:
    done = RUNNER.invoke(
        verbs,
        ["generate", "--executor", "local", "--device", "cuda", "--out", str(tmp_path / "run")],
    )
    assert done.exit_code != 0
    assert "give one of them" in str(done.exception) + done.output
    assert not (tmp_path / "run").exists()


def test_the_quick_demonstration_makes_eight_crystals(tmp_path: Path) -> None:
    answer = RUNNER.invoke(verbs, ["demo", "--quick", "--out", str(tmp_path / "demo")])
    assert answer.exit_code == 0, answer.output
    rows = (tmp_path / "demo" / "run" / "structures.csv").read_text().splitlines()
    assert len(rows) == 9
    assert (tmp_path / "demo" / "run" / "picture.png").is_file()
    page = (tmp_path / "demo" / "run" / "report.html").resolve()
    assert page.as_uri() in answer.output
    assert "mp-" in page.read_text(encoding="utf-8")
    said = re.search(r"(\d+) of the 8 are among [\d,]+ known crystals", answer.output)
    told = read_rows(tmp_path / "demo" / "run" / "structures.jsonl")
    known = sum(row["novel"] is False for row in told)
    assert (int(said[1]) if said else 0) == known


def test_the_known_of_a_demonstration_in_a_sentence() -> None:
    assert KnownShare("2 known crystals", 8, 0, 0).sentence == (
        "None of the 8 is among 2 known crystals."
    )
    said = KnownShare("an index", 8, 7, 5, "CaO is mp-2605").sentence
    assert "7 of the 8 are among an index, 5 of them with the same space group" in said
    assert "(CaO is mp-2605)" in said


def test_copies_are_folded_under_their_best(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {"a": 0, "b": 1, "c": None, "d": 0, "e": None, "f": 0}
    rows = [_made(name, group) for name, group in groups.items()]
    times, firsts = folded(rows)
    assert [row.id for row in firsts] == ["a", "b", "c", "e"]
    assert times == {"a": 3, "b": 1, "c": 1, "e": 1}
    _show(rows, "run")
    shown = capsys.readouterr().out
    assert "a ×3" in shown and " d " not in shown
    assert "4 different crystals; copies (×) left out here: 2" in shown
    assert "Energy" not in shown


def test_the_energy_that_ranked_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    told = replace(_made("a", 0), energy_per_atom_eV=-3.4567, potential="diep")
    _show([told, _made("b", 1)], "run")
    shown = capsys.readouterr().out
    assert "Energy" in shown and "-3.457" in shown
    assert told["energy_per_atom_eV"] == -3.4567
    assert "energy_per_atom_eV" not in _made("b", 1)


def _made(name: str, group: int | None) -> GeneratedRow:
    facts = crystal_facts(rock_salt())
    more = {"id": name, "group": group, "start": "noise", "valid": True, "warnings": []}
    rest = {"beyond_training_size": False, "index": 0, "attempt": 0, "seed": 0, "checks": []}
    return GeneratedRow.from_dict({**facts, **more, **rest})
