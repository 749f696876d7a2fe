"""Train the pretrained denoiser further on any device for a given time, and its student after it.

    python recipes/pretrain.py ../shared/data/mp_2025/train_le20.parquet \\
        ../shared/data/mp_2025/train_21_52.parquet --work SLICE --device cuda --minutes 7 \\
        --student-minutes 1.5 --tokens 24576 --learning-rate 1.2e-3 --processes 10

Starts from the weights in the box. The rate is constant for the first part of the time and falls to
zero over the rest; how many steps fit into that is measured while it runs. 1,024 crystals are held
out for monitoring. ``SLICE/denoiser/model.safetensors`` and ``SLICE/student/model.safetensors`` are
what `ship_model.py` takes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.distillation import student_of
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.parallel import map_chunks
from crystal_diffusion.pretrained import model_path
from crystal_diffusion.symmetry.orbits import SymmetryTable
from crystal_diffusion.training.checkpoint import load_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit, use_bfloat16
from crystal_diffusion.training.steps import (
    Objective,
    denoising_objective,
    distillation_objective,
    prepare_step,
)
from crystal_diffusion.training.symmetry import find_symmetry
from crystal_diffusion.workflows.data_card import without_oversized
from crystal_diffusion.workflows.estimate import batch_of

#: Questions that the student learns: it is asked with given elements only.
STUDENT_TASKS = {"composition": 0.9, "nothing": 0.05, "host": 0.05}
#: Crystals held out for monitoring.
HELD_OUT = 1024
#: More steps than fit into any time; how many did is known at the end.
UNBOUNDED = 10**7


@dataclass(frozen=True)
class Training:
    """Crystals made symmetric, their symmetry, and what every slice shares."""

    data: CrystalBatch
    symmetry: SymmetryTable
    processes: int


def read(paths: list[Path], limit: int | None, processes: int) -> CrystalBatch:
    """All crystals of the tables as one batch, each in its reduced cell; a process for a table."""
    parts = map_chunks(_read, paths, min(processes, len(paths)), limit, chunk=1, parallel_from=2)
    return CrystalBatch.concatenate(parts)


def _read(paths: list[Path], limit: int | None) -> list[CrystalBatch]:
    found = []
    for path in paths:
        table = without_oversized(CrystalStructureDataset(str(path), reduce=True), 6.0).arrays
        found.append(batch_of(table.take(np.arange(len(table))[:limit])))
    return found


def timed(
    model: JointDiffusion,
    training: Training,
    config: TrainingConfig,
    out: Path,
    seconds: float,
    falling: float,
    objective: Objective = denoising_objective,
) -> None:
    """Train for ``seconds``, the learning rate falling over that part of them."""
    began = time.monotonic()
    first = fit(
        model,
        training.data,
        replace(config, steps=UNBOUNDED, decay=1),
        out,
        objective=objective,
        stop_after_seconds=seconds * (1 - falling),
        processes=training.processes,
        symmetry=training.symmetry,
    )
    # Starting takes a while as well, so the pace of the steps alone would promise too many.
    rate = first.steps / first.seconds
    left = max(20, int(rate * 0.97 * (seconds - (time.monotonic() - began))))
    print(f"{out.name}: {first.steps} steps, loss {first.loss:.4f}, {rate:.1f}/s", flush=True)
    last = fit(
        model,
        training.data,
        replace(config, steps=first.steps + left, decay=left),
        out,
        objective=objective,
        processes=training.processes,
        symmetry=training.symmetry,
    )
    print(f"{out.name}: {last.steps} steps, loss {last.loss:.4f}", flush=True)


def held_out_loss(
    model: JointDiffusion, held: CrystalBatch, symmetry: SymmetryTable, symmetric: float
) -> float:
    """Denoising loss of crystals that were not trained on, always with the same noise."""
    config = TrainingConfig(symmetric=symmetric, seed=99)
    total = 0.0
    order = np.argsort(held.num_atoms.numpy(), kind="stable")
    chunks = np.array_split(order, 16)
    beside = JointDiffusion(model.config) if model.device.type != "cpu" else model
    with torch.no_grad():
        for step, rows in enumerate(chunks):
            inputs = prepare_step(beside, held, rows, config, step, symmetry)
            part = inputs.part(slice(None), model.device)
            terms = denoising_objective(model, part, config, use_bfloat16("auto", model.device))
            total += float(terms.total) * len(rows)
    return total / len(order)


def main() -> None:
    """Both slices, with the held-out loss before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=model_path())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--student-minutes", type=float, default=0)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--student-tokens", type=int, default=0, help="--tokens when 0")
    parser.add_argument("--learning-rate", type=float, default=7e-4)
    parser.add_argument("--student-learning-rate", type=float, default=4e-4)
    parser.add_argument("--falling", type=float, default=0.4, help="part of the time")
    parser.add_argument("--symmetric-noise", type=float, default=0.5)
    parser.add_argument("--large-power", type=float, default=3.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--limit", type=int, default=None, help="crystals of each table")
    options = parser.parse_args()
    began = time.monotonic()
    device = resolve_device(options.device)
    data = read(options.tables, options.limit, options.processes)
    print(f"{len(data)} crystals read, {time.monotonic() - began:.0f} s", flush=True)
    rows = np.random.default_rng(17).permutation(len(data))
    hold = min(HELD_OUT, len(data) // 10)
    held, held_symmetry = find_symmetry(data[rows[:hold]])
    data, symmetry = find_symmetry(data[rows[hold:]], processes=options.processes)
    print(f"symmetry found, {time.monotonic() - began:.0f} s", flush=True)
    training = Training(data, symmetry, options.processes if device.type != "cpu" else 0)
    teacher, _ = load_model(options.start, device)
    config = TrainingConfig(
        tokens=options.tokens,
        learning_rate=options.learning_rate,
        warmup=200,
        symmetric=options.symmetric_noise,
        large_power=options.large_power,
        checkpoint_seconds=60,
        log_every=100,
        seed=options.seed,
    )

    def tell(name: str, model: JointDiffusion) -> None:
        loss = held_out_loss(model, held, held_symmetry, options.symmetric_noise)
        print(f"{name}: held out {loss:.4f}, {time.monotonic() - began:.0f} s", flush=True)

    tell("start", teacher)
    seconds = 60 * options.minutes - (time.monotonic() - began)
    timed(teacher, training, config, options.work / "denoiser", seconds, options.falling)
    tell("denoiser", teacher)
    if not options.student_minutes:
        return
    student = student_of(teacher)
    longer = replace(
        config,
        tokens=options.student_tokens or options.tokens,
        learning_rate=options.student_learning_rate,
        warmup=50,
        ema=0.995,
        symmetric=0.7,
        long_steps=0.75,
        tasks=STUDENT_TASKS,
    )
    objective = distillation_objective(teacher)
    timed(
        student,
        training,
        longer,
        options.work / "student",
        60 * options.student_minutes,
        0.6,
        objective,
    )
    tell("student", student)


if __name__ == "__main__":
    main()
