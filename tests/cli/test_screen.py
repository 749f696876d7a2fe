"""The verbs `screen` and `relax`: files, short list and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion.cli.relax import relax
from crystal_diffusion.cli.screen import screen
from crystal_diffusion.errors import InputError

app = typer.Typer()
app.command()(screen)
app.command()(relax)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for name, metal, anion, a in (("salt", "Na", "Cl", 5.5), ("lime", "Ca", "O", 4.7)):
        structure = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(a), [metal, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
        structure.get_primitive_structure().to(filename=str(cifs / f"{name}.cif"))
    return cifs


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


COMMON = ("--potentials", "pair", "--executor", "here", "--stages", "validate,group,relax,rank")


def test_screen_of_a_clean_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text = run(
        "screen", str(folder), *COMMON, "-o", str(out), "--parquet", str(tmp_path / "t.parquet")
    )
    assert code == 0
    assert "2 ranked" in text and "pair 1" in text
    assert (out / "screening.csv").exists() and (out / "relaxed" / "salt.cif").exists()
    assert (tmp_path / "t.parquet").exists()


def test_exit_code_tells_of_one_bad_file(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.cif").write_text("data_bad")
    code, text = run("screen", str(folder), *COMMON, "-o", str(tmp_path / "out"))
    assert code == 1
    assert "unreadable" in text and "2 ranked" in text


def test_partial_occupancy_is_recorded_or_ordered_as_asked(folder: Path, tmp_path: Path) -> None:
    text = (folder / "salt.cif").read_text()
    (folder / "half.cif").write_text(text.replace(" 1\n", " 0.5\n").replace(" 1.0\n", " 0.5\n"))
    command = ("screen", str(folder), *COMMON)
    code, said = run(*command, "-o", str(tmp_path / "a"))
    assert code == 1 and "1 unreadable" in said and "partial occupancy" in said
    code, said = run(*command, "-o", str(tmp_path / "b"), "--disorder", "order")
    assert code == 0 and "0 unreadable" in said
    with pytest.raises(InputError, match="choose skip or order"):
        run(*command, "--disorder", "guess")


def test_nothing_usable_is_exit_code_two(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    (cifs / "bad.cif").write_text("data_bad")
    code, _ = run("screen", str(cifs), *COMMON, "-o", str(tmp_path / "out"))
    assert code == 2


def test_quiet_says_nothing(folder: Path, tmp_path: Path) -> None:
    code, text = run("screen", str(folder), *COMMON, "-o", str(tmp_path / "out"), "--quiet")
    assert code == 0 and text == ""


def test_relax_writes_and_tells(folder: Path, tmp_path: Path) -> None:
    common = ("relax", str(folder), "--potential", "pair", "--executor", "here")
    code, text = run(*common, "-o", str(tmp_path / "all"))
    assert code == 0 and "2 of 2 relaxed, 2 converged" in text
    code, text = run(*common, "-o", str(tmp_path / "few"), "--relax-steps", "0")
    assert code == 1 and "0 converged" in text
