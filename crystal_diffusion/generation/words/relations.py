"""What stands in a sentence beside the wish: likeness, purposes, options, percentages.

"Harder than diamond", "a catalyst for CO2 reduction", "lattice-matched to GaAs", "may contain F":
crystals and elements are named, and none of them is asked for. They are said to be without effect.
Here are words that say so by themselves; :mod:`.asides` reads phrases that prepositions lead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from crystal_diffusion.generation.words.asides import NAMED as _NAMED
from crystal_diffusion.generation.words.scanning import Item
from crystal_diffusion.generation.words.vocabulary import MOLECULES, OPTIONS_AFTER, split

_LIKENESS = "likeness to a crystal cannot be asked for"
_PURPOSE = "what a crystal is for cannot be asked for"
_OPTION = "what may be there and need not cannot be asked for"
_AMOUNT = "small amounts cannot be asked for"


def read_relations(items: Sequence[Item], taken: set[int]) -> list[tuple[list[int], str]]:
    """Places and reasons of what is named without being asked for; the places join ``taken``."""
    found: list[tuple[list[int], str]] = []
    for i in range(len(items)):
        if i in taken:
            continue
        for reader in (
            _headed,
            _withstood,
            _compared,
            _optional,
            _little,
            _standing,
            _process,
            _served,
            _percentage,
            _likened,
            _several,
            _remark,
        ):
            indices, reason = reader(items, i)
            left = sorted(set(indices) - taken)
            if left:
                taken.update(left)
                found.append((left, reason))
                break
    return found


#: Nouns of likeness, which may have a crystal before them.
_STANDINGS = frozenset(
    split(
        "alternative alternatives replacement replacements substitute substitutes analogue "
        "analogues analog analogs derivative derivatives relative relatives cousin "
        "competitor precursor"
    )
)
#: Behind "stable" these lead to what a crystal withstands.
_WITHSTANDING = ("against", "to", "towards", "toward")
_HEADS = {"relation": _LIKENESS, "amount": _AMOUNT, "optional": _OPTION, "purpose": _PURPOSE}


def _headed(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Similar to X, traces of X, may contain X."""
    reason = _HEADS.get(items[i].kind)
    if reason is None:
        return [], ""
    text, back = items[i].text.lower(), i - 1
    if text.endswith("ing") and back > 0 and items[back].kind == "dash":
        # CO2-absorbing lithium silicate.
        return ([back - 1, i] if items[back - 1].kind in _NAMED else [i]), reason
    # A GaN alternative to SiC: neither is wished for.
    noun = items[i].text.lower().split()[0] in _STANDINGS
    before = [i - 1] if noun and i and items[i - 1].kind in _NAMED else []
    listed = _object(items, i + 1)
    if "replac" in items[i].text.lower() and listed and items[max(listed) + 1 :]:
        # Replace Pb in CsPbI3.
        place = max(listed) + 1
        listed += _object(items, place + 1) if items[place].text.lower() == "in" else []
    return [*before, i, *listed], reason


def _withstood(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Stable against lithium, in contact with water."""
    text = items[i].text.lower()
    firm = items[i].kind == "unasked" and text.startswith("stable")
    contact = text == "stable in contact with"
    if not firm or not (contact or text.split()[-1] in _WITHSTANDING):
        return [], ""
    listed = _object(items, i + 1)
    return ([i, *listed] if listed else []), "only energy above hull is known of stability"


def _compared(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """A bound with a crystal where its number should be: wider than that of silicon."""
    if items[i].kind != "compare" or items[i].value not in (">", "<", ">=", "<="):
        return [], ""
    listed = _object(items, i + 1)
    return ([i, *listed] if listed else []), _LIKENESS


def _optional(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Nickel optional, fluorine is allowed; optional: hydrogen."""
    if items[i].text.lower() not in OPTIONS_AFTER:
        return [], ""
    if i + 1 < len(items) and items[i + 1].kind == "colon":
        listed = _object(items, i + 2)
        return ([i, *listed] if listed else []), _OPTION
    place = i - 1
    while place >= 0 and items[place].text.lower() in ("is", "are", "also", "be", "as"):
        place -= 1
    before: list[int] = []
    while place >= 0 and items[place].kind in ("element", "family"):
        before.append(place)
        joined = place > 1 and items[place - 1].kind in ("and", "or", "slash")
        place -= 2 if joined else len(items)
    return ([*before, i] if before else []), _OPTION


#: Words of small amounts before an element, and behind one.
_LITTLE = frozenset(split("low less reduced little trace traces minimal minor lower lowest minute"))
_POOR = frozenset(split("poor lean depleted lite"))


def _little(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Low cobalt content, cobalt-poor."""
    text = items[i].text.lower()
    if text in _LITTLE and i + 1 < len(items) and items[i + 1].kind in ("element", "family"):
        if i and items[i - 1].kind == "dash":
            return [], ""  # Pb-less
        return [i, i + 1], _AMOUNT
    place = i - 1
    if place >= 0 and items[place].kind == "dash":
        place -= 1
    if text in _POOR and place >= 0 and items[place].kind in ("element", "family"):
        return [place, i], _AMOUNT
    return [], ""


def _standing(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """An alternative absorber to CdTe; rare earth magnet substitutes."""
    if items[i].text.lower() not in _STANDINGS:
        return [], ""
    lead = next((k for k in range(i + 1, min(i + 4, len(items))) if _leads(items, k)), None)
    listed = _object(items, lead + 1) if lead is not None else []
    before: list[int] = []
    if not listed and i > 1 and items[i - 1].kind in ("loose", "unknown", "device"):
        before = [i - 2, i - 1] if items[i - 2].kind in _NAMED else []
    if not listed and not before:
        return [], ""
    return [*before, *range(i, (max(listed) if listed else i) + 1)], _LIKENESS


def _leads(items: Sequence[Item], k: int) -> bool:
    return items[k].text.lower() in ("to", "for")


def _process(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """CO2 reduction, sodium-ion batteries, capture of CO2."""
    if items[i].kind != "process":
        return [], ""
    place, ion = i - 1, False
    while place >= 0 and (items[place].kind == "dash" or items[place].text.lower() in _CARRIERS):
        ion |= items[place].kind != "dash"
        place -= 1
    before = []
    if place >= 0 and items[place].kind in _NAMED:
        # Lithium iron phosphate batteries: the compound is wished for.
        alone = place == 0 or items[place - 1].kind not in _NAMED
        if ion and _sensing(items[place]):
            return [], ""  # a rutile gas sensor
        before = list(range(place, i)) if ion or alone else []
        while before and place > 1 and items[place - 1].kind == "dash":
            if items[place - 2].kind not in _NAMED:
                break
            place -= 2  # lithium-sulfur batteries
            before = list(range(place, i))
    behind: list[int] = []
    if i + 1 < len(items) and items[i + 1].text.lower() == "of":
        listed = _object(items, i + 2)
        behind = list(range(i + 1, max(listed) + 1)) if listed else []
    # Alone it is told with the words around it: solid-state batteries.
    return ([*before, i, *behind] if before or behind else []), _PURPOSE


def _sensing(item: Item) -> bool:
    """Whether a thing is made of what is named before it, which is no gas and no ion."""
    return item.kind == "type" or (item.kind == "formula" and _whole(item))


def _whole(item: Item) -> bool:
    return item.text not in MOLECULES and len(re.findall("[A-Z]", item.text)) > 1


def _served(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """A contact to GaN, a buffer between silicon and GaN."""
    if items[i].kind != "device" or i + 1 >= len(items):
        return [], ""
    if items[i + 1].text.lower() not in ("to", "between", "against"):
        return [], ""
    listed = _object(items, i + 2)
    return ([i, i + 1, *listed] if listed else []), _PURPOSE


#: Words between an element and what it works in: lithium ion batteries, zinc air batteries.
_CARRIERS = ("ion", "ions", "air", "gas", "metal", "state", "vapor", "vapour")


def _percentage(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """8 mol% Y2O3, 2 % Al-doped."""
    if items[i].kind != "unit" or not items[i].text.strip().endswith("%"):
        return [], ""
    after = _skip(items, i + 1, ("filler", "dash"), most=2)
    if after >= len(items) or items[after].kind not in _NAMED or items[i - 1].kind != "number":
        return [], ""
    behind = _skip(items, after + 1, ("dash",), most=1)
    doped = behind < len(items) and items[behind].kind == "doping"
    return [i - 1, i, after, *(range(after + 1, behind + 1) if doped else ())], _AMOUNT


def _likened(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """Na3Bi-like."""
    hyphen = i > 1 and items[i - 1].kind == "dash" and items[i - 1].end == items[i].start
    like = items[i].kind == "like" and items[i].text.lower() == "like"
    return ([i - 2, i] if hyphen and like and items[i - 2].kind in _NAMED else []), _LIKENESS


def _several(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """At least two of Fe, Co, Ni."""
    reason = "several of a list cannot be asked for"
    of = items[i + 1 : i + 2]
    if items[i].kind != "number" or not of or of[0].text.lower() != "of":
        return [], reason
    listed = _object(items, i + 2, commas=True)
    if items[i].value <= 1 or len(listed) < 2:
        return [], reason
    first = i - 1 if i and items[i - 1].kind in ("compare", "filler") else i
    return [first, i, *listed], reason


def _remark(items: Sequence[Item], i: int) -> tuple[list[int], str]:
    """GaN is boring."""
    named = items[i].kind in _NAMED and _remarked(items, i)
    return ([i, i + 2] if named else []), "a remark, not a wish"


def _remarked(items: Sequence[Item], i: int) -> bool:
    """Whether something is told of a crystal: GaN is boring."""
    behind = items[i + 1 : i + 3]
    return (
        len(behind) == 2
        and behind[0].text.lower() in ("is", "are", "was", "were")
        and behind[1].kind == "unknown"
    )


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
            if listed and items[listed[-1]].kind == "formula" and listed[-1] == place - 1:
                break  # matched to InP arsenides
            listed.append(place)
            place += 1
            continue
        joint = _skip(items, place, ("comma", "and", "or", "slash", "dash"), most=2)
        if not listed or joint == place or joint >= len(items) or items[joint].kind not in _NAMED:
            break
        # "Harder than diamond, oxides": another wish begins behind the comma, unless "or" follows.
        if items[place].kind == "comma" and not (commas or _goes_on(items, joint)):
            break
        # Harder than corundum, boron and oxygen: a structure and elements are not one list.
        if items[place].kind == "comma" and items[joint].kind != items[listed[-1]].kind:
            break
        place = joint
    return listed


def _goes_on(items: Sequence[Item], place: int) -> bool:
    """Whether a list that had a comma ends in "and" or "or"."""
    while place < len(items) and items[place].kind in (*_NAMED, "comma"):
        place += 1
    return place < len(items) and items[place].kind in ("and", "or")
