"""`crystal-diffusion evaluate` from the command line, good and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion.cli.evaluate import evaluate
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.folder import RunFolder


def salt(edge: float, *symbols: str) -> Structure:
    return Structure(Lattice.cubic(edge), list(symbols), [[0] * 3, [0.5] * 3])


def perovskite(a: str, b: str) -> Structure:
    sites = [[0] * 3, [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.9), [a, b, "O", "O", "O"], sites)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "known"
    folder.mkdir()
    for name, crystal in {
        "one": salt(3.0, "Cs", "Cl"),
        "two": perovskite("Sr", "Ti"),
        "three": perovskite("Ba", "Ti"),
    }.items():
        crystal.to(str(folder / f"{name}.cif"))
    return folder


def write_run(path: Path, structures: dict[str, Structure], rows: list[dict[str, object]]) -> Path:
    run = RunFolder.create(path)
    run.write_manifest({"command": "generate"})
    run.write_structures(structures, rows)
    return path


def call(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, [*arguments, "--quiet", "--processes", "1"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_prediction_by_ids_with_ranks(tmp_path: Path, reference: Path) -> None:
    structures = {
        "one_1": salt(3.1, "Cl", "Cs"),
        "one_2": salt(3.0, "Cs", "Cl"),
        "two_1": Structure(
            Lattice.cubic(3.9),
            ["Sr", "Ti", "O", "O", "O"],
            [[0] * 3, [0.1] * 3, [0.5, 0.2, 0], [0.9, 0.3, 0.5], [0.4, 0.5, 0.7]],
        ),
        "two_2": perovskite("Sr", "Ti"),
    }
    rows = [{"id": n, "rank": r} for n, r in zip(structures, (2, 1, 2, 1), strict=True)]
    run = write_run(tmp_path / "run", structures, rows)
    code, text = call(str(run), "--reference", str(reference))
    assert code == 0 and "match_rate, answered" in text and "Definitions" in text
    saved = json.loads((run / "evaluation" / "metrics.json").read_text())
    figures = {m["name"]: m for m in saved["metrics"]}
    assert saved["info"]["paired_by"] == "id"
    assert figures["match_rate, answered"]["value"] == pytest.approx(2 / 3)
    assert figures["match_rate, answered"]["n"] == 3
    assert figures["match_rate@1"]["value"] == pytest.approx(1 / 3)
    lines = (run / "evaluation" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["candidates"] for line in lines] == [2, 0, 2]


def test_prediction_by_target_in_the_row(tmp_path: Path, reference: Path) -> None:
    run = write_run(
        tmp_path / "run", {"x": salt(3.0, "Cs", "Cl")}, [{"id": "x", "target_id": "one"}]
    )
    code, text = call(str(run), "--reference", str(reference), "--format", "json")
    figures = {m["name"]: m["value"] for m in json.loads(text)["metrics"]}
    assert code == 0 and figures["match_rate, answered"] == pytest.approx(1 / 3)


def test_generation_when_nothing_fits(tmp_path: Path, reference: Path) -> None:
    run = write_run(
        tmp_path / "run",
        {"000": perovskite("Ca", "Zr"), "001": salt(3.0, "Cs", "Cl")},
        [{"id": "000"}, {"id": "001"}],
    )
    code, text = call(
        str(run), "--reference", str(reference), "--format", "markdown", "-o", str(tmp_path / "f")
    )
    assert code == 0 and "| novel |" in text and "COV-R" in text
    rows = [json.loads(x) for x in (tmp_path / "f" / "rows.jsonl").read_text().splitlines()]
    assert [row["known"] for row in rows] == [False, True]
    assert rows[0]["swap_of_like_elements"]


def test_a_folder_with_a_broken_file_is_evaluated_without_it(
    tmp_path: Path, reference: Path
) -> None:
    (reference / "broken.cif").write_text("data_broken\n_cell_length_a nonsense\n")
    folder = tmp_path / "cifs"
    folder.mkdir()
    salt(3.0, "Cs", "Cl").to(str(folder / "one.cif"))
    code, text = call(str(folder), "--reference", str(reference))
    assert code == 1 and "match_rate, answered" in text
    saved = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert saved["info"]["unreadable_in_reference"] == 1


def test_bad_input_is_one_error(tmp_path: Path, reference: Path) -> None:
    empty = write_run(tmp_path / "empty", {}, [])
    with pytest.raises(InputError, match="has no structures to evaluate"):
        call(str(empty), "--reference", str(reference))
    run = write_run(tmp_path / "run", {"000": perovskite("Ca", "Zr")}, [{"id": "000"}])
    with pytest.raises(InputError, match="belongs to a crystal of"):
        call(str(run), "--reference", str(reference), "--kind", "prediction")
    lost = write_run(
        tmp_path / "lost",
        {"a": salt(3.0, "Cs", "Cl"), "b": salt(3.0, "Cs", "Cl")},
        [{"id": "a", "target_id": "one"}, {"id": "b", "target_id": "nine"}],
    )
    with pytest.raises(InputError, match=r"for example 'b' \(nine\)"):
        call(str(lost), "--reference", str(reference))
    with pytest.raises(InputError, match="does not exist"):
        call(str(run), "--reference", str(tmp_path / "none.parquet"))
    with pytest.raises(InputError, match="choose text, markdown or json"):
        call(str(run), "--reference", str(reference), "--format", "pdf")


def test_copying_is_shown_against_crystals_that_were_not_trained_on(
    tmp_path: Path, reference: Path
) -> None:
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    others = {"a": salt(4.2, "Rb", "I"), "b": perovskite("Ca", "Zr"), "c": perovskite("K", "Nb")}
    for name, crystal in others.items():
        crystal.to(str(unseen / f"{name}.cif"))
    copies = {"1": salt(3.01, "Cs", "Cl"), "2": perovskite("Sr", "Ti"), "3": others["a"]}
    run = write_run(tmp_path / "run", copies, [{"id": name} for name in copies])
    code, text = call(
        str(run), "--reference", str(reference), "--unseen", str(unseen), "--format", "json"
    )
    figures = {row["name"]: row for row in json.loads(text)["metrics"]}
    assert code == 0 and figures["copying"]["value"] == pytest.approx(2 / 3)
    assert figures["copying"]["n"] == 3
    assert figures["unseen crystals made again"]["value"] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="are in the reference too"):
        call(str(run), "--reference", str(reference), "--unseen", str(reference))
    with pytest.raises(InputError, match="no usable crystal"):
        empty = tmp_path / "empty.cif"
        empty.write_text("data_x\n")
        call(str(run), "--reference", str(reference), "--unseen", str(empty))
