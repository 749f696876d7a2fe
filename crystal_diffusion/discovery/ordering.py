"""Which candidates to relax first: a prior of the built-in network, corrected by this run.

The built-in network of properties guesses the energy above the published hull, before anything is
relaxed. What was relaxed in this run shows where the guess is wrong: a Gaussian
process over composition and kind of start learns the difference (Rasmussen and Williams 2006,
eq. 2.25 and 2.26). Candidates are ordered by the probability that they are accepted. The second
potential, which judges, is never learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

#: Standard deviations in eV/atom: of the difference as it varies with composition, between kinds
#: of start, of an offset common to all, and what no candidate tells of another.
_BY_COMPOSITION, _BY_START, _COMMON, _OWN = 0.12, 0.08, 0.15, 0.10
#: Distance of composition curves over which differences stay alike.
_REACH = 0.25
#: Energies above hull (eV/atom) are cut to this range: how bad a bad one is tells little.
_RANGE = (-0.2, 0.8)


@dataclass(frozen=True, eq=False)
class Described:
    """What the order knows of candidates.

    Attributes:
        guess: ``(candidates,)`` energy above hull by the built-in network, eV/atom.
        curves: ``(candidates, 26)`` composition on the chemical scale (`matching.radial`).
        start: ``(candidates,)`` kind of start, as text.
    """

    guess: NDArray[np.float64]
    curves: NDArray[np.float64]
    start: NDArray[np.str_]


def _kernel(one: Described, two: Described) -> NDArray[np.float64]:
    """``(candidates, candidates)`` covariance of the differences."""
    steps = one.curves[:, None] - two.curves[None]
    gaps = (steps**2).mean(-1)
    alike = (one.start[:, None] == two.start[None]).astype(float)
    return np.asarray(
        _COMMON**2 + _BY_START**2 * alike + _BY_COMPOSITION**2 * np.exp(-gaps / (2 * _REACH**2)),
        dtype=float,
    )


def expected(
    candidates: Described, done: Described, above_hull: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected energy above hull of candidates and its standard deviation, eV/atom.

    Args:
        candidates: to be judged.
        done: what was relaxed in this run.
        above_hull: ``(done,)`` what came out, eV/atom.
    """
    variance = _COMMON**2 + _BY_START**2 + _BY_COMPOSITION**2
    if not len(above_hull):
        return candidates.guess, np.full(len(candidates.guess), sqrt(variance + _OWN**2))
    wrong = np.clip(above_hull, *_RANGE) - done.guess
    inside = _kernel(done, done) + _OWN**2 * np.eye(len(wrong))
    across = _kernel(candidates, done)
    solved = np.linalg.solve(inside, np.concatenate([wrong[:, None], across.T], axis=1))
    mean = candidates.guess + across @ solved[:, 0]
    spread = np.maximum(variance - (across * solved[:, 1:].T).sum(1), 0.0)
    return mean, np.sqrt(spread + _OWN**2)


def acceptance(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Probability that a candidate comes out at or below the limit (eV/atom above hull)."""
    scaled = (limit - mean) / deviation
    return np.array([(1 + erf(x / sqrt(2))) / 2 for x in scaled.tolist()])


def diverse(
    order: Sequence[int],
    formulas: Sequence[str],
    kinds: Sequence[str],
    metallic: Sequence[bool],
    count: int,
    *,
    most_metallic: float = 0.4,
) -> list[int]:
    """The first candidates of an order, no formula or type too often, not metals alone.

    Args:
        order: indices, best first.
        formulas, kinds: of each candidate; an empty kind is no kind.
        metallic: whether a candidate is made of metals only.
        count: how many are wanted.
        most_metallic: largest share of those.

    Returns:
        Indices in the order given; fewer when there are not enough.
    """
    of_formula: dict[str, int] = {}
    of_kind: dict[str, int] = {}
    chosen: list[int] = []
    metals = 0
    for index in order:
        formula, kind = formulas[index], kinds[index]
        if of_formula.get(formula, 0) >= 2 or (kind and of_kind.get(kind, 0) >= max(2, count // 5)):
            continue
        if metallic[index] and metals + 1 > max(1.0, most_metallic * count):
            continue
        of_formula[formula] = of_formula.get(formula, 0) + 1
        of_kind[kind] = of_kind.get(kind, 0) + 1
        metals += metallic[index]
        chosen.append(index)
        if len(chosen) == count:
            break
    return chosen
