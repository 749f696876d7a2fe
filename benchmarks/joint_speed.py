"""Speed of the default joint model: 8 and 20 atoms, alone and in a batch of 64.

Run: OMP_NUM_THREADS=1 python benchmarks/joint_speed.py [model] [--steps 50]
As generation samples, with the physics terms, but free of symmetry; processor seconds. Without a
model, networks of the sizes that `train` chooses are used, with random weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe

from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.training.checkpoint import load_model

#: Width and layers that ``train`` chooses below 100, 1,000 and 20,000 crystals; the shipped one.
SIZES = ((96, 4), (128, 4), (128, 6), (192, 6))


def measure(model: JointDiffusion, steps: int) -> None:
    """Print processor seconds for 8 and 20 atoms, alone and in a batch of 64."""
    guards = Guards()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {steps} calls")
    for atoms in (8, 20):
        for crystals in (1, 64):
            numbers = torch.randint(3, 60, (crystals, atoms))
            times = []
            for seed in range(3):
                streams = CrystalStreams(
                    [seed * 1000 + i for i in range(crystals)], [atoms] * crystals
                )
                began = time.process_time()
                sample(
                    model,
                    Start.noise(numbers),
                    streams,
                    SamplerSettings(steps=steps),
                    smallest=guards.smallest_distances,
                    volumes=guards.volume_limits,
                )
                times.append((time.process_time() - began) / crystals)
            print(
                f"  {atoms} atoms, batch {crystals}: {min(times):.3f} s each, median "
                f"{np.median(times):.3f}, n = 3"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    if arguments.model is not None:
        measure(load_model(arguments.model)[0], arguments.steps)
        return
    for dim, layers in SIZES:
        options = {"dim": dim, "layers": layers, "heads": 8}
        print(f"{dim} wide, {layers} layers: ", end="")
        measure(JointDiffusion(JointConfig(network_options=options)).eval(), arguments.steps)


if __name__ == "__main__":
    main()
