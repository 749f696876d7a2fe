"""The verb `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, out


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder written by `generate` or `screen`.", show_default=False)
    ],
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; RUN/report.html if not given.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open it in the web browser of this machine.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Write one page with all that is known of a run; it opens from disk, without network.

    Exit code 0: written; 2: the folder is no run, or the page could not be written.

    Example: crystal-diffusion report run/ --open
    """
    from crystal_diffusion.viewer.report import write_report

    path = write_report(run, file)
    if not quiet:
        out.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    raise typer.Exit(OK)
