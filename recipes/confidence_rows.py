"""Scores of known structure types for crystals with a known answer, for calibrating confidence.

    python recipes/confidence_rows.py SPLIT.parquet --n 2000 --out rows.jsonl

The contents of the cell are told, or with --formula-only the reduced formula alone. Each line:
scores of the pool, groups of equal candidates among the first ones, which of them matches the
target. Goes on where it stopped. Rows with an odd number in their id: they chose nothing
(docs/prototypes.md).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from crystal_diffusion.generation.known_rows import pool_row
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.scorers import LearnedScorer


def main() -> None:
    """Write one line for each crystal."""
    import pyarrow.parquet as pq
    from pymatgen.core import Lattice, Structure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="even ids too")
    parser.add_argument("--formula-only", action="store_true", help="the cell's contents not told")
    args = parser.parse_args()
    table = pq.read_table(args.split).to_pydict()
    ids = table["material_id"]
    digits = [int("0" + "".join(c for c in str(name) if c.isdigit())) for name in ids]
    rows = [i for i, number in enumerate(digits) if args.all or number % 2]
    rows = np.random.default_rng(args.seed).permutation(rows)[: args.n].tolist()
    done = set()
    if args.out.is_file():
        done = {json.loads(line)["id"] for line in args.out.read_text().splitlines() if line}
    proposer, scorer = PrototypeProposer(), LearnedScorer()
    cell = ("a", "b", "c", "alpha", "beta", "gamma")
    with args.out.open("a") as file:
        for row in rows:
            if ids[row] in done:
                continue
            target = Structure(
                Lattice.from_parameters(*(table[name][row] for name in cell)),
                table["atomic_numbers"][row],
                np.reshape(table["frac_coords"][row], (-1, 3)),
            )
            told = pool_row(target, proposer, scorer, cell_given=not args.formula_only)
            file.write(json.dumps({"id": ids[row], **told}) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
