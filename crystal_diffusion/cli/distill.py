"""The verb `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import OK, out, progress


def distill(
    model: Annotated[str | None, typer.Argument(help="Model folder; left out: pretrained.")] = None,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder of the student.")] = Path(
        "student"
    ),
    data: Annotated[
        str | None, typer.Option(help="Crystals to learn on; default: the model's own.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 3000,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    share: Annotated[float, typer.Option(help="Share of crystals that learn long steps.")] = 0.6,
    tokens: Annotated[int, typer.Option(help="Atoms per step.")] = 768,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors.")] = False,
) -> None:
    """Make a student that needs 1, 2 or 4 network calls; the same command resumes.

    Example: crystal-diffusion distill model/ --out student/
    """
    from crystal_diffusion.workflows.distill import distill as run_distillation

    bar = progress(quiet)
    task = bar.add_task("distilling", total=steps)

    def advance(step: int, total: int, loss: float) -> None:
        bar.update(task, completed=step, description=f"distilling, loss {loss:.3f}")

    with bar:
        _, summary = run_distillation(
            model,
            folder,
            data=data,
            steps=steps,
            learning_rate=learning_rate,
            share=share,
            tokens=tokens,
            seed=seed,
            device=device,
            on_step=advance,
        )
    if not quiet:
        out.print(
            f"{summary.result.steps} steps, loss {summary.result.loss:.3f}. Student: {summary.out}",
            highlight=False,
        )
        out.print(
            f"Next: crystal-diffusion generate {summary.out} --sampling-steps 2 -n 20 --out run/"
        )
    raise typer.Exit(OK)
