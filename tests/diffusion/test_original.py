"""The reference DDPM: schedules, the textbook posterior, exact samplers, learned variance."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.diffusion.schedules import (
    LearnedSchedule,
    cosine_schedule,
    linear_schedule,
    make_schedule,
)
from crystal_diffusion.errors import InputError


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules(name: str) -> None:
    schedule = make_schedule(name, 100, 1e-3, 0.1)
    assert schedule.steps == 100
    assert schedule.alpha[0] == 1 and schedule.sigma[0] == 0
    torch.testing.assert_close(schedule.alpha**2 + schedule.sigma**2, torch.ones(101))
    assert (schedule.alpha.diff() < 0).all()
    assert schedule.alpha_bar[-1] < 0.01


def test_linear_beta_is_the_formula() -> None:
    beta = linear_schedule(1000).beta
    torch.testing.assert_close(beta[1:], torch.linspace(1e-4, 0.02, 1000), atol=1e-5, rtol=1e-2)


def test_cosine_is_the_formula() -> None:
    bar = cosine_schedule(1000).alpha_bar
    wanted = math.cos((0.3 + 0.008) / 1.008 * math.pi / 2) ** 2
    origin = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert bar[300].item() == pytest.approx(wanted / origin, abs=1e-4)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="linear, cosine or learned"):
        CrystalDiffusionModel(schedule="quadratic", device="cpu")
    with pytest.raises(InputError, match="fixed or learned"):
        CrystalDiffusionModel(variance="some", device="cpu")


class GaussianNoise(nn.Module):
    """The exact noise predictor for data N(mean, deviation²)."""

    def __init__(self, model: CrystalDiffusionModel, mean: float, deviation: float) -> None:
        super().__init__()
        self.bar = model.schedule.alpha_bar.double()
        self.mean, self.deviation = mean, deviation
        self.variance = None

    def at(self, x: Tensor, t: int) -> Tensor:
        bar = float(self.bar[t])
        total = bar * self.deviation**2 + 1 - bar
        return math.sqrt(1 - bar) * (x - math.sqrt(bar) * self.mean) / total


class ExactNetwork:
    """Stands in for the U-Net: its noise prediction is the exact one of a Gaussian."""

    variance = None

    def __init__(self, exact: GaussianNoise) -> None:
        self.exact = exact

    def eval(self) -> None:
        """Nothing to switch."""

    def chain(self, times: Tensor, padding: Tensor | None) -> Callable[[Tensor, int], Tensor]:
        """Passes positions through, so that the output layer sees them."""
        self.times, self.calls = times.tolist(), 0
        return lambda x, step: x.flatten(0, 1)

    def out(self, features: Tensor) -> Tensor:
        self.calls += 1
        return self.exact.at(features, self.times[self.calls - 1])


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", None), ("ddim", None), ("ddim", 100)])
def test_samplers_recover_a_gaussian(sampler: str, steps: int | None) -> None:
    model = CrystalDiffusionModel(timesteps=200, beta_end=0.08, device="cpu", hidden_dim=8)
    model.model = ExactNetwork(GaussianNoise(model, 0.5, 0.08))  # type: ignore[assignment]
    drawn = model.sample(150, 4, torch.eye(3)[None] * 5, sampler=sampler, steps=steps, seed=1)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.08, abs=0.012)


def test_one_step_is_the_textbook_posterior() -> None:
    """With the true noise, the mean is that of q(x_{t-1} | x_t, x_0), Ho et al. 2020, eq. 7."""
    model = CrystalDiffusionModel(timesteps=100, device="cpu", hidden_dim=8)
    g = torch.Generator().manual_seed(0)
    x_0, noise = torch.rand(2, 3, 3, generator=g), torch.randn(2, 3, 3, generator=g)
    t = 40
    x_t = model.q_sample(x_0, torch.tensor([t, t]), noise)
    mean, variance, beta = model.posterior(x_t, noise, t)
    bar = model.schedule.alpha_bar.double()
    now, before = float(bar[t]), float(bar[t - 1])
    wanted = (
        math.sqrt(before) * beta / (1 - now) * x_0
        + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x_t
    )
    torch.testing.assert_close(mean, wanted, atol=1e-5, rtol=1e-4)
    assert variance == pytest.approx(beta * (1 - before) / (1 - now))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "learned"])
@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_training_lowers_the_loss(schedule: str, variance: str) -> None:
    model = CrystalDiffusionModel(
        timesteps=200,
        device="cpu",
        hidden_dim=32,
        learning_rate=2e-3,
        schedule=schedule,
        variance=variance,
    )
    batch = {
        "positions": torch.tensor([[[0.0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]]]).repeat(8, 1, 1),
        "mask": torch.tensor([[1.0, 1.0, 0.0]]).repeat(8, 1),
    }
    losses = [model.train_step(batch) for _ in range(120)]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
    made = model.sample(2, 3, torch.eye(3)[None] * 4, mask=batch["mask"][:2], seed=3)
    assert made.shape == (2, 3, 3)
    assert ((made >= 0) & (made < 1)).all()
    assert made[:, 2].abs().max() == 0


def test_learned_schedule_stays_a_schedule() -> None:
    schedule = LearnedSchedule(50)
    start = schedule.freeze()
    with torch.no_grad():
        schedule.increments.add_(torch.randn(32, generator=torch.Generator().manual_seed(0)))
    moved = schedule.freeze()
    assert (moved.alpha.diff() < 0).all()
    torch.testing.assert_close(moved.alpha[[1, -1]], start.alpha[[1, -1]])
    assert (moved.alpha - start.alpha).abs().max() > 0.01


def test_seed_repeats_and_bad_arguments_are_named() -> None:
    model = CrystalDiffusionModel(timesteps=20, device="cpu", hidden_dim=8)
    cell = torch.eye(3)[None] * 5
    torch.testing.assert_close(model.sample(1, 4, cell, seed=5), model.sample(1, 4, cell, seed=5))
    with pytest.raises(InputError, match="lattice has shape"):
        model.sample(1, 4, torch.eye(3))
    with pytest.raises(InputError, match="steps is 21"):
        model.sample(1, 4, cell, sampler="ddim", steps=21)
    with pytest.raises(InputError, match="t is 0"):
        model.p_sample(torch.zeros(1, 2, 3), 0)
