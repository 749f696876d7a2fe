"""Order: duplicates grouped, the best of each group first; prototypes chosen before building."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.ranking.candidates import Candidate, Pool
from crystal_diffusion.ranking.scorers import Scorer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer

#: Prototype candidates that a scorer chooses from: the order of votes alone leaves 1 to 2 % of the
#: right types behind place 20.
POOL = 40


@dataclass(frozen=True)
class Place:
    """Where a candidate stands: rank from 1, score and duplicate group where there are any."""

    name: str
    rank: int
    score: float | None
    group: int | None


def places(
    structures: Mapping[str, Structure],
    scores: NDArray[np.float64] | None,
    *,
    group: bool = True,
    matcher: StructureMatch | None = None,
) -> list[Place]:
    """Candidates in order of rank.

    Scores are comparable within a composition only. The first of each group of duplicates stands
    for it, its copies come after all first ones. Without scores the order stays.
    """
    names = list(structures)
    groups: dict[str, int] = {}
    if group:
        found = group_near(list(structures.values()), matcher)
        groups = {name: int(number) for name, number in zip(names, found, strict=True)}
    given: dict[str, float] = {}
    order = names
    if scores is not None:
        given = {name: float(score) for name, score in zip(names, scores, strict=True)}
        position = {name: i for i, name in enumerate(names)}
        order = sorted(names, key=lambda n: (-given[n], position[n]))
        if group:
            seen: set[int] = set()
            leaders: list[str] = []
            copies: list[str] = []
            for name in order:
                (copies if groups[name] in seen else leaders).append(name)
                seen.add(groups[name])
            order = leaders + copies
    return [
        Place(name, rank, given.get(name), groups.get(name))
        for rank, name in enumerate(order, start=1)
    ]


def best_proposals(
    proposer: PrototypeProposer,
    scorer: Scorer | None,
    composition: Mapping[int, int],
    count: int,
    *,
    units: Collection[int] | None = None,
    known_last: bool = False,
) -> tuple[Sequence[Proposal], Pool]:
    """The best prototype candidates of one composition, best first, and what they were among.

    Only the first POOL by votes are put in another order, so that what stands at a place does not
    depend on how many are asked for.

    Args:
        scorer: chooses where its scores are log-odds; otherwise the order is that of the votes.
        units: numbers of formula units per cell that are allowed; that of the composition when
            left out.
        known_last: types in which the library holds the composition come last.
    """
    found = proposer.propose(composition, n=max(POOL, count), units=units)
    pool, rest = Pool(tuple(found[:POOL])), found[POOL:]
    best = list(pool.proposals)
    if scorer is not None and scorer.log_odds and best:
        candidates = [Candidate(p.structure, "prototype", p) for p in best]
        formula = best[0].structure.composition.reduced_formula
        scores = scorer.score(candidates, known_last=known_last, pools={formula: pool})
        best = [
            replace(best[row], score=float(scores[row]))
            for row in np.argsort(-scores, kind="stable")
        ]
    elif known_last:
        best = sorted(best, key=lambda p: bool(p.features["known"]))
    return [*best, *rest][:count], pool
