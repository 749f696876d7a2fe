"""Speed of the default joint model: 8 and 20 atoms, alone and in a batch of 64.

Run: OMP_NUM_THREADS=1 python benchmarks/joint_speed.py [model] [--steps 50] [--device cuda]
As generation samples, with the physics terms, but free of symmetry; processor seconds, on another
device seconds of the clock and a batch of 1,024 as well. Without a model, networks of the sizes
that `train` chooses are used, with random weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from machine import clock, describe

from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.training.checkpoint import load_model

#: Width and layers that ``train`` chooses below 100, 1,000 and 20,000 crystals; the shipped one.
SIZES = ((96, 4), (128, 4), (128, 6), (192, 6))


def measure(model: JointDiffusion, steps: int) -> None:
    """Print seconds for 8 and 20 atoms, alone and in batches."""
    guards = Guards()
    on_cpu = model.device.type == "cpu"
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {steps} calls")
    for atoms in (8, 20):
        for crystals in (1, 64) if on_cpu else (1, 64, 1024):
            numbers = torch.randint(3, 60, (crystals, atoms), device=model.device)
            times = []
            for seed in range(3):
                streams = CrystalStreams(
                    [seed * 1000 + i for i in range(crystals)], [atoms] * crystals
                )
                began = clock(model.device)
                sample(
                    model,
                    Start.noise(numbers),
                    streams,
                    SamplerSettings(steps=steps),
                    smallest=guards.smallest_distances,
                    volumes=guards.volume_limits,
                )
                times.append((clock(model.device) - began) / crystals)
            print(
                f"  {atoms} atoms, batch {crystals}: {min(times):.4f} s each, median "
                f"{np.median(times):.4f}, n = 3"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    torch.set_num_threads(1)
    print(describe())
    if arguments.model is not None:
        measure(load_model(arguments.model, device)[0], arguments.steps)
        return
    for dim, layers in SIZES:
        options = {"dim": dim, "layers": layers, "heads": 8}
        print(f"{dim} wide, {layers} layers: ", end="")
        model = JointDiffusion(JointConfig(network_options=options)).eval()
        measure(model.to(device), arguments.steps)


if __name__ == "__main__":
    main()
