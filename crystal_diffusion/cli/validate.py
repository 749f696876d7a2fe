"""The verb `validate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import FAILED, OK, PARTIAL, err, out, progress

if TYPE_CHECKING:
    from crystal_diffusion.physics.files import ValidationTable


class Profile(StrEnum):
    """Which limits to start from."""

    default = "default"
    strict = "strict"
    permissive = "permissive"


def validate(
    files: Annotated[
        list[str],
        typer.Argument(help="Files, folders or globs of crystals.", show_default=False),
    ],
    profile: Annotated[
        Profile,
        typer.Option(help="Limits: default, strict (for generated crystals) or permissive."),
    ] = Profile.default,
    limits: Annotated[
        Path | None, typer.Option(help="TOML file with the limits to change.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every report here, as JSON lines.")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many rows the table shows; 0: none.")] = 40,
    processes: Annotated[
        int | None, typer.Option(help="Processes; all usable cores if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Check crystals from anywhere against physics and chemistry, each value with its limit.

    Exit code 0: all are valid; 1: some are invalid or unreadable; 2: nothing could be checked.

    Example: crystal-diffusion validate my_cifs/*.cif --profile strict --out report.jsonl
    """
    from crystal_diffusion.physics.files import validate_files
    from crystal_diffusion.physics.validator import PhysicsValidator

    validator = PhysicsValidator(profile=profile.value, limits=limits)
    with progress(quiet) as bar:
        task = bar.add_task("validating", total=None)
        table = validate_files(
            files,
            validator,
            processes=processes,
            progress=lambda done: bar.update(task, completed=done),
        )
    if file is not None:
        table.write(file)
    if not quiet:
        _show(table, rows)
    if not table.rows:
        err.print("no crystals were found; give files that hold some.")
        raise typer.Exit(FAILED)
    raise typer.Exit(OK if table.all_valid else PARTIAL)


def _show(table: ValidationTable, rows: int) -> None:
    from rich.table import Table
    from rich.text import Text

    found = [row for row in table.rows if row.verdict != "valid"]
    if found and rows > 0:
        lines = Table("crystal", "formula", "verdict", "check", "value", "limit", "why")
        shown = 0
        for row in found:
            for index, line in enumerate(row.lines):
                if shown >= rows:
                    break
                first = (row.id, row.formula, row.verdict) if index == 0 else ("", "", "")
                lines.add_row(*(Text(cell) for cell in (*first, *line)))
                shown += 1
        out.print(lines)
        total = sum(len(row.lines) for row in found)
        if total > shown:
            out.print(f"{total - shown} more lines; --rows shows more, --out writes all.")
    counts = table.counts
    out.print(
        f"{counts['valid']} valid, {counts['warning']} valid with warnings, "
        f"{counts['invalid']} invalid, {counts['unreadable']} unreadable"
    )
    for name, number in table.reasons:
        out.print(f"  {number} x {name}")
