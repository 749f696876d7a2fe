"""Equations of the documentation as MathML, which browsers draw without a script or a network.

A hook of MkDocs: ``$...$`` in a line and ``$$...$$`` in a block, outside of code.
"""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_BLOCK = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])")


def with_mathematics(text: str) -> str:
    """Markdown with its equations turned into MathML; code stays as it is."""
    from latex2mathml.converter import convert

    def block(found: re.Match[str]) -> str:
        equation = convert(" ".join(found.group(1).split()), display="block")
        return f'<div class="equation">{equation}</div>'

    def inline(found: re.Match[str]) -> str:
        # In a span, because Markdown takes a line that begins with <math> for a block.
        return f"<span>{convert(found.group(1))}</span>"

    parts = _CODE.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = _INLINE.sub(inline, _BLOCK.sub(block, parts[i]))
    return "".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return with_mathematics(markdown) if "$" in markdown else markdown
