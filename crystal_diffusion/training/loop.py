"""The training loop, readable from top to bottom.

Everything random in a step comes from (seed, step), so a killed run that resumes ends with the
weights of an uninterrupted one, bit for bit on one processor.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, LossTerms, exchange_noise
from crystal_diffusion.diffusion.penalty import training_penalty
from crystal_diffusion.errors import TrainingError
from crystal_diffusion.files import make_folder
from crystal_diffusion.seeding import stream_seed
from crystal_diffusion.symmetry.cells import niggli_change
from crystal_diffusion.symmetry.orbits import OrbitProjection, SymmetryTable
from crystal_diffusion.training.batches import BatchPlan, Upcoming, draw_levels, size_weights
from crystal_diffusion.training.checkpoint import MODEL_FILE, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.run_state import Interrupt, Metrics, Progress, RunState
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


@dataclass(frozen=True, eq=False)
class _StepInputs:
    batch: CrystalBatch
    levels: Levels
    coord_noise: Tensor
    lattice_noise: Tensor
    mask_noise: Tensor
    subspace: OrbitProjection | None = None

    def part(self, rows: slice, device: torch.device) -> _StepInputs:
        batch = self.batch[rows]
        width = batch.atomic_numbers.shape[1]
        levels = Levels(
            self.levels.coords[rows, :width].to(device),
            self.levels.lattice[rows].to(device),
            self.levels.elements[rows].to(device),
        )
        return _StepInputs(
            batch.to(device),
            levels,
            self.coord_noise[rows, :width].to(device),
            self.lattice_noise[rows].to(device),
            self.mask_noise[rows, :width].to(device),
            None if self.subspace is None else self.subspace.part(rows, width, device),
        )


def prepare_step(
    model: JointDiffusion,
    data: CrystalBatch,
    rows: np.ndarray,
    config: TrainingConfig,
    step: int,
    symmetry: SymmetryTable | None = None,
) -> _StepInputs:
    """Everything random of one step, on the CPU, from (seed, step) alone.

    Args:
        symmetry: of all crystals in ``data``; without it every crystal gets free noise.
    """
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "step", step))
    batch = data[torch.from_numpy(rows)]
    crystals, atoms = batch.atomic_numbers.shape
    levels = draw_levels(batch, config.tasks, generator)
    uniform = torch.rand(crystals, atoms, 3, generator=generator)
    coord_noise = model.coordinates.unit_noise(uniform)
    if config.exchange and model.coordinates.exchangeable:
        coord_noise = torch.from_numpy(exchange_noise(batch, coord_noise.numpy()))
    lattice_noise = torch.randn(crystals, 6, generator=generator)
    mask_noise = torch.rand(crystals, atoms, generator=generator)
    if config.translate:
        shift = torch.rand(crystals, 1, 3, generator=generator)
        moved = geometry.wrap(batch.frac_coords + shift) * batch.mask.unsqueeze(-1)
        batch = CrystalBatch(moved, batch.lattice, batch.atomic_numbers)
    inputs = _StepInputs(batch, levels, coord_noise, lattice_noise, mask_noise)
    if symmetry is None or not config.symmetric:
        return inputs
    chosen = torch.rand(crystals, generator=generator) < config.symmetric
    # Elements are drawn before a symmetry is; frozen atoms of a host belong to no orbit.
    whole = (levels.coords > 0).eq(batch.mask).all(-1)
    use = (chosen & whole & (levels.elements <= 0)).numpy() & symmetry.symmetric(rows)
    return _symmetric_step(model, inputs, symmetry.batch(rows, use, atoms), uniform, use)


def _symmetric_step(
    model: JointDiffusion,
    inputs: _StepInputs,
    subspace: OrbitProjection,
    uniform: Tensor,
    use: np.ndarray,
) -> _StepInputs:
    """Noise of the crystals' own groups, in the reduced basis of each noisy cell.

    The sampler projects its states and asks the network in the reduced cell of each; so does
    this: the noisy cell is projected on the metrics that the group allows and reduced, and the
    crystal is described in that basis. The lattice noise that leads to the projected state from
    the clean one stands for the noise drawn, so the loss needs to know nothing of it.
    """
    batch, levels = inputs.batch, inputs.levels
    rows = torch.from_numpy(use)
    spread = model.coordinates.unit_noise(uniform)
    if model.coordinates.exchangeable:
        metric = batch.lattice @ batch.lattice.mT
        spread = subspace.noise(spread, metric)
    else:
        spread = subspace.displacement(spread)
    coord_noise = torch.where(rows[:, None, None], spread, inputs.coord_noise)

    count, level = batch.num_atoms, levels.lattice.unsqueeze(-1)
    clean = _encode(model, batch.lattice, count)
    noisy = model.lattice.noisy(clean, inputs.lattice_noise.double(), level.double())
    cell = subspace.lattice(_decode(model, noisy, count))
    moves = rows & (levels.lattice > 0)
    basis = torch.eye(3, dtype=torch.float64).repeat(len(use), 1, 1)
    for row in torch.nonzero(moves).flatten().tolist():
        basis[row] = torch.from_numpy(niggli_change(cell[row].numpy()))
    back = torch.linalg.inv(basis)
    lattice = basis @ batch.lattice.double()
    alpha, sigma = model.lattice.alpha_sigma(level.double())
    ends = _encode(model, basis @ cell, count) - alpha * _encode(model, lattice, count)
    lattice_noise = torch.where(
        moves.unsqueeze(-1), (ends / sigma.clamp_min(1e-9)).float(), inputs.lattice_noise
    )
    turned = CrystalBatch(
        geometry.wrap((batch.frac_coords.double() @ back).float()) * batch.mask.unsqueeze(-1),
        lattice.float(),
        batch.atomic_numbers,
    )
    return _StepInputs(
        turned,
        levels,
        (coord_noise.double() @ back).float(),
        lattice_noise,
        inputs.mask_noise,
        subspace.in_basis(basis),
    )


def _encode(model: JointDiffusion, lattice: Tensor, count: Tensor) -> Tensor:
    return model.encode_lattice(lattice.double().to(model.device), count.to(model.device)).cpu()


def _decode(model: JointDiffusion, state: Tensor, count: Tensor) -> Tensor:
    return model.decode_lattice(state.to(model.device), count.to(model.device)).cpu()


def step_loss(
    model: JointDiffusion, inputs: _StepInputs, config: TrainingConfig, bfloat16: bool = False
) -> LossTerms:
    """Loss of one prepared batch; with ``bfloat16`` the network computes in it."""
    terms = model.loss(
        inputs.batch,
        inputs.levels,
        inputs.coord_noise,
        inputs.lattice_noise,
        inputs.mask_noise,
        config.lattice_weight,
        config.element_weight,
        bfloat16=bfloat16,
        subspace=inputs.subspace,
    )
    if config.physics_weight:
        penalty = training_penalty(
            model,
            inputs.batch,
            inputs.levels,
            inputs.coord_noise,
            inputs.lattice_noise,
            bfloat16=bfloat16,
        )
        total = terms.total + config.physics_weight * penalty
        return LossTerms(total, terms.coords, terms.lattice, terms.elements)
    return terms


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
            interrupt,
            identity,
        )


def _fit(
    model: JointDiffusion,
    data: CrystalBatch,
    config: TrainingConfig,
    out: Path,
    header: Mapping[str, Any] | None,
    monitor: Monitor | None,
    on_step: Callable[[int, float], None] | None,
    stop_after_seconds: float,
    interrupt: Interrupt,
    identity: Mapping[str, Any] | None,
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
    average = {name: p.detach().clone() for name, p in parameters.items()}
    plan = batch_plan(data, config)
    state = RunState(out, config, data, identity)
    start, running, progress = state.restore(parameters, average, optimiser)
    bf16 = use_bfloat16(config.precision, device)
    metrics = Metrics(out / "metrics.jsonl", start, workers.first)
    symmetry = None
    if config.symmetric:
        data, symmetry = find_symmetry(data)

    def prepared(step: int) -> tuple[np.ndarray, _StepInputs]:
        rows = plan.batch(step)
        return rows, prepare_step(model, data, rows, config, step, symmetry)

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
            part = inputs.part(piece, device)
            terms = step_loss(model, part, config, bf16)
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
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise TrainingError(
                f"loss is {loss} (gradient norm {float(norm)}) at step {step}, crystals "
                f"{rows[:8].tolist()}{' ...' if len(rows) > 8 else ''}; the last checkpoint in "
                f"{out} is intact. Lower the learning rate (now {config.rate(step):.1e}), or run "
                "`crystal-diffusion check` on the data."
            )
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
            if "score" in figures and config.patience:
                improved = figures["score"] > progress.best + 1e-9
                since_best = 0 if improved else progress.since_best + 1
                # The first half always runs: early samples say little about the end.
                early = since_best >= config.patience and step > config.steps // 2
                progress = Progress(max(progress.best, figures["score"]), since_best, early)
                if early:
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
