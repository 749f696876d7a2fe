"""Relax generated crystals with the default potential, for what is learned from them.

    python recipes/label_candidates.py candidates.npz --out labels.npz --processes 12 --seconds 480

Candidates are those of ``make_candidates.py``; they are taken in the order of the file, and what
is not done after ``--seconds`` is left out. Written every minute and at the end: energies before
and after relaxing (eV/atom), steps, whether it converged, cells and coordinates afterwards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: As `crystal-diffusion benchmark discovery` relaxes.
MAX_STEPS, TIME_LIMIT_S = 60, 120.0


@lru_cache(maxsize=1)
def _potential() -> tuple[Any, Any]:
    from crystal_diffusion.energy.potentials import get_potential

    potential = get_potential("diep")
    return potential, potential.calculator()


def relaxed(job: tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
    """One candidate before and after relaxing.

    Args:
        job: its row, atomic numbers, cell (Å) and fractional coordinates.
    """
    from pymatgen.core import Lattice, Structure

    from crystal_diffusion.energy.relaxation import RelaxLimits, relax

    row, numbers, cell, frac = job
    structure = Structure(Lattice(cell), numbers.tolist(), frac)
    potential, calculator = _potential()
    point = RelaxLimits(max_steps=0, time_limit_s=TIME_LIMIT_S)
    before = relax(structure, potential, limits=point, calculator=calculator)
    limits = RelaxLimits(max_steps=MAX_STEPS, time_limit_s=TIME_LIMIT_S)
    after = relax(structure, potential, limits=limits, calculator=calculator)
    return {
        "row": row,
        "single": before.energy_per_atom,
        "energy": float("nan") if after.problem else after.energy_per_atom,
        "steps": after.steps,
        "converged": after.converged,
        "cell": after.structure.lattice.matrix.astype(np.float32),
        "frac": after.structure.frac_coords.astype(np.float32),
    }


def jobs_of(table: Mapping[str, NDArray[Any]]) -> list[tuple[int, Any, Any, Any]]:
    """Rows of the table of candidates, each with its atoms."""
    ends = np.cumsum(table["counts"])
    spans = [slice(int(e - n), int(e)) for e, n in zip(ends, table["counts"], strict=True)]
    return [
        (row, table["numbers"][span], table["cell"][row], table["frac"][span])
        for row, span in enumerate(spans)
    ]


def save(path: Path, done: list[dict[str, Any]]) -> None:
    """Write what is done, in one step."""
    rows = sorted(done, key=lambda found: int(found["row"]))
    columns = {
        name: np.array([found[name] for found in rows])
        for name in ("row", "single", "energy", "steps", "converged", "cell")
    }
    frac = [found["frac"] for found in rows]
    part = path.with_name(path.name + ".part.npz")
    np.savez_compressed(
        part, **columns, frac=np.concatenate(frac) if frac else np.zeros((0, 3), np.float32)
    )
    os.replace(part, path)


def main() -> None:
    """Relax in worker processes until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--first", type=int, help="only so many candidates")
    args = parser.parse_args()
    began = written = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"
    with np.load(args.table) as opened:
        jobs = jobs_of(dict(opened))[: args.first]
    done: list[dict[str, Any]] = []
    pool = multiprocessing.get_context("spawn").Pool(args.processes)
    coming = pool.imap_unordered(relaxed, jobs)
    while len(done) < len(jobs):
        left = args.seconds - (time.monotonic() - began)
        try:
            done.append(coming.next(timeout=max(0.1, min(left, 1e6))))
        except multiprocessing.TimeoutError:
            break
        if time.monotonic() - written > 60:
            save(args.out, done)
            written = time.monotonic()
            rate = len(done) / (written - began)
            print(f"{len(done)} of {len(jobs)} relaxed, {rate:.1f} a second", flush=True)
    save(args.out, done)
    pool.terminate()
    seconds = time.monotonic() - began
    failed = sum(not np.isfinite(found["energy"]) for found in done)
    print(f"{len(done)} of {len(jobs)} relaxed in {seconds:.0f} s, {failed} failed", flush=True)


if __name__ == "__main__":
    main()
