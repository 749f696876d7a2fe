"""The forecast of a training: real steps are timed, and nothing of the model changes."""

from __future__ import annotations

import torch

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.workflows.estimate import Estimate, batch_of, measure
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
