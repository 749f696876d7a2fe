"""Confidence of trained models, from training to the row and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.ranking import own_confidence as fitting
from crystal_diffusion.ranking.own import OwnEvidence
from crystal_diffusion.workflows import own_confidence as workflow
from tests.proposals.conftest import perovskite

OWN = [
    perovskite(a, b, "O", edge)
    for a, b, edge in [
        *(("Sr", "Ti", 3.9), ("Ba", "Ti", 4.0), ("Ca", "Ti", 3.85), ("Sr", "Hf", 4.1)),
        *(("Ba", "Zr", 4.2), ("Sr", "Zr", 4.1), ("K", "Nb", 4.0), ("K", "Ta", 4.0)),
    ]
]


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())


def test_own_crystals_that_come_back_raise_the_confidence(tmp_path: Path) -> None:
    shipped = default_library()
    entries, _ = read_own(OWN, [f"p{i}" for i in range(len(OWN))])
    found = workflow.write_adjusted(tmp_path, join(shipped, entries), OWN, OwnEvidence(2.0, 0.5))
    assert found.lists == len(OWN) and found.right > len(OWN) // 2
    assert fitting.load_calibration(tmp_path) == found
    # Cubic perovskites, one after the other: most are found first.
    assert found.offset > 0 or found.slope > 1


def test_a_model_from_scratch_gets_its_confidence_from_held_out_crystals(
    generator: CrystalGenerator,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "FEWEST_SAMPLED", 4)
    monkeypatch.setattr(workflow, "FEWEST_SAMPLED", 4)
    _copy(model_folder, tmp_path)
    held = CrystalStructureDataset(create_demo_dataset()[:6]).arrays
    found = workflow.write_sampled(generator, held, tmp_path)
    assert found.fitted and found.lists == 6
    loaded = load(tmp_path, "cpu")
    formula = held.crystal(0).to_structure().composition.reduced_formula
    result = loaded.generate(formula, n=4, num_atoms=(2, 2)).result
    assert result.confidence_source == found.source
    values = [row.confidence for row in result.rows]
    assert all(value is not None and 0 < value < 1 for value in values)
    of_group = {(row.group, row.confidence) for row in result.rows}
    assert len(of_group) == len({group for group, _ in of_group})
    assert len(result.how_many) == 1 and result.how_many[0].formula == formula


def test_too_few_held_out_crystals_are_said_to_calibrate_nothing(
    generator: CrystalGenerator, tmp_path: Path, model_folder: Path
) -> None:
    _copy(model_folder, tmp_path)
    held = CrystalStructureDataset(create_demo_dataset()[:5]).arrays
    found = workflow.write_sampled(generator, held, tmp_path)
    assert not found.fitted and json.loads((tmp_path / "confidence.json").read_text())["lists"] == 5
    result = load(tmp_path, "cpu").generate("NaCl", n=2, num_atoms=(2, 2)).result
    assert "not calibrated" in result.confidence_source
    assert [row.confidence for row in result.rows] == [None] * len(result.rows)
