"""Pools of worker processes that a plain script may use, without ``if __name__ == "__main__":``.

A spawned process imports the script that started it, to find functions defined there; a script that
starts workers at its top level is then run once more in each worker. Nothing this package sends to
its workers is defined in the script, so they are started without it, unless a task does name it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

Answer = TypeVar("Answer")

_ENDED = "a worker process ended without an answer: it crashed or ran out of memory; try fewer."
_GUARD = (
    "a worker process ended without an answer: it ran this script once more, because something "
    "defined in it is sent to the workers (or it crashed or ran out of memory); put the script's "
    'top level under if __name__ == "__main__":, or move that definition into a module.'
)

_SWAP = threading.Lock()


class WorkerPool(ProcessPoolExecutor):
    """Spawned workers that import the caller's script only where a task needs it.

    Args:
        processes: most workers.
        initializer: called in each worker before its first task, with ``initargs``.
    """

    def __init__(
        self,
        processes: int,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._alone = _AloneContext()
        self._unchecked = processes  # no task after these starts a worker
        super().__init__(processes, self._alone, initializer, initargs)

    def submit(self, fn: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Future[Answer]:
        """As that of every executor.

        A worker that is running the caller's script a second time ends here.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(1)
        if self._unchecked and not self._alone.with_script:
            self._unchecked -= 1
            self._alone.with_script = b"__main__" in pickle.dumps((fn, args, kwargs))
        return super().submit(fn, *args, **kwargs)

    def what_ended(self) -> str:
        """Why there was no answer, as far as is known."""
        return _GUARD if self._alone.with_script else _ENDED


class _AloneContext(SpawnContext):
    """Starts processes without the caller's script, unless ``with_script`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.with_script = False

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        """A process; the executor asks for it by this name."""
        return SpawnProcess(*args, **kwargs) if self.with_script else _Alone(*args, **kwargs)


class _Alone(SpawnProcess):
    def start(self) -> None:
        with _script_left_out():
            super().start()


@contextlib.contextmanager
def _script_left_out() -> Iterator[None]:
    """While it lasts, the main module is an empty one, of which nothing can be imported again."""
    with _SWAP:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script
