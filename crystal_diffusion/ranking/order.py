"""Order: duplicates grouped, the best of each group first; prototypes chosen before building."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.ranking.candidates import Candidate
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
    new: bool = False,
) -> Sequence[Proposal]:
    """The best prototype candidates of one composition, best first.

    Args:
        scorer: chooses among more candidates than are asked for where its scores are log-odds;
            otherwise the order is that of the votes.
        new: types in which the library holds the composition come last.
    """
    judged = scorer is not None and scorer.log_odds
    if not judged and not new:
        return list(proposer.propose(composition, n=count))
    found = proposer.propose(composition, n=max(POOL, count))
    if scorer is not None and judged:
        candidates = [Candidate(p.structure, "prototype", p) for p in found]
        scores = scorer.score(candidates, new=new)
        found = [
            replace(found[row], score=float(scores[row]))
            for row in np.argsort(-scores, kind="stable")
        ]
    else:
        found = sorted(found, key=lambda p: bool(p.features["known"]))
    return list(found[:count])
