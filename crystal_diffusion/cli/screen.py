"""The verb `screen`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_diffusion.cli.console import (
    FAILED,
    OK,
    PARTIAL,
    StageLines,
    crystal_table,
    err,
    out,
    progress,
    say_badly,
)

if TYPE_CHECKING:
    from crystal_diffusion.screening.rows import ScreeningRow, ScreenOutcome


def screen(
    source: Annotated[
        Path, typer.Argument(help="Run folder, or folder or file of crystals from anywhere.")
    ],
    stages: Annotated[
        str | None,
        typer.Option(
            help="Only these, with commas: validate, group, relax, energies, hull, novelty, rank, "
            "report."
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Length of the short list.")] = 5,
    potentials: Annotated[
        str | None,
        typer.Option(
            help="The first relaxes, further ones give the spread: diep, chgnet, chgnet-r2scan, "
            "sevennet, pair (no energies). diep where installed, else none."
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(help="Folder of your own known crystals; repeatable.")
    ] = None,
    db: Annotated[
        str | None, typer.Option(help="Database file or postgresql://…; screening.db if not given.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write; the run folder, or NAME-screened."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            help="local (worker processes), here, batch or batch:DEVICE (for a GPU), ray or "
            "ray:ADDRESS."
        ),
    ] = "local",
    processes: Annotated[
        int | None, typer.Option(help="Worker processes; all usable cores if not given.")
    ] = None,
    fmax: Annotated[float, typer.Option(help="Largest force of a converged crystal, eV/Å.")] = 0.05,
    smax: Annotated[float, typer.Option(help="Largest stress of a converged one, GPa.")] = 0.1,
    relax_steps: Annotated[int, typer.Option(help="Most relaxation steps.")] = 100,
    fix_cell: Annotated[
        bool,
        typer.Option("--fix-cell", help="Move atoms only; crystals with frozen atoms always so."),
    ] = False,
    time_limit: Annotated[float, typer.Option(help="Most seconds for one relaxation.")] = 600.0,
    profile: Annotated[str, typer.Option(help="Checks: default, strict, permissive.")] = "default",
    disorder: Annotated[
        str, typer.Option(help="Partial occupancy: skip (recorded), or order (most probable cell).")
    ] = "skip",
    competing: Annotated[
        int,
        typer.Option(
            help="Most competing compounds for one chemical system, for potentials without a table "
            "of known crystals."
        ),
    ] = 30,
    refine_hull: Annotated[
        bool,
        typer.Option(
            "--refine-hull",
            help="Relax the known crystals within 0.05 eV/atom of the hulls at hand, instead of "
            "taking their energies at the published cells.",
        ),
    ] = False,
    parquet: Annotated[
        Path | None, typer.Option(help="Also write the whole table as Parquet.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """From candidates to a short list: relax, energies, hull, novelty, rank, report.

    A killed run goes on where it was. Exit code 0: all well; 1: some crystals or the database
    could not be dealt with (screening.csv says which and why); 2: nothing could be done.

    Example: crystal-diffusion screen run/ --top 5 --potentials diep,chgnet-r2scan
    """
    from crystal_diffusion.energy.potentials import default_potential
    from crystal_diffusion.energy.relaxation import RelaxLimits
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.screening.pipeline import screen as run_screening
    from crystal_diffusion.screening.settings import STAGES, ScreenSettings, read_candidates

    if disorder not in ("skip", "order"):
        raise InputError(f"--disorder is {disorder!r}; choose skip or order")
    settings = ScreenSettings(
        stages=_words(stages) or STAGES,
        top=top,
        potentials=_words(potentials) or tuple(name for name in [default_potential()] if name),
        limits=RelaxLimits(
            fmax=fmax, smax=smax, max_steps=relax_steps, time_limit_s=time_limit, fix_cell=fix_cell
        ),
        reference=tuple(reference or ()),
        db=db,
        executor=executor,
        processes=processes,
        profile=profile,
        competing=competing,
        refine_hull=0.05 if refine_hull else None,
    )
    candidates = read_candidates(source, folder, "order" if disorder == "order" else "skip")
    with progress(quiet) as bar:
        tasks: dict[str, Any] = {}
        lines = StageLines(lambda text: err.print(text, highlight=False, markup=False))

        def show(stage: str, done: int, total: int) -> None:
            if bar.disable and not quiet:
                lines(stage, done, total)
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        outcome = run_screening(candidates, settings, progress=show, report=_report)
    if parquet is not None:
        from crystal_diffusion.screening.store import Store

        Store(db or str(outcome.folder / "screening.db")).to_parquet(parquet)
    _tell(outcome, top, quiet)
    if not any(row.valid for row in outcome.rows) and "validate" in settings.stages:
        raise typer.Exit(FAILED)
    raise typer.Exit(PARTIAL if outcome.failed or outcome.problems else OK)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _report(folder: Path) -> None:
    """The report page, written by the viewer."""
    from crystal_diffusion.viewer.report import write_report

    write_report(folder)


def _tell(outcome: ScreenOutcome, top: int, quiet: bool) -> None:
    for problem in outcome.problems:
        say_badly("problem", problem)
    if quiet:
        return
    from collections import Counter

    funnel = ", ".join(f"{count} {name}" for name, count in outcome.funnel.items())
    out.print(funnel, highlight=False)
    for note in outcome.notes:
        out.print(note, highlight=False, markup=False, soft_wrap=True)
    failures = Counter(row.problem for row in outcome.rows if row.problem)
    for reason, count in failures.most_common(8):
        out.print(f"  {count} × {reason[:160]}", highlight=False, markup=False)
    best = outcome.ranked[:top]
    if best:
        out.print(crystal_table(_title(best), best, _shown(best), {"nearest_known_id": _nearest}))
        for row in best:
            if row.doubt:
                out.print(f"{row.id} is doubtful: {row.doubt}", highlight=False, markup=False)
    out.print(f"written to {outcome.folder}", highlight=False)


def _title(best: Sequence[ScreeningRow]) -> str:
    first = best[0]
    if any(row.energy_per_atom_eV is not None for row in best):
        return (
            f"{first.potential} {first.potential_version}, references of "
            f"{first.reference_date or 'no date'}; energies in eV/atom"
        )
    why = "no energies"
    if first.potential:
        why = f"{first.potential} {first.potential_version} gives no energies"
    return f"{why}; ranked by the built-in score within each formula"


def _shown(best: Sequence[ScreeningRow]) -> list[str]:
    """Columns of the short list."""
    if all(row.energy_per_atom_eV is None for row in best):
        return ["rank", "id", "formula", "score", "novel", "nearest_known_id"]
    several = any(row.spread_eV_atom is not None for row in best)
    joined = any(row.published_near_hull_probability is not None for row in best)
    return [
        "rank",
        "id",
        "energy_above_hull_eV_atom",
        *(["published_near_hull_probability"] if joined else []),
        "formation_energy_eV_atom",
        "n_competing",
        *(["spread_eV_atom"] if several else []),
        "converged",
        "novel",
        "nearest_known_id",
    ]


def _nearest(row: ScreeningRow) -> str:
    """The nearest known crystal; how it is known where it is the same."""
    known, distance = row.nearest_known_id, row.nearest_known_distance
    if not known:
        return "–"
    if row.novel is False:
        return f"is {known}, by {row.known_by}"
    return f"{known} {distance:.2f}" if distance is not None else str(known)
