"""Progressive distillation of the original model (Salimans and Ho 2022, algorithm 2).

The student learns to get in one DDIM step where its teacher gets in two; it then becomes the
teacher of the next, with half as many steps. The target is stated for the noise that the network
of the original design predicts: the ε for which one step of the student ends at the teacher's x″.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.errors import InputError, TrainingError
from crystal_diffusion.shapes import Float


class ProgressiveDistillation:
    """Teacher and student of one halving.

    Args:
        teacher: a trained original model with fixed variance.
        steps: DDIM steps of the student; the teacher takes twice as many.
        hidden_dim: width of the student; the teacher's, with its weights, when not given.
        learning_rate: of Adam.
        seed: of times and noise.

    Raises:
        InputError: for a learned variance or schedule, or steps that do not fit the teacher.
    """

    def __init__(
        self,
        teacher: CrystalDiffusionModel,
        steps: int,
        hidden_dim: int | None = None,
        learning_rate: float = 1e-4,
        seed: int = 0,
    ) -> None:
        if teacher.variance != "fixed" or teacher.learned_schedule is not None:
            raise InputError(
                "progressive distillation takes deterministic steps; give a teacher with fixed "
                "variance and a fixed schedule."
            )
        if not 1 <= steps <= teacher.timesteps // 2:
            raise InputError(
                f"steps is {steps}; the teacher has {teacher.timesteps} times, so give 1 to "
                f"{teacher.timesteps // 2}."
            )
        self.teacher = teacher
        self.steps = steps
        width = hidden_dim or teacher.model.hidden_dim
        self.student = CrystalDiffusionModel(
            timesteps=teacher.timesteps,
            hidden_dim=width,
            time_dim=teacher.model.time_dim,
            learning_rate=learning_rate,
            device=str(teacher.device),
            seed=seed,
        )
        self.student._schedule = teacher.schedule
        if width == teacher.model.hidden_dim:
            self.student.model.load_state_dict(teacher.model.state_dict())
        self._generator = torch.Generator().manual_seed(seed)
        self._times = torch.linspace(teacher.timesteps, 0, 2 * steps + 1).round().long()

    @property
    def times(self) -> list[int]:
        """Times of the student's steps, from noise to crystal, for ``sample(steps=...)``."""
        return [int(t) for t in self._times[:-1:2]]

    def train_step(self, batch: Mapping[str, Any]) -> float:
        """One Adam step on the student; returns the mean squared error of the noise.

        Args:
            batch: as :meth:`CrystalDiffusionModel.train_step` takes it.

        Raises:
            TrainingError: when the loss is not finite.
        """
        device = self.teacher.device
        x_0 = torch.as_tensor(batch["positions"], dtype=torch.float32, device=device)
        mask = torch.as_tensor(batch["mask"], dtype=torch.float32, device=device)
        pick = 2 * torch.randint(0, self.steps, (len(x_0),), generator=self._generator)
        high, middle, low = (self._times[pick + i].to(device) for i in range(3))
        noise = torch.randn(x_0.shape, generator=self._generator).to(device)
        x_t = self.teacher.q_sample(x_0, high, noise * mask.unsqueeze(-1))
        target = self.wanted_noise(x_t, high, middle, low, mask)
        model = self.student.model.train()
        self.student.optimizer.zero_grad(set_to_none=True)
        error = (model(x_t, high, mask) - target).square() * mask.unsqueeze(-1)
        loss = error.sum() / (3 * mask.sum()).clamp_min(1)
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise TrainingError(f"loss is {value}; lower the learning rate.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.student.optimizer.step()
        return value

    @torch.no_grad()
    def wanted_noise(
        self,
        x_t: Float[Tensor, "crystals atoms 3"],
        high: Tensor,
        middle: Tensor,
        low: Tensor,
        mask: Tensor,
    ) -> Float[Tensor, "crystals atoms 3"]:
        """The ε that takes one DDIM step from ``high`` to ``low`` where two of the teacher end.

        With x_s = (α_s/α_t) x_t + (σ_s - σ_t α_s/α_t) ε the step is linear in ε.
        """
        model = self.teacher.model.eval()
        halfway = self._step(x_t, model(x_t, high, mask), high, middle)
        end = self._step(halfway, model(halfway, middle, mask), middle, low)
        scale, push = self._factors(high, low)
        return (end - scale * x_t) / push * mask.unsqueeze(-1)

    def _step(self, x: Tensor, noise: Tensor, high: Tensor, low: Tensor) -> Tensor:
        scale, push = self._factors(high, low)
        return scale * x + push * noise

    def _factors(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        schedule = self.teacher.schedule
        alpha, sigma = (
            getattr(schedule, name).to(high.device, torch.float32)[:, None, None]
            for name in ("alpha", "sigma")
        )
        scale = alpha[low] / alpha[high]
        return scale, sigma[low] - sigma[high] * scale


def progressive_distillation(
    teacher: CrystalDiffusionModel,
    batches: list[Mapping[str, Any]],
    *,
    start: int = 64,
    end: int = 4,
    epochs: int = 20,
    learning_rate: float = 1e-4,
    hidden_dim: int | None = None,
) -> tuple[CrystalDiffusionModel, list[int]]:
    """Halve the steps again and again: ``start``, ``start``/2, ... down to ``end``.

    Args:
        teacher: a trained original model.
        batches: of a ``DataLoader``, gone through ``epochs`` times for each halving.
        start: steps of the first student; end: those of the last.
        hidden_dim: width of the students; a smaller one starts from random weights once.

    Returns:
        The last student and the times of its steps, for
        ``student.sample(..., sampler="ddim", steps=times)``.
    """
    if not 1 <= end <= start:
        raise InputError(f"start is {start} and end is {end}; give 1 <= end <= start.")
    times: list[int] = []
    steps = start
    while steps >= end:
        halving = ProgressiveDistillation(teacher, steps, hidden_dim, learning_rate)
        for _ in range(epochs):
            for batch in batches:
                halving.train_step(batch)
        teacher, times = halving.student, halving.times
        hidden_dim = None
        steps //= 2
    return teacher, times
