"""Commands as forked children of a process that has imported everything: cheap to start and kill.

A round of the fault campaign starts a command several times; importing torch and pymatgen each time
would cost far more than the work that is disturbed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Whom a command runs as that may not write where root may.
_NOBODY = 65534


@dataclass
class Child:
    """A command that runs.

    Attributes:
        pid: of the process, which leads a group of its own.
        said: the file that takes what it says.
        code: exit code, negative for a signal; None while it runs.
    """

    pid: int
    said: Path
    code: int | None = None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end, so long at most; whether it has ended."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, 0 if deadline is None else os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif deadline is not None and time.monotonic() >= deadline:
                return False
            else:
                time.sleep(0.002)
        return True

    def stop(self, kind: int) -> None:
        """Send a signal to it and to what it started."""
        if self.code is None:
            os.killpg(self.pid, kind)

    def text(self) -> str:
        """What it said so far."""
        # One that is killed at once has not opened it.
        if not self.said.exists():
            return ""
        return self.said.read_text(encoding="utf-8", errors="replace")


def start(
    words: list[str],
    said: Path,
    limit: int | None = None,
    nobody: bool = False,
    runs: Callable[[list[str]], int] | None = None,
) -> Child:
    """Begin a command of the command line.

    Args:
        words: behind ``crystal-diffusion``.
        said: file for its output and errors.
        limit: bytes that a file may have; writing more fails as on a full disk.
        nobody: give up the rights of root, so that folders can be read-only for it.
        runs: what runs the words; :func:`run` where it is not given.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        # Both may be first; the group must be there before it is sent a signal.
        try:
            os.setpgid(pid, pid)
        except (PermissionError, ProcessLookupError):
            pass
        return Child(pid, said)
    code = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(file, stream)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if nobody and os.geteuid() == 0:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        code = (runs or run)(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed."""
    with open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


def run(words: list[str]) -> int:
    """Run a command in this process; its exit code."""
    from crystal_diffusion.cli import main

    sys.argv = ["crystal-diffusion", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 70
    return 0
