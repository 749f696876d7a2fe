"""The verb `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import FAILED, OK, PARTIAL, out, progress

if TYPE_CHECKING:
    from crystal_diffusion.workflows.predict import PredictionTable


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Run folder, or files, folders or globs of crystals; a model folder first, to "
            "say its own property too.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every row here: .csv or .jsonl.")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many rows the table shows; 0: none.")] = 20,
    processes: Annotated[
        int | None, typer.Option(help="Processes that read; all usable cores if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Predict properties of crystals, each with a 90 % interval.

    Formation energy, energy above hull, band gap, magnetisation, bulk and shear modulus, density;
    and your own property, with a model that was trained with --property.

    Exit code 0: all were predicted; 1: some could not be; 2: none could.

    Example: crystal-diffusion predict my_cifs/ --out properties.csv
    """
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.training.checkpoint import MODEL_FILE
    from crystal_diffusion.workflows.predict import predict as run

    model = sources[0] if (Path(sources[0]) / MODEL_FILE).is_file() else None
    crystals = sources if model is None else sources[1:]
    if not crystals:
        raise InputError(f"{model} is a model; give the crystals to predict after it.")
    if file is not None and file.suffix.lower() not in (".csv", ".json", ".jsonl"):
        raise InputError(f"--out {file}: end the name in .csv, or in .jsonl for JSON lines.")
    with progress(quiet) as bar:
        task = bar.add_task("predicting", total=None)
        table = run(
            crystals,
            model,
            processes=processes,
            progress=lambda done: bar.update(task, completed=done),
        )
    if file is not None:
        table.write(file)
    if not quiet:
        _show(table, rows)
    if not table.judged:
        raise typer.Exit(FAILED)
    raise typer.Exit(OK if table.judged == len(table.rows) else PARTIAL)


def _show(table: PredictionTable, rows: int) -> None:
    """One line a crystal and property, with the interval in brackets."""
    from rich.table import Table
    from rich.text import Text

    from crystal_diffusion.runs.predicted import prediction_column

    good = [row for row in table.rows if row.problem is None]
    if good and rows > 0:
        shown = Table("crystal", "formula")
        for name, unit in zip(table.names, table.units, strict=True):
            title = name.replace("_", " ")
            shown.add_column(f"{title}\n{unit}" if unit else title, justify="right")
        for row in good[:rows]:
            cells = []
            for name in table.names:
                ends = [row.more[prediction_column(name, end)] for end in ("", "low", "high")]
                value, low, high = (f"{end:.3g}" for end in ends)
                cells.append(value if low == high == value else f"{value}\n{low} to {high}")
            shown.add_row(*(Text(cell) for cell in (row.id, row.formula, *cells)))
        out.print(shown)
        if len(good) > rows:
            out.print(f"{len(good) - rows} more crystals; --rows shows more, --out writes all.")
    for row in table.rows:
        if row.problem is not None:
            out.print(f"{row.id}: {row.problem}", highlight=False, markup=False)
    out.print(
        f"{table.judged} of {len(table.rows)} crystals predicted; below each value the interval "
        "that holds the true one in 9 of 10 crystals"
    )
