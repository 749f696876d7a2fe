"""One way to choose a device (auto, cpu, cuda or mps) and to use the cores of a processor."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from crystal_diffusion.errors import InputError

T = TypeVar("T")


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the processor.

    Raises:
        InputError: for an unknown name or a device this machine does not have.
    """
    base = name.split(":")[0]
    if base == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if base not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {name!r} is not known; choose auto, cpu, cuda or mps.")
    missing = (base == "cuda" and not torch.cuda.is_available()) or (
        base == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise InputError(f"device {name!r} is not on this machine; use --device cpu or auto.")
    return torch.device(name)


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[int]:
    """PyTorch on one thread, and the number of parts that may run side by side instead.

    With tensors of some hundred rows, two threads that meet after every operation are slower than
    one; two halves of a batch that never wait for each other are nearly twice as fast.
    """
    workers = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield workers
    finally:
        torch.set_num_threads(workers)


def side_by_side(tasks: Sequence[Callable[[], T]], workers: int) -> Generator[T, None, None]:
    """Results of the tasks in their order, ``workers`` of them at a time in threads."""
    if workers < 2 or len(tasks) < 2:
        for task in tasks:
            yield task()
        return
    pool = ThreadPoolExecutor(
        min(workers, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        futures = [pool.submit(task) for task in tasks]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
