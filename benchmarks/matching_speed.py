"""Measure matching: pairs per second, grouping, nearest known crystal, cutoffs of coverage.

Example: python benchmarks/matching_speed.py ../shared/data/mp_2025/train_le20.parquet --pairs 10000

Times are processor seconds, workers included, and seconds on the wall; the machine is named. Each
part also says how many answers were checked against pymatgen and how many differed.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from machine import describe
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import CrystalArrays, parquet_arrays
from crystal_diffusion.evaluation.coverage import composition_fingerprints, nearest_distances
from crystal_diffusion.evaluation.validity import compositional_validities, structural_validity
from crystal_diffusion.matching import (
    ReferenceIndex,
    StructureMatch,
    fingerprints,
    group_structures,
)


def structure(arrays: CrystalArrays, row: int) -> Structure:
    """One of the crystals."""
    return arrays.crystal(row).to_structure()


def displaced(s: Structure, amount: float, rng: np.random.Generator) -> Structure:
    """Atoms moved by ``amount`` (V/N)^(1/3), cell strained by half of it, other order."""
    scale = amount * (s.volume / len(s)) ** (1 / 3)
    cell = s.lattice.matrix @ (np.eye(3) + rng.normal(size=(3, 3)) * min(amount, 0.1) / 2)
    frac = s.frac_coords + rng.normal(size=(len(s), 3)) * scale @ s.lattice.inv_matrix
    order = rng.permutation(len(s))
    return Structure(Lattice(cell), [s.species[i] for i in order], frac[order])


def shuffled(s: Structure, rng: np.random.Generator) -> Structure:
    """The same sites with the elements dealt out anew."""
    return Structure(s.lattice, [s.species[i] for i in rng.permutation(len(s))], s.frac_coords)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print processor and wall seconds of a block, workers included."""

    def spent() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)

    wall, cpu = time.perf_counter(), spent()
    yield
    print(
        f"{what}: {spent() - cpu:.1f} processor seconds, "
        f"{time.perf_counter() - wall:.1f} s on the wall",
        flush=True,
    )


def pairs(arrays: CrystalArrays, count: int, rng: np.random.Generator) -> None:
    """Half displaced copies, half other orders of the elements on the same sites."""
    rows = np.flatnonzero(arrays.num_atoms == 20)
    chosen = rng.choice(rows, min(len(rows), max(1, count // 4)), replace=False)
    crystals = [structure(arrays, int(r)) for r in chosen]
    first, second = [], []
    for i in range(count):
        s = crystals[i % len(crystals)]
        amount = float(rng.choice([0.02, 0.1, 0.2]))
        first.append(s)
        second.append(displaced(s, amount, rng) if i % 2 else shuffled(s, rng))
    match = StructureMatch()
    with timed(f"{count} pairs of 20 atoms"):
        answers = [match.rms(a, b) for a, b in zip(first, second, strict=True)]
    print(f"  {sum(a is not None for a in answers)} of them match")
    checked = min(count, 200)
    original = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    wrong = 0
    with timed(f"  the first {checked} by pymatgen itself, one process"):
        for a, b, mine in list(zip(first, second, answers, strict=True))[:checked]:
            theirs = original.get_rms_dist(a, b)
            same = (theirs is None) == (mine is None)
            wrong += not same or (theirs is not None and abs(theirs[0] - mine) > 1e-9)
    print(f"  {wrong} of {checked} answers differ from pymatgen's")


def groups(arrays: CrystalArrays, count: int, processes: int, rng: np.random.Generator) -> None:
    """20 variants each of many crystals: the output of a large prediction run."""
    chosen = rng.choice(len(arrays), max(1, count // 20), replace=False)
    made = []
    for row in chosen:
        s = structure(arrays, int(row))
        for k in range(20):
            made.append(displaced(s if k % 2 else shuffled(s, rng), 0.02 * (k + 1), rng))
    with timed(f"grouping {len(made)} structures of {len(chosen)} crystals, {processes} processes"):
        found = group_structures(made, processes=processes)
    print(f"  {max(found) + 1} groups")
    part = made[:400]
    theirs = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).group_structures(part)
    place = {id(s): k for k, group in enumerate(theirs) for s in group}
    mine = group_structures(part)
    differing = together(mine) ^ together([place[id(s)] for s in part])
    print(f"  the first {len(part)}: {len(differing)} pairs grouped unlike pymatgen")


def together(labels: list[int]) -> set[tuple[int, int]]:
    """Pairs of places with the same label."""
    return {(i, j) for i, a in enumerate(labels) for j, b in enumerate(labels[:i]) if a == b}


def references(arrays: CrystalArrays, count: int, processes: int, rng: np.random.Generator) -> None:
    """Half known crystals moved by 2 %, half with other elements on the sites."""
    with timed(f"index of {len(arrays)} references, {processes} processes"):
        index = ReferenceIndex.from_arrays(arrays, processes)
    made = []
    rows = rng.choice(len(arrays), count, replace=False)
    for i, row in enumerate(rows):
        s = structure(arrays, int(row))
        made.append(displaced(s, 0.02, rng) if i % 2 else shuffled(s, rng))
    with timed(f"nearest known crystal of {count} structures, {processes} processes"):
        found = index.nearest_many(made, processes=processes)
    moved = [f.matches for f in found[1::2]]
    print(f"  {sum(moved)} of {len(moved)} moved copies recognised")


def cutoffs(arrays: CrystalArrays, processes: int, rng: np.random.Generator) -> None:
    """99 % quantiles of the nearest distance between two halves; validity of the data itself."""
    made = [structure(arrays, row) for row in rng.permutation(len(arrays))]
    half = len(made) // 2
    for name, vectors in (
        ("geometry", fingerprints(made, processes)),
        ("composition", composition_fingerprints(made)),
    ):
        gaps = nearest_distances(vectors[:half], vectors[half:])
        shown = ", ".join(f"{q:.0%} {np.quantile(gaps, q):.3f}" for q in (0.5, 0.9, 0.99))
        print(f"nearest {name} distance between halves of {len(made)}: {shown}")
    print(
        f"valid of {len(made)}: structure {np.mean([structural_validity(s) for s in made]):.4f}, "
        f"composition {np.mean(compositional_validities(made)):.4f}"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="Parquet file of crystals")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--structures", type=int, default=0, help="to group")
    parser.add_argument("--nearest", type=int, default=0, help="structures against all of data")
    parser.add_argument("--coverage", action="store_true", help="cutoffs from halves of data")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    arrays = parquet_arrays(options.data)
    rng = np.random.default_rng(options.seed)
    print(f"{options.data}: {len(arrays)} crystals; seed {options.seed}; {describe()}", flush=True)
    if options.pairs:
        pairs(arrays, options.pairs, rng)
    if options.structures:
        groups(arrays, options.structures, options.processes, rng)
    if options.nearest:
        references(arrays, options.nearest, options.processes, rng)
    if options.coverage:
        cutoffs(arrays, options.processes, rng)


if __name__ == "__main__":
    main()
