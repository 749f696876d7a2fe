"""The verb `evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_diffusion.cli.check import LeftHandedChoice
from crystal_diffusion.cli.console import OK, PARTIAL, err, out, progress

if TYPE_CHECKING:
    from pymatgen.core import Structure


class Kind(StrEnum):
    """What a run is."""

    auto = "auto"
    prediction = "prediction"
    generation = "generation"


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder, or a file or folder of structures.")],
    reference: Annotated[
        Path,
        typer.Option(help="Targets (prediction) or training set (generation): file or folder."),
    ],
    kind: Annotated[
        Kind, typer.Option(help="auto: prediction where ids or compositions fit the reference.")
    ] = Kind.auto,
    unseen: Annotated[
        Path | None,
        typer.Option(
            help="Generation: crystals of the kind that were not trained on; shows copying."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for figures and rows.")
    ] = None,
    metre: Annotated[
        bool, typer.Option("--metre/--no-metre", help="Compare targets of one composition too.")
    ] = True,
    fmt: Annotated[str, typer.Option("--format", help="text, markdown or json.")] = "text",
    processes: Annotated[
        int | None, typer.Option(help="Worker processes; all usable cores if left out.")
    ] = None,
    left_handed: Annotated[
        LeftHandedChoice, typer.Option(help="Left-handed cells: swap a and b, or leave them out.")
    ] = LeftHandedChoice.swap,
    likelihood: Annotated[
        bool,
        typer.Option("--likelihood", help="Also log density under the flow; it ranks badly."),
    ] = False,
    likelihood_model: Annotated[
        str | None, typer.Option(help="Model whose flow it is; the pretrained one if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Measure a run against a reference, each figure with n, interval and definition.

    Prediction: match rates, RMSE, METRe, space groups, validity. Generation: valid, unique, novel,
    coverage, distributions, with --unseen copying. Figures and rows go into RUN/evaluation (or
    --out), and a run that was stopped goes on there.

    Example: crystal-diffusion evaluate run/ --reference targets.parquet
    """
    import json

    from crystal_diffusion.errors import InputError
    from crystal_diffusion.evaluation.benchmark import evaluate_predictions
    from crystal_diffusion.evaluation.generation import evaluate_generation
    from crystal_diffusion.evaluation.pairing import misfit, pair

    if fmt not in ("text", "markdown", "json"):
        raise InputError(f"--format is '{fmt}'; choose text, markdown or json.")
    structures, rows, bad_run = _run(run, left_handed)
    if not structures:
        reason = f" ({bad_run[0]})" if bad_run else ""
        raise InputError(f"{run} has no structures to evaluate{reason}; give a run that made some.")
    known, bad_reference = _read(reference, left_handed)
    if not known:
        reason = f" ({bad_reference[0]})" if bad_reference else ""
        raise InputError(f"{reference} has no usable crystal{reason}; give another reference.")
    others, bad_others = _unseen(unseen, known, left_handed)
    generation = kind is Kind.generation or (unseen is not None and kind is Kind.auto)
    found = None if generation else pair(structures, rows, known)
    if found is None and kind is Kind.prediction:
        raise misfit(structures, known, str(run), str(reference))
    target = folder or (run / "evaluation" if run.is_dir() else None)
    info: dict[str, Any] = {"run": str(run), "reference": str(reference)}
    info["unreadable_in_run"], info["unreadable_in_reference"] = len(bad_run), len(bad_reference)
    with progress(quiet) as bar:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        if found is not None:
            info["paired_by"] = found.how
            table = evaluate_predictions(
                known,
                {t: [structures[i] for i in ids] for t, ids in found.candidates.items() if ids},
                draws={t: d for t, d in found.draws.items() if d},
                metre=metre,
                processes=processes,
                out=target,
                progress=lambda done, total: tell("matching", done, total),
                name=str(run),
                info=info,
            )
        else:
            table = evaluate_generation(
                structures,
                known,
                unseen=others,
                reference_name=reference.name,
                processes=processes,
                out=target,
                progress=tell,
                name=str(run),
                info=info,
            )
    if fmt == "json":
        out.print_json(json.dumps(table.to_dict(), default=str))
    else:
        text = table.to_markdown() if fmt == "markdown" else table.to_text()
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    for problem in (bad_run + bad_reference + bad_others)[:5]:
        err.print(f"left out: {problem}", highlight=False, markup=False)
    if target is not None and not quiet:
        err.print(f"figures and rows are in {target}", highlight=False, markup=False)
    if likelihood:
        _likelihood(structures, likelihood_model, target)
    raise typer.Exit(PARTIAL if bad_run or bad_reference or bad_others else OK)


def _likelihood(structures: dict[str, Structure], model: str | None, folder: Path | None) -> None:
    """Print the log density of each structure, and write it beside the figures."""
    from crystal_diffusion.files import write_text
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.workflows.likelihood import likelihoods

    found = likelihoods(load(model), structures)
    lines = ["id,log_likelihood_nats_per_atom"]
    lines += [f"{name},{value:.4f}" for name, value in found.items()]
    if folder is not None:
        write_text(folder / "likelihood.csv", "\n".join(lines) + "\n")
    mean = sum(found.values()) / len(found)
    out.print(
        f"log likelihood, nats per atom, given the composition: mean {mean:.3f} of {len(found)}",
        highlight=False,
    )
    for name, value in list(found.items())[:20]:
        out.print(f"  {name}  {value:.3f}", highlight=False, markup=False)


def _unseen(
    path: Path | None, known: dict[str, Structure], left_handed: LeftHandedChoice
) -> tuple[dict[str, Structure] | None, list[str]]:
    """Crystals that were not trained on; those that stand in the reference too are refused."""
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.matching import ReferenceIndex

    if path is None:
        return None, []
    others, problems = _read(path, left_handed)
    if not others:
        reason = f" ({problems[0]})" if problems else ""
        raise InputError(f"--unseen {path} has no usable crystal{reason}; give another file.")
    index = ReferenceIndex.from_structures(known, 1)
    nearest = index.nearest_many(list(others.values()))
    repeated = [name for name, one in zip(others, nearest, strict=True) if one.matches]
    if repeated:
        raise InputError(
            f"--unseen {path}: {len(repeated)} of its {len(others)} crystals, {repeated[0]} first, "
            "are in the reference too; copying is measured with two sets that share none. Leave "
            "them out."
        )
    return others, problems


def _run(
    path: Path, left_handed: LeftHandedChoice
) -> tuple[dict[str, Structure], list[dict[str, Any]], list[str]]:
    """Structures by id, table rows, and what could not be read."""
    from crystal_diffusion.runs.folder import MANIFEST, RunFolder

    if (path / MANIFEST).is_file():
        run = RunFolder.open(path)
        return run.structures(), run.rows(), []
    structures, problems = _read(path, left_handed)
    return structures, [], problems


def _read(path: Path, left_handed: LeftHandedChoice) -> tuple[dict[str, Structure], list[str]]:
    """Structures by id, and what could not be read."""
    from crystal_diffusion.data import iter_crystals

    structures, problems = {}, []
    for record in iter_crystals(str(path), left_handed=left_handed.value):
        if record.structure is None:
            problems.append(f"{record.id}: {record.problem}")
        else:
            structures[record.id] = record.structure
    return structures, problems
