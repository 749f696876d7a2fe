"""What a user's own crystals say about candidates, and how much they are listened to.

The crystals stand in the library as members of structure types. They count twice: their votes are
worth more than those of library crystals (``bonus``), and candidates of types and decorations that
they vote for are preferred: by votes of like elements (``weight``), or of any (``broad``), which is
right where all crystals are of one kind. The numbers are found by leaving crystals out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.chemistry import contents
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate, by_composition
from crystal_diffusion.ranking.learned import default_ranker
from crystal_diffusion.ranking.order import POOL
from crystal_diffusion.ranking.scorers import NO_POOLS, Floats, LearnedScorer, Pools, Scorer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import Proposal

#: Log weight of own votes where they cost first answers.
MUTED = -8.0
#: What is tried: log weight of own votes, and weights of own votes of like elements and of any.
BONUSES = (0.0, 2.0, 4.0)
WEIGHTS = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 0.5), (0.0, 1.0))
#: What is usual, steps from it, and how many more right answers are expected of another choice for
#: each step. Found on families of MP-20 that no table reports (docs/experiments.md).
_BONUS_STEPS, _WEIGHT_STEPS, _EACH_STEP = (1, 0, 1), (1, 0, 1, 2, 2, 3), 0.3
#: First answers that own votes may cost in the sum: one more or less is chance.
_MOST_LOST = 1
#: Crystals that are left out in turn, at most; fewer than this many choose nothing.
MOST_LEFT_OUT = 60
FEWEST = 8
#: Candidates of a list that are compared with the crystal that was left out.
_COMPARED = 10


@dataclass(frozen=True)
class OwnEvidence:
    """How much own crystals count; see the top of this file. Zero counts them like all others."""

    bonus: float = 0.0
    weight: float = 0.0
    broad: float = 0.0

    @property
    def muted(self) -> bool:
        """Whether own crystals have no say in the order of answers."""
        return self.bonus <= MUTED

    def opinion(self, votes: Floats) -> Floats:
        """``(candidates,)`` what is added to log-odds, from ``(2, candidates)`` votes."""
        return np.asarray(self.weight * votes[0] + self.broad * votes[1], dtype=float)


@dataclass(frozen=True, eq=False)
class OwnScorer:
    """The learned ranker's log-odds joined with what own crystals say."""

    learned: LearnedScorer
    evidence: OwnEvidence
    log_odds: bool = True

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        """See :class:`~crystal_diffusion.ranking.scorers.Scorer`."""
        listed = list(candidates)
        scores = self.learned.score(listed, known_last=known_last, pools=pools)
        if not (self.evidence.weight or self.evidence.broad):
            return scores
        ranker = self.learned.ranker or default_ranker()
        for rows in by_composition(listed):
            pool = pools.get(listed[rows[0]].structure.composition.reduced_formula)
            sources = ranker.sources([listed[row] for row in rows], pool)
            against = None if pool is None else pool.proposals
            scores[rows] += self.evidence.opinion(own_votes(sources, against))
        return scores


def own_votes(
    proposals: Sequence[Proposal | None], against: Sequence[Proposal] | None = None
) -> Floats:
    """``(2, candidates)`` log votes of own crystals below those of the best, 0 at most.

    Those of like elements, and those of any. Candidates of no known type stand where those stand
    that got no vote.

    Args:
        against: among which the best is; the candidates themselves when left out.
    """
    unknown = (np.nan, np.nan)
    votes = np.array([unknown if p is None else _own(p) for p in proposals], dtype=float).T
    judged = votes if against is None else np.array([_own(p) for p in against], dtype=float).T
    if not judged.size or np.isnan(judged).all():
        return np.zeros((2, len(proposals)))
    votes = np.where(np.isnan(votes), np.nanmin(judged, axis=1, keepdims=True), votes)
    return np.asarray(votes - np.nanmax(judged, axis=1, keepdims=True), dtype=float)


def _own(proposal: Proposal) -> tuple[float, float]:
    return proposal.features["own"], proposal.features["own_broad"]


@dataclass(frozen=True)
class LeaveOneOut:
    """How many crystals, each left out in turn, came back first and among five.

    Attributes:
        asked: crystals left out.
        box_first, box_any: with the shipped library and ranker alone.
        own_first, own_any: with the other own crystals, counted as chosen without this one.
        gained, lost: right first only with own crystals, only without them.
    """

    asked: int = 0
    box_first: int = 0
    box_any: int = 0
    own_first: int = 0
    own_any: int = 0
    gained: int = 0
    lost: int = 0


@dataclass(frozen=True, eq=False)
class _List:
    """One list of candidates for a crystal that was left out."""

    scores: Floats
    votes: Floats
    right: np.ndarray

    def place(self, evidence: OwnEvidence) -> int:
        """Place of the right crystal from 0; a large number where it is not among the first."""
        order = np.argsort(-(self.scores + evidence.opinion(self.votes)), kind="stable")
        hits = np.flatnonzero(self.right[order])
        return int(hits[0]) if len(hits) else 10_000

    def chance(self, evidence: OwnEvidence) -> float:
        """Of the right crystal, by a softmax over the list."""
        if not self.right.any():
            return 0.0
        total = self.scores + evidence.opinion(self.votes)
        return float(np.exp(total - np.logaddexp.reduce(total))[self.right].sum())


def weigh_own(
    shipped: CrystalLibrary,
    joined: CrystalLibrary,
    crystals: Sequence[Structure],
    *,
    seed: int = 0,
    scorer: Scorer | None = None,
) -> tuple[OwnEvidence, LeaveOneOut]:
    """Evidence found by leaving own crystals out, and what it would have answered.

    A crystal is left out with everything of its composition, in the library and among the own.
    Usual numbers are kept unless others are expected to answer more of them; the shipped library
    alone decides where all would answer fewer first than it does, beyond chance. What is counted
    for a crystal uses the evidence that the *others* choose.

    Args:
        shipped: the library of the pretrained model; joined: with the crystals.
        scorer: orders candidates where own crystals say nothing; the ranker alone when left out.
    """
    scorer = scorer or LearnedScorer()
    if len(crystals) < FEWEST:
        return OwnEvidence(), LeaveOneOut()
    rows = np.random.default_rng((seed, 23)).permutation(len(crystals))[:MOST_LEFT_OUT]
    matcher = StructureMatch()
    box = PrototypeProposer(shipped)
    proposers = [PrototypeProposer(joined, own_bonus=bonus) for bonus in BONUSES]
    weights = [OwnEvidence(0.0, *pair) for pair in WEIGHTS]
    tried = [OwnEvidence(MUTED), *(replace(w, bonus=b) for b in BONUSES for w in weights)]
    chances, places = [], []  # (crystals, tried)
    for row in rows:
        target = crystals[int(row)]
        seen: dict[tuple[object, ...], bool] = {}
        without = _listed(box, target, scorer, matcher, seen)
        lists = [_listed(p, target, scorer, matcher, seen) for p in proposers]
        weighed = [(without, tried[0]), *((listed, w) for listed in lists for w in weights)]
        chances.append([listed.chance(weight) for listed, weight in weighed])
        places.append([listed.place(weight) for listed, weight in weighed])
    gain, place = np.array(chances), np.array(places)
    first = (place == 0).astype(int)
    chosen = np.array(
        [_best(gain.sum(0) - g, first.sum(0) - f) for g, f in zip(gain, first, strict=True)]
    )
    before, after = place[:, 0], place[np.arange(len(rows)), chosen]
    figures = LeaveOneOut(
        len(rows),
        int((before == 0).sum()),
        int((before < 5).sum()),
        int((after == 0).sum()),
        int((after < 5).sum()),
        int(((after == 0) & (before > 0)).sum()),
        int(((after > 0) & (before == 0)).sum()),
    )
    return tried[_best(gain.sum(0), first.sum(0))], figures


def _best(chance: Floats, first: np.ndarray) -> int:
    """Which of what is tried is expected to answer most, with a pull towards what is usual.

    The box, tried first, only where every other answers fewer first than it, by more than chance.

    Args:
        chance: ``(tried,)`` expected right answers; first: ``(tried,)`` right first answers.
    """
    steps = np.add.outer(_BONUS_STEPS, _WEIGHT_STEPS).ravel()
    allowed = first[1:] >= first[0] - _MOST_LOST
    if not allowed.any():
        return 0
    return 1 + int(np.argmax(np.where(allowed, chance[1:] - _EACH_STEP * steps, -np.inf)))


def left_out_seconds(
    shipped: CrystalLibrary,
    joined: CrystalLibrary,
    crystals: Sequence[Structure],
    seed: int,
    scorer: Scorer | None = None,
) -> float:
    """What :func:`weigh_own` will take, from timing the first crystal that it leaves out."""
    if len(crystals) < FEWEST:
        return 0.0
    scorer = scorer or LearnedScorer()
    row = int(np.random.default_rng((seed, 23)).permutation(len(crystals))[0])
    proposers = [PrototypeProposer(shipped)]
    proposers += [PrototypeProposer(joined, own_bonus=bonus) for bonus in BONUSES]
    matcher, took = StructureMatch(), 0.0
    for _ in range(2):  # tables are loaded in the first round
        seen: dict[tuple[object, ...], bool] = {}
        began = time.perf_counter()
        for proposer in proposers:
            _listed(proposer, crystals[row], scorer, matcher, seen)
        took = time.perf_counter() - began
    return took * min(len(crystals), MOST_LEFT_OUT)


def _listed(
    proposer: PrototypeProposer,
    target: Structure,
    scorer: Scorer,
    matcher: StructureMatch,
    seen: dict[tuple[object, ...], bool],
) -> _List:
    """Candidates for the composition of a crystal, made without anything of that composition."""
    found = proposer.propose(contents(target.atomic_numbers), n=POOL, known=False)
    if not found:
        return _List(np.zeros(0), np.zeros((2, 0)), np.zeros(0, bool))
    scores = scorer.score([Candidate(p.structure, "prototype", p) for p in found])
    votes = own_votes(found)
    right = np.zeros(len(found), bool)
    compared = set(np.argsort(-scores)[:_COMPARED].tolist())
    for loudest in (WEIGHTS[3], WEIGHTS[5]):
        opinion = OwnEvidence(0.0, *loudest).opinion(votes)
        compared |= set(np.argsort(-(scores + opinion))[:_COMPARED].tolist())
    for row in compared:
        # The geometry of a candidate depends on its members, not on how much they count.
        made = found[row].structure
        name = (len(proposer.library), found[row].prototype_label, *made.atomic_numbers)
        if name not in seen:
            seen[name] = bool(matcher.fit(found[row].structure, target))
        right[row] = seen[name]
    return _List(scores, votes, right)
