"""Running one function over many tasks: here, in worker processes, or on a Ray cluster.

An executor is a callable ``(function, tasks) -> iterator of (key, Outcome)``. Answers come in the
order they are ready; what they are does not depend on the executor. A task that kills its worker
(segmentation fault, out of memory, a call that never returns) is recorded for its key, and the rest
goes on.

Not loky or pebble: they take 49 and 53 ms to import where `concurrent.futures` takes 23, and with
`parallel.workers` that does what is wanted of them here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from crystal_diffusion.errors import InputError, MissingDependencyError
from crystal_diffusion.parallel import usable_cores
from crystal_diffusion.parallel.workers import WorkerPool

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Outcome(Generic[Answer]):
    """What came of a task: a value, or the reason there is none."""

    value: Answer | None
    problem: str = ""


class Executor(Protocol):
    """Runs ``function`` on every task; yields each key once, with its outcome."""

    def __call__(
        self,
        function: Callable[[Task], Answer],
        tasks: Iterable[tuple[str, Task]],
    ) -> Iterator[tuple[str, Outcome[Answer]]]:
        """Yield ``(key, outcome)`` in the order of completion."""


def _failed(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@dataclass(frozen=True)
class HereExecutor:
    """In this process, one after the other: for tests, debugging and small jobs."""

    def __call__(
        self,
        function: Callable[[Task], Answer],
        tasks: Iterable[tuple[str, Task]],
    ) -> Iterator[tuple[str, Outcome[Answer]]]:
        """Yield outcomes in the order of the tasks."""
        for key, task in tasks:
            try:
                yield key, Outcome(function(task))
            except (InputError, MissingDependencyError):
                raise
            except Exception as error:
                yield key, Outcome(None, _failed(error))


def _prepare_worker(hard_limit_s: float) -> None:
    """Single-threaded numerics, and no message storm when the user presses Ctrl-C."""
    import signal

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(AttributeError, OSError, ValueError):
        _limit_memory()
    _WATCH["limit"] = hard_limit_s


_WATCH: dict[str, float] = {}


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever; it ends instead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit_memory() -> None:
    """Cap the address space at the machine's memory, so one cell cannot take the machine."""
    import resource

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cap = max(int(0.8 * total), 8 << 30)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > cap:
        resource.setrlimit(resource.RLIMIT_AS, (cap, hard))


def _watched(function: Callable[[Task], Answer], task: Task) -> Answer:
    """Run a task; a call that hangs far beyond its limit ends this worker, and only it."""
    limit = _WATCH.get("limit", 0.0)
    if limit > 0:
        faulthandler.dump_traceback_later(limit, exit=True)
    try:
        return function(task)
    finally:
        if limit > 0:
            faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True)
class LocalExecutor:
    """Single-threaded worker processes, each a pool of its own.

    One pool per worker, because a pool cannot say which of its tasks broke it; with one task in
    each pool it is known, recorded, and the pool is made anew.

    Attributes:
        processes: number of workers; the usable cores by default.
        hard_limit_s: seconds after which a worker is ended that has not answered; 0 for never.
    """

    processes: int | None = None
    hard_limit_s: float = 0.0

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise InputError(f"processes: {self.processes} given, but it must be 1 or more")

    def _pool(self) -> ProcessPoolExecutor:
        return WorkerPool(1, _prepare_worker, (self.hard_limit_s,))

    def __call__(
        self,
        function: Callable[[Task], Answer],
        tasks: Iterable[tuple[str, Task]],
    ) -> Iterator[tuple[str, Outcome[Answer]]]:
        """Yield outcomes as they come in."""
        queue = iter(tasks)
        idle = [self._pool() for _ in range(self.processes or usable_cores())]
        busy: dict[Future[Answer], tuple[str, ProcessPoolExecutor]] = {}
        saved = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
        os.environ["OMP_NUM_THREADS"] = "1"  # read by the children when they load their libraries
        try:
            while True:
                while idle and (following := next(queue, None)) is not None:
                    pool = idle.pop()
                    busy[pool.submit(_watched, function, following[1])] = (following[0], pool)
                if not busy:
                    return
                done, _ = wait(busy, return_when=FIRST_COMPLETED)
                for future in done:
                    key, pool = busy.pop(future)
                    outcome, pool = self._outcome(future, pool)
                    idle.append(pool)
                    yield key, outcome
        finally:
            for pool in [*idle, *(pool for _, pool in busy.values())]:
                pool.shutdown(wait=False, cancel_futures=True)
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _outcome(
        self, future: Future[Answer], pool: ProcessPoolExecutor
    ) -> tuple[Outcome[Answer], ProcessPoolExecutor]:
        try:
            return Outcome(future.result()), pool
        except BrokenProcessPool:
            log.warning("a worker process died; another takes its place")
            pool.shutdown(wait=False)
            text = "the worker process died (crash, out of memory, or no answer in time)"
            return Outcome(None, text), self._pool()
        except (InputError, MissingDependencyError):
            raise
        except Exception as error:
            return Outcome(None, _failed(error)), pool


@dataclass(frozen=True)
class RayExecutor:
    """Tasks on a Ray cluster, one core each; a lost worker's task is tried again elsewhere.

    Attributes:
        address: of a running cluster (``auto``), or None to start one on this machine.
        processes: cores of the cluster started here; the usable cores by default.
        retries: how often a task whose worker died is tried again before it is recorded as failed.
    """

    address: str | None = None
    processes: int | None = None
    retries: int = 2

    def __call__(
        self,
        function: Callable[[Task], Answer],
        tasks: Iterable[tuple[str, Task]],
    ) -> Iterator[tuple[str, Outcome[Answer]]]:
        """Yield outcomes as they come in."""
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                "--executor ray needs the package ray, which is not installed: "
                "pip install 'crystal-diffusion[ray]'"
            ) from None
        started = not ray.is_initialized()
        if started:
            options: dict[str, Any] = {"address": self.address} if self.address else {}
            if not self.address:
                options = {
                    "num_cpus": self.processes or usable_cores(),
                    "include_dashboard": False,
                }
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
        try:
            remote = ray.remote(num_cpus=1, max_retries=self.retries)(_single_threaded)
            shared = ray.put(function)
            queue = iter(tasks)
            pending: dict[Any, str] = {}
            ahead = 4 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
            while True:
                while len(pending) < ahead and (following := next(queue, None)) is not None:
                    pending[remote.remote(shared, following[1])] = following[0]
                if not pending:
                    return
                ready, _ = ray.wait(list(pending), num_returns=1)
                for handle in ready:
                    key = pending.pop(handle)
                    yield key, self._outcome(ray, handle)
        finally:
            if started:
                ray.shutdown()

    def _outcome(self, ray: Any, handle: Any) -> Outcome[Any]:
        try:
            return Outcome(ray.get(handle))
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            return Outcome(None, f"the Ray worker died {self.retries + 1} times: {_failed(error)}")
        except ray.exceptions.RayTaskError as error:
            return Outcome(None, _failed(error.cause if error.cause is not None else error))


def _single_threaded(function: Callable[[Task], Answer], task: Task) -> Answer:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return function(task)


def make_executor(
    name: str = "local", processes: int | None = None, hard_limit_s: float = 0.0
) -> Executor:
    """``local`` worker processes, ``here`` in this process, or ``ray`` (``ray:ADDRESS``).

    Raises:
        InputError: an unknown name.
    """
    if name == "local":
        return LocalExecutor(processes, hard_limit_s)
    if name == "here":
        return HereExecutor()
    if name == "ray" or name.startswith("ray:"):
        return RayExecutor(name.partition(":")[2] or None, processes)
    raise InputError(
        f"executor: {name!r} is not known; choose local, here, batch, ray or ray:ADDRESS"
    )
