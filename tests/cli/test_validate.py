"""The verb `validate`: table, report file, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crystal_diffusion.cli.validate import validate
from crystal_diffusion.errors import InputError
from tests.crystals import rock_salt

app = typer.Typer()
app.command()(validate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    rock_salt(edge=5.64).to(filename=str(cifs / "good.cif"))
    rock_salt(edge=3.0).to(filename=str(cifs / "squeezed.cif"))
    (cifs / "broken.cif").write_text("data_nothing\n")
    return cifs


def test_all_valid_is_zero(folder: Path) -> None:
    result = CliRunner().invoke(app, [str(folder / "good.cif")])
    assert result.exit_code == 0
    assert "1 valid, 0 valid with warnings, 0 invalid, 0 unreadable" in result.output


def test_invalid_and_unreadable_is_one(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    result = CliRunner().invoke(
        app, [str(folder), "--out", str(report), "--processes", "1"], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 1
    assert "1 valid, 0 valid with warnings, 1 invalid, 1 unreadable" in result.output
    rows = {row["id"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert {k: r["verdict"] for k, r in rows.items()} == {
        "good": "valid",
        "squeezed": "invalid",
        "broken": "unreadable",
    }
    assert rows["broken"]["problem"]
    failed = [c for c in rows["squeezed"]["checks"] if not c["passed"]]
    assert {"value", "limit", "unit", "reason", "source", "severity"} <= set(failed[0])


def test_limits_file_and_profile(folder: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("min_distance = 3.0\n")
    result = CliRunner().invoke(app, [str(folder / "good.cif"), "--limits", str(limits)])
    assert result.exit_code == 1
    strict = CliRunner().invoke(app, [str(folder / "good.cif"), "--profile", "strict", "--quiet"])
    assert strict.exit_code == 0 and strict.output == ""


def test_unknown_limit_is_an_error(folder: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("mindistance = 3.0\n")
    result = CliRunner().invoke(app, [str(folder / "good.cif"), "--limits", str(limits)])
    assert isinstance(result.exception, InputError)
    assert "unknown limit 'mindistance'" in str(result.exception)


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "none.cif")])
    assert isinstance(result.exception, InputError)


def test_one_missing_of_two_is_a_row(folder: Path) -> None:
    paths = [str(folder / "good.cif"), str(folder / "none.cif")]
    result = CliRunner().invoke(app, paths)
    assert result.exit_code == 1
    assert "1 unreadable" in result.output
