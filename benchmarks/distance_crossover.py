"""All pairs against the cell list: where they cross, and how the cost grows with the atoms.

    python benchmarks/distance_crossover.py

Random crystals at 15 Å3 per atom in a skewed cell; neighbours up to 3.5 Å and the smallest
distance; processor time, the best of five repeats.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from crystal_diffusion.physics import distances

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
LARGEST_ALL_PAIRS = 512


def seconds(action: Callable[[], object]) -> float:
    """Best processor time of one call."""
    best = np.inf
    for _ in range(5):
        start, calls = time.process_time(), 0
        while time.process_time() - start < 0.02:
            action()
            calls += 1
        best = min(best, (time.process_time() - start) / calls)
    return best


def main() -> None:
    """Measure and print the table and the crossover."""
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print("  atoms   list: all pairs  cell list   smallest: all pairs  cell list   (µs)")
    rng = np.random.default_rng(0)
    crossover: dict[str, int] = {}
    growth = []
    for atoms in SIZES:
        shape = np.array([[1, 0, 0], [0.3, 1, 0], [-0.2, 0.4, 1]])
        cell = shape * (atoms * 15.0) ** (1 / 3)
        frac = rng.random((atoms, 3))
        row = {
            "list cell": seconds(partial(distances.neighbour_pairs, frac, cell, 3.5, "cell list"))
        }
        default = distances.BRUTE_FORCE_ATOMS
        distances.BRUTE_FORCE_ATOMS = 1
        row["min cell"] = seconds(partial(distances.minimum_distance, frac, cell))
        if atoms <= LARGEST_ALL_PAIRS:
            row["list all"] = seconds(
                partial(distances.neighbour_pairs, frac, cell, 3.5, "all pairs")
            )
            distances.BRUTE_FORCE_ATOMS = atoms
            row["min all"] = seconds(partial(distances.minimum_distance, frac, cell))
        distances.BRUTE_FORCE_ATOMS = default
        for kind in ("list", "min"):
            if row.get(f"{kind} all", np.inf) > row[f"{kind} cell"]:
                crossover.setdefault(kind, atoms)
            elif kind in crossover:
                del crossover[kind]
        growth.append(row["list cell"])
        shown = [
            f"{1e6 * row[k]:11.0f}" if k in row else "          -"
            for k in ("list all", "list cell", "min all", "min cell")
        ]
        print(f"{atoms:7d}   {shown[0]}   {shown[1]}       {shown[2]}   {shown[3]}")
    exponent = np.log(growth[-1] / growth[-4]) / np.log(SIZES[-1] / SIZES[-4])
    print(f"the cell list is cheaper from {crossover.get('list')} atoms for lists,")
    print(f"from {crossover.get('min')} atoms for the smallest distance;")
    print(f"its cost grows as N^{exponent:.2f} from {SIZES[-4]} to {SIZES[-1]} atoms")


if __name__ == "__main__":
    main()
