"""What every verb shares: two consoles, progress on a terminal and in logs, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

Value = TypeVar("Value")

#: Exit codes: 0 all well, 1 done but something was recorded as bad, 2 could not be done, 130
#: stopped with Ctrl-C, 70 a fault of this program (no other code has a traceback).
OK, PARTIAL, FAILED, INTERRUPTED, CRASHED = 0, 1, 2, 130, 70

#: Names of files and crystals are data: no markup is read in them, no emoji.
out = Console(markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)


def say_badly(label: str, text: str) -> None:
    """One line on standard error: a label in red, then text as it is."""
    from rich.text import Text

    line = Text.assemble((f"{label}:", "bold red"), " ", text)
    err.print(line, highlight=False, soft_wrap=True)


#: Seconds between two lines of one stage where output is no terminal.
_LINE_EVERY_S = 20.0


@dataclass
class StageLines:
    """Progress of stages as lines of text, for logs: counts, time spent, forecast.

    The first and the last step of a stage are always told, those between every 20 seconds.

    Attributes:
        say: prints a line.
        clock: seconds.
    """

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of a step."""
        now = self.clock()
        began, first = self._began.setdefault(stage, (now, done))
        ended = done >= total
        if not ended and now - self._told.get(stage, -_LINE_EVERY_S) < _LINE_EVERY_S:
            return
        self._told[stage] = now
        words = f"{stage}: {done} of {total}"
        if now - began >= 1 and done > first:
            words += f", {spoken(now - began)}"
            if not ended:
                left = (now - began) * (total - done) / (done - first)
                words += f", about {spoken(left)} to go"
        self.say(words)


def spoken(seconds: float) -> str:
    """A length of time: ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


#: Names a file that is told how far a command is, for whoever started it (the app).
_PROGRESS_FILE = "CRYSTAL_DIFFUSION_PROGRESS"
#: Seconds between two such notes.
_NOTE_EVERY_S = 0.3


def progress(quiet: bool = False) -> Progress:
    """A progress bar on standard error; nothing at all when quiet or not on a terminal.

    Where the environment names a file in ``CRYSTAL_DIFFUSION_PROGRESS``, stage, done and total are
    written there as JSON too.
    """
    # Here, because `--help` does not need it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    class Told(Progress):
        """A bar that also notes its last step in a file."""

        noted = 0.0

        def update(self, task_id: TaskID, **changes: Any) -> None:
            super().update(task_id, **changes)
            file, now = os.environ.get(_PROGRESS_FILE), time.monotonic()
            task = self.tasks[task_id]
            ended = task.total is not None and task.completed >= task.total
            if file and (ended or now - self.noted >= _NOTE_EVERY_S):
                self.noted = now
                note = {"stage": task.description, "done": task.completed, "total": task.total}
                # A reader sees the note before or this one, never half of it.
                with contextlib.suppress(OSError):
                    with open(f"{file}.part", "w", encoding="utf-8") as part:
                        json.dump(note, part)
                    os.replace(f"{file}.part", file)

    return Told(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not sys.stderr.isatty(),
    )


def crystal_table(
    title: str,
    rows: Iterable[Mapping[str, Any]],
    names: Sequence[str],
    special: Mapping[str, Callable[[Any], str]] | None = None,
) -> Table:
    """Rows of crystals as a table: headings, digits and sides as the columns say.

    Args:
        title: above the table.
        rows: one a line.
        names: the columns, see `runs.columns`.
        special: makes the cell of a column from the whole row.
    """
    from rich import box
    from rich.table import Table

    from crystal_diffusion.runs.columns import column

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = [column(name) for name in names]
    for shown in columns:
        side: Literal["left", "right"] = "right" if shown.kind == "number" else "left"
        whole = shown.name in ("id", "formula", "energy_per_atom_eV")
        table.add_column(shown.narrow, justify=side, no_wrap=whole)
    cells = special or {}
    for row in rows:
        table.add_row(
            *(
                cells[c.name](row) if c.name in cells else c.text(row[c.name], empty="–")
                for c in columns
            )
        )
    return table
