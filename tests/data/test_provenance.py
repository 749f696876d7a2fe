"""Where a crystal comes from stays with it: table, check, training, model card, inspect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crystal_diffusion import CrystalStructureDataset
from crystal_diffusion.cli import verbs
from crystal_diffusion.data import create_demo_dataset, iter_crystals
from crystal_diffusion.data.check import check_source
from crystal_diffusion.data.parquet_writer import read_made_by, write_parquet
from crystal_diffusion.data.provenance import OriginSummary, Provenance, summarize
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import PlainCrystal

ORIGIN = Provenance(
    provider="exmpl",
    version="v3",
    last_modified="2024-05-06T07:08:09Z",
    retrieved_at="2026-11-25T20:00:00Z",
    filter='elements HAS "O"',
    functional="r2SCAN",
    license="CC-BY-4.0",
    citation="A. Body et al. (2025)",
)


def crystals(count: int = 12) -> list[PlainCrystal]:
    found = list(iter_plain(create_demo_dataset()))[:count]
    return [
        replace(c, properties={"gap": i + 0.5}, provenance=replace(ORIGIN, entry_id=f"e{i}"))
        for i, c in enumerate(found)
    ]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    write_parquet(path, crystals(), {"source": "test"})
    return path


def test_crystals_survive_the_table(table: Path) -> None:
    for made, read in zip(crystals(), iter_plain(table), strict=True):
        assert (read.id, read.provenance, read.properties) == (
            made.id,
            made.provenance,
            made.properties,
        )
        np.testing.assert_array_equal(read.atomic_numbers, made.atomic_numbers)
        np.testing.assert_allclose(read.frac_coords, made.frac_coords, atol=1e-12)
        metric = read.lattice @ read.lattice.T
        np.testing.assert_allclose(metric, made.lattice @ made.lattice.T, atol=1e-8)
    assert read_made_by(table) == {"source": "test"}


def test_records_and_data_sets_keep_it(table: Path) -> None:
    assert [r.provenance.entry_id for r in iter_crystals(table)] == [f"e{i}" for i in range(12)]
    for dataset in (CrystalStructureDataset(table), CrystalStructureDataset(table, reduce=True)):
        part = dataset.subset([3, 1])
        assert [p.entry_id for p in part.arrays.provenance] == ["e3", "e1"]
    records = list(iter_crystals(table))
    assert next(iter_plain(records)).provenance == records[0].provenance


def test_a_table_without_it_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    write_parquet(path, [replace(c, provenance=Provenance()) for c in crystals()])
    assert CrystalStructureDataset(path).arrays.provenance == ()
    assert check_source(path).origins == ()


def test_summary_counts_by_origin() -> None:
    other = replace(ORIGIN, provider="cod", citation="B", retrieved_at="2026-11-26T00:00:00Z")
    mixed = [ORIGIN, other, replace(other, citation="C"), Provenance()]
    found = summarize(mixed)
    assert [(o.provider, o.crystals) for o in found] == [("cod", 2), ("exmpl", 1), ("", 1)]
    assert found[0].citations == ("B", "C")
    assert OriginSummary.from_dict(json.loads(json.dumps(found[0].to_dict()))) == found[0]
    assert "origin is not stated" in found[2].sentence()
    for words in ("r2SCAN", "CC-BY-4.0", "v3", "2026-11-25", 'elements HAS "O"', "A. Body"):
        assert words in found[1].sentence()


def test_check_prints_and_writes_it(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = CliRunner().invoke(verbs, ["check", str(table), "--no-duplicates", "--out", str(out)])
    assert "12 crystals from exmpl" in done.output and "CC-BY-4.0" in done.output
    row = json.loads(out.read_text().splitlines()[4])
    assert row["provenance"]["entry_id"] == "e4"


def test_model_card_and_inspect_repeat_it(table: Path, tmp_path: Path) -> None:
    from crystal_diffusion import train

    first, second = tmp_path / "first", tmp_path / "second"
    train(table, first, steps=3, dim=32, layers=1, patience=0)
    card = (first / "model.md").read_text()
    assert "12 crystals from exmpl" in card and "A. Body et al. (2025)" in card
    assert "Licenses of the data: CC-BY-4.0." in card
    shown = CliRunner().invoke(verbs, ["inspect", str(first)]).output
    assert "learned from 12 crystals from exmpl" in shown
    # A fine-tuned model repeats what it started from, also when its own data say nothing.
    train(create_demo_dataset(), second, steps=3, start_from=first, patience=0)
    card = (second / "model.md").read_text()
    assert "12 crystals from exmpl" in card and "do not say where they come from" in card


def test_inspect_shows_a_table_of_crystals(table: Path) -> None:
    shown = CliRunner().invoke(verbs, ["inspect", str(table)])
    assert shown.exit_code == 0
    for words in ("12 crystals from exmpl", "r2SCAN", "gap (12)", "A. Body et al. (2025)"):
        assert words in shown.output
    found = json.loads(CliRunner().invoke(verbs, ["inspect", str(table), "--json"]).output)
    assert found["crystals"] == 12 and found["origins"][0]["license"] == "CC-BY-4.0"
