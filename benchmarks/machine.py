"""What machine a figure was measured on: one line for every benchmark."""

from __future__ import annotations

import os
import platform
import time

import torch

from crystal_diffusion.parallel import usable_cores


def describe() -> str:
    """Processor, cores, threads, versions."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as handle:
            name = next(line.split(":")[1].strip() for line in handle if "model name" in line)
    except (OSError, StopIteration):
        pass
    cores = usable_cores()
    return (
        f"{name}, {cores} cores, {torch.get_num_threads()} PyTorch threads, capability "
        f"{torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )


def clock(device: torch.device) -> float:
    """Processor seconds, or wall seconds of a device whose queue is empty."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matmul_peak(
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    repeats: int = 10,
) -> float:
    """GFLOP/s of one large matrix product on ``device``, best of ``repeats``."""
    device = device or torch.device("cpu")
    width = 1024 if device.type == "cpu" else 8192
    a = torch.randn(width, width, dtype=dtype, device=device)
    b = torch.randn(width, width, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(repeats):
        began = clock(device)
        for _ in range(4):
            a @ b
        best = min(best, (clock(device) - began) / 4)
    return 2 * width**3 / best / 1e9
