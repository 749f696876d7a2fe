"""Which candidates to relax first: what the built-in networks expect, corrected by this run.

Before anything is relaxed, the built-in networks say the energy above the hull and how sure that is
(`prediction.relaxed_hull`). What was relaxed in this run shows where they are wrong: a Gaussian
process over composition and structure type learns the difference, in units of the
deviation that was said (Rasmussen and Williams 2006, eq. 2.25 and 2.26). Candidates are ordered by
the probability that they are accepted. The second potential, which judges, is never learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.energy.hull import DOUBTFUL_BELOW_EV
from crystal_diffusion.prediction.relaxed_hull import chance_between

#: How differences from what was expected go together, as shares of their variance: what all
#: candidates of a run have in common, those of like compositions, those of like compositions in one
#: structure type, and those of one formula. The rest tells nothing of another candidate. The most
#: likely shares of 133 differences in three chemical systems.
_COMMON, _BY_COMPOSITION, _BY_TYPE, _BY_FORMULA = 0.20, 0.35, 0.20, 0.15
#: What is chosen as the best comes out further off than was said, by this factor (the same 133).
_CHOSEN = 1.4
#: Distance of composition curves over which differences stay alike.
_REACH = 0.25
#: Energies above hull (eV/atom) are cut to this range: how bad a bad one is tells little.
_RANGE = (-0.2, 0.8)


@dataclass(frozen=True, eq=False)
class Described:
    """What the order knows of candidates.

    Attributes:
        guess: ``(candidates,)`` energy above hull by the built-in networks, eV/atom.
        deviation: ``(candidates,)`` how far off that may be, eV/atom.
        curves: ``(candidates, 26)`` composition on the chemical scale (`matching.radial`).
        kind: ``(candidates,)`` structure type, as text; empty where it has none.
    """

    guess: NDArray[np.float64]
    deviation: NDArray[np.float64]
    curves: NDArray[np.float64]
    kind: NDArray[np.str_]


def _alike(one: Described, two: Described) -> NDArray[np.float64]:
    """``(candidates, candidates)`` correlation of the differences of two candidates."""
    gaps = ((one.curves[:, None] - two.curves[None]) ** 2).mean(-1)
    near = np.exp(-gaps / (2 * _REACH**2))
    kind = ((one.kind[:, None] == two.kind[None]) & (one.kind[:, None] != "")).astype(float)
    return np.asarray(
        _COMMON + near * (_BY_COMPOSITION + _BY_TYPE * kind) + _BY_FORMULA * (gaps < 1e-12),
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
    deviation = _CHOSEN * candidates.deviation
    if not len(above_hull):
        return candidates.guess, deviation
    wrong = (np.clip(above_hull, *_RANGE) - done.guess) / (_CHOSEN * done.deviation)
    inside = _alike(done, done)
    np.fill_diagonal(inside, 1.0)
    across = _alike(candidates, done)
    solved = np.linalg.solve(inside, np.concatenate([wrong[:, None], across.T], axis=1))
    mean = candidates.guess + deviation * (across @ solved[:, 0])
    left = np.maximum(1.0 - (across * solved[:, 1:].T).sum(1), 0.05)
    return mean, deviation * np.sqrt(left)


def acceptance(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Probability that a candidate comes out at or below the limit (eV/atom above hull).

    And not so far below the hull that it is doubtful (`energy.hull.doubt`).
    """
    return chance_between(-DOUBTFUL_BELOW_EV, limit, mean, deviation)


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

    Of one formula in one type only the first: relaxing would make them the same.

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
    alike: set[tuple[str, str]] = set()
    chosen: list[int] = []
    metals = 0
    for index in order:
        formula, kind = formulas[index], kinds[index]
        if of_formula.get(formula, 0) >= 2 or (kind and of_kind.get(kind, 0) >= max(2, count // 5)):
            continue
        if kind and (formula, kind) in alike:
            continue
        if metallic[index] and metals + 1 > max(1.0, most_metallic * count):
            continue
        alike.add((formula, kind))
        of_formula[formula] = of_formula.get(formula, 0) + 1
        of_kind[kind] = of_kind.get(kind, 0) + 1
        metals += metallic[index]
        chosen.append(index)
        if len(chosen) == count:
            break
    return chosen
