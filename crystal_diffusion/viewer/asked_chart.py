"""Asked against predicted: each crystal's prediction with its interval, and the range asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_diffusion.properties import BY_NAME
from crystal_diffusion.runs.predicted import inside_column, prediction_column
from crystal_diffusion.viewer.charts import number, svg, text, ticks

_WIDTH, _HEIGHT = 460, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 44
#: Crystals of one chart; the best ranked are drawn.
_MOST = 60


def asked_chart(
    name: str, ends: Sequence[float | None], rows: Sequence[Mapping[str, Any]]
) -> str | None:
    """One property: predictions as points, 90 % intervals as lines, the range asked for as a band.

    Args:
        name: of the property.
        ends: low and high end of what was asked, None for an open one.
        rows: of the crystals, best rank first.

    Returns:
        The chart, None where no crystal has a prediction.
    """
    keys = [prediction_column(name, end) for end in ("", "low", "high")]
    found = [[v for key in keys if isinstance(v := row.get(key), int | float)] for row in rows]
    points = [(p[0], p[1], p[2]) for p in found if len(p) == 3][:_MOST]
    if not points:
        return None
    low_end, high_end = ends
    values = [v for p in points for v in p] + [e for e in ends if e is not None]
    low, high = min(values), max(values)
    margin = 0.06 * max(high - low, 1e-6)
    low, high = low - margin, high + margin
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(place: int) -> float:
        return _LEFT + (place + 0.5) / len(points) * width

    def y(value: float) -> float:
        return _TOP + (high - min(max(value, low), high)) / (high - low) * height

    top = y(math.inf if high_end is None else high_end)
    bottom = y(-math.inf if low_end is None else low_end)
    parts = [
        f'<rect class="asked" x="{_LEFT}" y="{top:.1f}" width="{width}" '
        f'height="{max(bottom - top, 1):.1f}"/>'
    ]
    for value in ticks(low, high, 5):
        line = y(value)
        parts.append(f'<path class="grid-line" d="M{_LEFT},{line:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(text(_LEFT - 6, line + 4, number(value), "tick", "end"))
    for place, (value, lower, upper) in enumerate(points):
        parts.append(
            f'<path class="interval" d="M{x(place):.1f},{y(upper):.1f}V{y(lower):.1f}"/>'
            f'<circle class="dot" cx="{x(place):.1f}" cy="{y(value):.1f}" r="3.2"/>'
        )
    known = BY_NAME.get(name)
    title = (known.title if known else name).capitalize()
    unit = f" ({known.unit})" if known and known.unit else ""
    parts.append(text(_LEFT + width / 2, _HEIGHT - 24, f"{title}{unit}, crystals by rank"))
    chances = [row.get(inside_column(name)) for row in rows]
    given = [float(c) for c in chances if isinstance(c, int | float)]
    expected = f"{sum(given):.1f} of {len(given)} expected inside" if given else ""
    parts.append(text(_LEFT + width / 2, _HEIGHT - 8, expected, "tick"))
    span = " to ".join("open" if end is None else number(end) for end in ends)
    words = (
        f"{title}{unit}: asked {span}; {len(points)} predictions with 90 % intervals; {expected}"
    )
    return svg(_WIDTH, _HEIGHT, words, "".join(parts))
