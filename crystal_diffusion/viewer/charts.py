"""Small charts as SVG inside the page; colours come from the page, so they follow dark mode."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from crystal_diffusion.viewer.formulas import formula_svg, pieces
from crystal_diffusion.viewer.page import escape

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 44


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover a range, at most about ``most`` of them."""
    span = max(high - low, 1e-12)
    raw = span / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + k) * step, 12) for k in range(count)]


def number(value: float, digits: int = 4) -> str:
    """A number in few characters, with a real minus sign."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def svg(width: float, height: float, label: str, inside: str, kind: str = "chart") -> str:
    """An SVG that scales with the page and says in words what it shows."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">{inside}</svg>'
    )


def text(x: float, y: float, words: str, style: str = "", anchor: str = "middle") -> str:
    """A piece of text; numbers of formulas and of group symbols stand below the line."""
    css = f' class="{style}"' if style else ""
    content = formula_svg(words, 12) if any(low for _, low in pieces(words)) else escape(words)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{content}</text>'


def histogram(
    title: str,
    unit: str,
    made: Sequence[float],
    training: Sequence[float] | None,
    reference: str = "training set",
) -> str:
    """Shares of the made crystals as bars and of a reference as a line, in percent.

    Args:
        title: what is shown.
        unit: of the horizontal axis.
        made: values of the made crystals.
        training: values of the reference; None where they are not known.
        reference: what it is called.
    """
    own = np.asarray(made, float)
    other = np.asarray([] if training is None else training, float)
    both = np.concatenate([own, other])
    # A few gases of huge volume would squeeze everything else into one bar: the ends hold 2 %.
    ends = [np.quantile(v, [0.01, 0.98]) for v in (own, other) if len(v)]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    margin = 0.1 * (high - low)
    low, high = max(low - margin, float(both.min())), min(high + margin, float(both.max()))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    beyond = int(((own < low) | (own > high)).sum())
    edges = np.linspace(low, high, 25)
    shares = [
        np.histogram(np.clip(v, low, high), edges)[0] * 100 / max(len(v), 1) for v in (own, other)
    ]
    top = max(float(s.max()) for s in shares) or 1.0
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * width

    def y(share: float) -> float:
        return _TOP + (1 - share / top) * height

    parts = _grid(top, low, high, x, y)
    for left, right, share in zip(edges, edges[1:], shares[0], strict=False):
        if share > 0:
            parts.append(
                f'<rect class="s1" x="{x(left) + 0.5:.1f}" y="{y(share):.1f}" '
                f'width="{x(right) - x(left) - 1:.1f}" height="{y(0) - y(share):.1f}"/>'
            )
    if len(other):
        path = f"M{x(low):.1f},{y(0):.1f}" + "".join(
            f"V{y(share):.1f}H{x(right):.1f}"
            for right, share in zip(edges[1:], shares[1], strict=True)
        )
        parts.append(f'<path class="s2" d="{path}V{y(0):.1f}"/>')
    outer = f", {beyond} beyond the ends counted there" if beyond else ""
    parts.append(text(_LEFT + width / 2, _HEIGHT - 8, f"{title} ({unit}){outer}"))
    middle = f"made: median {number(float(np.median(own)))} {unit} over {len(own)} crystals"
    if len(other):
        middle += (
            f"; {reference}: median {number(float(np.median(other)))} {unit} over {len(other)}"
        )
    return svg(_WIDTH, _HEIGHT, f"{title}, {middle}", "".join(parts))


def _grid(
    top: float,
    low: float,
    high: float,
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
) -> list[str]:
    """Lines and numbers of a histogram."""
    parts = []
    for share in ticks(0, top, 4):
        line = at_y(share)
        parts.append(f'<path class="grid-line" d="M{_LEFT},{line:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(text(_LEFT - 6, line + 4, f"{number(share)} %", "tick", "end"))
    for value in ticks(low, high, 6):
        parts.append(text(at_x(value), _HEIGHT - _BOTTOM + 16, number(value), "tick"))
    return parts


def bars(
    title: str, made: Mapping[str, int], training: Mapping[str, int] | None, most: int = 12
) -> str:
    """Shares by label as lying bars, the most frequent first; the training set as a thin bar."""
    total = max(sum(made.values()), 1)
    total_training = max(sum((training or {}).values()), 1)
    labels = sorted(made, key=lambda k: (-made[k], k))[:most]
    pairs = [
        (label, 100 * made[label] / total, 100 * (training or {}).get(label, 0) / total_training)
        for label in labels
    ]
    top = max((max(a, b) for _, a, b in pairs), default=1.0) or 1.0
    row, left, right = 22, 108, 56
    width = _WIDTH - left - right
    parts = []
    for place, (label, share, other) in enumerate(pairs):
        y = 6 + place * row
        parts.append(text(left - 8, y + 13, label, "", "end"))
        parts.append(
            f'<rect class="s1" x="{left}" y="{y + 2}" width="{width * share / top:.1f}" '
            f'height="{10 if training else 14}"/>'
        )
        if training:
            parts.append(
                f'<rect class="s2-bar" x="{left}" y="{y + 13}" '
                f'width="{width * other / top:.1f}" height="4"/>'
            )
        end = left + width * max(share, other if training else 0) / top
        parts.append(text(end + 6, y + 13, f"{number(share, 3)} %", "tick", "start"))
    words = ", ".join(f"{label} {number(share, 3)} %" for label, share, _ in pairs)
    return svg(_WIDTH, 12 + row * len(pairs), f"{title}: {words}", "".join(parts))


def empty(words: str) -> str:
    """A plain sentence where a chart would be; what stands in backticks is set as code."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(words))
    return f'<p class="quiet missing">{marked}</p>'
