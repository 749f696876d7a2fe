"""The verb distill: a model folder in, a student out that samples in two calls and resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crystal_diffusion import create_demo_dataset, distill, load, train
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import InputError
from crystal_diffusion.seeding import CrystalStreams


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    train(create_demo_dataset(), folder, steps=20, dim=16, layers=1, from_scratch=True)
    return folder


def test_a_student_is_made_loaded_and_asked_for_two_steps(model: Path, tmp_path: Path) -> None:
    student, summary = distill(model, tmp_path / "student", steps=6)
    assert summary.result.steps == 6
    assert student.model.long_steps and not load(model).model.long_steps
    numbers = torch.tensor([[11, 17]])
    two = [
        sample(
            student.model, Start.noise(numbers), CrystalStreams([1], [2]), SamplerSettings(steps=n)
        )
        for n in (2, 8)
    ]
    assert all(bool(torch.isfinite(made.lattice).all()) for made in two)
    # The same call goes on from where it was: nothing is left to do.
    again, summary = distill(model, tmp_path / "student", steps=6)
    assert summary.result.steps == 6
    for a, b in zip(student.model.parameters(), again.model.parameters(), strict=True):
        assert bool((a == b).all())


def test_without_crystals_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        distill(None, tmp_path / "student", steps=2)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("share", 0.0), ("share", 1.5)])
def test_bad_values_are_named(model: Path, tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        distill(model, tmp_path, **{name: value})
