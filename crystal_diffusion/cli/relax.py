"""The verb `relax`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_diffusion.cli.console import FAILED, OK, PARTIAL, err, out, progress


def relax(
    source: Annotated[Path, typer.Argument(help="Run folder, or folder or file of crystals.")],
    potential: Annotated[
        str | None,
        typer.Option(
            help="diep, chgnet, chgnet-r2scan, sevennet, or pair (distances only, no energies); "
            "diep where installed."
        ),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("relaxed"),
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Relax cell and positions; a table, extended XYZ and CIFs come out. Goes on after a kill.

    Frozen atoms (selective dynamics, ASE's constraints) stay, and so does the cell around them.

    Exit code 0: all relaxed and converged; 1: some did not; 2: none could be relaxed.

    Example: crystal-diffusion relax my_cifs/ --potential pair --out relaxed/
    """
    from crystal_diffusion.energy.potentials import default_potential
    from crystal_diffusion.energy.relaxation import RelaxLimits
    from crystal_diffusion.frozen import frozen_of_structure
    from crystal_diffusion.screening.pipeline import screen
    from crystal_diffusion.screening.settings import ScreenSettings, read_candidates

    settings = ScreenSettings(
        stages=("relax",),
        potentials=tuple(name for name in [potential or default_potential()] if name),
        limits=RelaxLimits(
            fmax=fmax, smax=smax, max_steps=relax_steps, time_limit_s=time_limit, fix_cell=fix_cell
        ),
        executor=executor,
        processes=processes,
    )
    candidates = read_candidates(source, folder)
    frozen = sum(frozen_of_structure(s) is not None for s in candidates.structures.values())
    if frozen and not quiet:
        out.print(
            f"{frozen} of {len(candidates.structures)} crystals have frozen atoms: these stay, "
            "and so do their cells",
            highlight=False,
        )
    with progress(quiet) as bar:
        task = bar.add_task("relax", total=None)
        outcome = screen(
            candidates,
            settings,
            progress=lambda _, done, total: bar.update(task, completed=done, total=total),
        )
    for row in outcome.rows:
        if row.problem:
            err.print(f"{row.id}: {row.problem}", highlight=False, markup=False)
    for problem in outcome.problems:
        err.print(problem, highlight=False, markup=False)
    relaxed, converged = outcome.funnel["relaxed"], outcome.funnel["converged"]
    if not quiet:
        out.print(
            f"{relaxed} of {len(outcome.rows)} relaxed, {converged} converged, in {folder}",
            highlight=False,
        )
    if not relaxed:
        raise typer.Exit(FAILED)
    raise typer.Exit(OK if converged == len(outcome.rows) and not outcome.problems else PARTIAL)
