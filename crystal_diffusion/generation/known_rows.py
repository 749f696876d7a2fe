"""What the pool of a composition says of a crystal whose structure is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.generation.cells import cells_of
from crystal_diffusion.generation.request import Request
from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.ranking.confidence import POOL_FEATURES, pool_features
from crystal_diffusion.ranking.order import best_proposals

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.prototypes import PrototypeProposer
    from crystal_diffusion.ranking.scorers import Scorer

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
