"""The verb `inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, out


def inspect(
    model: Annotated[
        Path | None, typer.Argument(help="Model folder or file; leave out for the pretrained one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole header.")] = False,
) -> None:
    """Say what a model is, from its file alone.

    Example: crystal-diffusion inspect model/
    """
    from crystal_diffusion.training.checkpoint import MODEL_FILE, file_hash, read_header
    from crystal_diffusion.workflows.model_card import origins_of

    if model is None:
        from crystal_diffusion.pretrained import model_path

        model = model_path()
    file = model / MODEL_FILE if model.is_dir() else model
    header = read_header(file)
    if as_json:
        out.print_json(json.dumps(header))
        raise typer.Exit(OK)
    from rich.table import Table

    parts = header["model"]
    options = ", ".join(f"{k} {v}" for k, v in parts["network_options"].items())
    table = Table(show_header=False, title=str(file), title_justify="left")
    rows = {
        "written by": f"crystal_diffusion {header['version']}, format {header['format']}",
        "network": f"{parts['network']} ({options})",
        "coordinates": parts["coordinates"],
        "lattice": parts["lattice"],
        "steps": header.get("steps"),
        "steps before": header.get("steps_before"),
        "loss": header.get("loss"),
        "training crystals": header.get("crystals"),
        "largest cell": f"{parts['max_train_atoms']} atoms",
        "elements": len(parts["elements"]) or "all",
        "trained on": header.get("trained_on"),
        "started from": header.get("trained_on_before"),
        "data sha256": header.get("data_sha256"),
        "file sha256": file_hash(file),
        "size": f"{file.stat().st_size / 1e6:.1f} MB",
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    out.print(table)
    for origin in origins_of(header):
        out.print(f"learned from {origin.sentence()}", highlight=False, soft_wrap=True)
    raise typer.Exit(OK)
