"""The original model against closed forms: steps, learned variance, bound, schedules, eta."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.diffusion.schedules import LearnedSchedule, cosine_schedule

T = 60


def model_with(
    answer: Callable[[Tensor, Tensor], Tensor], **settings: object
) -> CrystalDiffusionModel:
    """A model whose network answers with a function of positions and times."""
    model = CrystalDiffusionModel(timesteps=T, beta_end=0.1, device="cpu", hidden_dim=8, **settings)  # type: ignore[arg-type]
    model.model = lambda x, t, mask=None: answer(x, t)  # type: ignore[assignment]
    return model


def bars(model: CrystalDiffusionModel) -> list[float]:
    return [float(x) for x in model.schedule.alpha_bar.double()]


def test_noising_is_the_formula() -> None:
    model = CrystalDiffusionModel(timesteps=T, device="cpu", hidden_dim=8)
    g = torch.Generator().manual_seed(0)
    x_0, noise = torch.rand(3, 4, 3, generator=g), torch.randn(3, 4, 3, generator=g)
    found = model.q_sample(x_0, torch.tensor([0, 20, T]), noise)
    bar = bars(model)
    assert torch.equal(found[0], x_0[0])
    for row, t in ((1, 20), (2, T)):
        expected = math.sqrt(bar[t]) * x_0[row] + math.sqrt(1 - bar[t]) * noise[row]
        torch.testing.assert_close(found[row], expected)
    beta = 1 - bar[20] / bar[19]
    assert beta == pytest.approx(1e-4 + 19 / (T - 1) * (0.02 - 1e-4), rel=1e-3)


@pytest.mark.parametrize(("raw", "which"), [(40.0, "beta"), (-40.0, "posterior"), (0.0, "between")])
def test_a_step_has_the_learned_deviation(raw: float, which: str) -> None:
    """log σ² = v log β + (1 - v) log β̃ (Nichol and Dhariwal 2021, eq. 15)."""
    predicted = 0.7

    def answer(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([torch.full_like(x, predicted), torch.full_like(x, raw)], -1)

    model = model_with(answer, variance="learned")
    t, bar = 25, bars(model)
    beta = 1 - bar[t] / bar[t - 1]
    posterior = beta * (1 - bar[t - 1]) / (1 - bar[t])
    variance = {"beta": beta, "posterior": posterior, "between": math.sqrt(beta * posterior)}[which]
    x_t = torch.full((1, 1, 3), 0.3)
    mean = (0.3 - beta / math.sqrt(1 - bar[t]) * predicted) / math.sqrt(1 - beta)
    for fresh in (-1.0, 0.0, 1.5):
        end = model.p_sample(x_t, t, noise=torch.full((1, 1, 3), fresh))
        expected = mean + math.sqrt(variance) * fresh
        assert end.flatten().tolist() == pytest.approx([expected] * 3, abs=1e-5)
    # The last step adds nothing.
    last = model.p_sample(x_t, 1, noise=torch.ones(1, 1, 3))
    first = 1 - bar[1]
    expected = (0.3 - first / math.sqrt(1 - bar[1]) * predicted) / math.sqrt(1 - first)
    assert last.flatten().tolist() == pytest.approx([expected] * 3, abs=1e-5)


def test_a_step_with_fixed_variance_is_the_posterior() -> None:
    model = model_with(lambda x, t: torch.zeros_like(x))
    t, bar = 25, bars(model)
    beta = 1 - bar[t] / bar[t - 1]
    deviation = math.sqrt(beta * (1 - bar[t - 1]) / (1 - bar[t]))
    end = model.p_sample(torch.zeros(1, 2, 3), t, noise=torch.ones(1, 2, 3))
    assert end.flatten().tolist() == pytest.approx([deviation] * 6, rel=1e-4)
    masked = model.p_sample(
        torch.zeros(1, 2, 3), t, mask=torch.tensor([[1.0, 0.0]]), noise=torch.ones(1, 2, 3)
    )
    assert masked[0, 1].abs().max() == 0


@pytest.mark.parametrize("raw", [-40.0, 0.0, 3.0])
@pytest.mark.parametrize("error", [0.0, 0.4])
def test_the_bound_is_the_divergence_of_two_gaussians(raw: float, error: float) -> None:
    """Loss with learned variance less the squared error is 0.001 KL(q ‖ p), for t > 1."""
    times: list[Tensor] = []
    states: list[Tensor] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        times.append(t)
        states.append(x)
        # All atoms at the origin: what is there is noise alone, and known.
        sigma = model.schedule.sigma[t][:, None, None]
        return torch.cat([x / sigma + error, torch.full_like(x, raw)], -1)

    model = model_with(answer, variance="learned", seed=2)
    batch = {"positions": torch.zeros(40, 2, 3), "mask": torch.ones(40, 2)}
    loss = float(model.loss(batch))
    bar = model.schedule.alpha_bar.double()
    t, x_t = times[0], states[0].double()
    now, before = bar[t], bar[t - 1]
    beta = 1 - now / before
    true = beta * (1 - before) / (1 - now)
    total = 0.0
    for row in range(40):
        if t[row] == 1:
            continue
        b, v, n = float(beta[row]), float(true[row]), float(now[row])
        true_mean = math.sqrt(1 - b) * (1 - float(before[row])) / (1 - n) * x_t[row]
        noise = x_t[row] / math.sqrt(1 - n) + error
        mean = (x_t[row] - b / math.sqrt(1 - n) * noise) / math.sqrt(1 - b)
        share = 1 / (1 + math.exp(-raw))
        deviation = math.exp(0.5 * (share * math.log(b) + (1 - share) * math.log(v)))
        divergence = kl_divergence(Normal(true_mean, math.sqrt(v)), Normal(mean, deviation))
        total += float(divergence.sum())
    expected = error**2 + 1e-3 * total / (3 * 80)
    assert loss == pytest.approx(expected, rel=2e-2, abs=1e-7)


class Exact:
    """The exact network for N(mean, deviation²), in the form that the reverse chain asks."""

    variance = None

    def __init__(self, model: CrystalDiffusionModel, mean: float, deviation: float) -> None:
        self.bar = bars(model)
        self.mean, self.deviation = mean, deviation

    def eval(self) -> None:
        """Nothing to switch."""

    def chain(self, times: Tensor, padding: Tensor | None) -> Callable[[Tensor, int], Tensor]:
        """Features that carry the time in their step."""
        self.times = times.tolist()
        self.step = 0

        def features(x: Tensor, step: int) -> Tensor:
            self.step = step
            return x.flatten(0, 1)

        return features

    def out(self, features: Tensor) -> Tensor:
        bar = self.bar[self.times[self.step]]
        total = bar * self.deviation**2 + 1 - bar
        return math.sqrt(1 - bar) * (features - math.sqrt(bar) * self.mean) / total


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_every_eta_recovers_mean_and_deviation(eta: float, schedule: str) -> None:
    model = CrystalDiffusionModel(
        timesteps=400, beta_end=0.04, device="cpu", hidden_dim=8, schedule=schedule
    )
    model.model = Exact(model, 0.5, 0.12)  # type: ignore[assignment]
    drawn = model.sample(100, 4, torch.eye(3)[None] * 5, sampler="ddim", eta=eta, seed=1)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.12, rel=0.08)


def test_the_cosine_schedule_at_several_times() -> None:
    bar = cosine_schedule(1000).alpha_bar
    origin = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for t in (10, 100, 500, 900):
        wanted = math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / origin
        assert bar[t].item() == pytest.approx(wanted, abs=2e-4)


def test_the_learned_schedule_spends_signal_and_noise_the_right_way() -> None:
    schedule = LearnedSchedule(50, beta_end=0.2)
    alpha, sigma = schedule.alpha_sigma(torch.tensor([1, 25, 50]))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(3))
    assert alpha[0] > 0.99 and sigma[-1] > 0.9
    frozen = schedule.freeze()
    torch.testing.assert_close(frozen.alpha[[1, 25, 50]], alpha)
    # Halfway between two knots the log-SNR is halfway too.
    with torch.no_grad():
        snr = schedule.log_snr(torch.tensor([0.0, 0.5 / 32, 1 / 32, 1.0]))
    assert snr[1].item() == pytest.approx(float(snr[0] + snr[2]) / 2, abs=1e-4)
    assert snr[-1].item() == pytest.approx(float(schedule.last), abs=1e-4)


def test_learning_the_schedule_lowers_the_spread_of_the_bound() -> None:
    """A network that errs at high noise only: steps move to where the loss changes."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        sigma = model.schedule.sigma[t][:, None, None]
        return x / sigma + torch.where(t > T // 2, 1.0, 0.05)[:, None, None]

    model = CrystalDiffusionModel(
        timesteps=T, beta_end=0.2, device="cpu", hidden_dim=8, schedule="learned",
        learning_rate=2e-2,
    )  # fmt: skip
    untrained = model.model
    batch = {"positions": torch.zeros(64, 1, 3), "mask": torch.ones(64, 1)}

    def spread() -> float:
        schedule = model.learned_schedule
        assert schedule is not None
        position = torch.linspace(1 / T, 1, T)
        gap = schedule.log_snr(position - 1 / T) - schedule.log_snr(position)
        error = torch.where(torch.arange(1, T + 1) > T // 2, 3.0, 3 * 0.05**2)
        return float((0.5 * T * gap * error).square().mean().detach())

    before = spread()
    model.model = lambda x, t, mask=None: answer(x, t)  # type: ignore[assignment]
    for _ in range(40):
        model._train_schedule(batch)
    model.model = untrained
    assert spread() < 0.8 * before
