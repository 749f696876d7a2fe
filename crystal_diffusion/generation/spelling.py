"""What a formula that was mistyped may have meant: ``LiFeP04``, ``LiFePo4``, ``lifepo4``."""

from __future__ import annotations

import re
from functools import cache

from crystal_diffusion import chemistry
from crystal_diffusion.physics.neutrality import is_neutral_possible

#: Last element that a mistyped formula is taken to hold: those beyond are radioactive and rare.
_LAST = 83
#: Ways to read a text that are looked at.
_MOST = 500


@cache
def _symbols() -> frozenset[str]:
    return frozenset(str(symbol) for symbol in chemistry.SYMBOLS[1 : _LAST + 1])


def meant_formula(text: str) -> str:
    """The likeliest formula that was meant by a text; empty for none.

    It differs from the text in capitals, in 0 for O, or in I and 1 for l.
    Neutral readings come first, then those that name no element twice, then those that change the
    fewest characters.
    """
    word = re.sub(r"[\s_-]", "", text)
    if not re.fullmatch(r"[A-Za-z0-9]{1,30}", word):
        return ""
    found = [reading for reading in _readings(word) if reading != word]
    if not found:
        return ""

    def cost(reading: str) -> tuple[bool, int, int, int]:
        counts: dict[int, int] = {}
        parts = re.findall(r"([A-Z][a-z]?)(\d*)", reading)
        for symbol, number in parts:
            z = chemistry.atomic_number(symbol)
            counts[z] = counts.get(z, 0) + int(number or 1)
        changed = sum(a != b for a, b in zip(word, reading, strict=True))
        repeated = len(parts) - len(counts)
        return not is_neutral_possible(counts), repeated, changed, len(counts)

    return min(found, key=cost)


def meant_element(text: str) -> str:
    """The symbol that a text in other capitals, or the name of an element, stands for."""
    if text.capitalize() in chemistry.SYMBOLS[1:]:
        return text.capitalize()
    from ase.data import atomic_names

    names = {name.lower(): z for z, name in enumerate(atomic_names) if z and name}
    names |= {"aluminum": 13, "sulphur": 16, "caesium": 55, "cesium": 55}
    z = names.get(text.lower())
    return str(chemistry.SYMBOLS[z]) if z else ""


def meant_offer(text: str) -> str:
    """``; did you mean LiFePO4?``, or nothing."""
    meant = meant_formula(text)
    return f"; did you mean {meant}?" if meant else ""


def _readings(word: str) -> list[str]:
    """Ways to read a word as symbols and counts, letter by letter."""
    open_ends: list[tuple[str, int]] = [("", 0)]
    done: list[str] = []
    while open_ends and len(done) + len(open_ends) < _MOST:
        made, at = open_ends.pop()
        if at == len(word):
            done.append(made)
            continue
        for size in (2, 1):
            symbol = _symbol(word[at : at + size], size)
            if symbol is None:
                continue
            count = re.match(r"[1-9]\d*", word[at + size :])
            number = count[0] if count else ""
            # A 0 in a number may be an O: Al203.
            for end in [len(number), *(i for i, digit in enumerate(number) if digit == "0")]:
                open_ends.append((made + symbol + number[:end], at + size + end))
    return done


def _symbol(part: str, size: int) -> str | None:
    """The element that one or two characters may mean: 0 is read as O, and I or 1 as l."""
    options = [part.capitalize()]
    if size == 1:
        options.append(part.replace("0", "O"))
    elif part[1:] in ("I", "1"):
        options.append(part[0] + "l")
    return next((o for o in options if len(part) == size and o in _symbols()), None)
