"""``train``: from any source of crystals to a model folder, with defaults chosen from the data."""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.training_set import (
    TRAINING_SET_FILE,
    save_training_set,
)
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import locked, make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.training.checkpoint import checksum
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import (
    TrainingResult,
    batch_plan,
    fit,
    prepare_step,
    step_loss,
    use_bfloat16,
)
from crystal_diffusion.training.plots import plot_losses
from crystal_diffusion.training.run_state import RunState
from crystal_diffusion.workflows.data_card import describe_data, without_oversized
from crystal_diffusion.workflows.model_card import inherited, write_card
from crystal_diffusion.workflows.monitor import Monitor, verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defaults:
    """Network and training settings for an amount of data."""

    dim: int
    layers: int
    epochs: int
    tokens: int
    learning_rate: float


#: Attention heads of the transformer; its width is a multiple of them.
HEADS = 8
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


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, measured on two real steps: seconds, peak memory in MB."""

    steps: int
    seconds_per_step: float
    memory_mb: float
    parameters: int

    @property
    def seconds(self) -> float:
        """Total for all steps."""
        return self.steps * self.seconds_per_step


@dataclass(frozen=True)
class TrainingSummary:
    """How training went, in figures and in words."""

    result: TrainingResult
    estimate: Estimate
    verdict: str
    validity: float
    copies: float
    out: Path


def train(
    source: Any,
    out: str | Path,
    *,
    network: str = "transformer",
    coordinates: str = "flow",
    lattice: str = "flow",
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    learning_rate: float | None = None,
    dim: int | None = None,
    layers: int | None = None,
    tokens: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    reduce: bool = True,
    holdout: float = 0.1,
    patience: int = 4,
    physics_weight: float = 0.0,
    accumulate: int = 1,
    translate: bool = True,
    symmetric_noise: float = 0.0,
    large_power: float = 0.0,
    disorder: str = "skip",
    largest_volume: float = 6.0,
    start_from: str | Path | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[CrystalGenerator, TrainingSummary]:
    """Train a joint model and write it to ``out``; the same call resumes a killed run.

    Args:
        source: anything ``CrystalStructureDataset`` takes, or a data set.
        out: model folder.
        network: "transformer" or "unet".
        coordinates: "flow" or "wrapped"; lattice: "flow", "cosine" or "linear".
        epochs, steps, minutes: length of training; by default chosen from the data.
        reduce: reduce cells to primitive Niggli cells.
        holdout: share of crystals kept for early stopping, where there are 50 or more.
        patience: monitorings without improvement before training stops early; 0 never stops.
        symmetric_noise: share of the crystals that get noise of their own space group.
        large_power: crystals of N > 20 atoms take part in (20/N)^large_power of the passes.
        largest_volume: crystals of more than this many times the volume that their elements take
            elsewhere are left out: the Materials Project holds some two thousand whose cells are
            2.4 times too long, and a model that has met them makes more of them.
        start_from: a model folder to fine-tune; its network is kept.
        on_estimate: called once before training with the measured cost.
        on_step: called with steps done, steps in all and the running loss.

    Returns:
        The generator, ready to use, and a summary with a verdict.
    """
    folder = Path(out)
    _check_arguments(
        {"epochs": epochs, "steps": steps, "dim": dim, "layers": layers, "tokens": tokens},
        {"minutes": minutes, "learning_rate": learning_rate, "largest_volume": largest_volume},
    )
    if dim is not None and network == "transformer" and dim % HEADS:
        raise InputError(f"dim is {dim}; the transformer has {HEADS} heads, give a multiple of it.")
    dataset = without_oversized(_dataset(source, reduce, disorder), largest_volume)
    arrays = dataset.arrays
    if network not in ("transformer", "unet"):
        raise InputError(f"network {network!r} is not known; choose transformer or unet.")
    crystals = len(dataset)
    held = np.zeros(0, dtype=np.int64)
    order = np.random.default_rng((seed, 7)).permutation(crystals)
    if crystals >= 50 and holdout > 0:
        held = np.sort(order[: max(5, min(500, round(crystals * holdout)))])
    used = np.setdiff1d(np.arange(crystals), held)
    data = batch_of(arrays.take(used))
    resolved = resolve_device(device)
    chosen = defaults_for(len(used), resolved.type)
    elements = tuple(int(z) for z in np.unique(arrays.atomic_numbers))
    before = 0
    if start_from is not None:
        started = load(start_from, device)
        before = int(started.header.get("steps", 0)) + int(started.header.get("steps_before", 0))
        base = started.model
        model = JointDiffusion(replace(base.config, elements=elements)).to(resolved)
        model.load_state_dict(base.state_dict())
    else:
        options: dict[str, Any] = (
            {"hidden_dim": dim or 128}
            if network == "unet"
            else {
                "dim": dim or chosen.dim,
                "layers": layers or chosen.layers,
                "heads": HEADS,
            }
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = JointDiffusion(
                JointConfig(
                    network=network,
                    network_options=options,
                    coordinates=coordinates,
                    lattice=lattice,
                    statistics=LatticeStatistics.from_batch(data),
                    max_train_atoms=int(data.num_atoms.max()),
                    elements=elements,
                )
            ).to(resolved)
    rate = learning_rate or (chosen.learning_rate if start_from is None else 2e-4)
    config = TrainingConfig(
        steps=1,
        tokens=tokens or chosen.tokens,
        learning_rate=rate,
        seed=seed,
        precision=precision,
        physics_weight=physics_weight,
        accumulate=accumulate,
        translate=translate,
        symmetric=symmetric_noise,
        large_power=large_power,
        patience=patience if len(held) or crystals < 50 else 0,
    )
    workers = Workers.from_environment(resolved)
    estimate = workers.share(measure(model, data, config, workers))
    total = _steps(steps, epochs, minutes, chosen, data, config, estimate)
    config = replace(
        config,
        steps=total,
        decay=max(1, total // 4),
        warmup=min(200, max(1, total // 10)),
        monitor_every=max(50, total // 8),
        log_every=max(1, min(20, total // 20)),
        checkpoint_seconds=60.0,
    )
    estimate = replace(estimate, steps=total)
    if on_estimate:
        on_estimate(estimate)
    identity = {
        "network": asdict(model.config),
        "start_from": None if start_from is None else checksum(model.state_dict()),
        "held_out": [int(i) for i in held],
    }
    with locked(make_folder(folder)) if workers.first else contextlib.nullcontext():
        if workers.first:
            # Nothing is written before it is clear that the run may go on here.
            RunState(folder, config, data, identity).check()
            save_training_set(folder / TRAINING_SET_FILE, arrays.take(used))
        header = describe_data(dataset, arrays.take(used), held) if workers.first else {}
        if before:
            header["steps_before"] = before
            header |= inherited(started.header)
        monitor = (
            Monitor(arrays.take(used), arrays.take(held) if len(held) else None, seed)
            if workers.first
            else _figures_of_the_first
        )
        result = fit(
            model,
            data,
            config,
            folder,
            header=header,
            monitor=monitor,
            identity=identity,
            on_step=(lambda step, loss: on_step(step, total, loss)) if on_step else None,
        )
        final = workers.share(monitor(result.steps, model))
        if workers.first:
            plot_losses(folder / "metrics.jsonl", folder / "loss.png")
            write_card(folder)
        workers.wait()
        summary = TrainingSummary(
            result,
            estimate,
            verdict(result, final, total),
            final["validity"],
            final["copies"],
            folder,
        )
        return load(folder, device), summary


def _check_arguments(counts: Mapping[str, int | None], amounts: Mapping[str, float | None]) -> None:
    """Numbers that no training can use, told before anything is read.

    Raises:
        InputError: names the argument.
    """
    for name, count in counts.items():
        if count is not None and not 1 <= count < 2**31:
            raise InputError(f"{name} is {count}; give at least 1.")
    for name, amount in amounts.items():
        if amount is not None and not 0 < amount < math.inf:
            raise InputError(f"{name} is {amount}; give a number above 0.")


def _dataset(source: Any, reduce: bool, disorder: str) -> CrystalStructureDataset:
    if isinstance(source, CrystalStructureDataset):
        return source
    return CrystalStructureDataset(source, reduce=reduce, disorder=disorder)  # type: ignore[arg-type]


def batch_of(arrays: Any) -> CrystalBatch:
    """All crystals of flat arrays as one padded batch."""
    offsets = arrays.offsets
    rows = range(len(arrays))
    return CrystalBatch.from_arrays(
        [arrays.frac_coords[offsets[i] : offsets[i + 1]] for i in rows],
        arrays.lattice,
        [arrays.atomic_numbers[offsets[i] : offsets[i + 1]] for i in rows],
    )


def _figures_of_the_first(step: int, model: JointDiffusion) -> Mapping[str, float]:
    """The monitor of every process but the first, which asks the model and tells the others."""
    return {}


def measure(
    model: JointDiffusion, data: CrystalBatch, config: TrainingConfig, workers: Workers
) -> Estimate:
    """Time two real forward and backward passes of this process's share; no weight changes."""
    plan = batch_plan(data, config)
    bf16 = use_bfloat16(config.precision, model.device)
    took = math.inf
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for step in range(2):
        began = time.perf_counter()
        rows = plan.batch(step % plan.per_epoch)
        inputs = prepare_step(model, data, rows, config, step)
        for piece, _ in workers.slices(len(rows), config.accumulate):
            part = inputs.part(piece, model.device)
            step_loss(model, part, config, bf16).total.backward()
        workers.add_gradients(model.parameters())
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        took = min(took, time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
    # Weights, averages, two moments and gradients are five copies, beside what is held now.
    parameters = sum(p.numel() for p in model.parameters())
    scale = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    return Estimate(1, took * 1.1, resident + 5 * 4 * parameters / 1e6, parameters)


def _steps(
    steps: int | None,
    epochs: int | None,
    minutes: float | None,
    chosen: Defaults,
    data: CrystalBatch,
    config: TrainingConfig,
    estimate: Estimate,
) -> int:

    if sum(x is not None for x in (steps, epochs, minutes)) > 1:
        raise InputError("steps, epochs and minutes exclude each other; give one of them.")
    if steps is not None:
        return steps
    if minutes is not None:
        return max(20, int(minutes * 60 / estimate.seconds_per_step))
    per_epoch = batch_plan(data, config).per_epoch
    return max(20, per_epoch * (epochs or chosen.epochs))
