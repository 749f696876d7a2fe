"""Columns of predicted properties: how they are called, and the cells of one crystal.

A prediction of ``band_gap`` stands in ``predicted_band_gap_eV``, the ends of its interval in
``predicted_band_gap_low_eV`` and ``predicted_band_gap_high_eV``, the probability that it is inside
the range that was asked for in ``inside_band_gap``. A property of the user's own has no unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from crystal_diffusion.properties import BY_NAME

PREFIX, INSIDE = "predicted_", "inside_"
#: Probability to be inside all ranges asked for.
INSIDE_ALL = "inside_asked"
_SIGNIFICANT = 5


def prediction_column(name: str, end: str = "") -> str:
    """The column of a property's prediction, or of the ``low`` or ``high`` end of its interval."""
    unit = BY_NAME[name].unit if name in BY_NAME else ""
    parts = [part for part in (name, end, _unit_name(unit)) if part]
    return PREFIX + "_".join(parts)


def interval_columns(column: str) -> tuple[str, str]:
    """The columns of the low and the high end that belong to the column of a prediction."""
    known = {prediction_column(name): name for name in BY_NAME}
    name = known.get(column, column.removeprefix(PREFIX))
    return prediction_column(name, "low"), prediction_column(name, "high")


def inside_column(name: str) -> str:
    """The column of the probability that a property is inside the range asked for."""
    return INSIDE + name


def prediction_cells(
    names: Iterable[str], values: Iterable[float], low: Iterable[float], high: Iterable[float]
) -> dict[str, float | None]:
    """The cells of one crystal; None where nothing could be predicted.

    Args:
        names: of the properties; the others one each: predictions and ends of the intervals.
    """
    cells: dict[str, float | None] = {}
    for name, value, lower, upper in zip(names, values, low, high, strict=True):
        cells[prediction_column(name)] = _rounded(value)
        cells[prediction_column(name, "low")] = _rounded(lower)
        cells[prediction_column(name, "high")] = _rounded(upper)
    return cells


def inside_cells(chances: Mapping[str, float]) -> dict[str, float | None]:
    """The probabilities of one crystal to be inside each range, and inside all of them."""
    cells = {inside_column(name): _rounded(chance) for name, chance in chances.items()}
    return {INSIDE_ALL: _rounded(math.prod(chances.values())), **cells}


def is_prediction(column: str) -> bool:
    """Whether a column is one of these."""
    return column.startswith((PREFIX, INSIDE))


def is_interval_end(column: str) -> bool:
    """Whether it is an end of an interval, by its name."""
    return is_prediction(column) and re.search(r"_(low|high)(_|$)", column) is not None


def _unit_name(unit: str) -> str:
    plain = unit.replace("µ", "mu").replace("Å", "A").replace("/", "_")
    return re.sub(r"[^A-Za-z0-9_]", "", plain)


def _rounded(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_SIGNIFICANT}g}")
