"""One way to choose a device: auto, cpu, cuda or mps."""

from __future__ import annotations

import os

import torch

from crystal_diffusion.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the processor.

    Processes that torchrun started on one machine take one graphics processor each.

    Raises:
        InputError: for an unknown name or a device this machine does not have.
    """
    base = name.split(":")[0]
    if base == "auto":
        if torch.cuda.is_available():
            return _own_gpu()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if base not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {name!r} is not known; choose auto, cpu, cuda or mps.")
    missing = (base == "cuda" and not torch.cuda.is_available()) or (
        base == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise InputError(f"device {name!r} is not on this machine; use --device cpu or auto.")
    return _own_gpu() if name == "cuda" else torch.device(name)


def _own_gpu() -> torch.device:
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return torch.device("cuda")
    return torch.device("cuda", int(rank) % torch.cuda.device_count())
