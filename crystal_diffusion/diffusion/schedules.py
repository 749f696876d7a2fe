"""Noise schedules of the discrete DDPM: linear, cosine, learned. Index 0 is clean data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crystal_diffusion.errors import InputError
from crystal_diffusion.shapes import Float


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """x_t = alpha_t x_0 + sigma_t ε with alpha² + sigma² = 1.

    Attributes:
        alpha: ``(steps + 1,)``, alpha[0] = 1.
        sigma: ``(steps + 1,)``, sigma[0] = 0.
    """

    alpha: Float[Tensor, " levels"]
    sigma: Float[Tensor, " levels"]

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha) - 1

    @property
    def alpha_bar(self) -> Tensor:
        """``(steps + 1,)`` ᾱ_t of Ho et al. 2020: alpha²."""
        return self.alpha.square()

    @property
    def beta(self) -> Tensor:
        """``(steps + 1,)`` β_t = 1 - ᾱ_t/ᾱ_{t-1}; beta[0] = 0."""
        bar = self.alpha_bar
        ratio = bar[1:] / bar[:-1]
        return torch.cat([bar.new_zeros(1), 1 - ratio])

    @classmethod
    def from_beta(cls, beta: Float[Tensor, " steps"]) -> NoiseSchedule:
        """From β_1 … β_T."""
        bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta.double(), 0)])
        return cls(bar.sqrt().float(), (1 - bar).clamp_min(0).sqrt().float())


def linear_schedule(steps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
    """β rises linearly (Ho et al. 2020); the original model's default."""
    return NoiseSchedule.from_beta(torch.linspace(beta_start, beta_end, steps))


def cosine_schedule(steps: int, offset: float = 0.008) -> NoiseSchedule:
    """ᾱ_t = cos²((t/T + s)/(1 + s)·π/2), β at most 0.999 (Nichol and Dhariwal 2021, eq. 17)."""
    position = torch.arange(steps + 1, dtype=torch.float64) / steps
    bar = torch.cos((position + offset) / (1 + offset) * math.pi / 2).square()
    beta = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    return NoiseSchedule.from_beta(beta)


class LearnedSchedule(nn.Module):
    """A monotone log-SNR with learnable increments between fixed ends (Kingma et al. 2021).

    The ends are those of the linear schedule. The increments are trained to make the variance
    of the diffusion loss over time small, which spends steps where the loss changes.
    """

    def __init__(
        self, steps: int, beta_start: float = 1e-4, beta_end: float = 0.02, bins: int = 32
    ) -> None:
        super().__init__()
        start = linear_schedule(steps, beta_start, beta_end)
        bar = start.alpha_bar.double()
        log_snr = torch.log(bar[1:]) - torch.log1p(-bar[1:])
        self.steps = steps
        self.register_buffer("first", log_snr[0].float())
        self.register_buffer("last", log_snr[-1].float())
        self.first: Tensor
        self.last: Tensor
        # Begin as the linear schedule: increments proportional to its own.
        knots = torch.linspace(0, steps - 1, bins + 1).round().long()
        increments = -(log_snr[knots[1:]] - log_snr[knots[:-1]]).clamp(max=-1e-3)
        self.increments = nn.Parameter(torch.log(increments / increments.sum()).float())

    def log_snr(self, position: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log signal-to-noise at positions in [0, 1], decreasing."""
        share = torch.softmax(self.increments, 0)
        knots = torch.cat([share.new_zeros(1), share.cumsum(0)])
        scaled = position * (len(share))
        left = scaled.floor().clamp(0, len(share) - 1).long()
        progress = knots[left] + (scaled - left) * share[left]
        return self.first + (self.last - self.first) * progress

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at integer times 1 … T, with gradients."""
        position = (t.float() - 1) / max(1, self.steps - 1)
        snr = self.log_snr(position)
        return torch.sigmoid(snr).sqrt(), torch.sigmoid(-snr).sqrt()

    @torch.no_grad()
    def freeze(self) -> NoiseSchedule:
        """The schedule as it stands now."""
        alpha, sigma = self.alpha_sigma(torch.arange(1, self.steps + 1, device=self.first.device))
        one, zero = torch.ones_like(alpha[:1]), torch.zeros_like(alpha[:1])
        return NoiseSchedule(torch.cat([one, alpha]), torch.cat([zero, sigma]))


def make_schedule(name: str, steps: int, beta_start: float, beta_end: float) -> NoiseSchedule:
    """A fixed schedule by name, "linear" or "cosine"."""
    if name == "linear":
        return linear_schedule(steps, beta_start, beta_end)
    if name == "cosine":
        return cosine_schedule(steps)
    raise InputError(f"schedule {name!r} is not known; choose linear, cosine or learned.")
