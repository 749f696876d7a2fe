"""Distil the pretrained network for 1, 2 and 4 steps and put the student into the package.

    python recipes/distill_student.py ../shared/data/mp_2025/train_le20.parquet --work STUDENT

The same loop as ``crystal-diffusion distill``, with more long steps and symmetric noise, since the
default from noise draws a skeleton first. Stopped, the same command goes on. ``--learned`` starts
from what another student learned over its teacher (both files), added to this teacher.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.diffusion.distillation import student_of
from crystal_diffusion.pretrained import model_path, student_path
from crystal_diffusion.training.checkpoint import load_model, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit
from crystal_diffusion.training.steps import distillation_objective
from crystal_diffusion.workflows.data_card import without_oversized
from crystal_diffusion.workflows.estimate import batch_of

#: Questions in training: the student is asked with given elements only.
TASKS = {"composition": 0.9, "nothing": 0.05, "host": 0.05}


def main() -> None:
    """Distil and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--crystals", type=int, default=10_000)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--learned", type=Path, nargs=2, metavar=("TEACHER", "STUDENT"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher, header = load_model(model_path())
    student = student_of(teacher)
    if options.learned is not None:
        before, after = (dict(load_model(path)[0].named_parameters()) for path in options.learned)
        with torch.no_grad():
            for name, weight in student.named_parameters():
                weight += after[name] - before[name] if name in before else after[name]
    every = without_oversized(CrystalStructureDataset(str(options.table), reduce=True), 6.0).arrays
    rows = np.random.default_rng(3).permutation(len(every))[: options.crystals]
    config = TrainingConfig(
        steps=options.steps,
        tokens=512,
        learning_rate=options.learning_rate,
        warmup=50,
        decay=options.steps // 2,
        ema=0.995,
        symmetric=0.7,
        long_steps=0.75,
        tasks=TASKS,
    )
    objective = distillation_objective(teacher)
    fit(student, batch_of(every.take(rows)), config, options.work, objective=objective)
    kept = {key: header[key] for key in ("steps", "trained_on", "licence") if key in header}
    kept["distilled"] = {"steps": options.steps}
    weights = {name: p.half() for name, p in student.named_parameters()}
    save_model(student_path(), student, weights, kept)
    print(f"{student_path().name}: {student_path().stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
