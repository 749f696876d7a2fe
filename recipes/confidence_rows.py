"""Scores of known structure types for crystals with a known answer, for calibrating confidence.

``recipes/fit_confidence.py`` makes these rows and fits. The contents of the cell are told, or the
reduced formula alone. Each line: scores of the pool, sizes of its cells, groups of equal candidates
among the first ones, which of them matches the target. Rows with an odd number in their id where
not all are asked for: they chose nothing (docs/prototypes.md).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Way:
    """A way of asking for the crystals of a split.

    Attributes:
        seed: of the order of the rows; every_id: even ids too.
        cell_given: the contents of the cell are told; otherwise the reduced formula alone.
    """

    seed: int
    cell_given: bool = True
    every_id: bool = False


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


def _reduced(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Elements and how many of each in the reduced formula."""
    counts = Counter(int(z) for z in numbers)
    return tuple(sorted((z, n // math.gcd(*counts.values())) for z, n in counts.items()))


def chosen_rows(table: Mapping[str, Any], count: int, way: Way) -> list[int]:
    """The first rows of a split in the order of a way of asking."""
    ids = table["material_id"]
    digits = [int("0" + "".join(c for c in str(name) if c.isdigit())) for name in ids]
    rows = [i for i, number in enumerate(digits) if way.every_id or number % 2]
    order = np.random.default_rng(way.seed).permutation(rows).tolist()
    if not way.cell_given:  # of several crystals of one formula the first in this order
        first = {_reduced(table["atomic_numbers"][row]): row for row in reversed(order)}
        kept = set(first.values())
        order = [row for row in order if row in kept]
    return order[:count]


def make_rows(split: Path, out: Path, count: int, way: Way) -> list[dict[str, Any]]:
    """Rows of a split, made where they are not in the file yet; it is gone on with."""
    import pyarrow.parquet as pq
    from pymatgen.core import Lattice, Structure

    table = pq.read_table(split).to_pydict()
    ids, cell = table["material_id"], ("a", "b", "c", "alpha", "beta", "gamma")
    made: dict[str, dict[str, Any]] = {}
    if out.is_file():
        lines = [json.loads(line) for line in out.read_text().splitlines() if line]
        made = {line["id"]: line for line in lines}
    wanted = chosen_rows(table, count, way)
    proposer, scorer = PrototypeProposer(), shipped_scorer()
    with out.open("a") as file:
        for row in wanted:
            if ids[row] in made:
                continue
            target = Structure(
                Lattice.from_parameters(*(table[name][row] for name in cell)),
                table["atomic_numbers"][row],
                np.reshape(table["frac_coords"][row], (-1, 3)),
            )
            told = pool_row(target, proposer, scorer, cell_given=way.cell_given)
            made[ids[row]] = {"id": ids[row], **told}
            file.write(json.dumps(made[ids[row]]) + "\n")
            file.flush()
    return [made[ids[row]] for row in wanted]
