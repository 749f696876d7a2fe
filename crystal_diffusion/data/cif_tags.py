"""One block of a CIF by its tags, whatever the dictionary calls them, and CIF numbers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gemmi

_UNCERTAIN = r"(?:\(\d*\))?"
_NUMBER = re.compile(
    rf"([-+]?(?:\d+\.?\d*|\.\d+)){_UNCERTAIN}(?:[eEdD]([-+]?\d+){_UNCERTAIN})?", re.ASCII
)
_FRACTION = re.compile(r"([-+]?\d+)/(\d+)", re.ASCII)


class NoNumber(ValueError):
    """A text in the place of a number."""


@functools.lru_cache(maxsize=65536)
def number(text: str) -> float:
    """A CIF number without its uncertainty: ``0.564(2)E+1`` is 5.64, ``1/3`` too; ``?`` is NaN.

    Raises:
        NoNumber: for anything else, comma decimals (``5,64``) among it.
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        value = float(match[1])
        return value if match[2] is None else float(f"{match[1]}e{match[2]}")
    if text in ("?", "."):
        return float("nan")
    if text[:1] in "'\";" and len(text) > 2:
        return number(gemmi.cif.as_string(text).strip())
    fraction = _FRACTION.fullmatch(text)
    if fraction and int(fraction[2]):
        return int(fraction[1]) / int(fraction[2])
    if re.fullmatch(r"[-+]?\d*,\d+(\(\d+\))?", text, re.ASCII):
        raise NoNumber(f"{text!r} has a decimal comma; write a decimal point")
    raise NoNumber(f"{text!r} is no number; correct it")


@dataclass(frozen=True)
class Tags:
    """The values of a block by tag: lower case, with ``_`` for the ``.`` of newer dictionaries."""

    values: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, block: gemmi.cif.Block) -> Tags:
        """All pairs and loops of a block; of a tag given twice, the first."""
        values: dict[str, Sequence[str]] = {}
        for item in block:
            if item.pair is not None:
                pair: Any = item.pair
                values.setdefault(_plain(pair[0]), (pair[1],))
            elif item.loop is not None:
                loop = item.loop
                cells, width = loop.values, loop.width()
                for column, tag in enumerate(loop.tags):
                    values.setdefault(_plain(tag), cells[column::width])
        return cls(values)

    def column(self, *tags: str) -> list[str]:
        """The raw values of the first of the tags that is there."""
        for tag in tags:
            if tag in self.values:
                return list(self.values[tag])
        return []

    def text(self, *tags: str) -> str:
        """The first value that is not empty, ``?`` or ``.``, without quotes."""
        for tag in tags:
            for raw in self.values.get(tag, ())[:1]:
                # What begins like a word is written without quotes.
                if raw[:1].isalnum():
                    return raw
                text = str(gemmi.cif.as_string(raw)).strip()
                if text and text not in ("?", "."):
                    return text
        return ""

    def number(self, *tags: str) -> float | None:
        """The first value that is a positive number; None where there is none."""
        try:
            value = number(self.text(*tags))
        except NoNumber:
            return None
        return value if value > 0 else None


@functools.lru_cache(maxsize=1024)
def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")
