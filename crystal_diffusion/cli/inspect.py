"""The verb `inspect`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_diffusion.cli.console import OK, out
from crystal_diffusion.errors import CheckpointError


def inspect(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Model folder or file, or a file of crystals; leave out for the pretrained model."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole header.")] = False,
) -> None:
    """Say what a model or a table of crystals is, from its file alone.

    Example: crystal-diffusion inspect model/
    """
    from crystal_diffusion.data.formats import format_of
    from crystal_diffusion.training.checkpoint import MODEL_FILE, read_header
    from crystal_diffusion.workflows.model_card import origins_of

    if model is None:
        from crystal_diffusion.pretrained import model_path

        model = model_path()
    if model.is_file() and format_of(model) is not None:
        _show_crystals(model, as_json)
        raise typer.Exit(OK)
    file = model / MODEL_FILE if model.is_dir() else model
    header = read_header(file)
    if as_json:
        out.print_json(json.dumps(header))
        raise typer.Exit(OK)
    if header.get("kind") not in ("joint", None):
        _show(file, {k: v for k, v in header.items() if v is not None})
        raise typer.Exit(OK)
    try:
        rows = _model_rows(file, header)
        origins = [origin.sentence() for origin in origins_of(header)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: its header is damaged ({error}); copy it again, or train again."
        ) from error
    _show(file, rows)
    for sentence in origins:
        out.print(f"learned from {sentence}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(OK)


def _model_rows(file: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a model; what it does not say is left out."""
    from crystal_diffusion.training.checkpoint import file_hash

    parts = header["model"]
    options = ", ".join(f"{k} {v}" for k, v in parts["network_options"].items())
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
    return {name: value for name, value in rows.items() if value is not None}


def _show(file: Path, rows: Mapping[str, Any]) -> None:
    """A table of two columns; long values are cut."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, title=Text(str(file)), title_justify="left")
    for name, value in rows.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(Text(name), Text(text if len(text) <= 1000 else f"{text[:999]}…"))
    out.print(table)


def _show_crystals(source: Path, as_json: bool) -> None:
    """What a table or file of crystals holds."""
    from rich.table import Table

    from crystal_diffusion.data.overview import overview

    found = overview(source)
    if as_json:
        out.print_json(json.dumps({**asdict(found), "source": str(source)}))
        return
    fewest, most = found.num_atoms
    labels = ", ".join(f"{name} ({count})" for name, count in found.labels.items())
    rows = {
        "crystals": str(found.crystals),
        "unusable": f"{found.unusable}; see crystal-diffusion check" if found.unusable else "0",
        "atoms in a cell": f"{fewest} to {most}",
        "elements": " ".join(found.elements),
        "labels": labels or "none",
        "made by": str(found.made_by.get("made_by", "")),
    }
    table = Table(show_header=False, title=str(source), title_justify="left")
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    out.print(table)
    for origin in found.origins:
        out.print(origin.sentence(), highlight=False, markup=False, soft_wrap=True)
