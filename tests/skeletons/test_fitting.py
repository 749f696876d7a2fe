"""Fitting learns what is there, resumes as if never stopped, and adapts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons import fitting
from crystal_diffusion.skeletons.adapting import adapt
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.skeletons.fitting import (
    FitSettings,
    Nats,
    SkeletonReport,
    Skeletons,
    Taught,
    fit,
    losses,
    make_batch,
    mean_nats,
)
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.symmetry.assignments import Assignment, parse_wyckoff

HALIDES = [("Li", "F"), ("Na", "Cl"), ("K", "Br"), ("Rb", "I"), ("Na", "F"), ("K", "Cl")]


def rock_salts() -> list[Assignment]:
    return [parse_wyckoff(f"{a}:4a,{x}:4b", 225) for a, x in HALIDES]


def small(seed: int = 0) -> SkeletonNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SkeletonNetwork(SkeletonConfig(dim=32, layers=2, dropout=0.0))


def test_it_learns_the_crystals_it_is_given() -> None:
    data = Skeletons.from_assignments(rock_salts() * 4)
    network = fit(small(), data, FitSettings(steps=120, tokens=256, warm_up=10, learning_rate=3e-3))
    model = SkeletonModel(network)
    held_out = model.likeliest({37: 1, 17: 1}, 1)[0]
    assert held_out.skeleton.space_group == 225
    assert model.group_probabilities({37: 1, 17: 1})[224] > 0.9


def interrupted_at(last: int) -> Callable[..., Any]:
    """Makes batches, and is interrupted at the last of so many."""
    calls = itertools.count(1)

    def make(*args: Any) -> Any:
        if next(calls) == last:
            raise KeyboardInterrupt
        return make_batch(*args)

    return make


def test_a_stopped_run_goes_on_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Skeletons.from_assignments(rock_salts() * 4)
    settings = FitSettings(steps=12, tokens=128, warm_up=3, save_every=0.0)
    straight = fit(small(), data, settings)
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "make_batch", interrupted_at(8))
        with pytest.raises(KeyboardInterrupt):
            fit(small(), data, settings, state=state)
    resumed = fit(small(), data, settings, state=state)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_adapting_makes_own_crystals_likelier() -> None:
    """Garnet-like contents on an odd type: after adapting the type is expected of relatives."""
    odd = [parse_wyckoff(f"{a}:2a,{x}:2c", 129) for a, x in HALIDES] * 5
    before = SkeletonModel.load().group_probabilities({37: 2, 17: 2})[128]
    adapted = adapt(odd, seed=1)
    after = adapted.model.group_probabilities({37: 2, 17: 2})[128]
    assert adapted.held_out == 3
    assert adapted.after < adapted.before
    assert after > 5 * before


def test_adapting_to_few_or_none() -> None:
    few = adapt(rock_salts()[:3])
    assert few.crystals == 3
    assert few.held_out == 0
    assert np.isnan(few.before)
    with pytest.raises(InputError, match="no crystal"):
        adapt([])


def test_questions_of_a_batch_are_those_of_each_crystal() -> None:
    mixed = [
        parse_wyckoff("Sr:1a,Ti:1b,O:3c", 221),
        parse_wyckoff("Na:4a,Cl:4b", 225),
        parse_wyckoff("Ti:2a,O:4f", 136),
    ]
    data = Skeletons.from_assignments(mixed)
    told = SkeletonReport.same(3, composition=True)
    together = make_batch(data, np.arange(3), told)
    for row in range(3):
        alone = make_batch(data, np.array([row]), SkeletonReport.same(1, composition=True))
        elements = alone.asked.elements.shape[1]
        assert torch.equal(together.asked.elements[row, :elements], alone.asked.elements[0])
        assert int(together.asked.elements[row, elements:].sum()) == 0
        assert together.asked.units[row] == alone.asked.units[0]
        assert together.asked.total[row] == alone.asked.total[0]
    assert together.asked.units.tolist() == [1, 1, 2]
    assert len(together.letters) == 3 + 2 + 2
    assert len(together.elements) == 0


def test_the_best_averaged_weights_survive_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Skeletons.from_assignments(rock_salts() * 4)
    settings = FitSettings(
        steps=12, tokens=128, warm_up=3, save_every=0.0, average=0.9, check_every=4
    )
    seen: list[float] = []

    def check(network: SkeletonNetwork) -> float:
        """The second look is the best one, whatever the weights say."""
        assert not network.training
        seen.append(mean_nats(network, data))
        return [2.0, 1.0, 3.0, 4.0][len(seen) - 1]

    straight = fit(small(), data, settings, check=check)
    assert len(seen) == 4
    assert mean_nats(straight, data) == seen[1]
    state = tmp_path / "state.safetensors"
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "make_batch", interrupted_at(10))
        # The looks use the same function: they are not counted here.
        patch.setattr(fitting, "nats", lambda *_, **__: Nats(*[np.zeros(1)] * 3))
        with pytest.raises(KeyboardInterrupt):
            fit(small(), data, settings, state=state, check=check)
    assert len(seen) == 2
    resumed = fit(small(), data, settings, state=state, check=check)
    assert len(seen) == 4
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_pupil_takes_over_what_its_teacher_says() -> None:
    """A teacher that knows better than the crystals is believed."""
    odd = Skeletons.from_assignments([parse_wyckoff(f"{a}:2a,{x}:2c", 129) for a, x in HALIDES] * 4)
    even = Skeletons.from_assignments(rock_salts() * 4)
    settings = FitSettings(steps=80, tokens=256, warm_up=10, learning_rate=3e-3)
    teacher = fit(small(), even, settings).requires_grad_(False)
    pupil = fit(small(1), odd, settings, taught=Taught([teacher], 1.0))
    alone = fit(small(1), odd, settings)
    told = {37: 2, 17: 2}
    assert SkeletonModel(alone).group_probabilities(told)[128] > 0.8
    assert SkeletonModel(pupil).group_probabilities(told)[128] < 0.2


def test_training_ends_with_its_time() -> None:
    data = Skeletons.from_assignments(rock_salts())
    steps: list[int] = []
    settings = FitSettings(steps=100_000, tokens=64, seconds=0.5)
    fit(small(), data, settings, progress=lambda step, _: steps.append(step))
    assert max(steps, default=0) < 100_000


def test_half_precision_says_nearly_the_same() -> None:
    data = Skeletons.from_assignments(rock_salts())
    network = fit(small(), data, FitSettings(steps=30, tokens=256, warm_up=5))
    batch = make_batch(data, np.arange(6), SkeletonReport.same(6, composition=False))
    exact = float(losses(network, batch).mean.detach())
    short = float(losses(network, batch, bfloat16=True).mean.detach())
    assert short != exact
    assert short == pytest.approx(exact, rel=0.02)
