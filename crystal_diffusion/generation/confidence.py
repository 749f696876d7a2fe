"""Confidence of the crystals of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from crystal_diffusion.ranking.candidates import Candidate, Pool, by_composition
from crystal_diffusion.ranking.confidence import (
    LEVELS,
    Floats,
    columns_of,
    default_calibration,
    first_for,
    pool_features,
)
from crystal_diffusion.ranking.own_confidence import SampledCalibration, sampled_columns

if TYPE_CHECKING:
    from crystal_diffusion.proposals.prototypes import PrototypeProposer
    from crystal_diffusion.ranking.scorers import Scorer

#: Said of the pretrained model.
SHIPPED = "the shipped calibration"

#: Compositions of one run for which pools are looked up where none was, 0.1 s each.
MOST_COMPOSITIONS = 50


class PoolCalibration(Protocol):
    """Turns what :func:`.columns_of` finds into probabilities."""

    def probabilities(self, columns: Floats) -> Floats:
        """``(groups,)`` of ``(groups, columns)``."""
        ...


@dataclass(frozen=True)
class HowMany:
    """How many first candidates of a composition to take.

    Attributes:
        formula: reduced.
        none: probability that the known structure is not among the candidates.
        take: for each of LEVELS the number of distinct candidates; None where all together are
            less likely.
    """

    formula: str
    none: float
    take: tuple[int | None, ...]

    def __str__(self) -> str:
        parts = [
            f"{100 * level:.0f} %: " + (str(k) if k is not None else "not reached")
            for level, k in zip(LEVELS, self.take, strict=True)
        ]
        return f"{self.formula}: first candidates to take for {', '.join(parts)}"


def confidences(
    candidates: Sequence[Candidate],
    groups: Sequence[int | None],
    pools: Mapping[str, Pool],
    scorer: Scorer,
    proposer: PrototypeProposer | None,
    *,
    known_last: bool = False,
    calibration: PoolCalibration | None = None,
) -> tuple[list[float | None], list[HowMany]]:
    """The confidence of each candidate, and how many to take of each composition.

    Equal candidates share the sum of what their structure types have. None where the scorer's
    scores are no log-odds, or no known type has the composition.

    Args:
        groups: of equal candidates; None for one that was not compared.
        pools: by reduced formula; looked up where there is none.
        known_last: the answer is not what the library holds of the composition.
        calibration: the shipped one when left out.
    """
    out: list[float | None] = [None] * len(candidates)
    said: list[HowMany] = []
    if not scorer.log_odds or proposer is None:
        return out, said
    chosen = calibration or default_calibration()
    for looked, rows in enumerate(by_composition(list(candidates))):
        formula = candidates[rows[0]].structure.composition.reduced_formula
        pool = pools.get(formula)
        if (pool is None or not pool.proposals) and looked < MOST_COMPOSITIONS:
            pool = _look_up(candidates[rows[0]], proposer)
        if pool is None or not pool.proposals:
            continue
        mine = [candidates[row] for row in rows]
        own = scorer.score(mine, known_last=known_last, pools={formula: pool})
        keys = _keys(groups, rows)
        judged = _judged(pool, formula, scorer, known_last)
        features = pool_features(pool.proposals, judged)
        if not known_last:
            features["known"] = 0.0  # what the library holds is a known structure itself
        shares, left = _shares(mine, own, keys, judged, features, chosen)
        for row, share in zip(rows, shares, strict=True):
            out[row] = round(share, 4)
        distinct = dict(zip(keys, shares, strict=True))
        take = tuple(first_for(list(distinct.values()), level) for level in LEVELS)
        said.append(HowMany(formula, round(left, 4), take))
    return out, said


def sampled_confidences(
    candidates: Sequence[Candidate],
    groups: Sequence[int | None],
    scorer: Scorer,
    calibration: SampledCalibration,
) -> tuple[list[float | None], list[HowMany]]:
    """The same for candidates from noise of a model from scratch, by what they say of each other.

    Args:
        scorer: of the model.
    """
    out: list[float | None] = [None] * len(candidates)
    said: list[HowMany] = []
    if not calibration.fitted:
        return out, said
    for rows in by_composition(list(candidates)):
        mine = [candidates[row] for row in rows]
        keys = _keys(groups, rows)
        names, columns = sampled_columns(scorer.score(mine), keys, len(mine[0].structure))
        sure = dict(zip(names, calibration.probabilities(columns).tolist(), strict=True))
        for row, key in zip(rows, keys, strict=True):
            out[row] = round(sure[key], 4)
        take = tuple(first_for(list(sure.values()), level) for level in LEVELS)
        none = float(np.prod([1 - p for p in sure.values()]))
        formula = mine[0].structure.composition.reduced_formula
        said.append(HowMany(formula, round(none, 4), take))
    return out, said


def _keys(groups: Sequence[int | None], rows: Sequence[int]) -> list[int]:
    """Groups of some candidates; one that was not compared is a group of its own."""
    return [-row - 1 if groups[row] is None else int(groups[row] or 0) for row in rows]


def _judged(pool: Pool, formula: str, scorer: Scorer, known_last: bool) -> Floats:
    types = [Candidate(p.structure, "prototype", p) for p in pool.proposals]
    return scorer.score(types, known_last=known_last, pools={formula: pool})


def _look_up(candidate: Candidate, proposer: PrototypeProposer) -> Pool | None:
    """The pool of a composition for which none was made."""
    from crystal_diffusion.errors import InputError
    from crystal_diffusion.ranking.order import POOL

    counts = {int(el.Z): int(n) for el, n in candidate.structure.composition.items()}
    try:
        return Pool(tuple(proposer.propose(counts, n=POOL)))
    except InputError:
        return None


def _shares(
    candidates: Sequence[Candidate],
    scores: Floats,
    keys: Sequence[int],
    judged: Floats,
    features: Mapping[str, float],
    calibration: PoolCalibration,
) -> tuple[list[float], float]:
    """``(candidates,)`` probabilities, and that of none of them."""
    whole = np.logaddexp.reduce(judged)
    pool = np.exp(judged - whole)
    held: dict[int, float] = {}
    beside: dict[int, float] = {}
    types: dict[int, set[str]] = {}
    for candidate, score, key in zip(candidates, scores, keys, strict=True):
        share = float(np.exp(min(0.0, score - whole)))
        found = types.setdefault(key, set())
        if candidate.proposal is None:
            beside[key] = max(beside.get(key, 0.0), share)
        elif candidate.proposal.source_id not in found:
            held[key] = held.get(key, 0.0) + share
            found.add(str(candidate.proposal.source_id))
    names = list(dict.fromkeys(keys))
    # A crystal from noise beside one of a known type adds nothing to what that type has.
    shares = np.array([held.get(name, beside.get(name, 0.0)) for name in names])
    members = [max(1, len(types[name])) for name in names]
    entropy = float(-(pool * np.log(pool + 1e-12)).sum())
    sure = calibration.probabilities(columns_of(shares, members, entropy, features))
    of = dict(zip(names, sure, strict=True))
    return [float(of[key]) for key in keys], float(np.prod(1 - sure))
