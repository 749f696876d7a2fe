"""The training loop, readable from top to bottom.

Everything random in a step comes from (seed, step), so a killed run that resumes ends with the
weights of an uninterrupted one, bit for bit on one processor.
"""

from __future__ import annotations

import copy
import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import TrainingError
from crystal_diffusion.files import make_folder
from crystal_diffusion.parallel import usable_cores
from crystal_diffusion.symmetry.orbits import SymmetryTable
from crystal_diffusion.training.batches import (
    BatchPlan,
    Upcoming,
    made_by_processes,
    size_weights,
)
from crystal_diffusion.training.checkpoint import MODEL_FILE, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.run_state import Interrupt, Metrics, Progress, RunState
from crystal_diffusion.training.steps import (
    Objective,
    StepInputs,
    denoising_objective,
    prepare_step,
)
from crystal_diffusion.training.symmetry import find_symmetry

log = logging.getLogger(__name__)

#: Called every ``monitor_every`` steps with averaged weights loaded; returns figures to log.
#: A figure named "score" decides early stopping: the run ends when it no longer rises.
Monitor = Callable[[int, JointDiffusion], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: steps done, last averaged loss, why it stopped, seconds of this run."""

    steps: int
    loss: float
    stopped: str
    seconds: float


def batch_plan(data: CrystalBatch, config: TrainingConfig) -> BatchPlan:
    """Which crystals go into which step of a run."""
    sizes = data.num_atoms.numpy()
    weights = size_weights(sizes, config.large_power)
    return BatchPlan(sizes, config.tokens, config.seed, weights)


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: asked for, or "auto" and the device has it in hardware."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def fit(
    model: JointDiffusion,
    data: CrystalBatch,
    config: TrainingConfig,
    out: Path,
    *,
    header: Mapping[str, Any] | None = None,
    monitor: Monitor | None = None,
    on_step: Callable[[int, float], None] | None = None,
    stop_after_seconds: float = math.inf,
    identity: Mapping[str, Any] | None = None,
    objective: Objective = denoising_objective,
    processes: int | None = None,
    symmetry: SymmetryTable | None = None,
) -> TrainingResult:
    """Train ``model`` in place and write checkpoints into ``out``; resumes by itself.

    Args:
        model: the joint model, on its device.
        data: all training crystals, on the CPU.
        config: settings; a run resumes only with the settings it was started with, except
            ``steps`` and ``decay``, which may be changed to go on longer.
        out: folder for ``model.safetensors``, ``state.safetensors`` and ``metrics.jsonl``.
        header: what else to store in the model file (data hash, names, figures).
        monitor: see :data:`Monitor`.
        on_step: called after each step with the number of steps done and the loss.
        stop_after_seconds: end the slice early, with a checkpoint to go on from.
        identity: what else a run depends on, beside data and settings; a run resumes only where
            it agrees.
        objective: what a step minimises; the denoising loss when not given.
        processes: that prepare the steps ahead; by default four at most beside a GPU, and none
            on a processor, where they would want the cores of the step itself.
        symmetry: of ``data``, made symmetric already; found here where the settings want it and
            it is not given.

    Raises:
        TrainingError: when the loss is not finite; names the step, the batch and the remedy.
        CheckpointError: when the state in ``out`` belongs to other settings.
    """
    with Interrupt() as interrupt:
        return _fit(
            model,
            data,
            config,
            out,
            header,
            monitor,
            on_step,
            stop_after_seconds,
            objective,
            interrupt,
            identity,
            _preparing(model.device) if processes is None else processes,
            symmetry,
        )


def _preparing(device: torch.device) -> int:
    """Processes that prepare steps: a GPU would wait for one of them."""
    if device.type != "cuda" or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    return min(4, usable_cores() - 1)


# One loop that is read from top to bottom; what has a name of its own is a function below.
def _fit(  # noqa: C901, PLR0912, PLR0915
    model: JointDiffusion,
    data: CrystalBatch,
    config: TrainingConfig,
    out: Path,
    header: Mapping[str, Any] | None,
    monitor: Monitor | None,
    on_step: Callable[[int, float], None] | None,
    stop_after_seconds: float,
    objective: Objective,
    interrupt: Interrupt,
    identity: Mapping[str, Any] | None,
    processes: int,
    symmetry: SymmetryTable | None,
) -> TrainingResult:
    make_folder(out)
    device = model.device
    workers = Workers.from_environment(device)
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    model.train()
    optimiser = torch.optim.AdamW(
        parameters.values(),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
        fused=device.type == "cuda",
    )
    # Not torch's AveragedModel: averages are stored and resumed by name, beside the weights.
    average = {name: p.detach().clone() for name, p in parameters.items()}
    plan = batch_plan(data, config)
    state = RunState(out, config, data, identity)
    start, running, progress = state.restore(parameters, average, optimiser)
    bf16 = use_bfloat16(config.precision, device)
    metrics = Metrics(out / "metrics.jsonl", start, workers.first)
    if config.symmetric and symmetry is None:
        data, symmetry = find_symmetry(data, processes=max(1, processes))
    # Steps are prepared on the CPU; a process beside a GPU cannot touch what lies on it.
    beside = model if device.type == "cpu" else copy.deepcopy(model).to("cpu")

    def prepared(step: int) -> tuple[np.ndarray, StepInputs]:
        rows = plan.batch(step)
        return rows, prepare_step(beside, data, rows, config, step, symmetry)

    if processes:
        upcoming = made_by_processes(prepared, start, config.steps, processes)
    else:
        # On a processor both would want the same cores.
        upcoming = Upcoming(prepared, start, config.steps, ahead=0 if device.type == "cpu" else 2)
    began = last_saved = time.monotonic()
    stopped, interrupted = "early" if progress.stopped_early else "finished", False
    step = start
    while step < config.steps and not progress.stopped_early:
        rows, inputs = upcoming(step)
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros(6, dtype=torch.float64)
        for piece, share in workers.slices(len(rows), config.accumulate):
            terms = objective(model, inputs.part(piece, device), config, bf16)
            (terms.total * share).backward()
            values = (terms.total, terms.coords, terms.lattice, terms.elements)
            sums[:4] += share * torch.stack([v.detach() for v in values]).cpu().double()
        # A process that was interrupted, or whose time is up, ends the run of all of them.
        sums[4] = interrupt.asked
        sums[5] = time.monotonic() - began > stop_after_seconds
        workers.add_gradients(parameters.values())
        workers.add(sums)
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        loss = float(sums[0])
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            raise _diverged(loss, float(norm), step, rows, config, out)
        optimiser.step()
        step += 1
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            averaged = list(average.values())
            torch._foreach_lerp_(averaged, [p.detach() for p in parameters.values()], 1 - decay)
        running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
        if step % config.log_every == 0 or step == config.steps:
            metrics.write(
                step=step,
                epoch=round(step / plan.per_epoch, 3),
                loss=running,
                coords=float(sums[1]),
                lattice=float(sums[2]),
                elements=float(sums[3]),
                gradient_norm=float(norm),
                learning_rate=config.rate(step - 1),
                seconds=round(time.monotonic() - began, 2),
                crystals=len(rows),
            )
        if on_step:
            on_step(step, running)
        if monitor and config.monitor_every and step % config.monitor_every == 0:
            figures = _monitored(model, parameters, average, monitor, step) if workers.first else {}
            figures = workers.share(figures)
            metrics.write(step=step, **figures)
            progress = _judged(progress, figures, config, step)
            if progress.stopped_early:
                stopped = "early"
                break
        now = time.monotonic()
        interrupted = bool(sums[4])
        if interrupted or sums[5]:
            stopped = "slice"
            break
        if now - last_saved > config.checkpoint_seconds and workers.first:
            state.save(step, running, parameters, average, optimiser, progress)
            _save_average(out, model, average, step, header, running)
            last_saved = now
    if workers.first:
        state.save(step, running, parameters, average, optimiser, progress)
        _save_average(out, model, average, step, header, running)
    workers.wait()
    if interrupted:
        log.warning("interrupted at step %d; the same command goes on from there", step)
        raise KeyboardInterrupt
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(average[name])
    model.eval().requires_grad_(False)
    return TrainingResult(step, running, stopped, time.monotonic() - began)


def _diverged(
    loss: float, norm: float, step: int, rows: np.ndarray, config: TrainingConfig, out: Path
) -> TrainingError:
    more = " ..." if len(rows) > 8 else ""
    return TrainingError(
        f"loss is {loss} (gradient norm {norm}) at step {step}, crystals {rows[:8].tolist()}"
        f"{more}; the last checkpoint in {out} is intact. Lower the learning rate (now "
        f"{config.rate(step):.1e}), or run `crystal-diffusion check` on the data."
    )


def _judged(
    progress: Progress, figures: Mapping[str, float], config: TrainingConfig, step: int
) -> Progress:
    """Whether the score still rises, and whether the run ends because it no longer does."""
    if "score" not in figures or not config.patience:
        return progress
    improved = figures["score"] > progress.best + 1e-9
    since_best = 0 if improved else progress.since_best + 1
    # The first half always runs: early samples say little about the end.
    early = since_best >= config.patience and step > config.steps // 2
    return Progress(max(progress.best, figures["score"]), since_best, early)


def _monitored(
    model: JointDiffusion,
    parameters: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    monitor: Monitor,
    step: int,
) -> dict[str, float]:
    """Run the monitor on the averaged weights, then put the training weights back."""
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(average[name])
        model.eval()
        figures = dict(monitor(step, model))
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
    model.train()
    return figures


def _save_average(
    out: Path,
    model: JointDiffusion,
    average: Mapping[str, Tensor],
    step: int,
    header: Mapping[str, Any] | None,
    loss: float,
) -> None:
    extra = {**(header or {}), "steps": step, "loss": loss}
    save_model(out / MODEL_FILE, model, average, extra)
