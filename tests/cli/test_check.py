"""The verb `check`: table, file, choices and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion.cli.check import check
from crystal_diffusion.errors import InputError

app = typer.Typer()
app.command()(check)
runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]).to(
        filename=str(data / "salt.cif")
    )
    return data


def test_a_clean_folder(folder: Path) -> None:
    result = runner.invoke(app, [str(folder), "--processes", "1"])
    assert result.exit_code == 0, result.output
    assert "1 looked at: 1 good, 0 odd, 0 bad" in result.output


def test_findings_are_shown_written_and_signalled(folder: Path) -> None:
    (folder / "empty.cif").write_text("")
    (folder / "notes.txt").write_text("x")
    out = folder.parent / "check.jsonl"
    result = runner.invoke(app, [str(folder), "--out", str(out), "--processes", "1"])
    assert result.exit_code == 1
    assert "1 good, 0 odd, 1 bad" in result.output and "1 files of other formats" in result.output
    assert "empty" in result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["severity"] for row in rows] == ["bad", "good"]


def test_quiet_prints_nothing(folder: Path) -> None:
    (folder / "empty.cif").write_text("")
    result = runner.invoke(app, [str(folder), "--quiet", "--processes", "1"])
    assert (result.exit_code, result.output) == (1, "")


@pytest.mark.parametrize(("choice", "code"), [("skip", 1), ("order", 1)])
def test_disorder_choices(folder: Path, choice: str, code: int) -> None:
    mixed = Structure(Lattice.cubic(3.4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    mixed.to(filename=str(folder / "mixed.cif"))
    result = runner.invoke(app, [str(folder), "--disorder", choice, "--processes", "1"])
    assert result.exit_code == code
    assert ("1 bad" in result.output) == (choice == "skip")


def test_stop_is_an_error(folder: Path) -> None:
    mixed = Structure(Lattice.cubic(3.4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    mixed.to(filename=str(folder / "mixed.cif"))
    result = runner.invoke(app, [str(folder), "--disorder", "stop", "--processes", "1"])
    assert isinstance(result.exception, InputError)
    assert "mixed.cif" in str(result.exception)


def test_a_missing_folder_is_an_error() -> None:
    result = runner.invoke(app, ["no_such_folder"])
    assert isinstance(result.exception, InputError)
    assert "does not exist" in str(result.exception)


def test_the_table_is_cut_and_says_so(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.cif").write_text("")
    result = runner.invoke(app, [str(folder), "--rows", "2", "--processes", "1"])
    assert "3 more rows" in result.output
    assert "4" not in [
        line.split("│")[1].strip() for line in result.output.splitlines() if "│" in line
    ]


def test_help_has_an_example() -> None:
    assert "Example: crystal-diffusion check" in runner.invoke(app, ["--help"]).output
