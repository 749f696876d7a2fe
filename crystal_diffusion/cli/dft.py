"""The verb `dft`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_diffusion.cli.console import FAILED, OK, PARTIAL, err, out


def dft(
    run: Annotated[Path, typer.Argument(help="Screened folder, or (--collect) the same.")],
    top: Annotated[int, typer.Option(help="How many of the best, by rank.")] = 5,
    code: Annotated[str, typer.Option(help="vasp, espresso or gpaw.")] = "vasp",
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the inputs; RUN/dft-CODE.")
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Read results back by id, into the database.")
    ] = False,
    references: Annotated[
        bool, typer.Option(help="Also the elements and competing phases the hull needs.")
    ] = True,
    static: Annotated[bool, typer.Option("--static", help="One energy, no relaxation.")] = False,
    cutoff: Annotated[float, typer.Option(help="Plane-wave cutoff, eV.")] = 520.0,
    kpoints: Annotated[float, typer.Option(help="k-points per Å⁻³ of reciprocal space.")] = 64.0,
    pseudo_dir: Annotated[
        Path | None, typer.Option(help="Folder of UPF files (Quantum ESPRESSO).")
    ] = None,
    command: Annotated[str | None, typer.Option(help="How the job script starts the code.")] = None,
    db: Annotated[str | None, typer.Option(help="Database; RUN/screening.db if not given.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but errors.")] = False,
) -> None:
    """Hand the best candidates to a DFT code, and read its results back by id.

    Exit code 0: all well; 1: some crystals have a problem; 2: nothing could be done.

    Example: crystal-diffusion dft run/ --top 5 --code gpaw, later: dft run/ --code gpaw --collect
    """
    from crystal_diffusion.dft.inputs import DftSettings

    target = folder or run / f"dft-{code}"
    if collect:
        raise typer.Exit(_collect(run, target, db, quiet))
    settings = DftSettings(
        cutoff_eV=cutoff,
        kpoint_density=kpoints,
        relax=not static,
        pseudo_dir=pseudo_dir,
        command=command,
    )
    raise typer.Exit(_write(run, target, code, top, references, settings, quiet))


def _table(run: Path) -> list[dict[str, Any]]:
    from crystal_diffusion.errors import InputError

    file = run / "screening.jsonl"
    if not file.is_file():
        raise InputError(
            f"{run}: has no screening.jsonl; run `crystal-diffusion screen {run}` first"
        )
    from crystal_diffusion.runs.reading import read_rows

    return read_rows(file)


def _write(
    run: Path, target: Path, code: str, top: int, references: bool, settings: Any, quiet: bool
) -> int:
    from crystal_diffusion.dft.inputs import DftJob, write_inputs
    from crystal_diffusion.dft.results import reference_jobs
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.proposals.library import load_library
    from crystal_diffusion.runs.reading import read_json
    from crystal_diffusion.runs.rows import relaxed_structures

    rows = [row for row in _table(run) if row["rank"] is not None and row["rank"] <= top]
    if not rows:
        raise InputError(f"{run}: nothing is ranked; run the stages up to rank first")
    rows.sort(key=lambda row: row["rank"])
    structures = relaxed_structures(run)
    jobs = [DftJob(row["id"], structures[row["id"]]) for row in rows]
    hull = run / "hull.json"
    if references and hull.is_file():
        text = read_json(hull)
        jobs += reference_jobs(text, [job.id for job in jobs], load_library())
    problems = write_inputs(jobs, target, code, settings)
    for key, problem in problems.items():
        err.print(f"{key}: {problem}", highlight=False, markup=False)
    written = len(jobs) - len(problems)
    if not quiet:
        extra = sum(job.kind == "reference" for job in jobs)
        out.print(f"{written} inputs in {target}, {extra} of them references", highlight=False)
    return FAILED if not written else PARTIAL if problems else OK


def _collect(run: Path, target: Path, db: str | None, quiet: bool) -> int:
    from crystal_diffusion.dft.results import dft_rows, read_results
    from crystal_diffusion.files import write_text
    from crystal_diffusion.screening.store import Store

    code, results = read_results(target)
    rows = dft_rows(code, results)
    known = {row["id"]: row for row in _table(run)}
    final = {result.id: result.structure for result in results if result.kind == "candidate"}
    done = {key: known.get(key, {"id": key}) | row.to_dict() for key, row in rows.items()}
    Store(db or str(run / "screening.db")).put_many(
        (key, final[key], row) for key, row in done.items() if row.get("dft_energy_per_atom_eV")
    )
    lines = "".join(json.dumps(row) + "\n" for row in done.values())
    write_text(run / "dft.jsonl", lines)
    problems = {r.id: r.problem for r in results if r.problem}
    problems |= {key: row.dft_problem for key, row in rows.items() if row.dft_problem}
    for key, problem in problems.items():
        err.print(f"{key}: {problem}", highlight=False, markup=False)
    if not quiet:
        for key, row in rows.items():
            energy, above = row.dft_energy_per_atom_eV, row.dft_energy_above_hull_eV_atom
            if energy is not None:
                hull = "–" if above is None else f"{above:.3f}"
                out.print(
                    f"{key}: {energy:.4f} eV/atom, {hull} above the hull ({code})", highlight=False
                )
    with_energy = sum(row.dft_energy_per_atom_eV is not None for row in rows.values())
    return FAILED if not with_energy else PARTIAL if problems else OK
