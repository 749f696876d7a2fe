"""`crystal-diffusion app`: a page in the browser of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, out


def app(
    folder: Annotated[
        Path, typer.Option("--folder", help="Where jobs, uploads and results are kept.")
    ] = Path("crystal_app"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On this machine only; 0: any that is free.")
    ] = 8765,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, max=64, help="Jobs that run side by side.")
    ] = 1,
    show: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the web browser.")
    ] = True,
) -> None:
    """Ask, train, screen and look in the web browser; nothing leaves this machine.

    Ctrl-C ends the page; jobs that run go on, and the next start with the same folder finds them.

    Example: crystal-diffusion app --folder crystal_app/
    """
    from crystal_diffusion.errors import MissingDependencyError

    try:
        from crystal_diffusion.app.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise MissingDependencyError(
            "The app needs FastAPI and Uvicorn: pip install 'crystal-diffusion[app]'"
        ) from error

    def ready(address: str) -> None:
        out.print(f"Open {address}", highlight=False, soft_wrap=True)
        out.print("Ctrl-C ends the page; jobs that run go on.", highlight=False)
        if show:
            import webbrowser

            webbrowser.open(address)

    serve(folder, port=port, at_once=at_once, ready=ready)
    raise typer.Exit(OK)
