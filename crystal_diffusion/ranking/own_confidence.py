"""Confidence of models that were trained: fitted on the user's crystals, each with a known answer.

On top of the pretrained model the shipped calibration is moved by an offset and a slope (Platt
1999), found on own crystals that were left out in turn; a prior at the shipped values keeps them
there where the crystals are few. A model from scratch has no known structure types: what speaks for
a candidate is how many others of its composition it equals and how little the network would still
change it, weighed on crystals that were held out of training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from crystal_diffusion.chemistry import contents
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.files import write_text
from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.ranking.candidates import Candidate, Pool
from crystal_diffusion.ranking.confidence import (
    AnsweredList,
    ConfidenceModel,
    Floats,
    default_calibration,
    pool_features,
)
from crystal_diffusion.ranking.order import POOL

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.prototypes import PrototypeProposer
    from crystal_diffusion.ranking.scorers import Scorer

#: In a model folder.
CONFIDENCE_FILE = "confidence.json"
#: Own crystals that are left out, at most, and fewest lists that move the shipped calibration.
MOST_ANSWERED, FEWEST_ANSWERED = 100, 8
#: Held-out crystals that a model from scratch is asked for, at most; fewest lists that calibrate
#: it; candidates of each.
MOST_SAMPLED, FEWEST_SAMPLED, SAMPLES = 30, 20, 8
#: Candidates, best first, that are compared with the answer and with each other.
COMPARED = 12
#: Deviations of the prior: of the offset and of the logarithm of the slope.
_OFFSET, _LOG_SLOPE = 1.0, 0.5
#: And of the weights where there are no shipped ones; the constant is free.
_WIDE, _FREE = 1.0, 5.0


@dataclass(frozen=True)
class AdjustedCalibration:
    """The shipped calibration, moved.

    Attributes:
        offset: of the log-odds; slope: they are multiplied by.
        lists: own crystals it was fitted on; right: of them with a right first answer.
        covariance: of the offset, of both, of the logarithm of the slope.
    """

    offset: float = 0.0
    slope: float = 1.0
    lists: int = 0
    right: int = 0
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def probabilities(self, columns: Floats) -> Floats:
        """``(groups,)``, see :meth:`.ConfidenceModel.probabilities`.

        Averaged over what offset and slope may be after so many crystals (MacKay 1992, eq. 24): ten
        right answers of ten are no certainty. What moves the first group up moves all of them, so
        the others share no more than it leaves.
        """
        log_odds = default_calibration().log_odds(columns)
        if self.lists < FEWEST_ANSWERED or not len(log_odds):
            return _moved(log_odds, 0.0, 1.0)
        known = 1 / np.sqrt(1 + np.pi * self.doubt(log_odds) / 8)
        moved = _moved(log_odds * known, self.offset * known, self.slope)
        first = int(np.argmax(moved))
        others = moved.sum() - moved[first]
        share = min(1.0, (1 - moved[first]) / others) if others > 0 else 1.0
        return np.where(np.arange(len(moved)) == first, moved, moved * share)

    def doubt(self, log_odds: Floats) -> Floats:
        """``(groups,)`` variance of the moved log-odds."""
        change = self.slope * log_odds  # of the moved log-odds with the logarithm of the slope
        of_offset, both, of_slope = self.covariance
        return np.asarray(of_offset + 2 * both * change + of_slope * change**2)

    @property
    def source(self) -> str:
        """Where the confidence comes from, in words."""
        if self.lists < FEWEST_ANSWERED:
            return (
                "the shipped calibration; your crystals are too few to adjust it "
                f"({self.lists}, it takes {FEWEST_ANSWERED})"
            )
        return (
            f"the shipped calibration, adjusted on {self.lists} of your crystals, each left out "
            "in turn"
        )


@dataclass(frozen=True)
class SampledCalibration:
    """For candidates from noise of a model from scratch.

    Attributes:
        means, deviations: of the columns of :func:`sampled_columns` where it was fitted.
        weights: of one and the columns in deviations from the mean; empty where too few lists.
        lists: held-out crystals it was fitted on; right: of them with a right first answer.
    """

    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    lists: int = 0
    right: int = 0

    @property
    def fitted(self) -> bool:
        """Whether there were enough lists."""
        return bool(self.weights)

    def probabilities(self, columns: Floats) -> Floats:
        """``(groups,)`` probability of each group of equal candidates.

        Args:
            columns: ``(groups, columns)`` of :func:`sampled_columns`.
        """
        scaled = (columns - np.array(self.means)) / np.array(self.deviations)
        weights = np.array(self.weights)
        return np.asarray(1 / (1 + np.exp(-(weights[0] + scaled.clip(-3, 3) @ weights[1:]))))

    @property
    def source(self) -> str:
        """Where the confidence comes from, in words."""
        if not self.fitted:
            return (
                f"none, not calibrated: {self.lists} crystals were held out of training, it takes "
                f"{FEWEST_SAMPLED}"
            )
        return f"fitted on {self.lists} crystals that were held out of training"


Calibration: TypeAlias = AdjustedCalibration | SampledCalibration
_KINDS: dict[str, type[AdjustedCalibration] | type[SampledCalibration]] = {
    "adjusted": AdjustedCalibration,
    "sampled": SampledCalibration,
}


def _moved(log_odds: Floats, offset: float | Floats, slope: float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(offset + slope * log_odds))))


def answered_lists(
    proposer: PrototypeProposer, scorer: Scorer, crystals: Sequence[Structure], seed: int = 0
) -> list[AnsweredList]:
    """Candidates for own crystals, made without anything of their composition.

    Args:
        proposer: with the crystals in its library; scorer: as they are asked with.
        crystals: of which at most :data:`MOST_ANSWERED` are drawn.
        seed: of that draw.
    """
    order = np.random.default_rng((seed, 31)).permutation(len(crystals))[:MOST_ANSWERED]
    return [answered(proposer, scorer, crystals[int(row)]) for row in order]


def answered(proposer: PrototypeProposer, scorer: Scorer, target: Structure) -> AnsweredList:
    """Candidates for one crystal, made without anything of its composition."""
    found = proposer.propose(contents(target.atomic_numbers), n=POOL, known=False)
    if not found:
        return AnsweredList((), (), (), {})
    pool = {target.composition.reduced_formula: Pool(tuple(found))}
    candidates = [Candidate(p.structure, "prototype", p) for p in found]
    scores = scorer.score(candidates, pools=pool)
    order = np.argsort(-scores, kind="stable")
    matcher = StructureMatch()
    first = [found[row].structure for row in order[:COMPARED]]
    return AnsweredList(
        tuple(float(s) for s in scores[order]),
        tuple(int(g) for g in group_near(first, matcher)),
        tuple(bool(matcher.fit(made, target)) for made in first),
        pool_features(found, scores),
    )


def adjust(
    lists: Sequence[AnsweredList], shipped: ConfidenceModel | None = None
) -> AdjustedCalibration:
    """Offset and slope with the largest posterior; the shipped calibration for too few lists."""
    from scipy.optimize import minimize

    shipped = shipped or default_calibration()
    used = [each.columns_and_hits() for each in lists if each.scores]
    right = sum(bool(hits[0]) for _, hits in used)
    if len(lists) < FEWEST_ANSWERED or not used:
        return AdjustedCalibration(lists=len(lists), right=right)
    log_odds = np.concatenate([shipped.log_odds(columns) for columns, _ in used])
    sign = np.where(np.concatenate([hits for _, hits in used]), 1.0, -1.0)

    def loss(x: Floats) -> float:
        margin = sign * (x[0] + np.exp(x[1]) * log_odds)
        prior = (x[0] / _OFFSET) ** 2 / 2 + (x[1] / _LOG_SLOPE) ** 2 / 2
        return float(np.logaddexp(0, -margin).sum() + prior)

    offset, log_slope = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    slope = float(np.exp(log_slope))
    p = _moved(log_odds, offset, slope)
    slopes = np.stack([np.ones(len(p)), slope * log_odds], 1)
    # The second derivative of the loss; what bends with the logarithm of the slope counts where it
    # adds certainty.
    bend = max(0.0, float(((p - (sign > 0)) * slopes[:, 1]).sum()))
    curvature = (slopes * (p * (1 - p))[:, None]).T @ slopes
    curvature += np.diag([1 / _OFFSET**2, 1 / _LOG_SLOPE**2 + bend])
    (of_offset, both), (_, of_slope) = np.linalg.inv(curvature)
    return AdjustedCalibration(
        round(float(offset), 5),
        round(slope, 5),
        len(lists),
        right,
        (round(of_offset, 6), round(both, 6), round(of_slope, 6)),
    )


def sampled_columns(scores: Floats, groups: Sequence[int], atoms: int) -> tuple[list[int], Floats]:
    """Groups of equal candidates of one composition, and ``(groups, 4)`` what speaks for each.

    Log-odds of its share of the candidates, its best score, how far that is above the best of the
    others, log of the number of atoms.

    Args:
        scores: ``(candidates,)`` higher is better; groups: of each.
    """
    of, count = np.array(groups), len(groups)
    names = [int(name) for name in dict.fromkeys(groups)]
    best = {name: float(scores[of == name].max()) for name in names}
    rows = []
    for name in names:
        members = int((of == name).sum())
        rivals = [best[other] for other in names if other != name]
        margin = best[name] - max(rivals) if rivals else 0.0
        share = np.log((members + 0.5) / (count - members + 0.5))
        rows.append([float(share), best[name], margin, float(np.log(atoms))])
    return names, np.array(rows, dtype=float).reshape(len(names), 4)


def fit_sampled(lists: Sequence[tuple[Floats, Floats]], asked: int) -> SampledCalibration:
    """Logistic regression with a wide prior; not fitted for too few lists.

    Args:
        lists: for each composition the columns of its groups, best first, and which is the answer.
        asked: held-out crystals, with those for which nothing was made.
    """
    from scipy.optimize import minimize

    right = sum(bool(hits[0]) for _, hits in lists if len(hits))
    if len(lists) < FEWEST_SAMPLED:
        return SampledCalibration(lists=asked, right=right)
    table = np.concatenate([columns for columns, _ in lists])
    sign = np.where(np.concatenate([hits for _, hits in lists]), 1.0, -1.0)
    means, deviations = table.mean(0), table.std(0).clip(1e-3)
    seen = np.concatenate(
        [np.ones((len(table), 1)), ((table - means) / deviations).clip(-3, 3)], axis=1
    )
    spread = np.array([_FREE, *[_WIDE] * table.shape[1]])

    def loss(weights: Floats) -> float:
        margin = sign * (seen @ weights)
        return float(np.logaddexp(0, -margin).sum() + ((weights / spread) ** 2).sum() / 2)

    found = minimize(loss, np.zeros(seen.shape[1]), method="L-BFGS-B").x
    return SampledCalibration(_rounded(means), _rounded(deviations), _rounded(found), asked, right)


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write it beside the weights."""
    kind = next(name for name, made in _KINDS.items() if isinstance(calibration, made))
    text = json.dumps({"kind": kind, **asdict(calibration)})
    write_text(folder / CONFIDENCE_FILE, text + "\n")


def load_calibration(folder: Path) -> Calibration | None:
    """That of a model folder; None where there is none.

    Raises:
        CheckpointError: for a damaged file.
    """
    file = folder / CONFIDENCE_FILE
    if not file.is_file():
        return None
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = _KINDS[stored.pop("kind")]
        fields: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()
        }
        made = kind(**fields)
        _check(made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: what it says of the model's confidence is damaged ({error}); copy it again, "
            "or remove it: confidence is then that of the shipped model, or none."
        ) from error
    return made


def _check(made: Calibration) -> None:
    numbers = [
        float(n)
        for value in asdict(made).values()
        for n in (value if isinstance(value, tuple) else (value,))
    ]
    if not np.isfinite(numbers).all() or made.lists < 0:
        raise ValueError("a number is not finite, or a count negative")
    if isinstance(made, AdjustedCalibration):
        of_offset, both, of_slope = made.covariance
        if min(of_offset, of_slope) < 0 or both**2 > of_offset * of_slope + 1e-9:
            raise ValueError("the covariance is none")
    if isinstance(made, SampledCalibration) and made.fitted:
        columns = len(made.weights) - 1
        if columns != 4 or {len(made.means), len(made.deviations)} != {columns}:
            raise ValueError("the numbers of columns differ")
        if min(made.deviations) <= 0:
            raise ValueError("a deviation is not positive")
