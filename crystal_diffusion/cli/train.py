"""The verb `train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_diffusion.cli.console import OK, err, out, progress

if TYPE_CHECKING:
    from crystal_diffusion.generation.generator import CrystalGenerator
    from crystal_diffusion.workflows.estimate import Estimate, TrainingSummary


def train(
    source: Annotated[str, typer.Argument(help="File, folder or glob with crystals.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Model folder.")] = Path("model"),
    network: Annotated[str, typer.Option(help="transformer, unet or equivariant.")] = "transformer",
    coordinates: Annotated[str, typer.Option(help="Process: flow or wrapped.")] = "flow",
    lattice: Annotated[str, typer.Option(help="Process: flow, cosine or linear.")] = "flow",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of training, minutes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    dim: Annotated[int | None, typer.Option(help="Width of the network.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of the transformer.")] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Atoms per step; lower to save memory.")
    ] = None,
    accumulate: Annotated[int, typer.Option(help="Slices per step; raise to save memory.")] = 1,
    translate: Annotated[bool, typer.Option(help="Move crystals at random in training.")] = True,
    symmetric_noise: Annotated[
        float | None,
        typer.Option(help="Share of crystals with noise of their own space group."),
    ] = None,
    large_power: Annotated[
        float, typer.Option(help="N > 20 atoms come in (20/N)^this of the passes.")
    ] = 0.0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    physics_weight: Annotated[float, typer.Option(help="Weight of the overlap penalty.")] = 0.0,
    patience: Annotated[
        int, typer.Option(help="Checks without gain before stopping; 0: never.")
    ] = 4,
    disorder: Annotated[str, typer.Option(help="Partial occupancy: skip, order or stop.")] = "skip",
    largest_volume: Annotated[
        float, typer.Option(help="Leave out crystals above this many times the usual volume.")
    ] = 6.0,
    start_from: Annotated[
        str | None, typer.Option(help="Model to adapt: box (the default) or a model folder.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Learn from your crystals alone.")
    ] = False,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            help="Column of numbers to learn too (30 labels or more); may be repeated.",
        ),
    ] = None,
    odd: Annotated[str, typer.Option(help="Odd crystals and duplicates: leave or keep.")] = "leave",
    seed: Annotated[int, typer.Option(help="Seed of weights and noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors.")] = False,
) -> None:
    """Train on your own crystals, on top of the pretrained model; the same command resumes.

    Example: crystal-diffusion train my_cifs/ --out model/
    """
    from crystal_diffusion.training.distributed import Workers
    from crystal_diffusion.workflows.train import train as run_training
    from crystal_diffusion.workflows.training_settings import (
        DataSettings,
        ModelSettings,
        TrainingSettings,
    )

    if not Workers.is_first():
        # One process speaks for all that torchrun started.
        quiet = True
        logging.disable(logging.WARNING)
    bar = progress(quiet)
    task: Any = None

    def announce(estimate: Estimate) -> None:
        nonlocal task
        if not quiet:
            err.print(_forecast(estimate), highlight=False, soft_wrap=True)
        task = bar.add_task("training", total=estimate.steps)

    def advance(step: int, total: int, loss: float) -> None:
        ended = step >= total  # what is made with the result is judged after the steps
        words = "judging the result" if ended else f"training, loss {loss:.3f}"
        bar.update(task, completed=step, description=words)

    with bar:
        generator, summary = run_training(
            source,
            folder,
            training=TrainingSettings(
                epochs=epochs,
                steps=steps,
                minutes=minutes,
                learning_rate=learning_rate,
                tokens=tokens,
                seed=seed,
                device=device,
                precision=precision,
                patience=patience,
                physics_weight=physics_weight,
                accumulate=accumulate,
                translate=translate,
                symmetric_noise=symmetric_noise,
                large_power=large_power,
            ),
            model=ModelSettings(
                network=network,
                coordinates=coordinates,
                lattice=lattice,
                dim=dim,
                layers=layers,
                start_from=start_from,
                from_scratch=from_scratch,
            ),
            properties=properties or (),
            data=DataSettings(disorder=disorder, largest_volume=largest_volume, odd=odd),
            on_estimate=announce,
            on_step=advance,
        )
    Workers.leave()
    if not quiet:
        out.print(summary.verdict, highlight=False, soft_wrap=True)
        for line in _how(summary):
            out.print(line, highlight=False, soft_wrap=True)
        for learned in summary.properties:
            out.print(learned.summary(), highlight=False, markup=False, soft_wrap=True)
        for line in next_lines(generator, summary.out):
            out.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(OK)


def _forecast(estimate: Estimate) -> str:
    """What will be done, how long it takes as things are, and how much memory."""
    time, steps = _time(estimate.seconds), f"{estimate.steps} steps"
    if estimate.trainings > 1:
        each = estimate.steps // estimate.trainings
        steps = f"{estimate.trainings} short trainings of {each} steps"
    beside = ""
    if estimate.other_seconds:
        adapting = estimate.trainings > 1
        what = "questions about crystals that were left out" if adapting else "looks at samples"
        beside = f" and {what}"
    return (
        f"About {time} on this machine as it is now, for {steps}{beside}; "
        f"{estimate.memory_mb:.0f} MB of memory, {estimate.parameters / 1e6:.2f} M parameters."
    )


def _how(summary: TrainingSummary) -> list[str]:
    """How long it took; of one training its steps, loss and picture too."""
    if not summary.result.steps:
        return []
    if summary.estimate.trainings > 1:
        return [f"All of it took {_time(summary.result.seconds)}."]
    plot = summary.out / "loss.png"
    return [
        f"{summary.result.steps} steps in {_time(summary.result.seconds)}, loss "
        f"{summary.result.loss:.3f}{f', loss plot: {plot}' if plot.exists() else ''}"
    ]


def next_lines(generator: CrystalGenerator, folder: Path) -> list[str]:
    """What to type after training, with a formula that suits the crystals."""
    lines = [
        f"Model: {folder}; its card is {folder / 'model.md'}",
        "Next, type:",
        f"  crystal-diffusion generate {folder} -n 20 --out run/",
    ]
    if generator.knowledge.like_training is None:
        lines[-1] += "   (new crystals from noise)"
        return lines
    lines[-1] += "   (new crystals like yours)"
    from crystal_diffusion.generation.like_training import like_formula

    formula = generator.proposer and like_formula(generator.proposer, generator.known_elements)
    if formula:
        lines.append(
            f"  crystal-diffusion generate {folder} --formula {formula} -n 16 --out answer/   "
            "(structures of one composition; put yours)"
        )
    lines.append("  crystal-diffusion view run/   (look at them)")
    return lines


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
