"""The verb `demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_diffusion.cli.console import OK, PARTIAL, crystal_table, err, out, progress

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.runs.columns import Row

#: Columns of the table that is printed.
_SHOWN = (
    "id",
    "formula",
    "num_atoms",
    "space_group_0.1",
    "volume_per_atom_A3",
    "min_distance_A",
    "copy_of_training",
    "nearest_known_id",
)


def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("run_demo"),
    n: Annotated[int, typer.Option("-n", "--number", help="Crystals to generate.")] = 24,
    seconds: Annotated[float, typer.Option(help="Training time, about.")] = 75.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Eight crystals after 15 seconds of training.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors.")] = False,
) -> None:
    """Train a small model on real, well-known crystals in front of you, then generate new ones.

    Example: crystal-diffusion demo --out run_demo/
    """
    from crystal_diffusion.known.share import look_up
    from crystal_diffusion.workflows.demo import run_demo

    def of_known(structures: Sequence[Structure]) -> tuple[Sequence[Row], str]:
        found, share = look_up(structures)
        return found, share.sentence

    if quick:
        n, seconds = 8, 15.0
    bar = progress(quiet)
    task = bar.add_task("training", total=1)
    with bar:
        demo_result = run_demo(
            folder,
            n=n,
            seconds=seconds,
            seed=seed,
            say=(lambda text: None) if quiet else (lambda text: err.print(text, highlight=False)),
            look_up=of_known,
            on_step=lambda step, total, loss: bar.update(
                task, completed=step, total=total, description=f"training, loss {loss:.3f}"
            ),
        )
    rows = demo_result.result.rows
    out.print(crystal_table("New crystals", rows, _SHOWN))
    for line in demo_result.lines():
        # The address in the last line must not be broken in two.
        out.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(OK if demo_result.new_valid >= 2 * n // 3 else PARTIAL)
