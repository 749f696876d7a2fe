"""Settings of one training run, and defaults chosen from the size of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from crystal_diffusion.errors import InputError

#: Share of each question in training: which fields are given and which are noised.
DEFAULT_TASKS: Mapping[str, float] = {
    "composition": 0.68,
    "nothing": 0.12,
    "lattice": 0.05,
    "independent": 0.05,
    "host": 0.05,
    "decoration": 0.05,
}


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Attributes:
        steps: optimiser steps in all.
        tokens: atoms and lattice tokens per step; small crystals come in larger batches.
        learning_rate: peak rate of AdamW.
        warmup: steps of linear rise; decay: steps of linear fall at the end.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights that are used for generation.
        accumulate: slices a step is computed in, to save memory.
        precision: "float32", "bfloat16" or "auto" (bfloat16 where the device has it in hardware).
        tasks: share of each question, see ``DEFAULT_TASKS``.
        exchange: match noise to equal atoms (optimal transport).
        translate: move each crystal by a random vector in each step; the transformer cannot see
            it, the U-Net learns from it that the origin means nothing.
        symmetric: share of the crystals whose elements are given that get noise and states of
            their own space group, where the symmetry of the data is known.
        long_steps: share of the crystals that learn long steps, for distillation.
        large_power: crystals of N > 20 atoms take part in (20/N)^large_power of the epochs.
    """

    steps: int = 2000
    tokens: int = 1024
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: int = 400
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1
    seed: int = 0
    precision: str = "auto"
    tasks: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_TASKS))
    exchange: bool = True
    translate: bool = True
    symmetric: float = 0.0
    large_power: float = 0.0
    long_steps: float = 0.0
    lattice_weight: float = 0.25
    element_weight: float = 0.25
    physics_weight: float = 0.0
    checkpoint_seconds: float = 120.0
    log_every: int = 20
    monitor_every: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; give at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}; give a number above 0.")
        if not 0 <= self.physics_weight < math.inf:
            raise InputError(f"physics_weight is {self.physics_weight}; give 0 or more.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; give a whole number from 0 on.")
        if self.accumulate < 1:
            raise InputError(f"accumulate is {self.accumulate}; give at least 1.")
        if self.patience < 0:
            raise InputError(f"patience is {self.patience}; give 0 or more.")
        if self.tokens < 2:
            raise InputError(f"tokens is {self.tokens}; give at least 2, one atom and one lattice.")
        if not 0 <= self.symmetric <= 1:
            raise InputError(
                f"the share of symmetric noise is {self.symmetric}; give a number between 0 and 1."
            )
        if not 0 <= self.large_power < math.inf:
            raise InputError(f"large_power is {self.large_power}; give 0 or a positive number.")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise InputError(
                f"precision {self.precision!r} is not known; use auto, float32 or bfloat16."
            )
        unknown = set(self.tasks) - set(DEFAULT_TASKS)
        if unknown or sum(self.tasks.values()) <= 0:
            raise InputError(
                f"tasks {sorted(self.tasks)} must be among {sorted(DEFAULT_TASKS)} with a "
                "positive total share."
            )

    def rate(self, step: int) -> float:
        """Learning rate at a step counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / max(1, self.decay))
        return self.learning_rate * min(rise, fall)
