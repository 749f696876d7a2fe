"""What a training run costs, and settings by the amount of data."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.prediction.own import OwnProperty
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import (
    TrainingResult,
    batch_plan,
    use_bfloat16,
)
from crystal_diffusion.training.steps import denoising_objective, prepare_step
from crystal_diffusion.workflows.training_settings import HEADS, ModelSettings, TrainingSettings


@dataclass(frozen=True)
class Defaults:
    """Network and training settings for an amount of data."""

    dim: int
    layers: int
    epochs: int
    tokens: int
    learning_rate: float


#: Passes that are timed before training: until there are so many that took so long in all, or most.
_FEWEST, _SECONDS, _MOST = 3, 1.5, 12
#: A graphics processor is idle with batches that suit a processor; this many times larger ones,
#: and as many more passes, keep the number of steps.
_ACCELERATOR_BATCH = 8


def defaults_for(crystals: int, device: str = "cpu") -> Defaults:
    """Settings by number of training crystals, found on the demo set and on Perov-5.

    Few crystals get a small network and many passes; the number of steps stays near 1,500 to
    10,000, which is minutes to an hour on two cores.
    """
    if device != "cpu" and crystals >= 1000:
        chosen = defaults_for(crystals)
        return replace(
            chosen,
            epochs=chosen.epochs * _ACCELERATOR_BATCH,
            tokens=chosen.tokens * _ACCELERATOR_BATCH,
        )
    if crystals < 100:
        return Defaults(96, 4, max(200, 24_000 // max(crystals, 1)), 256, 2e-3)
    if crystals < 1000:
        return Defaults(128, 4, max(60, 60_000 // crystals), 512, 1.5e-3)
    if crystals < 20_000:
        return Defaults(128, 6, max(20, 400_000 // crystals), 768, 1e-3)
    return Defaults(192, 6, 12, 768, 8e-4)


def network_options(model: ModelSettings, chosen: Defaults) -> dict[str, Any]:
    """Size of a network by name; what is not given comes from the amount of data."""
    if model.network == "unet":
        return {"hidden_dim": model.dim or 128}
    if model.network == "equivariant":
        return {"dim": model.dim or 64, "layers": model.layers or 4}
    return {
        "dim": model.dim or chosen.dim,
        "layers": model.layers or chosen.layers,
        "heads": HEADS,
    }


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, measured on a few real steps: seconds, peak memory in MB.

    Attributes:
        steps: in all; parameters: of the network.
        other_seconds: what is done beside the steps, such as asking for crystals left out.
        trainings: that share the steps.
    """

    steps: int
    seconds_per_step: float
    memory_mb: float
    parameters: int
    other_seconds: float = 0.0
    trainings: int = 1

    @property
    def seconds(self) -> float:
        """In all."""
        return self.steps * self.seconds_per_step + self.other_seconds


@dataclass(frozen=True)
class TrainingSummary:
    """How training went, in figures and in words."""

    result: TrainingResult
    estimate: Estimate
    verdict: str
    validity: float
    copies: float
    out: Path
    properties: tuple[OwnProperty, ...] = ()


def batch_of(arrays: Any) -> CrystalBatch:
    """All crystals of flat arrays as one padded batch."""
    offsets = arrays.offsets
    rows = range(len(arrays))
    return CrystalBatch.from_arrays(
        [arrays.frac_coords[offsets[i] : offsets[i + 1]] for i in rows],
        arrays.lattice,
        [arrays.atomic_numbers[offsets[i] : offsets[i + 1]] for i in rows],
    )


def measure(
    model: JointDiffusion, data: CrystalBatch, config: TrainingConfig, workers: Workers
) -> Estimate:
    """Time real steps of this process's share, at a rate of 0, so that no weight changes.

    The first pass is not counted: it does what is done once. The mean of the others is taken: where
    the machine has other work, a pass that had to wait is as usual as one that had not, and a few
    short ones would miss it.
    """
    plan = batch_plan(data, config)
    bf16 = use_bfloat16(config.precision, model.device)
    passes: list[float] = []
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=0.0, fused=model.device.type == "cuda")
    averages = [parameter.detach().clone() for parameter in parameters]
    for step in range(_MOST + 1):
        began = time.perf_counter()
        rows = plan.batch(step % plan.per_epoch)
        inputs = prepare_step(model, data, rows, config, step)
        for piece, _ in workers.slices(len(rows), config.accumulate):
            part = inputs.part(piece, model.device)
            denoising_objective(model, part, config, bf16).total.backward()
        workers.add_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        if torch.isfinite(norm):  # else the weights would be lost even at a rate of 0
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 0.01)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        passes.append(time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
        enough = step >= _FEWEST and sum(passes[1:]) > _SECONDS
        if workers.share(enough):  # all of them make as many, because they wait for each other
            break
    size = sum(p.numel() for p in parameters)
    scale = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    return Estimate(1, statistics.fmean(passes[1:]), resident, size)


def training_config(
    training: TrainingSettings, *, steps: int, tokens: int, **chosen: Any
) -> TrainingConfig:
    """The settings of the loop that follow from what was asked for.

    Args:
        training: what was asked for.
        steps, tokens, **chosen: what was found for these crystals.
    """
    return TrainingConfig(
        steps=steps,
        tokens=tokens,
        seed=training.seed,
        precision=training.precision,
        physics_weight=training.physics_weight,
        accumulate=training.accumulate,
        translate=training.translate,
        symmetric=training.symmetric_noise or 0.0,
        large_power=training.large_power,
        **chosen,
    )


def steps_of(
    training: TrainingSettings,
    chosen: Defaults,
    data: CrystalBatch,
    config: TrainingConfig,
    estimate: Estimate,
) -> int:
    """Optimiser steps that were asked for, or that suit the data."""
    if training.steps is not None:
        return training.steps
    if training.minutes is not None:
        return max(20, int(training.minutes * 60 / estimate.seconds_per_step))
    per_epoch = batch_plan(data, config).per_epoch
    return max(20, per_epoch * (training.epochs or chosen.epochs))
