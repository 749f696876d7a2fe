"""Formulas and group symbols as they are set: numbers below the line."""

from __future__ import annotations

import functools
import html
import re

from crystal_diffusion.chemistry import NUMBERS

#: One chemical formula: symbols, brackets and numbers, nothing else.
_FORMULA = re.compile(r"(?:[A-Z][a-z]?|[()\[\]])(?:[A-Z][a-z]?|[()\[\]]|\d+(?:\.\d+)?)*")
#: A Hermann-Mauguin symbol in plain text, such as P6_3/mmc.
_GROUP = re.compile(r"[PABCIFR](?:-?[1-6m]|[a-z])[-1-6_/a-z]*")


@functools.lru_cache(4096)
def pieces(text: str) -> tuple[tuple[str, bool], ...]:
    """A text in parts, and whether each stands below the line.

    Only words that are formulas of elements, or symbols of space groups, have lowered numbers; an
    id such as ``c0007`` has none.
    """
    found: list[tuple[str, bool]] = []
    before = ""
    for word in re.split(r"(\s+|[,;:]|\.(?=\s|$))", text):
        # After its number a symbol such as P321 is no formula of phosphorus.
        if _GROUP.fullmatch(word) and ("_" in word or before.isdecimal()):
            parts = re.split(r"_(\d)", word)
        elif _FORMULA.fullmatch(word) and set(re.findall(r"[A-Z][a-z]?", word)) <= set(NUMBERS):
            parts = re.split(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", word)
        else:
            parts = [word]
        found += [(part, bool(k % 2)) for k, part in enumerate(parts) if part]
        before = word if word.strip() else before
    return tuple(found)


def formula_html(text: str) -> str:
    """A text with lowered numbers, safe for HTML."""
    return "".join(
        f"<sub>{html.escape(part)}</sub>" if low else html.escape(part)
        for part, low in pieces(str(text))
    )


def formula_svg(text: str, size: float) -> str:
    """The content of an SVG text element of that font size in pixels."""
    spans, lowered = [], False
    for part, low in pieces(text):
        shift = size * 0.28 * (low - lowered)
        lowered = low
        style = f' font-size="{size * 0.72:.1f}"' if low else ""
        move = f' dy="{shift:.1f}"' if shift else ""
        spans.append(f"<tspan{move}{style}>{html.escape(part)}</tspan>")
    return "".join(spans)


def formula_mathtext(text: str) -> str:
    """A text as matplotlib sets it."""
    return "".join(
        f"$_{{{part}}}$" if low else part.replace("$", r"\$") for part, low in pieces(text)
    )
