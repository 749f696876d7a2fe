"""What every verb shares: two consoles, a progress bar that is silent in logs, exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

#: Exit codes: 0 all well, 1 done but something was recorded as bad, 2 could not be done, 130
#: stopped with Ctrl-C.
OK, PARTIAL, FAILED, INTERRUPTED = 0, 1, 2, 130

out = Console()
err = Console(stderr=True)


def progress(quiet: bool = False) -> Progress:
    """A progress bar on standard error; nothing at all when quiet or not on a terminal."""
    # Here, because `--help` does not need it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not sys.stderr.isatty(),
    )
