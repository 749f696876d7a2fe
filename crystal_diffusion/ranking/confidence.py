"""Confidence: the probability that a candidate is the known structure of its composition.

Within the matcher's tolerance, among all candidates of the composition and "none of these". The
ranker's log-odds over the pool of known structure types give each group of equal candidates a share
of a softmax; a logistic regression on that share, on what the other groups have and on features of
the pool turns it into a probability (Platt 1999, with products in pairs). Fitted on held-out
crystals that chose nothing else (``recipes/fit_confidence.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.pretrained import asset_path

if TYPE_CHECKING:
    from crystal_diffusion.proposals.prototypes import Proposal

Floats = NDArray[np.float64]

#: Numbers of a pool that tell whether the answer is in it at all.
POOL_FEATURES = (
    "atoms",
    "elements",
    "known",
    "nearest",
    "log_members",
    "log_votes",
    "misfit",
    "sizes",
)
#: Shares of the probability for which a run says how many first candidates to take.
LEVELS = (0.5, 0.8, 0.9)
#: Of the squared weights of the fit; chosen on the rows that fit, each fifth left out.
PENALTY = 0.1


@dataclass(frozen=True)
class AnsweredList:
    """The candidates for a crystal whose answer is known.

    Attributes:
        scores: ``(pool,)`` log-odds, best first.
        groups: of equal ones among the first of them; match: whether each is the answer.
        features: of the pool, :data:`POOL_FEATURES`.
    """

    scores: tuple[float, ...]
    groups: tuple[int, ...]
    match: tuple[bool, ...]
    features: Mapping[str, float]

    def columns_and_hits(self) -> tuple[Floats, NDArray[np.bool_]]:
        """``(groups, columns)`` of :func:`columns_of`, and which group is the answer."""
        names, held, members, entropy = grouped(np.array(self.scores), self.groups)
        of, match = np.array(self.groups), np.array(self.match)
        hits = np.array([bool(match[of == name].any()) for name in names])
        return columns_of(held, members, entropy, self.features), hits


@dataclass(frozen=True)
class ConfidenceModel:
    """What turns shares of a pool's softmax into probabilities.

    Attributes:
        means: of the columns of :func:`columns_of` where it was fitted, and
        deviations: likewise.
        weights: of one, the columns in deviations from the mean, and their products in pairs.
        fitted_on: rows it was fitted on.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    fitted_on: int

    def probabilities(self, columns: Floats) -> Floats:
        """``(groups,)`` probability of each group of a list.

        Within the matcher's tolerance two groups can both be the answer, so together they may have
        more than 1.

        Args:
            columns: ``(groups, columns)`` of :func:`columns_of`.
        """
        return np.asarray(1 / (1 + np.exp(-self.log_odds(columns))))

    def log_odds(self, columns: Floats) -> Floats:
        """``(groups,)`` log-odds of those probabilities."""
        if not len(columns):
            return np.zeros(0)
        scaled = (columns - np.array(self.means)) / np.array(self.deviations)
        return np.asarray(_expanded(scaled.clip(-3, 3)) @ np.array(self.weights))

    @classmethod
    def load(cls, path: Path | None = None) -> ConfidenceModel:
        """The shipped one when no path is given.

        Raises:
            InputError: a file that holds none.
        """
        place = path or asset_path("confidence.json")
        try:
            found = json.loads(place.read_text(encoding="utf-8"))
            given = {name: found[name] for name in cls.__dataclass_fields__}
            fields: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
            }
            return cls(**fields)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{place}: is no calibration ({error}); make it with recipes/fit_confidence.py."
            ) from error

    def to_json(self) -> str:
        """For :meth:`load`."""
        return json.dumps(asdict(self)) + "\n"


def _expanded(columns: Floats) -> Floats:
    """One, the columns and their products in pairs."""
    first, second = np.triu_indices(columns.shape[1])
    pairs = columns[:, first] * columns[:, second]
    return np.concatenate([np.ones((len(columns), 1)), columns, pairs], 1)


def columns_of(
    shares: Floats, members: Sequence[int], entropy: float, features: Mapping[str, float]
) -> Floats:
    """``(groups, columns)`` what the calibration sees of each group of equal candidates.

    Args:
        shares: ``(groups,)`` of the softmax of the pool.
        members: candidates of each group.
        entropy: of that softmax.
        features: of the pool, :data:`POOL_FEATURES`.
    """
    held = np.clip(shares, 1e-4, 1 - 1e-4)
    order = np.argsort(-held, kind="stable")
    best = held[order[0]]
    second = held[order[1]] if len(held) > 1 else 1e-4
    rows = []
    for place, share in enumerate(held):
        rival = second if place == order[0] else best
        rows.append(
            [
                float(np.log(share / (1 - share))),
                float(np.log(rival + 1e-4)),
                entropy,
                float(members[place]),
                float(place == order[0]),
                *[features[name] for name in POOL_FEATURES],
            ]
        )
    return np.array(rows, dtype=float).reshape(len(held), -1)


def grouped(scores: Floats, groups: Sequence[int]) -> tuple[list[int], Floats, list[int], float]:
    """Groups in order of their first candidate: names, shares, members; entropy of the pool.

    Args:
        scores: ``(pool,)`` log-odds, best first.
        groups: of the first of them; the others stand in no group.
    """
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    names = list(dict.fromkeys(groups))
    of = np.array(groups)
    held = np.array([shares[: len(of)][of == name].sum() for name in names], dtype=float)
    members = [int((of == name).sum()) for name in names]
    return names, held, members, float(-(shares * np.log(shares + 1e-12)).sum())


@lru_cache(maxsize=1)
def default_calibration() -> ConfidenceModel:
    """The shipped one, read once per process."""
    return ConfidenceModel.load()


def pool_features(proposals: Sequence[Proposal], scores: Floats) -> dict[str, float]:
    """The features of :data:`POOL_FEATURES`, of the best proposal where they are of one."""
    best = proposals[int(np.argmax(scores))]
    structure = best.structure

    def value(name: str) -> float:
        found = float(best.features[name])
        return round(found, 4) if np.isfinite(found) else 0.0

    return {
        "atoms": round(float(np.log(len(structure))), 4),
        "elements": float(len(structure.composition)),
        "known": float(any(bool(p.features["known"]) for p in proposals)),
        "nearest": value("nearest"),
        "log_members": value("log_members"),
        "log_votes": value("log_votes"),
        "misfit": value("misfit"),
        "sizes": round(float(np.log(len({len(p.structure) for p in proposals}))), 4),
    }


def fit(lists: Sequence[AnsweredList], penalty: float = PENALTY) -> ConfidenceModel:
    """Logistic regression of "this group is the answer" on all groups of the lists.

    Args:
        lists: of `recipes/confidence_rows.py`.
        penalty: of the squared weights.

    Raises:
        InputError: fewer than 50 lists with candidates.
    """
    from scipy.optimize import minimize

    used = [each.columns_and_hits() for each in lists if each.scores]
    if len(used) < 50:
        raise InputError(f"{len(used)} lists with candidates; a calibration needs at least 50.")
    tables, hits = zip(*used, strict=True)
    table, right = np.concatenate(tables), np.concatenate(hits)
    means, deviations = table.mean(0), table.std(0).clip(1e-3)
    seen = _expanded(((table - means) / deviations).clip(-3, 3))
    sign = np.where(right, 1.0, -1.0)
    count = len(used)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (seen @ weights)
        value = np.logaddexp(0, -margin).sum() / count + penalty * (weights[1:] ** 2).sum()
        slope = seen.T @ (-sign / (1 + np.exp(np.clip(margin, -500, 500)))) / count
        slope[1:] += 2 * penalty * weights[1:]
        return float(value), slope

    found = minimize(loss, np.zeros(seen.shape[1]), jac=True, method="L-BFGS-B").x
    return ConfidenceModel(
        tuple(round(float(m), 6) for m in means),
        tuple(round(float(d), 6) for d in deviations),
        tuple(round(float(w), 6) for w in found),
        count,
    )


def first_for(confidences: Sequence[float], level: float) -> int | None:
    """How many candidates, best first, hold the answer with this probability; None: not even all.

    By the chance that none of them is the answer, as if they failed independently.
    """
    ordered = np.sort(np.asarray(confidences, dtype=float))[::-1]
    enough = np.flatnonzero(1 - np.cumprod(1 - ordered) >= level - 1e-9)
    return int(enough[0]) + 1 if len(enough) else None
