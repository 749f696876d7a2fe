"""What stands in a sentence beside the wish: likeness, purposes, options, percentages.

"Harder than diamond", "a catalyst for CO2 reduction", "lattice-matched to GaAs", "may contain F":
crystals and elements are named, and none of them is asked for. They are said to be without effect.
"""

from __future__ import annotations

from collections.abc import Sequence

from crystal_diffusion.generation.words.scanning import Item

#: What names elements, compounds or structures.
_NAMED = ("element", "anion", "family", "formula", "variable", "oxy_family", "type")
_LIKENESS = "likeness to a crystal cannot be asked for"
_PURPOSE = "what a crystal is for cannot be asked for"
_OPTION = "what may be there and need not cannot be asked for"
_AMOUNT = "small amounts cannot be asked for"


def read_relations(items: Sequence[Item], taken: set[int]) -> list[tuple[str, str]]:
    """Words and reasons of what is named without being asked for; the items join ``taken``."""
    found: list[tuple[str, str]] = []

    def ignore(indices: Sequence[int], reason: str) -> None:
        left = sorted(set(indices) - taken)
        if left:
            taken.update(left)
            found.append((" ".join(items[i].text for i in left), reason))

    for i, item in enumerate(items):
        if i in taken:
            continue
        if item.kind == "relation":
            ignore([i, *_object(items, i + 1)], _LIKENESS)
        elif item.kind == "amount":
            ignore([i, *_object(items, i + 1)], _AMOUNT)
        elif item.kind == "optional":
            ignore([i, *_object(items, i + 1)], _OPTION)
        elif item.kind == "compare" and item.value in (">", "<", ">=", "<="):
            ignore([i, *listed] if (listed := _object(items, i + 1)) else [], _LIKENESS)
        elif item.kind == "process":
            before = _before(items, i)
            ignore([*before, i], _PURPOSE)
        elif item.kind == "unit" and item.text.strip().endswith("%"):
            after = _skip(items, i + 1, ("filler", "dash"), most=2)
            if after < len(items) and items[after].kind in _NAMED and items[i - 1].kind == "number":
                behind = [after + 1] if _is_doping(items, after + 1) else []
                behind = behind or ([after + 1, after + 2] if _is_doping(items, after + 2) else [])
                ignore([i - 1, i, after, *behind], _AMOUNT)
        elif item.kind == "like" and item.text.lower() == "like":
            hyphen = i > 1 and items[i - 1].kind == "dash" and items[i - 1].end == item.start
            if hyphen and items[i - 2].kind in _NAMED:
                ignore([i - 2, i], _LIKENESS)
        elif item.kind in _NAMED and _remarked(items, i):
            ignore([i, i + 2], "a remark, not a wish")
        elif item.kind == "number" and _several_of(items, i):
            listed = _object(items, i + 2, commas=True)
            if item.value > 1 and len(listed) > 1:
                first = i - 1 if i and items[i - 1].kind in ("compare", "filler") else i
                ignore([first, i, *listed], "several of a list cannot be asked for")
    return found


def _remarked(items: Sequence[Item], i: int) -> bool:
    """Whether something is told of a crystal: GaN is boring."""
    behind = items[i + 1 : i + 3]
    return (
        len(behind) == 2
        and behind[0].text.lower() in ("is", "are", "was", "were")
        and behind[1].kind == "unknown"
    )


def _several_of(items: Sequence[Item], i: int) -> bool:
    """Whether "two of" stands before a list."""
    return i + 1 < len(items) and items[i + 1].text.lower() == "of" and bool(_object(items, i + 2))


def _is_doping(items: Sequence[Item], place: int) -> bool:
    return place < len(items) and items[place].kind == "doping"


def _skip(items: Sequence[Item], place: int, kinds: Sequence[str], most: int) -> int:
    for _ in range(most):
        if place < len(items) and items[place].kind in kinds:
            place += 1
    return place


def _object(items: Sequence[Item], place: int, commas: bool = False) -> list[int]:
    """Items of the names from ``place`` on, in a list joined by commas, "and" or "or"."""
    while place < len(items) and (items[place].kind == "filler" or items[place].text == "of"):
        place += 1
    listed: list[int] = []
    while place < len(items):
        kind = items[place].kind
        if kind in _NAMED:
            listed.append(place)
            place += 1
            continue
        joint = _skip(items, place, ("comma", "and", "or", "slash", "dash"), most=2)
        if not listed or joint == place or joint >= len(items) or items[joint].kind not in _NAMED:
            break
        # "Harder than diamond, oxides": another wish begins behind the comma, unless "or" follows.
        if items[place].kind == "comma" and not (commas or _goes_on(items, joint)):
            break
        place = joint
    return listed


def _goes_on(items: Sequence[Item], place: int) -> bool:
    """Whether a list that had a comma ends in "and" or "or"."""
    while place < len(items) and items[place].kind in (*_NAMED, "comma"):
        place += 1
    return place < len(items) and items[place].kind in ("and", "or")


def _before(items: Sequence[Item], i: int) -> list[int]:
    """The name directly before item ``i``, with a dash between at most."""
    place = i - 1
    if place >= 0 and items[place].kind == "dash":
        place -= 1
    return [place] if place >= 0 and items[place].kind in _NAMED else []
