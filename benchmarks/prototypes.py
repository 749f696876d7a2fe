"""Match rates of prototype candidates on a split: any of 20, @1, @5, answered, RMSE, time.

    python benchmarks/prototypes.py --split ../shared/data/mp_20/val.parquet --n 500

Rows with an even number in their id were used for tuning; ``--part odd`` (default) measures on the
others. Match: StructureMatch(ltol=0.3, stol=0.5, angle_tol=10), whose answers are those of
pymatgen's matcher; the denominator is all targets. Intervals: 95 %, bootstrap over targets.
Sources of candidates and training set of the ranker: the shipped library only.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np


def read_targets(split: Path, n: int, seed: int, part: str) -> list[tuple[str, Any]]:
    """``n`` random rows as (id, Structure), ids of one parity only."""
    import pyarrow.parquet as pq
    from pymatgen.core import Lattice, Structure

    table = pq.read_table(split).to_pydict()
    ids = table["material_id"]
    parity = {"odd": 1, "even": 0}.get(part)
    rows = [
        row
        for row, name in enumerate(ids)
        if parity is None or int("0" + "".join(c for c in name if c.isdigit())) % 2 == parity
    ]
    rows = np.random.default_rng(seed).permutation(rows)[:n].tolist()
    cell = ("a", "b", "c", "alpha", "beta", "gamma")
    return [
        (
            ids[row],
            Structure(
                Lattice.from_parameters(*(table[name][row] for name in cell)),
                table["atomic_numbers"][row],
                np.reshape(table["frac_coords"][row], (-1, 3)),
            ),
        )
        for row in rows
    ]


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (1000, len(values)))].mean(1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def main() -> None:
    """Measure and print."""
    from crystal_diffusion.matching.matcher import StructureMatch
    from crystal_diffusion.proposals.prototypes import PrototypeProposer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("odd", "even", "all"), default="odd")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--pool", type=int, default=30, help="candidates the ranker sees")
    parser.add_argument(
        "--known-last", action="store_true", help="types known for the formula last"
    )
    parser.add_argument("--ignore-known", action="store_true", help="no votes of the same formula")
    parser.add_argument("--no-ranker", action="store_true", help="order of votes only")
    parser.add_argument("--save", type=Path, default=None, help="JSON lines, one per target")
    args = parser.parse_args()

    targets = read_targets(args.split, args.n, args.seed, args.part)
    proposer = PrototypeProposer()
    matcher = StructureMatch(ltol=0.3, stol=0.5, angle_tol=10)
    rank = None
    if not args.no_ranker:
        from crystal_diffusion.ranking.learned import Ranker

        rank = Ranker.load()
    proposer.propose({11: 1, 17: 1}, n=2)
    rows = []
    spent = 0.0
    for name, target in targets:
        start = time.process_time()
        composition = dict(Counter(target.atomic_numbers))
        pool = args.candidates if rank is None else args.pool
        proposals = proposer.propose(composition, n=pool, known=not args.ignore_known)
        if rank is not None:
            proposals = rank.order(proposals, known_last=args.known_last)[: args.candidates]
        spent += time.process_time() - start
        found = []
        for proposal in proposals[: args.candidates]:
            found.append(matcher.rms(target, proposal.structure))
        rows.append({"id": name, "rms": found})
    if args.save:
        args.save.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{args.split} part {args.part} n={len(rows)} seed={args.seed} {platform.processor()}")
    print(
        f"ranker: {'no' if rank is None else 'yes'}; same formula votes: {not args.ignore_known}"
        f"; told that the answer is not in the library: {args.known_last}"
    )
    for k in (1, 5, 20):
        hits = np.array([any(r is not None for r in row["rms"][:k]) for row in rows], float)
        low, high = interval(hits)
        name = "answered (@1)" if k == 1 else f"any of {k}"
        print(f"{name:14s} {100 * hits.mean():5.1f} %  [{100 * low:.1f}, {100 * high:.1f}]")
    rms = np.array([row["rms"][0] for row in rows if row["rms"] and row["rms"][0] is not None])
    if len(rms):
        low, high = interval(rms)
        print(f"RMSE of answered matches {rms.mean():.4f} [{low:.4f}, {high:.4f}] n={len(rms)}")
    empty = sum(not row["rms"] for row in rows)
    print(f"no candidate at all: {empty}; {1000 * spent / len(rows):.1f} ms per composition (CPU)")


if __name__ == "__main__":
    main()
