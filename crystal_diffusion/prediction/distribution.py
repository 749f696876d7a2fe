"""From what a network says of a property to a distribution of it, and to an interval that holds.

A prediction is a centre, a scale and the probability that the value is not zero (a metal has no
gap). The distribution around the centre is that of errors on crystals that were not trained on,
in units of the scale. Its two ends are then moved until nine tenths of further crystals lie
between them: split conformal prediction on nested intervals (Vovk, Gammerman and Shafer 2005;
Gupta, Kuchibhotla and Ramdas 2022), so the share holds whatever the network is worth, for crystals
like those it was calibrated on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Share of crystals whose value lies in the interval.
LEVEL = 0.9
#: Numbers that a distribution of errors is kept as.
GRID = np.linspace(0.0, 1.0, 81)
#: Beyond the largest error that was met, the distribution goes on by this part of its width.
TAIL = 0.25
#: Crystals below which a group has no interval of its own.
FEWEST_IN_GROUP = 100


@dataclass(frozen=True, eq=False)
class Guess:
    """What is said of one property of several crystals, before it becomes an interval.

    Attributes:
        centre: ``(crystals,)`` in the units in which errors are alike (log10 of GPa, eV, ...).
        scale: ``(crystals,)`` what an error is measured by, above 0.
        nonzero: ``(crystals,)`` probability that the value is not zero; 1 for most properties.
        group: ``(crystals,)`` which interval is used.
    """

    centre: Floats
    scale: Floats
    nonzero: Floats
    group: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> Guess:
        """Some of the crystals."""
        return Guess(self.centre[rows], self.scale[rows], self.nonzero[rows], self.group[rows])


@dataclass(frozen=True, eq=False)
class Calibration:
    """How errors of one property are distributed, and where its intervals end.

    Attributes:
        errors: ``(81,)`` quantiles of (true - centre) / scale, from least to largest.
        tails: probability left out at each end of an interval: for all, then for each group.
        logarithmic: whether centres are log10 of the value.
        lowest: no value is below this, -inf for none.
        low, high: least and largest label that was trained on.
    """

    errors: Floats
    tails: tuple[float, ...]
    logarithmic: bool
    lowest: float
    low: float
    high: float

    def inward(self, values: Floats) -> Floats:
        """Values in the units of centres."""
        if not self.logarithmic:
            return np.asarray(values, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log10(np.maximum(values, 0.0)), dtype=float)

    def outward(self, centres: Floats) -> Floats:
        """Values from the units of centres; never below the lowest."""
        values = 10.0**centres if self.logarithmic else centres
        return np.maximum(values, self.lowest)

    def below(self, guess: Guess, values: Floats, *, strictly: bool = False) -> Floats:
        """Probability that the true value is at most ``values`` (below it, with ``strictly``)."""
        z = (self.inward(values) - guess.centre) / guess.scale
        share = np.interp(z, self.errors, GRID, left=0.0, right=1.0)
        found = 1.0 - guess.nonzero + guess.nonzero * share
        outside = values <= self.lowest if strictly else values < self.lowest
        return np.where(outside, 0.0, found)

    def inside(self, guess: Guess, low: float, high: float) -> Floats:
        """Probability that the true value is in [low, high]; infinite ends are open."""
        shape = guess.centre.shape
        upper = self.below(guess, np.full(shape, high)) if math.isfinite(high) else np.ones(shape)
        lower = np.zeros(shape)
        if math.isfinite(low):
            lower = self.below(guess, np.full(shape, low), strictly=True)
        return np.clip(upper - lower, 0.0, 1.0)

    def quantile(self, guess: Guess, share: Floats) -> Floats:
        """The value that the true one is at or below with probability ``share``."""
        nonzero = np.maximum(guess.nonzero, 1e-9)
        rest = (share - (1.0 - guess.nonzero)) / nonzero
        z = np.interp(np.clip(rest, 0.0, 1.0), GRID, self.errors)
        values = self.outward(guess.centre + z * guess.scale)
        return np.where((rest <= 0.0) & (guess.nonzero < 1.0), self.lowest, values)

    def value(self, guess: Guess) -> Floats:
        """The one value to name: zero where that is likelier than not."""
        return np.where(guess.nonzero > 0.5, self.outward(guess.centre), self.lowest)

    def interval(self, guess: Guess) -> tuple[Floats, Floats]:
        """``(crystals,)`` lower and upper end."""
        tail = np.array(self.tails)[np.clip(guess.group + 1, 0, len(self.tails) - 1)]
        return self.quantile(guess, tail), self.quantile(guess, 1.0 - tail)

    def depth(self, guess: Guess, values: Floats) -> Floats:
        """How far inside its distribution a true value lies: 0 at an end, 0.5 in the middle."""
        after = 1.0 - self.below(guess, values, strictly=True)
        return np.minimum(self.below(guess, values), after)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for a file."""
        return {
            "errors": [float(x) for x in self.errors],
            "tails": list(self.tails),
            "logarithmic": self.logarithmic,
            "lowest": None if math.isinf(self.lowest) else self.lowest,
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Calibration:
        """What :meth:`as_dict` gave."""
        lowest = -math.inf if fields["lowest"] is None else float(fields["lowest"])
        return cls(
            np.array(fields["errors"], dtype=float),
            tuple(float(tail) for tail in fields["tails"]),
            bool(fields["logarithmic"]),
            lowest,
            float(fields["low"]),
            float(fields["high"]),
        )


def tail_for(depths: Sequence[float] | Floats, level: float = LEVEL) -> float:
    """The probability to leave out at each end so that ``level`` of further values are inside.

    The k-th least depth of n calibration values, k = floor((n + 1) (1 - level)): the finite-sample
    quantile of split conformal prediction. Zero where there are too few values.
    """
    ordered = np.sort(np.asarray(depths, dtype=float))
    place = math.floor((len(ordered) + 1) * (1.0 - level) + 1e-9)
    return float(min(ordered[place - 1], 0.5)) if place else 0.0


def error_quantiles(errors: Floats) -> Floats:
    """``(81,)`` quantiles, with tails beyond the largest errors."""
    found = np.quantile(errors, GRID)
    width = max(float(found[-1] - found[0]), 1e-9)
    found[0] -= TAIL * width
    found[-1] += TAIL * width
    return np.maximum.accumulate(found + 1e-12 * np.arange(len(found)))


def calibrated(
    fit: Guess,
    fit_values: Floats,
    held: Guess,
    held_values: Floats,
    *,
    logarithmic: bool = False,
    lowest: float = -math.inf,
    low: float = -math.inf,
    high: float = math.inf,
    groups: int = 0,
) -> Calibration:
    """A calibration from two sets of crystals that were not trained on.

    Args:
        fit, fit_values: of the first set, which gives the distribution of errors.
        held, held_values: of the second, which says where intervals end.
        logarithmic, lowest, low, high: see :class:`Calibration`.
        groups: how many groups have intervals of their own; those with too few crystals take that
            of all.
    """
    first = Calibration(np.zeros(len(GRID)), (0.05,), logarithmic, lowest, low, high)
    valued = fit_values > 0 if (fit.nonzero < 1.0).any() else np.ones(len(fit_values), dtype=bool)
    errors = (first.inward(fit_values) - fit.centre)[valued] / fit.scale[valued]
    table = Calibration(error_quantiles(errors), (0.05,), logarithmic, lowest, low, high)
    depths = table.depth(held, held_values)
    tails = _tails(depths, held.group, groups)
    return Calibration(table.errors, tails, logarithmic, lowest, low, high)


def _tails(depths: Floats, group: NDArray[np.int64], groups: int) -> tuple[float, ...]:
    """Tails for all and for each group that is large enough."""
    overall = tail_for(depths)
    found = [
        tail_for(depths[group == g]) if (group == g).sum() >= FEWEST_IN_GROUP else overall
        for g in range(groups)
    ]
    return (overall, *found)
