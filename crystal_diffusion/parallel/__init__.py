"""Work shared by several processes or threads of one core each, in order, without surprises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeVar

from crystal_diffusion.errors import WorkerError
from crystal_diffusion.parallel.workers import WorkerPool

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Below this many items a second process costs more than it saves (it imports for two seconds).
PARALLEL_FROM = 200


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


@contextlib.contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned workers that start with one numerical thread each.

    Raises:
        WorkerError: a worker process ended without an answer.
    """
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    pool = WorkerPool(processes)
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkerError(pool.what_ended()) from None
    finally:
        pool.shutdown(cancel_futures=True)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def map_chunks(
    job: Callable[..., list[Answer]],
    items: Sequence[Item],
    processes: int,
    *arguments: Any,
    chunk: int = 50,
    parallel_from: int = PARALLEL_FROM,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """``job(items, *arguments)`` in chunks, answers in the order of the items.

    Args:
        job: function at module level that answers a list of the length of its items.
        items: what to work on.
        processes: worker processes; 1 works in this process.
        arguments: further arguments of the job, the same for all chunks.
        chunk: items that a worker gets at once.
        parallel_from: fewer items than this are worked on in this process.
        progress: called with the items done and the number of all.
    """
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    answers: list[Answer] = []
    if processes <= 1 or len(items) < parallel_from or len(chunks) < 2:
        for part in chunks:
            answers += job(part, *arguments)
            if progress is not None:
                progress(len(answers), len(items))
        return answers
    with process_pool(processes) as pool:
        for future in [pool.submit(job, part, *arguments) for part in chunks]:
            answers += future.result()
            if progress is not None:
                progress(len(answers), len(items))
    return answers


@contextlib.contextmanager
def one_thread_each(device: torch.device) -> Iterator[int]:
    """PyTorch on one thread, and the number of parts that may run side by side instead.

    With tensors of some hundred rows, two threads that meet after every operation are slower than
    one; two halves of a batch that never wait for each other are nearly twice as fast.
    """
    import torch

    workers = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield workers
    finally:
        torch.set_num_threads(workers)


def side_by_side(
    tasks: Sequence[Callable[[], Answer]], workers: int
) -> Generator[Answer, None, None]:
    """Results of the tasks in their order, ``workers`` of them at a time in threads."""
    import torch

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
