"""Phrases that stand beside the wish: what a crystal is for, grown on, like, or made from.

A crystal is wished for by nouns and what modifies them. A phrase that a preposition leads and whose
noun is a thing and no crystal says something else: in "for lithium batteries", "as a barrier in
silicon devices", "on sapphire", "nitrides like GaN", nothing that is named is wished for.
"""

from __future__ import annotations

from collections.abc import Sequence

from crystal_diffusion.generation.words.scanning import Item
from crystal_diffusion.generation.words.vocabulary import split

#: What names elements, compounds or structures.
NAMED = ("element", "anion", "family", "formula", "variable", "oxy_family", "type", "role_formula")
#: What may modify a thing as well as a crystal.
_MODIFIERS = (*NAMED, "loose", "system")
#: Things and other words that are no crystal.
_THINGS = ("unknown", "unasked", "process", "device")
#: What ends a phrase.
_ENDS = frozenset(
    ("comma", "stop", "bracket", "colon", "neg", "neg_after", "property", "group", "point_group")
    + ("arity", "close", "pm", "range", "cell", "neutral", "optional", "relation", "amount")
    + ("doping", "but", "further", "number", "purpose")
)
_END_WORDS = frozenset(
    split(
        "with having that which whose where when while made containing contains including i "
        "we you it is are was were for on in as under by via into during after against like "
        "from than using only should must can could would will shall may"
    )
)
#: Words before "for" after which the wish itself comes: looking for, structures for.
_SEEKING = frozenset(
    split(
        "look looking looks search searching seek hunt hunting ask asking wish wishing go "
        "going aim aiming need care request suggestion suggestions idea ideas structure "
        "structures prediction predictions results result proposal proposals query hoping "
        "hope polymorph polymorphs formula formulas composition compositions polytypes"
    )
)
#: Words before "on" after which a subject comes: a thesis on lithium borates.
_SUBJECTS = frozenset(
    split(
        "work working worked works focus focused focusing focussed research study thesis "
        "paper project info information data concentrate concentrating report article "
        "lecture course review keen homework experiments literature talk"
    )
)
#: What a phrase may begin with and still be the wish: find for me a nickel oxide.
_PRONOUNS = frozenset(split("me us my our you him her them myself"))
#: How crystals are made from others, which are not asked for.
_MAKING = frozenset(
    split(
        "synthesized synthesised synthesize synthesise sintered prepared obtained grown "
        "milled milling calcined annealed fired reacted reacting melted melting mixing mixed "
        "pressed crystallised recrystallized deposited produced precipitated ball-milled "
        "synthesis prepare made"
    )
)

_LIKENESS = "likeness to a crystal cannot be asked for"
_PURPOSE = "what a crystal is for cannot be asked for"
_BENEATH = "what a crystal lies on cannot be asked for"
_ROUTE = "how a crystal is made cannot be asked for"
_EXAMPLE = "an example, not a wish"
#: Prepositions and why what they lead to is no wish.
_LEADS = {
    "for": _PURPOSE,
    "as": _PURPOSE,
    "in": _PURPOSE,
    "inside": _PURPOSE,
    "by": _PURPOSE,
    "under": _PURPOSE,
    "during": _PURPOSE,
    "after": _PURPOSE,
    "into": _PURPOSE,
    "through": _PURPOSE,
    "towards": _PURPOSE,
    "from": _PURPOSE,
}


def read_asides(items: Sequence[Item], taken: set[int]) -> list[tuple[list[int], str]]:
    """Places and reasons of what is named in phrases beside the wish; the places join ``taken``."""
    found: list[tuple[list[int], str]] = []
    for i in range(len(items)):
        for reader in (_lying, _alike, _example, _made_from, _used):
            places, reason = reader(items, i)
            left = [k for k in places if k not in taken]
            if left:
                taken.update(left)
                found.append((left, reason))
                break
    return found


def _text(items: Sequence[Item], i: int) -> str:
    return items[i].text.lower() if 0 <= i < len(items) else ""


def _kind(items: Sequence[Item], i: int) -> str:
    return items[i].kind if 0 <= i < len(items) else ""


def phrase_end(items: Sequence[Item], start: int) -> int:
    """Behind the last item of the phrase that begins at ``start``."""
    place = start
    while place < len(items):
        bound = items[place].kind == "compare" and items[place].text.lower() != "of"
        if bound or items[place].kind in _ENDS or items[place].text.lower() in _END_WORDS:
            break
        place += 1
    return place


def _lying(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """On silicon, onto sapphire; not "a thesis on silicon"."""
    if _text(items, i) not in ("on", "onto", "upon", "atop") or items[i].kind not in (
        "filler",
        "unknown",
    ):
        return [], ""
    before = {_text(items, k) for k in range(max(0, i - 2), i)}
    if before & _SUBJECTS or not i:
        return [], ""
    return _named_within(items, i, _list_end(items, i + 1)), _BENEATH


def _alike(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Nitrides like GaN; not "I would like GaN", nor "a structure like NaCl"."""
    if _text(items, i) != "like" or items[i].kind not in ("filler", "like") or not i:
        return [], ""
    kinds = ("anion", "family", "type", "loose", "filler", "oxy_family")
    if _kind(items, i - 1) == "formula" and _kind(items, i + 1) in kinds:
        return [i - 1, i], _LIKENESS  # MgB2 like borides
    before = [_text(items, k) for k in range(max(0, i - 2), i)]
    wish = (
        "something",
        "anything",
        "would",
        "i",
        "we",
        "i'd",
        "we'd",
        "you",
        "d",
        "id",
        "also",
        "really",
        "to",
        "structure",
    )
    hyphen = items[i - 1].kind == "dash" and items[i - 1].end == items[i].start
    if hyphen or before[-1] in wish or before[-1].startswith(("crystalli", "structur", "cryst")):
        return [], ""
    if any(_kind(items, k) == "neg" for k in range(max(0, i - 4), i)):
        return [], ""
    return _named_within(items, i, _list_end(items, i + 1)), _LIKENESS


def _example(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Chalcogenides such as sulfides; not "elements such as Ti and O", nor what is left out."""
    pair = f"{_text(items, i)} {_text(items, i + 1)}"
    led = 2 if pair in ("such as", "for example", "for instance") else 0
    if not led or any(_kind(items, k) == "neg" for k in range(max(0, i - 5), i)):
        return [], ""
    if not any(item.kind in NAMED for item in items[:i]):
        return [], ""
    return _named_within(items, i, _list_end(items, i + led)), _EXAMPLE


def _made_from(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Sintered from BaCO3 and TiO2; "made from Ti and O" is a wish."""
    if _text(items, i) not in _MAKING or items[i].kind not in ("filler", "unknown"):
        return [], ""
    lead = next(
        (
            k
            for k in range(i + 1, min(i + 5, len(items)))
            if _text(items, k) in ("from", "by", "using", "with", "via", "of", "out")
        ),
        None,
    )
    if lead is None or any(items[k].kind in NAMED for k in range(i + 1, lead)):
        return [], ""
    end = _list_end(items, lead + 1)
    named = [k for k in range(lead + 1, end) if items[k].kind in NAMED]
    whole = [k for k in named if items[k].kind == "formula"]
    if _text(items, i) in ("made", "produced", "mixed", "obtained") and len(whole) < 2:
        return [], ""
    return _named_within(items, i, end), _ROUTE


def _used(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """For lithium batteries, as a barrier for copper, in silicon solar cells."""
    word = _text(items, i)
    reason = _LEADS.get(word)
    if reason is None or items[i].kind not in ("filler", "unknown", "compare", "to", "between"):
        return [], ""
    before, after = _text(items, i - 1), _text(items, i + 1)
    if word == "for" and (before in _SEEKING or after in _PRONOUNS):
        return [], ""
    end = phrase_end(items, i + 1)
    modifiers = _MODIFIERS if word == "for" else NAMED
    served = word == "for" and _kind(items, i - 1) == "device"
    modifying = [
        k
        for k in range(i + 1, end)
        if items[k].kind in modifiers
        and (_modifies(items, k, end) or (served and items[k].kind in NAMED))
    ]
    if not modifying:
        return [], ""
    # The whole phrase is told, to the thing that its last name belongs to.
    last = max(modifying)
    while last + 1 < end and (
        items[last + 1].kind in (*_THINGS, "dash")
        or items[last + 1].text.lower() in ("ion", "ions", "cell", "cells", "of")
    ):
        last += 1
    told = [k for k in range(i, last + 1) if items[k].kind not in _MODIFIERS or k in modifying]
    return told, reason


def _modifies(items: Sequence[Item], place: int, end: int) -> bool:
    """Whether a name belongs to a thing that follows: lithium and sodium ion batteries."""
    ion = False
    k = place + 1
    while k < end:
        text = items[k].text.lower()
        if items[k].kind in _THINGS:
            return not text.endswith("ly")
        ion |= text in ("ion", "ions")
        if ion and text in ("cell", "cells"):
            return True
        joined = items[k].kind in (*_MODIFIERS, "dash", "open", "and", "or", "slash", "doping")
        if not joined and text not in ("ion", "ions", "metal", "air", "gas", "state", "solid"):
            return False
        k += 1
    return False


def _list_end(items: Sequence[Item], start: int) -> int:
    """Behind a list of names, with commas where "and" or "or" ends it."""
    place, end = start, start
    while place < len(items):
        kind, text = items[place].kind, items[place].text.lower()
        if kind in NAMED:
            place += 1
            end = place
        elif kind in ("and", "or", "comma", "slash", "dash") or text in ("of", "in"):
            if kind == "comma" and not _joined_later(items, place):
                break
            place += 1
        elif end == start and kind in ("filler", "unknown") and text not in _END_WORDS:
            place += 1
        else:
            break
    return end


def _joined_later(items: Sequence[Item], place: int) -> bool:
    """Whether the list goes on to an "and" or "or"."""
    while place < len(items) and items[place].kind in (*NAMED, "comma"):
        place += 1
    return place < len(items) and items[place].kind in ("and", "or")


def _named_within(items: Sequence[Item], first: int, end: int) -> list[int]:
    """The places from a preposition to the last name before ``end``; none without a name."""
    named = [k for k in range(first + 1, end) if items[k].kind in NAMED]
    return list(range(first, max(named) + 1)) if named else []
