"""CrystalDiffusionModel: the model of the original design.

A variance-preserving DDPM on fractional coordinates in a given lattice, without elements; the
default of the library is the joint model in ``joint.py``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.schedules import LearnedSchedule, NoiseSchedule, make_schedule
from crystal_diffusion.errors import InputError, TrainingError
from crystal_diffusion.networks.unet import DenoisingNetwork
from crystal_diffusion.parallel import one_thread_each, side_by_side
from crystal_diffusion.shapes import Float, Shaped

#: Fewer rows than this in a matrix product are not worth a thread of their own.
_ATOMS_PER_PART = 128


class CrystalDiffusionModel:
    """DDPM on fractional coordinates (Ho et al. 2020) with the U-Net of the original design.

    Args:
        timesteps: diffusion steps T.
        beta_start: β_1 of the linear and the learned schedule.
        beta_end: β_T.
        device: "auto", "cpu", "cuda" or "mps".
        hidden_dim: width of the network.
        time_dim: size of the time embedding.
        learning_rate: of Adam.
        schedule: "linear", "cosine" or "learned".
        variance: "fixed" (posterior) or "learned" (Nichol and Dhariwal 2021).
        seed: for initial weights and all noise of training.
    """

    def __init__(
        self,
        timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        device: str = "auto",
        hidden_dim: int = 128,
        time_dim: int = 64,
        learning_rate: float = 1e-4,
        schedule: str = "linear",
        variance: str = "fixed",
        seed: int = 0,
    ) -> None:
        if timesteps < 1:
            raise InputError(f"timesteps is {timesteps}; give at least 1.")
        if not 0 < beta_start <= beta_end < 1:
            raise InputError(
                f"beta_start {beta_start} and beta_end {beta_end} must satisfy "
                "0 < beta_start <= beta_end < 1."
            )
        if variance not in ("fixed", "learned"):
            raise InputError(f"variance {variance!r} is not known; choose fixed or learned.")
        self.timesteps = timesteps
        self.device = resolve_device(device)
        self.variance = variance
        self._generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = self.make_network(hidden_dim, time_dim, variance == "learned")
        self.model.to(self.device)
        self.learned_schedule: LearnedSchedule | None = None
        parameters = list(self.model.parameters())
        self._schedule_optimizer: torch.optim.Optimizer | None = None
        if schedule == "learned":
            self.learned_schedule = LearnedSchedule(timesteps, beta_start, beta_end)
            self.learned_schedule.to(self.device)
            self._schedule_optimizer = torch.optim.Adam(
                self.learned_schedule.parameters(), lr=learning_rate
            )
            self._schedule = self.learned_schedule.freeze()
        else:
            self._schedule = make_schedule(schedule, timesteps, beta_start, beta_end)
        self.optimizer = torch.optim.Adam(parameters, lr=learning_rate)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule as it stands now."""
        if self.learned_schedule is not None:
            return self.learned_schedule.freeze()
        return self._schedule

    def make_network(self, hidden_dim: int, time_dim: int, learned: bool) -> DenoisingNetwork:
        """The network to be trained."""
        return DenoisingNetwork(hidden_dim, time_dim, learned)

    def reverse_network(self) -> Any:
        """What is asked in a reverse chain: the network, or something wrapped around it."""
        return self.model

    def parameters(self) -> list[torch.nn.Parameter]:
        """All trained parameters, the network's first."""
        extra = [] if self.learned_schedule is None else list(self.learned_schedule.parameters())
        return [*self.model.parameters(), *extra]

    def q_sample(
        self,
        x_0: Float[Tensor, "crystals atoms 3"],
        t: Shaped[Tensor, " crystals"],
        noise: Float[Tensor, "crystals atoms 3"] | None = None,
    ) -> Float[Tensor, "crystals atoms 3"]:
        """x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε; t counts from 1 to T, 0 returns x_0.

        Args:
            x_0: ``(crystals, atoms, 3)``.
            t: ``(crystals,)`` integers.
            noise: ε; drawn from the model's own stream if not given.
        """
        if noise is None:
            noise = self._normal(x_0)
        schedule = self.schedule
        alpha = schedule.alpha.to(x_0.device)[t][:, None, None]
        sigma = schedule.sigma.to(x_0.device)[t][:, None, None]
        return alpha * x_0 + sigma * noise

    def posterior(
        self,
        x_t: Float[Tensor, "crystals atoms 3"],
        noise: Float[Tensor, "crystals atoms 3"],
        t: int,
    ) -> tuple[Tensor, float, float]:
        """Mean of x_{t-1} given a noise prediction, posterior variance and β_t.

        μ = (x_t - β_t ε/√(1-ᾱ_t))/√α_t and σ² = β_t(1-ᾱ_{t-1})/(1-ᾱ_t).
        """
        bar = self.schedule.alpha_bar.double()
        now, before = float(bar[t]), float(bar[t - 1])
        beta = 1 - now / before
        mean = (x_t - beta / (1 - now) ** 0.5 * noise) / (1 - beta) ** 0.5
        return mean, beta * (1 - before) / (1 - now), beta

    @torch.no_grad()
    def p_sample(
        self,
        x_t: Float[Tensor, "crystals atoms 3"],
        t: int,
        mask: Shaped[Tensor, "crystals atoms"] | None = None,
        noise: Float[Tensor, "crystals atoms 3"] | None = None,
    ) -> Float[Tensor, "crystals atoms 3"]:
        """One ancestral step from t to t-1; at t = 1 the mean itself."""
        if not 1 <= t <= self.timesteps:
            raise InputError(f"t is {t}; it must be between 1 and {self.timesteps}.")
        times = torch.full((len(x_t),), t, device=x_t.device)
        answer = self.model(x_t, times, mask)
        mean, fixed, beta = self.posterior(x_t, answer[..., :3], t)
        if t == 1:
            return mean
        if noise is None:
            noise = self._normal(x_t)
        if answer.shape[-1] == 6:
            spread = torch.exp(0.5 * _log_variance(answer[..., 3:], beta, fixed))
        else:
            spread = torch.full((), fixed**0.5, device=x_t.device)
        step = mean + spread * noise
        return step if mask is None else step * (mask > 0).unsqueeze(-1)

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Masked mean squared error of the noise at random times, with gradients.

        With learned variance the bound L_vlb is added with weight 0.001 and a detached mean
        (Nichol and Dhariwal 2021, eq. 16).
        """
        x_0 = torch.as_tensor(batch["positions"], dtype=torch.float32, device=self.device)
        mask = torch.as_tensor(batch["mask"], dtype=torch.float32, device=self.device)
        t = torch.randint(1, self.timesteps + 1, (len(x_0),), generator=self._generator).to(
            self.device
        )
        noise = self._normal(x_0) * mask.unsqueeze(-1)
        if self.learned_schedule is not None:
            alpha, sigma = self.learned_schedule.alpha_sigma(t)
            x_t = alpha[:, None, None] * x_0 + sigma[:, None, None] * noise
        else:
            x_t = self.q_sample(x_0, t, noise)
        answer = self.model(x_t, t, mask)
        weight = mask.unsqueeze(-1)
        squared = (answer[..., :3] - noise).square() * weight
        loss = squared.sum() / (3 * weight.sum()).clamp_min(1)
        if self.variance == "learned":
            loss = loss + 1e-3 * self._bound(x_0, x_t.detach(), t, answer, weight)
        return loss

    def train_step(self, batch: Mapping[str, Any]) -> float:
        """One Adam step with the gradient clipped to norm 1.0; returns the loss.

        Args:
            batch: "positions" ``(crystals, atoms, 3)`` and "mask" ``(crystals, atoms)``, as a
                ``DataLoader`` over ``CrystalStructureDataset`` gives them.

        Raises:
            TrainingError: when the loss is not finite.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        if self._schedule_optimizer is not None:
            self._schedule_optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingError(
                f"loss is {value}; check the positions for NaN with `crystal-diffusion check`, "
                "or lower learning_rate."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.learned_schedule is not None and self._schedule_optimizer is not None:
            self._train_schedule(batch)
        return value

    def sample(
        self,
        batch_size: int,
        max_atoms: int,
        lattice: Tensor,
        mask: Tensor | None = None,
        *,
        sampler: str = "ddpm",
        steps: int | Sequence[int] | None = None,
        eta: float = 0.0,
        seed: int | None = None,
    ) -> Float[Tensor, "crystals atoms 3"]:
        """New fractional coordinates ``(batch_size, max_atoms, 3)`` in [0, 1).

        Args:
            batch_size: number of crystals.
            max_atoms: atoms per crystal.
            lattice: ``(batch_size or 1, 3, 3)`` given cells; the original model does not change
                them and its network does not see them.
            mask: ``(batch_size, max_atoms)``, 1 for atoms; all atoms if not given.
            sampler: "ddpm" (ancestral, all T steps) or "ddim" (Song et al. 2021).
            steps: for DDIM a number of steps or the times themselves.
            eta: DDIM's noise, 0 deterministic to 1 ancestral.
            seed: repeatable noise; otherwise the model's own stream goes on.
        """
        lattice = torch.as_tensor(lattice)
        if lattice.shape[-2:] != (3, 3) or lattice.ndim != 3:
            raise InputError(
                f"lattice has shape {tuple(lattice.shape)}; give (batch, 3, 3), rows in Å."
            )
        if lattice.shape[0] not in (1, batch_size):
            raise InputError(
                f"lattice holds {lattice.shape[0]} cells for batch_size {batch_size}; give one "
                "for all or one each."
            )
        if mask is None:
            mask = torch.ones(batch_size, max_atoms)
        if mask.shape != (batch_size, max_atoms):
            raise InputError(
                f"mask has shape {tuple(mask.shape)}, expected {(batch_size, max_atoms)}."
            )
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)
        self.model.eval()
        times = self._times(sampler, steps)
        eta = 1.0 if sampler == "ddpm" else eta
        with one_thread_each(self.device) as workers:
            count = max(1, min(workers, mask.numel() // _ATOMS_PER_PART))
            parts = mask.to(self.device).chunk(count)
            noise = _SharedNoise(mask.shape, [len(part) for part in parts], generator)
            tasks = [
                partial(self._reverse, part, times, eta, partial(noise, index))
                for index, part in enumerate(parts)
            ]
            x = torch.cat(list(side_by_side(tasks, workers)))
        return geometry.wrap(x) * (mask > 0).unsqueeze(-1).to(x.device)

    def _times(self, sampler: str, steps: int | Sequence[int] | None) -> list[int]:
        """Descending times, ending with 0."""
        if sampler not in ("ddpm", "ddim"):
            raise InputError(f"sampler {sampler!r} is not known; choose ddpm or ddim.")
        if sampler == "ddpm" or steps is None:
            return list(range(self.timesteps, -1, -1))
        if isinstance(steps, int):
            if not 1 <= steps <= self.timesteps:
                raise InputError(f"steps is {steps}; give 1 to {self.timesteps}.")
            picked = np.linspace(self.timesteps, 0, steps + 1).round().astype(int).tolist()
        else:
            picked = sorted({int(s) for s in steps} | {0}, reverse=True)
            if picked[0] > self.timesteps or picked[-1] < 0 or len(picked) < 2:
                raise InputError(f"steps {list(steps)} must lie between 1 and {self.timesteps}.")
        return [int(t) for t in picked]

    @torch.inference_mode()
    def _reverse(
        self, mask: Tensor, times: list[int], eta: float, noise_at: Callable[[int], Tensor]
    ) -> Tensor:
        """The reverse chain. What does not change is computed before: a step is few operations."""
        full = bool((mask > 0).all())
        padding = None if full else mask <= 0
        weight = (mask > 0).unsqueeze(-1).float()
        net = self.reverse_network()
        chain = net.chain(torch.tensor(times[:-1], device=self.device), padding)
        bar = self.schedule.alpha_bar.double().cpu().numpy()
        x = noise_at(0).to(self.device) * weight
        for index, (high, low) in enumerate(itertools.pairwise(times)):
            features = chain(x, index)
            noise = net.out(features).view_as(x)
            now, then = float(bar[high]), float(bar[low])
            beta = 1 - now / then
            posterior = beta * (1 - then) / (1 - now)
            sigma = eta * posterior**0.5
            # DDIM, eq. 12; with η = 1 its mean is that of the ancestral posterior.
            direction = max(0.0, 1 - then - sigma**2) ** 0.5
            scale = (then / now) ** 0.5
            x = (scale * x).add_(noise, alpha=direction - scale * (1 - now) ** 0.5)
            if low > 0 and sigma > 0:
                fresh = noise_at(index + 1).to(self.device)
                if net.variance is not None and eta == 1.0:
                    raw = net.variance(features).view_as(x)
                    x = x + torch.exp(0.5 * _log_variance(raw, beta, posterior)) * fresh
                else:
                    x.add_(fresh, alpha=sigma)
            if not full:
                x = x * weight
        return x

    def _bound(self, x_0: Tensor, x_t: Tensor, t: Tensor, answer: Tensor, weight: Tensor) -> Tensor:
        """KL of the true posterior from the predicted one, in nats per coordinate."""
        bar = self.schedule.alpha_bar.to(x_0.device)
        now, before = bar[t][:, None, None], bar[t - 1][:, None, None]
        beta = 1 - now / before
        true_variance = (beta * (1 - before) / (1 - now)).clamp_min(1e-12)
        root = before.sqrt() * beta / (1 - now)
        keep = (1 - beta).sqrt() * (1 - before) / (1 - now)
        true_mean = root * x_0 + keep * x_t
        noise = answer[..., :3].detach()
        mean = (x_t - beta / (1 - now).sqrt() * noise) / (1 - beta).sqrt()
        share = torch.sigmoid(answer[..., 3:])
        log_variance = share * beta.log() + (1 - share) * true_variance.log()
        kl = 0.5 * (
            log_variance
            - true_variance.log()
            + (true_variance + (true_mean - mean).square()) / log_variance.exp()
            - 1
        )
        later = (t > 1)[:, None, None]
        return (kl * weight * later).sum() / (3 * weight.sum()).clamp_min(1)

    def _train_schedule(self, batch: Mapping[str, Any]) -> None:
        """One step on the schedule: less variance of the bound over time (Kingma et al. 2021)."""
        schedule, optimizer = self.learned_schedule, self._schedule_optimizer
        if schedule is None or optimizer is None:
            return
        x_0 = torch.as_tensor(batch["positions"], dtype=torch.float32, device=self.device)
        mask = torch.as_tensor(batch["mask"], dtype=torch.float32, device=self.device)
        weight = mask.unsqueeze(-1)
        t = torch.randint(2, self.timesteps + 1, (len(x_0),), generator=self._generator).to(
            self.device
        )
        noise = self._normal(x_0) * weight
        alpha, sigma = schedule.alpha_sigma(t)
        x_t = alpha[:, None, None] * x_0 + sigma[:, None, None] * noise
        answer = self.model(x_t, t, mask)[..., :3]
        error = ((answer - noise).square() * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)
        position = (t.float() - 1) / max(1, self.timesteps - 1)
        gap = schedule.log_snr(position - 1 / self.timesteps) - schedule.log_snr(position)
        bound = 0.5 * self.timesteps * gap * error
        spread = bound.square().mean()
        gradients = torch.autograd.grad(spread, list(schedule.parameters()))
        for parameter, gradient in zip(schedule.parameters(), gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(schedule.parameters(), 1.0)
        optimizer.step()

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator).to(like.device)


class _SharedNoise:
    """Normal noise of a batch, step by step, for parts that run side by side.

    It is drawn for the whole batch at once, so that the parts do not change it.
    """

    def __init__(
        self, shape: tuple[int, ...], sizes: list[int], generator: torch.Generator
    ) -> None:
        self._shape, self._sizes, self._generator = (*shape, 3), sizes, generator
        self._lock = threading.Lock()
        self._waiting: dict[int, dict[int, Tensor]] = {}

    def __call__(self, part: int, step: int) -> Tensor:
        """``(crystals of the part, atoms, 3)``; every part asks once for each step, in order."""
        with self._lock:
            if step not in self._waiting:
                noise = torch.randn(self._shape, generator=self._generator)
                self._waiting[step] = dict(enumerate(noise.split(self._sizes)))
            mine = self._waiting[step].pop(part)
            if not self._waiting[step]:
                del self._waiting[step]
        return mine


def _log_variance(raw: Tensor, beta: float, posterior: float) -> Tensor:
    """Log σ² = v log β_t + (1-v) log β̃_t with v = sigmoid(raw) (Nichol and Dhariwal, eq. 15)."""
    share = torch.sigmoid(raw)
    return share * float(np.log(beta)) + (1 - share) * float(np.log(max(posterior, 1e-20)))
