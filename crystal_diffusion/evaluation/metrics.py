"""A figure with its number of cases, its interval and its definition; nothing else is a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystal_diffusion.errors import InputError

Floats = NDArray[np.float64]

#: Resamples of the bootstrap, and share of them that the interval holds.
RESAMPLES = 1000
CONFIDENCE = 0.95
#: Names of failed cases that a result carries at most.
_FAILED_NAMES = 20


@dataclass(frozen=True)
class MetricResult:
    """One figure.

    Attributes:
        name: e.g. ``match_rate@5``.
        value: NaN where it is not defined (no match to average over).
        low, high: 95 % interval, bootstrap over targets; NaN where there is none.
        n: cases in the denominator.
        failed: ids of cases that could not be evaluated (they count as misses), 20 at most.
        definition: what exactly was computed.
        unit: empty for a pure number or share.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    failed: tuple[str, ...]
    definition: str
    unit: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, ``None`` in place of NaN."""
        return {
            "name": self.name,
            "value": _plain(self.value),
            "low": _plain(self.low),
            "high": _plain(self.high),
            "n": self.n,
            "failed": list(self.failed),
            "definition": self.definition,
            "unit": self.unit,
        }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ratio(
    name: str,
    definition: str,
    numerators: ArrayLike,
    denominators: ArrayLike | None = None,
    *,
    failed: Sequence[str] = (),
    unit: str = "",
    seed: int = 0,
) -> MetricResult:
    """Sum of numerators over sum of denominators, with an interval by resampling cases.

    A rate is the case of denominators of 1; a mean over matches that of denominators 1 or 0.

    Args:
        name, definition: see :class:`MetricResult`.
        numerators: ``(cases,)``.
        denominators: ``(cases,)``; 1 each if left out.
        failed: ids of cases that could not be evaluated.
        unit: unit of the value.
        seed: of the resampling.
    """
    over = np.asarray(numerators, np.float64)
    under = np.ones_like(over) if denominators is None else np.asarray(denominators, np.float64)
    if over.shape != under.shape:
        raise InputError(f"{over.shape} numerators and {under.shape} denominators must agree.")
    total = float(under.sum())
    value = float(over.sum()) / total if total else float("nan")
    low, high = _interval(over, under, seed)
    return MetricResult(
        name, value, low, high, round(total), tuple(failed[:_FAILED_NAMES]), definition, unit
    )


def _interval(over: Floats, under: Floats, seed: int) -> tuple[float, float]:
    cases = len(over)
    if cases < 2 or not under.any():
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    for start in range(0, RESAMPLES, 100):
        size = min(100, RESAMPLES - start)
        weights = rng.multinomial(cases, np.full(cases, 1 / cases), size=size)
        bottom = weights @ under
        drawn.append((weights @ over)[bottom > 0] / bottom[bottom > 0])
    return _quantiles(np.concatenate(drawn))


def _quantiles(values: Floats) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def wasserstein(
    name: str,
    definition: str,
    made: ArrayLike,
    reference: ArrayLike,
    *,
    unit: str = "",
    seed: int = 0,
) -> MetricResult:
    """Wasserstein distance of two samples, interval by resampling the made ones.

    Args:
        name, definition, unit: see :class:`MetricResult`.
        made, reference: samples; values that are not finite are left out.
        seed: of the resampling.
    """
    from scipy.stats import wasserstein_distance

    sample = np.asarray(made, np.float64)
    other = np.asarray(reference, np.float64)
    sample, other = sample[np.isfinite(sample)], other[np.isfinite(other)]
    if not len(sample) or not len(other):
        nan = float("nan")
        return MetricResult(name, nan, nan, nan, len(sample), (), definition, unit)
    rng = np.random.default_rng(seed)
    drawn = [
        wasserstein_distance(rng.choice(sample, len(sample)), other)
        for _ in range(min(RESAMPLES, 200))
    ]
    low, high = _quantiles(np.array(drawn)) if len(sample) > 1 else (float("nan"), float("nan"))
    value = float(wasserstein_distance(sample, other))
    return MetricResult(name, value, low, high, len(sample), (), definition, unit)


def wilson(count: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    share, scale = count / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)
