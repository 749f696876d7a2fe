"""Columns stand once, and every row is made of them."""

from __future__ import annotations

import ast
import json
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crystal_diffusion.dft.results import DftRow
from crystal_diffusion.discovery.reporting import DiscoveryRow
from crystal_diffusion.energy.hull import HullRow
from crystal_diffusion.generation.rows import GeneratedRow
from crystal_diffusion.known.novelty import Novelty
from crystal_diffusion.runs.columns import COLUMNS, Row, column, named, used_columns
from crystal_diffusion.runs.folder import csv_text, json_lines
from crystal_diffusion.screening.rows import (
    CheckedRow,
    EnergyRow,
    GroupedRow,
    RankedRow,
    ScreeningRow,
)
from crystal_diffusion.screening.run_files import ReadRow

PACKAGE = Path(__file__).parents[2] / "crystal_diffusion"
ROWS = (
    GeneratedRow,
    ScreeningRow,
    DiscoveryRow,
    DftRow,
    HullRow,
    Novelty,
    CheckedRow,
    GroupedRow,
    EnergyRow,
    RankedRow,
    ReadRow,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Example(Row):
    id: str
    space_group: int | None = named("space_group_0.1")
    wyckoff: str | None = named("wyckoff", optional=True)
    more: dict[str, Any] = field(default_factory=dict)


def test_every_name_stands_once() -> None:
    names = [c.name for c in COLUMNS]
    assert len(names) == len(set(names))
    labels = [c.heading for c in COLUMNS if "table" in c.places]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_rows_are_made_of_listed_columns(row: type[Row]) -> None:
    assert set(row.columns()) <= {c.name for c in COLUMNS}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_no_second_list_of_labels(path: Path) -> None:
    """No other file pairs the name of a column with a text for people."""
    if path.relative_to(PACKAGE) in (Path("runs/columns.py"), Path("app/forms.py")):
        return  # the list itself, and what can be asked for
    labels = {c.label for c in COLUMNS if " " in c.label}
    texts = {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not texts & labels, texts & labels


def test_a_row_reads_by_field_and_by_column() -> None:
    row = _Example(id="a", space_group=225, more={"predicted_band_gap_eV": 1.5})
    assert row.space_group == row["space_group_0.1"] == 225
    assert list(row) == ["id", "space_group_0.1", "predicted_band_gap_eV"]
    assert row == {"id": "a", "space_group_0.1": 225, "predicted_band_gap_eV": 1.5}
    assert "wyckoff" in _Example(id="a", wyckoff="1a") and "wyckoff" not in row
    assert row.get("wyckoff", "none") == "none"
    with pytest.raises(FrozenInstanceError):
        row.id = "b"  # type: ignore[misc]
    assert json.loads(json_lines([row])) == row.to_dict()
    assert _Example.from_dict(row.to_dict() | {"other": 1}).to_dict() == {
        "id": "a",
        "space_group_0.1": 225,
    }
    assert csv_text([row], ("id", "rank")).split("\n")[0] == (
        "id,rank,space_group_0.1,predicted_band_gap_eV"
    )


def test_text_of_a_value() -> None:
    assert column("energy_per_atom_eV").text(-1.23456) == "-1.235"
    assert column("rank").text(3) == "3"
    assert column("novel").text(False) == "no" and column("novel").text(True) == "yes"
    assert column("score").text(None, "–") == "–" and column("score").text(float("nan")) == ""
    assert column("density_g_cm3").heading == "Density (g/cm³)"


def test_kinds_of_values() -> None:
    assert column("score").holds(1.0) and column("score").holds(None)
    assert not column("score").holds(True) and not column("score").holds("1")
    assert not column("score").holds(1e301) and column("seed").holds(10**400)
    assert column("valid").holds(True) and not column("valid").holds(1)
    assert column("formula").holds("NaCl") and not column("formula").holds(1)
    assert column("checks").holds([]) and not column("checks").holds({})


def test_a_column_that_no_list_has() -> None:
    gap = column("predicted_band_gap_eV")
    assert (gap.label, gap.unit, gap.kind) == ("Predicted band gap", "eV", "number")
    assert column("bulk_modulus_GPa").heading == "Bulk modulus (GPa)"
    assert column("mass").unit == ""


def test_one_chance_to_be_inside_stands_in_a_table() -> None:
    row = {
        "inside_asked": 0.9,
        "inside_mine": 0.9,
        "predicted_mine": 1.0,
        "predicted_mine_low": 0.5,
    }
    assert [c.name for c in used_columns([row])] == ["inside_asked", "predicted_mine"]
    assert (column("predicted_mine").narrow, column("inside_mine").places) == ("mine", ("card",))


def test_used_columns_are_those_with_a_value() -> None:
    rows = [{"id": "a", "rank": None, "score": 0.0}, {"id": "b", "doubt": ""}]
    assert [c.name for c in used_columns(rows)] == ["id", "score"]
