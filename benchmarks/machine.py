"""What machine a figure was measured on: one line for every benchmark."""

from __future__ import annotations

import os
import platform

import torch


def describe() -> str:
    """Processor, cores, threads, versions."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as handle:
            name = next(line.split(":")[1].strip() for line in handle if "model name" in line)
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{name}, {cores} cores, {torch.get_num_threads()} PyTorch threads, capability "
        f"{torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )


def matmul_peak(rows: int = 1024, width: int = 1024, dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s of one large matrix product, best of ten, processor time."""
    import time

    a, b = torch.randn(rows, width, dtype=dtype), torch.randn(width, width, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        began = time.process_time()
        for _ in range(4):
            a @ b
        best = min(best, (time.process_time() - began) / 4)
    return 2 * rows * width * width / best / 1e9
