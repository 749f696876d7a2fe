"""The verb `cache`."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, out


class Action(StrEnum):
    """What to do with what is kept."""

    list = "list"
    clear = "clear"


def cache(
    action: Annotated[Action, typer.Argument(help="list or clear.")] = Action.list,
    name: Annotated[
        str | None, typer.Argument(help="Only this file of the list.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Another cache folder than the user's own.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Show or remove what was computed once and is used again: energies of reference crystals.

    Exit code 0: done; 2: there is no such file, or it cannot be removed.

    Example: crystal-diffusion cache list
    """
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.files import below, cache_folder

    place = folder or cache_folder()
    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else []
    if name is not None:
        files = [path for path in files if path == below(place, name)]
        if not files:
            raise InputError(f"{place}: holds no {name!r}; see `crystal-diffusion cache list`.")
    for path in files:
        if action is Action.clear:
            try:
                path.unlink()
            except OSError as error:
                raise InputError(f"{path}: cannot be removed ({error.strerror}).") from error
        if not quiet:
            out.print(_line(path, action), highlight=False, soft_wrap=True)
    if not quiet:
        what = "removed from" if action is Action.clear else "in"
        out.print(f"{len(files)} files {what} {place}", highlight=False, soft_wrap=True)
    raise typer.Exit(OK)


def _line(path: Path, action: Action) -> str:
    if action is Action.clear:
        return f"removed {path.name}"
    about = path.stat()
    entries = path.read_bytes().count(b"\n") if path.suffix == ".jsonl" else None
    counted = "" if entries is None else f", {entries} entries"
    day = time.strftime("%Y-%m-%d", time.localtime(about.st_mtime))
    return f"{path.name}: {about.st_size / 1000:.1f} kB{counted}, last written {day}"
