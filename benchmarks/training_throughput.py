"""Training throughput: crystals per second, GFLOP/s, share of the machine's matrix-product peak.

Run: OMP_NUM_THREADS=1 python benchmarks/training_throughput.py [TRAIN.parquet]
Without a file, random crystals of 4 to 20 atoms are used. `--device cuda` for a GPU.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from machine import clock, describe, matmul_peak
from torch.utils.flop_counter import FlopCounterMode

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.training.batches import BatchPlan
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import use_bfloat16
from crystal_diffusion.training.steps import denoising_objective, prepare_step

#: Peak and training steps take turns this often: a shared host is not equally fast all the time.
ROUNDS = 9


def crystals(path: str | None) -> CrystalBatch:
    """Training crystals, or random ones."""
    if path is not None:
        from crystal_diffusion.data.tables import parquet_arrays
        from crystal_diffusion.workflows.train import batch_of

        arrays = parquet_arrays(path)
        return batch_of(arrays.take(np.arange(min(5000, len(arrays)))))
    rng = np.random.default_rng(0)
    sizes = rng.integers(4, 21, 2000)
    return CrystalBatch.from_arrays(
        [rng.random((n, 3)) for n in sizes],
        np.array([np.eye(3) * (18 * n) ** (1 / 3) for n in sizes]),
        [rng.integers(1, 95, n) for n in sizes],
    )


def main() -> None:
    """Measure and print."""
    files = [a for a in sys.argv[1:] if not a.startswith("--")]
    device = resolve_device("cuda" if "--device" in sys.argv and "cuda" in sys.argv else "cpu")
    files = [f for f in files if f != "cuda"]
    data = crystals(files[0] if files else None)
    print(describe())
    goal = 60 if device.type == "cpu" else 30
    bf16 = use_bfloat16("auto", device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    for dim, layers in ((192, 6), (256, 6)):
        options = {"dim": dim, "layers": layers, "heads": 8}
        model = JointDiffusion(JointConfig(network_options=options)).to(device)
        for tokens in (768, 2048) if device.type == "cpu" else (8192, 32768):
            config = TrainingConfig(tokens=tokens, precision="auto")
            plan = BatchPlan(data.num_atoms.numpy(), tokens, 0)
            steps = [prepare_step(model, data, plan.batch(s), config, s) for s in range(6)]

            def run(
                step: int,
                steps: list = steps,
                model: JointDiffusion = model,
                config: TrainingConfig = config,
            ) -> None:
                part = steps[step].part(slice(None), device)
                denoising_objective(model, part, config, bf16).total.backward()

            run(0)
            with FlopCounterMode(display=False) as counter:
                for step in range(1, 6):
                    run(step)
            flops = counter.get_total_flops()
            made = sum(len(s.batch) for s in steps[1:6])
            speeds, shares = [], []
            for _ in range(ROUNDS):
                peak = matmul_peak(dtype=dtype, device=device, repeats=3)
                began = clock(device)
                for step in range(1, 6):
                    run(step)
                took = clock(device) - began
                speeds.append((made / took, flops / took / 1e9, peak))
                shares.append(100 * flops / took / 1e9 / peak)
            rate, reached, peak = np.median(speeds, 0)
            print(
                f"{dim}x{layers}, {tokens} tokens, {str(dtype)[6:]}: {rate:.0f} crystals/s, "
                f"{reached:.0f} GFLOP/s of {peak:.0f} peak = {np.median(shares):.0f} % "
                f"({min(shares):.0f} to {max(shares):.0f}; forward + backward, one process; "
                f"median and range of {ROUNDS} rounds; goal {goal} %)"
            )


if __name__ == "__main__":
    main()
