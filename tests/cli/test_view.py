"""The verbs `view` and `report`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from matplotlib.image import imread
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion.cli.report import report
from crystal_diffusion.cli.view import view
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.folder import RunFolder

app = typer.Typer()
app.command()(view)
app.command()(report)


def _halite(edge: float = 5.64) -> Structure:
    return Structure.from_spacegroup(
        225, Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_structures(
        {"a": _halite(), "b": _halite(5.7)}, [{"id": "a", "valid": True}, {"id": "b"}]
    )
    folder.write_manifest({"made": 2})
    return folder.path


def _call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_one_file_becomes_a_page_or_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _halite().to(filename=str(tmp_path / "halite.cif"))
    code, output = _call("view", "halite.cif")
    assert code == 0 and "4 sodium" in output
    assert "<canvas" in (tmp_path / "halite.html").read_text()
    assert _call("view", "halite.cif", "--out", "x.png", "--quiet") == (0, "")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_shows_what_was_asked_for(tmp_path: Path) -> None:
    _halite().get_primitive_structure().to(filename=str(tmp_path / "x.cif"))
    file = tmp_path / "x.svg"
    code, output = _call("view", tmp_path / "x.cif", "-o", file, "--supercell", "2x1x1")
    assert code == 0 and "Conventional cell of NaCl: 4 sodium" in output
    assert "2 × 1 × 1 cells" in file.read_text()
    _, output = _call(
        "view", tmp_path / "x.cif", "-o", file, "--cell", "given", "--polyhedra", "--direction", "a"
    )
    assert "Cell as given of NaCl: 1 sodium" in output and "<polygon" in file.read_text()
    _call("view", tmp_path / "x.cif", "-o", tmp_path / "x.png", "--width", 300, "--labels")
    assert imread(tmp_path / "x.png").shape[:2] == (253, 300)
    with pytest.raises(InputError, match="give 'conventional'"):
        _call("view", tmp_path / "x.cif", "--cell", "niggli")


def test_a_run_becomes_a_gallery_and_an_id_one_cell(run: Path, tmp_path: Path) -> None:
    code, output = _call("view", run, "--out", tmp_path / "g.html")
    assert code == 0 and "2 of 2 crystals" in output
    assert (tmp_path / "g.html").read_text().count("<figure><canvas") == 2
    assert _call("view", run, "--id", "b", "-o", tmp_path / "b.html")[0] == 0
    assert "5.700" in (tmp_path / "b.html").read_text()


def test_unreadable_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    _halite().to(filename=str(folder / "good.cif"))
    (folder / "bad.cif").write_text("nothing")
    code, output = _call("view", folder, "-o", tmp_path / "x.html")
    assert code == 1 and "not drawn: bad" in output
    assert (tmp_path / "x.html").is_file()


def test_errors_name_file_cause_and_remedy(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose one for a PNG with --id"):
        _call("view", run, "-o", tmp_path / "x.png")
    with pytest.raises(InputError, match="no crystal 'z'; the first ids are a, b"):
        _call("view", run, "--id", "z")
    with pytest.raises(InputError, match=r"end the name of --out in .html, .png or .svg"):
        _call("view", run, "-o", tmp_path / "x.jpg")
    with pytest.raises(InputError, match="is not a run folder"):
        _call("report", tmp_path / "nowhere")


def test_report_is_written_and_opened_only_on_request(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert _call("report", run)[0] == 0
    assert (run / "report.html").is_file() and opened == []
    assert _call("report", run, "--out", tmp_path / "r.html", "--open", "--quiet") == (0, "")
    assert opened == [(tmp_path / "r.html").as_uri()]


def test_help_has_an_example() -> None:
    for verb in ("view", "report"):
        assert "Example: crystal-diffusion" in _call(verb, "--help")[1]
