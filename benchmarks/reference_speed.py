"""Speed of the original model: sampling 8 atoms with 1,000 steps, and 50 epochs on ten crystals.

Run: OMP_NUM_THREADS=1 python benchmarks/reference_speed.py
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch
from machine import describe
from torch.utils.data import DataLoader

from crystal_diffusion import CrystalDiffusionModel, CrystalStructureDataset, create_demo_dataset
from crystal_diffusion.parallel import usable_cores


def main() -> None:
    """Measure and print, processor seconds on one core where nothing else is said."""
    cores = usable_cores()
    torch.set_num_threads(1)
    print(describe())
    model = CrystalDiffusionModel(device="cpu")
    cell = torch.eye(3)[None] * 5
    model.sample(1, 8, cell, seed=0)
    alone = []
    for seed in range(5):
        began = time.process_time()
        model.sample(1, 8, cell, seed=seed)
        alone.append(time.process_time() - began)
    batch = []
    for seed in range(3):
        began = time.process_time()
        model.sample(64, 8, cell, seed=seed)
        batch.append((time.process_time() - began) / 64)
    torch.set_num_threads(cores)
    both = []
    for seed in range(3):
        began = time.perf_counter()
        model.sample(64, 8, cell, seed=seed)
        both.append((time.perf_counter() - began) / 64)
    torch.set_num_threads(1)
    dataset = CrystalStructureDataset(create_demo_dataset()[:10])
    loader = DataLoader(dataset, batch_size=4, shuffle=True)
    began = time.process_time()
    for _ in range(50):
        for part in loader:
            model.train_step(part)
    training = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"one structure of 8 atoms, 1,000 steps: {min(alone):.2f} s best, "
        f"{np.median(alone):.2f} s median of {len(alone)} (goal 0.5)"
    )
    print(
        f"each in a batch of 64: {min(batch):.3f} s best, {np.median(batch):.3f} median of "
        f"{len(batch)} (goal 0.1)"
    )
    print(
        f"the same with {cores} threads, wall: {min(both):.3f} s best, {np.median(both):.3f} "
        f"median of {len(both)}"
    )
    print(f"50 epochs on 10 crystals, batch 4: {training:.2f} s (goal 2)")
    print(f"largest resident memory: {memory:.0f} MB (goal 400)")


if __name__ == "__main__":
    main()
