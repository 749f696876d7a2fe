"""A few steps of the pretrained model are those of its student; everything else is its own."""

from __future__ import annotations

import pytest

from crystal_diffusion import GenerationSettings, Request, SamplerSettings, load
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.result import GenerationResult


@pytest.fixture(scope="module")
def pretrained() -> CrystalGenerator:
    return load()


def made(
    generator: CrystalGenerator, steps: int, request: Request, eta: float = 0.0
) -> GenerationResult:
    sampler = SamplerSettings(steps=steps, eta=eta)
    settings = GenerationSettings(sampler=sampler, noise_share=1.0, scorer="none", max_attempts=2)
    return generator.run(request, 1, settings=settings, describe=False)


@pytest.mark.parametrize(
    ("steps", "request_", "asked"),
    [
        (2, Request(formula="NaCl", z=(1, 1)), True),
        (4, Request(spacegroup="225", wyckoff="Na:a,Cl:b"), True),
        (5, Request(formula="NaCl", z=(1, 1)), False),
        (2, Request(elements=("Na", "Cl"), num_atoms=(4, 4), lattice=(5, 5, 5, 60, 60, 60)), False),
    ],
)
def test_who_answers(
    pretrained: CrystalGenerator,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    request_: Request,
    asked: bool,
) -> None:
    student = pretrained.knowledge.student
    assert student is not None and student.long_steps and not pretrained.model.long_steps
    calls: list[str] = []
    for name, model in (("student", student), ("model", pretrained.model)):
        answer = model.predict

        def noted(
            *args: object, _name: str = name, _answer: object = answer, **more: object
        ) -> object:
            calls.append(_name)
            return _answer(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(model, "predict", noted)
    made(pretrained, steps, request_)
    assert set(calls) == {"student" if asked else "model"}
