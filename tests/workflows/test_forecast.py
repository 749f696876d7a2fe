"""The forecast of a training: real steps are timed, and nothing of the model changes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.skeletons.adapting import seconds_alone
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.steps import denoising_objective
from crystal_diffusion.workflows import train as training
from crystal_diffusion.workflows.estimate import Estimate, batch_of, measure
from crystal_diffusion.workflows.monitor import Monitor
from tests.models import tiny_model
from tests.proposals.conftest import rock_salt


def test_measuring_changes_no_weight() -> None:
    salts = [rock_salt("Na", "Cl", 5.64), rock_salt("K", "Br", 6.6)]
    data = batch_of(CrystalStructureDataset(salts).arrays)
    options = {"dim": 32, "layers": 1, "heads": 4}
    config = JointConfig(
        network_options=options, statistics=LatticeStatistics.from_batch(data), elements=()
    )
    model = JointDiffusion(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    estimate = measure(
        model, data, TrainingConfig(steps=10), Workers.from_environment(torch.device("cpu"))
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert 0 < estimate.seconds_per_step < 60
    assert estimate.parameters == sum(p.numel() for p in model.parameters())
    assert estimate.memory_mb > 50


def test_what_is_done_beside_the_steps_is_counted() -> None:
    assert Estimate(100, 0.5, 300.0, 10).seconds == 50.0
    assert Estimate(100, 0.5, 300.0, 10, other_seconds=20.0, trainings=4).seconds == 70.0


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    scripted = Clock()
    monkeypatch.setattr(time, "perf_counter", scripted)
    return scripted


def forecast(passes: list[float], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds a step is said to take where its passes take these."""
    coming = iter(passes)

    def slow(*given: Any) -> Any:
        clock.now += next(coming)
        return denoising_objective(*given)

    monkeypatch.setattr("crystal_diffusion.workflows.estimate.denoising_objective", slow)
    salts = [rock_salt("Na", "Cl", 5.64), rock_salt("K", "Br", 6.6)]
    data = batch_of(CrystalStructureDataset(salts).arrays)
    workers = Workers.from_environment(torch.device("cpu"))
    return measure(tiny_model(), data, TrainingConfig(steps=10), workers).seconds_per_step


def test_passes_that_wait_for_other_work_count_as_often_as_they_come(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first pass does what is done once; the fourth is beside other work.
    assert forecast([9.0, 1.0, 1.0, 4.0], clock, monkeypatch) == pytest.approx(2.0)
    # Quick passes are timed until they took a second and a half, or are twelve.
    quick = [1.0, *[0.25] * 7]
    assert forecast(quick, clock, monkeypatch) == pytest.approx(0.25)
    assert forecast([1.0, *[0.01] * 11, 0.13], clock, monkeypatch) == pytest.approx(0.02)


def test_the_forecast_counts_the_looks_at_samples(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Slow(Monitor):
        def __call__(self, step: int, model: JointDiffusion) -> Mapping[str, float]:
            clock.now += 3.0
            return super().__call__(step, model)

    monkeypatch.setattr(training, "Monitor", Slow)
    monkeypatch.setattr(training, "measure", lambda *_: Estimate(1, 0.5, 300.0, 10))
    told: list[Estimate] = []
    training.train(
        CrystalStructureDataset([rock_salt("Na", "Cl", 5.64), rock_salt("K", "Br", 6.6)]),
        tmp_path / "model",
        from_scratch=True,
        dim=32,
        layers=1,
        steps=100,
        on_estimate=told.append,
    )
    # Two looks, one at the pretrained model, are behind when it is told; three are to come.
    assert [estimate.seconds for estimate in told] == [100 * 0.5 + 3 * 3.0]
    assert clock.now == 5 * 3.0


def test_the_forecast_counts_space_groups_learned_beside(clock: Clock) -> None:
    salts = [rock_salt("Na", "Cl", 5.64 + 0.01 * k) for k in range(30)]

    class Slow(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            for one in super().__iter__():
                clock.now += 0.1
                yield one

    # Looked at three times each, 300 of them; what is learned takes no time by this clock.
    assert seconds_alone(Slow(salts), 300) == pytest.approx(3 * 300 * 0.1)
