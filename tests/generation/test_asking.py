"""Requests for properties: refused where impossible, steered, selected, and said in the end."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion import GenerationSettings, Request, SamplerSettings
from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.generation.asking import (
    asked_properties,
    judged,
    label_warnings,
    likeliest,
    resolved,
)
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.properties import PropertyRange
from crystal_diffusion.viewer.report import write_report
from crystal_diffusion.workflows.generate import generate_run

QUICK = GenerationSettings(sampler=SamplerSettings(steps=4), max_attempts=60, select=3)


@dataclass(frozen=True)
class Found:
    """Exact values, and intervals of 0.1 around them."""

    names: Sequence[str]
    values: np.ndarray

    @property
    def low(self) -> np.ndarray:
        return self.values - 0.1

    @property
    def high(self) -> np.ndarray:
        return self.values + 0.1

    def probability_inside(self, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray:
        out = []
        for name, (low, high) in ranges.items():
            values = self.values[:, list(self.names).index(name)]
            out.append(np.clip(1 - np.maximum(low - values, values - high), 0, 1))
        return np.stack(out, 1)


class Density:
    """Knows the density, and a property of the user's own that is its square."""

    names = ("density", "my_square")

    def unit(self, name: str) -> str:
        return "g/cm3" if name == "density" else ""

    def label_range(self, name: str) -> tuple[float, float]:
        return (0.5, 20.0)

    def predict(self, structures: Sequence[Structure]) -> Found:
        density = np.array([float(s.density) for s in structures])
        return Found(self.names, np.stack([density, density**2], 1))


@pytest.fixture
def judging(generator: CrystalGenerator) -> CrystalGenerator:
    knowledge = replace(generator.knowledge, open_properties=Density)
    return CrystalGenerator(generator.model, generator.header, generator.training, None, knowledge)


def test_of_many_candidates_the_likeliest_are_kept(judging: CrystalGenerator) -> None:
    free = Request(formula="NaCl", z=(1, 2))
    every = judging.run(free, 9, seed=3, settings=QUICK)
    density = {name: s.density for name, s in every.structures.items()}
    asked = replace(free, properties={"density": (max(density.values()), None)})
    result = judging.run(asked, 3, seed=3, settings=replace(QUICK, guidance=0))
    assert set(result.structures) <= set(density)
    best = [name for name in density if density[name] > max(density.values()) - 1]
    found = judged(list(every), asked.ranges, Density()).together
    wanted = likeliest(every.structures, found, 3, StructureMatch())
    assert set(result.structures) == set(wanted)
    assert max(best, key=density.__getitem__) in wanted
    assert result.selection is not None
    assert (result.selection.candidates, result.selection.kept) == (9, 3)
    assert result.selection.expected[1] >= result.selection.expected[0]
    assert "3 of 9 candidates" in result.selection.lines()[0]
    assert len(result.rows) == 3 and not result.missing
    chances = [row["inside_density"] for row in result.rows]
    assert chances == sorted(chances, reverse=True)
    first = result.rows[0]
    assert first["rank"] == 1
    assert first["predicted_density_g_cm3"] == pytest.approx(first["density_g_cm3"], rel=1e-3)
    assert first["predicted_density_low_g_cm3"] < first["predicted_density_high_g_cm3"]
    assert first["predicted_my_square"] == pytest.approx(first["density_g_cm3"] ** 2, rel=1e-2)


def test_selection_turned_off_keeps_every_candidate(judging: CrystalGenerator) -> None:
    request = Request(formula="NaCl", z=(1, 1), properties={"density": ">1"})
    result = judging.run(request, 3, seed=3, settings=replace(QUICK, select=1))
    assert set(result.structures) == {"cd0000", "cd0001", "cd0002"}


def test_a_later_part_of_a_run_looks_at_later_candidates(judging: CrystalGenerator) -> None:
    request = Request(formula="NaCl", z=(1, 1), properties={"density": ">1"})
    later = judging.run(request, 1, seed=3, first=2, settings=QUICK)
    assert {row["index"] for row in later.rows} <= {6, 7, 8}


def test_unknown_and_impossible_properties_are_refused(judging: CrystalGenerator) -> None:
    with pytest.raises(RequestError, match="it knows density, my_square"):
        judging.run(Request(formula="NaCl", properties={"band_gap": (1, 2)}), 1)
    with pytest.raises(RequestError, match="not known"):
        judging.run(Request(formula="NaCl", properties={"colour": (1, 2)}), 1)
    with pytest.raises(InputError, match="impossible"):
        Request(formula="NaCl", properties={"density": (-3, -1)})
    with pytest.raises(InputError, match="empty"):
        Request(formula="NaCl", properties={"density": (3, 1)})
    with pytest.raises(RequestError, match="twice"):
        resolved({"density": PropertyRange(1, 2), "rho": PropertyRange(1, 3)}, Density())
    with pytest.raises(RequestError, match="predicts no properties"):
        resolved({"density": PropertyRange(1, 2)}, None)
    with pytest.raises(RequestError, match="twice"):
        asked_properties(["density<4", "density>2"], judging.knowledge.properties)


def test_texts_know_the_own_properties(judging: CrystalGenerator) -> None:
    found = asked_properties(["my square > 4", "rho<4"], judging.knowledge.properties)
    assert found["my_square"].low == 4
    assert found["density"].high == 4


def test_a_range_without_labels_is_warned_of(
    judging: CrystalGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request(formula="NaCl", z=(1, 1), properties={"density": (30, 40)})
    with caplog.at_level(logging.WARNING):
        result = judging.run(request, 1, seed=1, settings=replace(QUICK, select=1))
    assert "no crystal of the training set is there" in caplog.text
    assert result.selection is not None
    assert result.selection.lines()[1:] == list(result.selection.warnings)
    assert not label_warnings({"density": PropertyRange(1, 2)}, Density())


def test_of_equal_crystals_one_is_kept_and_known_ones_come_last() -> None:
    def salt(a: float, element: str = "Na") -> Structure:
        return Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(a), [element, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )

    found = {"a": salt(5.6), "b": salt(5.65), "c": salt(6.3, "K"), "d": salt(5.2, "Li")}
    chances = np.array([0.9, 0.8, 0.3, 0.2])
    matcher = StructureMatch()
    assert likeliest(found, chances, 2, matcher) == ["a", "c"]
    assert likeliest(found, chances, 4, matcher) == ["a", "c", "d", "b"]
    assert likeliest(found, chances, 2, matcher, frozenset({"a"})) == ["b", "c"]


def test_probabilities_of_several_ranges_are_multiplied() -> None:
    structure = Structure(Lattice.cubic(3.0), ["Fe"], [[0, 0, 0]])
    density = float(structure.density)
    asked = {"density": PropertyRange(high=density - 0.5), "my_square": PropertyRange(low=0)}
    found = judged([structure], asked, Density())
    assert found.each[0].tolist() == pytest.approx([0.5, 1.0])
    assert found.together[0] == pytest.approx(0.5)
    assert judged([], asked, Density()).together.shape == (0,)


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="guidance"):
        GenerationSettings(guidance=-1)
    with pytest.raises(InputError, match="select"):
        GenerationSettings(select=0)


def test_the_run_and_its_report_carry_the_predictions(
    judging: CrystalGenerator, tmp_path: Path
) -> None:
    judging = CrystalGenerator(
        judging.model, judging.header, judging.training, None, judging.knowledge
    )
    asked = {"density": (1.5, 2.5), "my_square": "<9"}
    request = Request(formula="NaCl", z=(1, 1), properties=asked)
    run, result = generate_run(judging, request, 3, tmp_path / "run", settings=QUICK)
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["properties"]["asked"] == {"density": [1.5, 2.5], "my_square": [None, 9.0]}
    assert manifest["properties"]["candidates"] == 9
    assert manifest["request"]["properties"]["density"] == "1.5 to 2.5"
    with (run.path / "structures.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["predicted_density_g_cm3"]) == pytest.approx(
        result.rows[0]["predicted_density_g_cm3"]
    )
    assert {"inside_asked", "inside_my_square", "predicted_my_square_low"} <= set(rows[0])
    page = write_report(run).read_text()
    assert "Asked against predicted" in page
    assert "Density (g/cm3): asked 1.5 to 2.5; 3 predictions with 90 % intervals" in page
    assert "My_square: asked open to 9" in page
    assert "Predicted my square" in page
