"""How long it takes to relax 200 structures of 10 atoms, and where the time goes.

Crystals of the data set with 10 sites, their cells strained by 3 % and their atoms moved by 0.1 Å
(standard deviation and length), as a generator would leave them. Prints wall time, processor time,
the share outside the potential, and how many converged.

    python benchmarks/relax_speed.py --potential diep --processes 2
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import platform
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.parallel.executors import HereExecutor, LocalExecutor


def shaken(path: Path, count: int, sites: int, seed: int) -> list[tuple[str, Structure]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).to_pandas()
    rows = table[table.num_sites == sites].sample(count, random_state=seed)
    rng = np.random.default_rng(seed)
    found = []
    for row in rows.itertuples():
        lattice = Lattice.from_parameters(row.a, row.b, row.c, row.alpha, row.beta, row.gamma)
        cell = lattice.matrix @ (np.eye(3) + rng.normal(0, 0.03, (3, 3)))
        structure = Structure(cell, row.atomic_numbers, np.reshape(row.frac_coords, (-1, 3)))
        directions = rng.normal(size=(sites, 3))
        directions *= 0.1 / np.linalg.norm(directions, axis=1, keepdims=True)
        moved = structure.cart_coords + directions
        found.append(
            (
                row.material_id,
                Structure(cell, structure.species, moved, coords_are_cartesian=True),
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data/mp_2025/train_le20.parquet")
    )
    parser.add_argument("--potential", default="diep")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    work = shaken(options.data, options.n, options.sites, options.seed)
    began, spent_before = time.perf_counter(), time.process_time()
    limits = RelaxLimits(max_steps=options.steps)
    # one process: in this one, whose processor time is known exactly; the first loads the weights
    executor = HereExecutor() if options.processes == 1 else LocalExecutor(options.processes)
    results = list(relax_many(work, options.potential, limits=limits, executor=executor))
    wall = time.perf_counter() - began
    spent = sum(r.seconds for _, r in results)
    inside = sum(r.potential_seconds for _, r in results)
    steps = np.array([r.steps for _, r in results])
    for child in multiprocessing.active_children():
        child.join(120)  # their processor time is known when they have ended
    processor = time.process_time() - spent_before
    if options.processes > 1:
        import resource

        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor += children.ru_utime + children.ru_stime
    version = results[0][1].potential_version
    problems = [r.problem for _, r in results if r.problem]
    print(f"machine: {platform.processor() or platform.machine()}, {options.processes} processes")
    print(f"torch {importlib.metadata.version('torch')}, {options.potential} {version}")
    print(f"structures: {len(results)} of {options.sites} atoms, at most {options.steps} steps")
    print(
        f"wall time: {wall:.0f} s; processor time: {processor:.0f} s, "
        f"{processor / len(results):.2f} s for a structure"
    )
    print(f"time outside the potential: {100 * (1 - inside / spent):.1f} % of {spent:.0f} s")
    print(f"steps: mean {steps.mean():.1f}, median {np.median(steps):.0f}, max {steps.max()}")
    print(f"converged: {sum(r.converged for _, r in results)}, problems: {len(problems)}")
    for problem in problems[:5]:
        print(f"  {problem}")


if __name__ == "__main__":
    main()
