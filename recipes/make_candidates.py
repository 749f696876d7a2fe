"""Make candidates as a discovery proposes them, to be relaxed and learned from.

    python recipes/make_candidates.py --noise 4000 --prototypes 12000 --exchange 6000 --seed 1 \\
        --out candidates.npz

Formulas of crystals that are held back, at most three candidates of a formula, and the same number
of atoms as a discovery looks at. Of each kind of start some are the best by the property network,
since these are what a choice is made among, the rest is drawn at random, far ones less often. The
order of the file is random, so that any beginning of it stands for the whole.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.discovery.proposing import Proposed, Proposing
from crystal_diffusion.discovery.wish import Wish
from crystal_diffusion.generation.loading import load
from crystal_diffusion.known.index import KnownCrystals, load_known
from crystal_diffusion.prediction.near_hull import network_opinions

#: Of each kind of start: drawn at random, drawn among the best, and the share that counts as best.
CHOSEN = {"noise": (1700, 900, 0.3), "prototypes": (1100, 1400, 0.2), "exchange": (700, 900, 0.25)}
#: Candidates further than this (eV/atom) are drawn less often by this factor.
FAR, LESS = 0.5, 0.3
#: Elements without weights in the default potential, or without long-lived isotopes.
LEFT_OUT = frozenset({61, 84, 85, 86, 87, 88})


def formula(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Reduced formula as pairs of atomic number and count."""
    counts = Counter(numbers)
    divisor = int(np.gcd.reduce(list(counts.values())))
    return tuple(sorted((z, n // divisor) for z, n in counts.items()))


def held_back(known: KnownCrystals) -> set[tuple[tuple[int, int], ...]]:
    """Formulas of known crystals that are not in the library."""
    found = set()
    for row in range(len(known.library), len(known)):
        pairs = zip(known.elements[row].tolist(), known.counts[row].tolist(), strict=True)
        found.add(formula(z for z, n in pairs if z for _ in range(n)))
    return found


def usable(made: Sequence[Proposed], blocked: set[tuple[tuple[int, int], ...]]) -> list[Proposed]:
    """Candidates that may be learned from."""
    seen: Counter[tuple[tuple[int, int], ...]] = Counter()
    kept = []
    for proposed in made:
        own = formula(int(z) for z in proposed.structure.atomic_numbers)
        numbers = {z for z, _ in own}
        if len(own) < 2 or own in blocked or numbers & LEFT_OUT or max(numbers) > 94:
            continue
        seen[own] += 1
        if seen[own] <= 3:
            kept.append(proposed)
    return kept


def drawn(
    guess: NDArray[np.float64], kind: str, rng: np.random.Generator
) -> tuple[list[int], list[bool]]:
    """Which candidates of a kind are taken, and whether each is of the best."""
    uniform, best, share = CHOSEN[kind]
    order = np.argsort(guess, kind="stable")
    head = order[: int(share * len(order))]
    good = rng.choice(head, size=min(best, len(head)), replace=False)
    rest = np.setdiff1d(np.arange(len(guess)), good)
    weight = np.where(guess[rest] < FAR, 1.0, LESS)
    size = min(uniform, len(rest))
    other = rng.choice(rest, size=size, replace=False, p=weight / weight.sum())
    return [*good.tolist(), *other.tolist()], [True] * len(good) + [False] * len(other)


def main() -> None:
    """Propose, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind, count in (("noise", 4000), ("prototypes", 12000), ("exchange", 6000)):
        parser.add_argument(f"--{kind}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    making = Proposing(load(), Wish())
    blocked = held_back(load_known())
    rows: list[tuple[Proposed, int, float, bool]] = []
    for source, kind in enumerate(CHOSEN):
        count = int(getattr(args, kind))
        if kind == "noise":
            made = list(making.noise(args.seed, count))
        else:
            made = list(getattr(making, kind)(rng, count))
        kept = usable(made, blocked)
        guess = np.array([o.above for o in network_opinions([p.structure for p in kept], 0.1)])
        kept, guess = [p for p, g in zip(kept, guess, strict=True) if g == g], guess[guess == guess]
        chosen, best = drawn(guess, kind, rng)
        rows += [(kept[i], source, guess[i], b) for i, b in zip(chosen, best, strict=True)]
        print(f"{kind}: {len(made)} made, {len(kept)} usable, {len(chosen)} taken", flush=True)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    structures = [row[0].structure for row in rows]
    np.savez_compressed(
        args.out,
        counts=np.array([len(s) for s in structures], np.int16),
        numbers=np.concatenate([s.atomic_numbers for s in structures]).astype(np.uint8),
        frac=np.concatenate([s.frac_coords for s in structures]).astype(np.float32),
        cell=np.array([s.lattice.matrix for s in structures], np.float32),
        guess=np.array([row[2] for row in rows], np.float32),
        source=np.array([row[1] for row in rows], np.uint8),
        top=np.array([row[3] for row in rows], bool),
    )
    print(f"{len(rows)} candidates, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
