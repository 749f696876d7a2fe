"""How many network calls a crystal gets where nothing is said, and that the run says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crystal_diffusion import GenerationSettings, Request, SamplerSettings
from crystal_diffusion.diffusion.sampler import STEPS_GIVEN, STEPS_OPEN
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.workflows.generate import generate_run


def calls_of(generator: CrystalGenerator, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Noise levels at which the network is asked, filled as it happens."""
    found: list[float] = []
    ask = generator.model.predict

    def counted(*args: Any, **options: Any) -> Any:
        found.append(float(args[3].lattice.max()))
        return ask(*args, **options)

    monkeypatch.setattr(generator.model, "predict", counted)
    return found


@pytest.mark.parametrize(
    ("request_", "steps"),
    [
        (Request(formula="NaCl", z=(1, 1)), STEPS_GIVEN),
        (Request(spacegroup="225", wyckoff="Na:a,Cl:b"), STEPS_GIVEN),
        (Request(elements=("Na", "Cl"), num_atoms=(2, 2)), STEPS_OPEN),
    ],
)
def test_steps_follow_the_request(
    generator: CrystalGenerator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request_: Request,
    steps: int,
) -> None:
    levels = calls_of(generator, monkeypatch)
    run, _ = generate_run(
        generator, request_, 1, tmp_path / "run", settings=GenerationSettings(scorer="none")
    )
    assert len(levels) % steps == 0
    assert levels[:steps] == pytest.approx([1 - k / steps for k in range(steps)])
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["settings"]["sampler"]["steps"] == steps


def test_steps_that_are_asked_for_hold(
    generator: CrystalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = calls_of(generator, monkeypatch)
    settings = GenerationSettings(sampler=SamplerSettings(steps=3), scorer="none")
    generator.run(Request(formula="NaCl", z=(1, 1)), 1, settings=settings, describe=False)
    assert levels[:3] == pytest.approx([1, 2 / 3, 1 / 3])
