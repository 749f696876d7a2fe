"""Noise processes of the three fields, in continuous level t in [0, 1]; level 0 is clean data.

Each process knows how to make a noisy state, what the network has to predict, and how to step
from one level to a lower one with that prediction. They are interchangeable by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT
from crystal_diffusion.shapes import Float, Int

#: A uniform variable on [-0.5, 0.5] times this number has unit variance.
_UNIFORM_SCALE = math.sqrt(12.0)


class CoordinateProcess(Protocol):
    """Noise on the torus of fractional coordinates."""

    #: Whether noise of equal atoms may be exchanged to shorten the paths.
    exchangeable: bool

    def displacement(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """Noisy minus clean coordinates for unit noise, ``(..., 3)``; level ``(..., 1)``."""
        ...

    def target(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """What the network has to say, of about unit variance."""
        ...

    def clean(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
    ) -> Float[Tensor, "*shape features"]:
        """The clean coordinates (not wrapped) that a prediction stands for."""
        ...

    def step(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
        lower: Float[Tensor, "*#shape 1"],
        noise: Float[Tensor, "*shape features"],
        eta: float,
    ) -> Float[Tensor, "*shape features"]:
        """One reverse step; ``eta`` 0 is deterministic (DDIM), 1 is ancestral (DDPM)."""
        ...

    def unit_noise(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Unit noise of this process from uniform numbers in [0, 1)."""
        ...


class TorusFlow:
    """Straight paths on the torus, x_t = x_0 + t·v, with v uniform in [-0.5, 0.5]³.

    Flow matching on a flat torus (Chen and Lipman 2024) with the velocity as target; at t = 1 the
    state is uniform, whatever the crystal was.
    """

    exchangeable = True

    def unit_noise(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Uniform velocity in [-0.5, 0.5]."""
        return uniform - 0.5

    def displacement(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """t·v."""
        return level * noise

    def target(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """The velocity, scaled to unit variance."""
        return noise * _UNIFORM_SCALE

    def clean(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
    ) -> Float[Tensor, "*shape features"]:
        """x_0 = x_t - t·v."""
        return state - level * prediction / _UNIFORM_SCALE

    def step(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
        lower: Float[Tensor, "*#shape 1"],
        noise: Float[Tensor, "*shape features"],
        eta: float,
    ) -> Float[Tensor, "*shape features"]:
        """Move along the velocity; eta replaces a part of it by fresh noise."""
        velocity = prediction / _UNIFORM_SCALE
        if eta == 0.0:
            return state - (level - lower) * velocity
        clean = state - level * velocity
        keep = math.sqrt(max(0.0, 1.0 - eta**2))
        return clean + lower * (keep * velocity + eta * noise)


class WrappedGaussian:
    """x_t = (x_0 + σ_t ε) mod 1, σ geometric from ``sigma_min`` to ``sigma_max`` (Jing 2022).

    The network predicts the wrapped residual in units of its standard deviation; the ancestral
    step is the variance-exploding one (Song et al. 2021, eq. 47).
    """

    exchangeable = False

    def __init__(self, sigma_min: float = 0.005, sigma_max: float = 0.5) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def sigma(self, level: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """σ(t) = σ_min (σ_max/σ_min)^t, and 0 at t = 0."""
        value = self.sigma_min * (self.sigma_max / self.sigma_min) ** level
        return torch.where(level > 0, value, torch.zeros_like(value))

    def _spread(self, level: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Standard deviation of the wrapped residual: σ, saturating at that of a uniform one."""
        sigma = self.sigma(level)
        return sigma / (1 + (sigma * _UNIFORM_SCALE) ** 4) ** 0.25

    def unit_noise(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Standard normal by the inverse error function."""
        return math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-7, 1 - 1e-7))

    def displacement(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """σ ε."""
        return self.sigma(level) * noise

    def target(
        self, noise: Float[Tensor, "*shape features"], level: Float[Tensor, "*#shape 1"]
    ) -> Float[Tensor, "*shape features"]:
        """wrap(σ ε) / spread(σ)."""
        residual = geometry.wrap_displacement(self.displacement(noise, level))
        return residual / self._spread(level).clamp_min(1e-6)

    def clean(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
    ) -> Float[Tensor, "*shape features"]:
        """x_t minus the predicted residual."""
        return state - self._spread(level) * prediction

    def step(
        self,
        state: Float[Tensor, "*shape features"],
        prediction: Float[Tensor, "*shape features"],
        level: Float[Tensor, "*#shape 1"],
        lower: Float[Tensor, "*#shape 1"],
        noise: Float[Tensor, "*shape features"],
        eta: float,
    ) -> Float[Tensor, "*shape features"]:
        """DDIM for eta 0, the ancestral posterior for eta 1, between them otherwise."""
        high, low = self.sigma(level), self.sigma(lower)
        residual = self._spread(level) * prediction
        ratio = (low / high.clamp_min(1e-12)).clamp(max=1.0)
        added = eta * low * torch.sqrt((1 - ratio**2).clamp_min(0))
        kept = torch.sqrt((low**2 - added**2).clamp_min(0)) / high.clamp_min(1e-12)
        return state - (1 - kept) * residual + added * noise


class LatticeProcess(Protocol):
    """Noise on the six standardised log-strain numbers."""

    def noisy(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """α x_0 + σ ε; level ``(..., 1)``."""
        ...

    def target(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """What the network has to say."""
        ...

    def split(
        self,
        state: Float[Tensor, "crystals features"],
        prediction: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> tuple[Float[Tensor, "crystals features"], Float[Tensor, "crystals features"]]:
        """Clean value and noise that a prediction stands for."""
        ...

    def alpha_sigma(
        self, level: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """α(t) and σ(t)."""
        ...


class LinearFlow:
    """x_t = (1-t) x_0 + t ε with the velocity ε - x_0 as target (Lipman et al. 2023)."""

    def alpha_sigma(
        self, level: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """1-t and t."""
        return 1 - level, level

    def noisy(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """Interpolate."""
        return (1 - level) * clean + level * noise

    def target(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """ε - x_0."""
        return noise - clean

    def split(
        self,
        state: Float[Tensor, "crystals features"],
        prediction: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> tuple[Float[Tensor, "crystals features"], Float[Tensor, "crystals features"]]:
        """x_0 = x_t - t v and ε = x_t + (1-t) v."""
        return state - level * prediction, state + (1 - level) * prediction


class VariancePreserving:
    """x_t = α x_0 + σ ε, α² + σ² = 1, with v = α ε - σ x_0 as target (Salimans and Ho 2022).

    Args:
        schedule: "cosine" (Nichol and Dhariwal 2021) or "linear" in β (Ho et al. 2020).
    """

    def __init__(self, schedule: str = "cosine") -> None:
        if schedule not in ("cosine", "linear"):
            raise ValueError(f"schedule must be 'cosine' or 'linear', got {schedule!r}.")
        self.schedule = schedule

    def alpha_sigma(
        self, level: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """α(t) and σ(t); for "linear" the continuous limit of β from 1e-4 to 0.02, T = 1000."""
        if self.schedule == "cosine":
            angle = level * (math.pi / 2) * 0.999
            return torch.cos(angle), torch.sin(angle)
        alpha = torch.exp(-0.25 * level**2 * (20 - 0.1) - 0.5 * level * 0.1)
        return alpha, torch.sqrt((1 - alpha**2).clamp_min(0))

    def noisy(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """α x_0 + σ ε."""
        alpha, sigma = self.alpha_sigma(level)
        return alpha * clean + sigma * noise

    def target(
        self,
        clean: Float[Tensor, "crystals features"],
        noise: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> Float[Tensor, "crystals features"]:
        """α ε - σ x_0."""
        alpha, sigma = self.alpha_sigma(level)
        return alpha * noise - sigma * clean

    def split(
        self,
        state: Float[Tensor, "crystals features"],
        prediction: Float[Tensor, "crystals features"],
        level: Float[Tensor, "crystals 1"],
    ) -> tuple[Float[Tensor, "crystals features"], Float[Tensor, "crystals features"]]:
        """x_0 = α x - σ v and ε = σ x + α v."""
        alpha, sigma = self.alpha_sigma(level)
        return alpha * state - sigma * prediction, sigma * state + alpha * prediction


def lattice_step(
    process: LatticeProcess,
    state: Float[Tensor, "crystals features"],
    prediction: Float[Tensor, "crystals features"],
    level: Float[Tensor, "crystals 1"],
    lower: Float[Tensor, "crystals 1"],
    noise: Float[Tensor, "crystals features"],
    eta: float,
) -> Float[Tensor, "crystals features"]:
    """One reverse step of a Gaussian process: DDIM (Song et al. 2021, eq. 12) with its η."""
    clean, residual = process.split(state, prediction, level)
    # Standardised log-strain lies within a few deviations; without this bound a wrong early
    # prediction at α near 0 would throw the cell far away.
    clean = clean.clamp(-6, 6)
    alpha, sigma = process.alpha_sigma(lower)
    if eta == 0.0:
        return alpha * clean + sigma * residual
    alpha_high, sigma_high = process.alpha_sigma(level)
    ratio = (alpha_high * sigma / (sigma_high * alpha).clamp_min(1e-12)).clamp(0, 1)
    added = eta * sigma * torch.sqrt((1 - ratio**2).clamp_min(0))
    kept = torch.sqrt((sigma**2 - added**2).clamp_min(0))
    return alpha * clean + kept * residual + added * noise


def mask_elements(
    atomic_numbers: Int[Tensor, "crystals atoms"],
    uniform: Float[Tensor, "crystals atoms"],
    level: Float[Tensor, "crystals 1"],
) -> Int[Tensor, "crystals atoms"]:
    """Absorbing-state corruption: each atom loses its element with probability t (Austin 2021).

    Args:
        atomic_numbers: ``(crystals, atoms)``.
        uniform: ``(crystals, atoms)`` in [0, 1).
        level: ``(crystals, 1)``.
    """
    lost = (uniform < level) & (atomic_numbers > 0)
    return torch.where(lost, torch.full_like(atomic_numbers, MASK_ELEMENT), atomic_numbers)


COORDINATE_PROCESSES: dict[str, Callable[[], CoordinateProcess]] = {
    "flow": TorusFlow,
    "wrapped": WrappedGaussian,
}
LATTICE_PROCESSES: dict[str, Callable[[], LatticeProcess]] = {
    "flow": LinearFlow,
    "cosine": lambda: VariancePreserving("cosine"),
    "linear": lambda: VariancePreserving("linear"),
}
