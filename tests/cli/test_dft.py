"""The verb `dft`: inputs of the short list, and results back in the database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_diffusion.cli.dft import dft
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.rows import structure_row
from crystal_diffusion.screening.rows import ScreeningRow
from crystal_diffusion.screening.stage_log import StageLog
from crystal_diffusion.screening.store import Store

app = typer.Typer()
app.command()(dft)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def screened(tmp_path: Path) -> Path:
    """A folder as `screen` leaves it, with three ranked crystals."""
    folder = tmp_path / "run"
    log = StageLog(folder / "screening" / "relax.jsonl", "any")
    rows = []
    for rank, a in enumerate((5.6, 5.8, 6.0), 1):
        structure = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ).get_primitive_structure()
        log.add(f"c{rank}", {"problem": "", "structure": structure_row(structure)})
        rows.append(
            dict.fromkeys(ScreeningRow.columns()) | {"id": f"c{rank}", "rank": rank, "valid": True}
        )
    (folder / "screening.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_inputs_of_the_best_and_results_back(screened: Path) -> None:
    code, text = run(str(screened), "--top", "2", "--code", "gpaw", "--no-references")
    assert code == 0 and "2 inputs" in text
    folder = screened / "dft-gpaw"
    assert sorted(path.name for path in folder.glob("c*")) == ["c1", "c2"]

    code, text = run(str(screened), "--code", "gpaw", "--collect")
    assert code == 2 and "no result yet" in text

    identity = json.loads((folder / "c1" / "id.json").read_text())
    result = {"energy_eV": -7.0, "converged": True, **identity["structure"]}
    (folder / "c1" / "result.json").write_text(json.dumps(result))
    code, text = run(str(screened), "--code", "gpaw", "--collect")
    assert code == 1 and "c1: -3.5000 eV/atom" in text
    ((key, _, row),) = Store(screened / "screening.db").rows()
    assert key == "c1" and row["dft_energy_per_atom_eV"] == -3.5 and row["rank"] == 1


def test_folder_that_was_not_screened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no screening.jsonl"):
        run(str(tmp_path))
