"""What own crystals add to proposals and ranking, without training: held-out crystals of a family.

    python benchmarks/own_crystals.py MP20_VAL --family nitrides --sizes 30,100 --seeds 3 --n 100 \
        --out DRAWS.json
    python benchmarks/own_crystals.py MP20_VAL --own TRAIN_LE20 --family nitrides --sizes 30,300
    python benchmarks/own_crystals.py PEROV5_VAL --family all --sizes 30,100,1000 --seeds 1
    python benchmarks/own_crystals.py PEROV5_VAL --bound PEROV5_TRAIN

Composition given, prototypes only, five candidates, structures known for a composition last. How
much own crystals count is found by leaving them out one by one; targets choose nothing.
With ``--out``, draws that the file holds are not
asked again. ``--bound`` says how often any method could be right at the first answer on Perov-5,
where both orders of the two metals are in the data set for nearly every composition and one of
them, drawn at random, is asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from crystal_diffusion.chemistry import contents
from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking import own as evidence_module
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.own import OwnEvidence, own_votes, weigh_own
from crystal_diffusion.workflows.small import FAMILIES

CANDIDATES, POOL = 5, 40
SCORER = shipped_scorer()


def family(path: Path, name: str) -> tuple[Any, np.ndarray]:
    """Arrays of a file, and the rows that belong to a family."""
    arrays = parquet_arrays(path)
    belongs = FAMILIES[name]
    rows = [
        row
        for row in range(len(arrays))
        if belongs(
            frozenset(arrays.atomic_numbers[arrays.offsets[row] : arrays.offsets[row + 1]].tolist())
        )
    ]
    return arrays, np.array(rows)


def structure(arrays: Any, row: int) -> Any:
    """One crystal in its primitive cell."""
    return arrays.crystal(int(row)).to_structure().get_primitive_structure()


def place(proposer: PrototypeProposer, evidence: OwnEvidence | None, target: Any) -> int:
    """SkeletonPlace of the target among the first five, 99 where it is not there."""
    found = proposer.propose(contents(target.atomic_numbers), n=POOL)
    if not found:
        return 99
    candidates = [Candidate(p.structure, "prototype", p) for p in found]
    scores = SCORER.score(candidates, known_last=True)
    if evidence is not None:
        scores = scores + evidence.opinion(own_votes(found))
    matcher = StructureMatch()
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return next((k for k, row in enumerate(order) if matcher.fit(found[row].structure, target)), 99)


def percent(values: np.ndarray, crystals: list[int]) -> str:
    """A share or a difference with its interval; a crystal asked for in several draws is one."""
    _, places = np.unique(crystals, return_inverse=True)
    result = ratio("", "", np.bincount(places, values), np.bincount(places))
    return f"{100 * result.value:.1f} ({100 * result.low:.1f} to {100 * result.high:.1f})"


def orders(path: Path) -> list[tuple[int, int, tuple[int, ...]]]:
    """(atom at the corner, atom in the octahedron, anions) of Perov-5 crystals."""
    arrays = parquet_arrays(path)
    found = []
    for row in range(len(arrays)):
        crystal = arrays.crystal(row)
        columns = [tuple(c) for c in np.rint(2 * crystal.frac_coords[:, 1:]).astype(int) % 2]
        metals = [k for k, z in enumerate(crystal.atomic_numbers) if z not in (7, 8, 9, 16)]
        corner = [k for k in metals if columns.count(columns[k]) == 1]
        if len(metals) != 2 or len(corner) != 1:
            continue
        center = next(k for k in metals if k != corner[0])
        numbers = crystal.atomic_numbers
        anions = tuple(sorted(int(z) for k, z in enumerate(numbers) if k not in metals))
        found.append((int(numbers[corner[0]]), int(numbers[center]), anions))
    return found


def bound(val: Path, train: Path, sizes: list[int]) -> None:
    """How often any method could be right at the first answer, by number of own crystals."""
    targets, known = orders(val), orders(train)
    everything = set(targets) | set(known)
    twin = [(b, a, anions) for a, b, anions in targets]
    two = [t for t, target in zip(twin, targets, strict=True) if t != target]
    print(f"other order present in train or val: {np.mean([t in everything for t in two]):.3f}")
    for size in sizes:
        shares = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            own = {known[i] for i in rng.choice(len(known), size, replace=False)}
            right = [
                1.0 if t == target or t in own else 0.5
                for t, target in zip(twin, targets, strict=True)
            ]
            shares.append(np.mean(right))
        print(f"{size} own crystals: at most {100 * np.mean(shares):.1f} % answered")


def main() -> None:
    """Parse, draw, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--own", type=Path, help="file of own crystals; others of the split")
    parser.add_argument("--family", default="all", choices=sorted(FAMILIES))
    parser.add_argument("--sizes", default="30,100,300")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--left-out", type=int, default=60, help="own crystals left out at most")
    parser.add_argument("--out", type=Path, help="file of finished draws")
    parser.add_argument("--bound", type=Path, help="training file of Perov-5")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    if options.bound:
        bound(options.split, options.bound, sizes)
        return
    print(describe())
    evidence_module.MOST_LEFT_OUT = options.left_out
    arrays, rows = family(options.split, options.family)
    source, pool = (arrays, rows) if not options.own else family(options.own, options.family)
    print(f"{options.family}: {len(rows)} crystals in {options.split.name}", flush=True)
    shipped = default_library()
    kept = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for size in sizes:
        before: list[int] = []
        after: list[int] = []
        crystals: list[int] = []
        for seed in range(options.seeds):
            name = f"{size} {seed}"
            if name not in kept:
                began = time.process_time()
                rng = np.random.default_rng((seed, size))
                chosen = rng.permutation(pool)[:size]
                rest = rows if options.own else np.setdiff1d(rows, chosen)
                asked = rng.permutation(rest)[: options.n]
                own = [structure(source, row) for row in chosen]
                entries, _ = read_own(own, [source.ids[row] for row in chosen])
                joined = join(shipped, entries)
                evidence, figures = weigh_own(shipped, joined, own, seed=seed, scorer=SCORER)
                proposers = (
                    PrototypeProposer(shipped),
                    PrototypeProposer(joined, own_bonus=evidence.bonus),
                )
                targets = [structure(arrays, row) for row in asked]
                kept[name] = {
                    "asked": asked.tolist(),
                    "before": [place(proposers[0], None, target) for target in targets],
                    "after": [place(proposers[1], evidence, target) for target in targets],
                }
                if options.out:
                    options.out.write_text(json.dumps(kept))
                print(
                    f"  {size} own, seed {seed}: {evidence}, {figures}, "
                    f"{time.process_time() - began:.0f} s of one core",
                    flush=True,
                )
            before += kept[name]["before"]
            after += kept[name]["after"]
            crystals += kept[name]["asked"]
            box, mine = np.array(before), np.array(after)
            print(
                f"{size} own, n {len(box)}, {len(set(crystals))} crystals: box "
                f"{percent(box == 0, crystals)} / {percent(box < 5, crystals)}; with yours "
                f"{percent(mine == 0, crystals)} / {percent(mine < 5, crystals)} (one of two "
                f"{percent(mine < 2, crystals)}); change "
                f"{percent((mine == 0).astype(int) - (box == 0), crystals)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
