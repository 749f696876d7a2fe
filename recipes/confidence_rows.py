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
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.generation.cells import cells_of
from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.generation.request import Request
from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.confidence import POOL_FEATURES, pool_features
from crystal_diffusion.ranking.order import best_proposals
from crystal_diffusion.ranking.scorers import Scorer

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Candidates, best first, that are compared with the target and with each other.
COMPARED = 12
#: Atoms up to which cells are tried where nothing speaks for larger ones.
_USUAL = 20


def pool_row(
    target: Structure, proposer: PrototypeProposer, scorer: Scorer, *, cell_given: bool
) -> dict[str, Any]:
    """Scores, groups and matches of the candidates for a crystal that the library does not hold.

    Types in which the library holds the composition come last: the answer is none of them.

    Args:
        cell_given: the contents of the cell are told; otherwise the reduced formula alone.

    Returns:
        ``scores`` of the pool, best first; ``groups`` and ``match`` of the first
        :data:`COMPARED`; the features of :mod:`~crystal_diffusion.ranking.confidence`.
    """
    formula = target.composition.reduced_formula
    base = {
        "formula": formula,
        "num_atoms": len(target),
        "num_elements": len(target.composition),
        "scores": [],
        "groups": [],
        "match": [],
        "features": dict.fromkeys(POOL_FEATURES, 0.0),
    }
    try:
        cells: Sequence[Mapping[int, int]] = [Counter(int(z) for z in target.atomic_numbers)]
        if not cell_given:
            cells = cells_of(Request(formula=formula), _USUAL, proposer).proposed
        units = [math.gcd(*cell.values()) for cell in cells]
        best, _ = best_proposals(proposer, scorer, cells[0], 40, units=units, known_last=True)
    except CrystalDiffusionError:
        return base
    if not best:
        return base
    matcher = StructureMatch()
    first = [proposal.structure for proposal in best[:COMPARED]]
    return base | {
        "scores": [round(float(proposal.score), 4) for proposal in best],
        "groups": [int(group) for group in group_near(first, matcher)],
        "match": [matcher.rms(candidate, target) is not None for candidate in first],
        "features": pool_features(best, np.array([float(p.score) for p in best])),
    }


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
    proposer, scorer = PrototypeProposer(), shipped_scorer()
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
