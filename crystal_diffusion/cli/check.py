"""The verb `check`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import OK, PARTIAL, out, progress

if TYPE_CHECKING:
    from crystal_diffusion.data.check import CheckTable


class DisorderChoice(StrEnum):
    """What to do with partial occupancy."""

    skip = "skip"
    order = "order"
    stop = "stop"


class LeftHandedChoice(StrEnum):
    """What to do with left-handed cells."""

    skip = "skip"
    swap = "swap"


def check(
    source: Annotated[
        str, typer.Argument(help="Folder, file or glob of crystals.", show_default=False)
    ],
    disorder: Annotated[
        DisorderChoice,
        typer.Option(
            help="Partial occupancy: skip it, order it (most probable cell), or stop at the first."
        ),
    ] = DisorderChoice.skip,
    left_handed: Annotated[
        LeftHandedChoice, typer.Option(help="Left-handed cells: swap a and b, or skip them.")
    ] = LeftHandedChoice.swap,
    min_distance: Annotated[
        float, typer.Option(help="Report atoms nearer than this, Å, own images included.")
    ] = 0.7,
    duplicates: Annotated[bool, typer.Option(help="Compare the crystals with each other.")] = True,
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every row here, as JSON lines.")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many rows the table shows; 0: none.")] = 40,
    processes: Annotated[
        int | None, typer.Option(help="Processes that read; all usable cores if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """List what is wrong or odd in your crystals, file by file, before you train on them.

    Exit code 0: nothing found; 1: something is odd or bad; 2: the source cannot be read.

    Example: crystal-diffusion check my_cifs/ --disorder order --out check.jsonl
    """
    from crystal_diffusion.data.check import check_source
    from crystal_diffusion.parallel import usable_cores

    with progress(quiet) as bar:
        task = bar.add_task("reading", total=None)
        table = check_source(
            source,
            disorder=disorder.value,
            left_handed=left_handed.value,
            min_distance=min_distance,
            duplicates=duplicates,
            processes=usable_cores() if processes is None else processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if file is not None:
        table.write(file)
    if not quiet:
        _show(table, rows)
    raise typer.Exit(OK if table.clean else PARTIAL)


def _show(table: CheckTable, rows: int) -> None:
    from rich.table import Table
    from rich.text import Text

    found = [*table.of("bad"), *table.of("odd")]
    if found and rows > 0:
        lines = Table(show_lines=False, pad_edge=False)
        for header in ("id", "formula", "", "what", "details"):
            lines.add_column(header, overflow="fold")
        for row in found[:rows]:
            for finding in row.findings:
                colour = "red" if finding.severity == "bad" else "yellow"
                lines.add_row(
                    Text(row.id),
                    Text(row.formula),
                    Text(finding.severity, style=colour),
                    Text(finding.kind),
                    Text(finding.text),
                )
        out.print(lines)
    if len(found) > rows:
        out.print(f"{len(found) - rows} more rows: show them with --rows, or write all with --out.")
    bad, odd = len(table.of("bad")), len(table.of("odd"))
    out.print(f"{len(table.rows)} looked at: {len(table.of('good'))} good, {odd} odd, {bad} bad.")
    for kind, count in table.counts().items():
        out.print(f"  {kind}: {count}", highlight=False)
    for origin in table.origins:
        out.print(f"  {origin.sentence()}", highlight=False, markup=False, soft_wrap=True)
    if table.ignored:
        out.print(f"{len(table.ignored)} files of other formats were left out.")
    if table.unmatched:
        out.print(
            f"{table.unmatched} pairs were not compared for being duplicates: there were too many."
        )
