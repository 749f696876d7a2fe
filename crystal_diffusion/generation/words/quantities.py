"""Numbers of a sentence: what each is a bound of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crystal_diffusion.generation.words.scanning import Item
from crystal_diffusion.generation.words.vocabulary import LOOSE
from crystal_diffusion.properties import BY_NAME

#: How far a count said to be "about" so many may be off.
_ABOUT = 0.1
#: Largest value of each property that is believed without a unit.
_LARGEST = {
    "band_gap": 20.0,
    "formation_energy": 10.0,
    "energy_above_hull": 2.0,
    "density": 30.0,
    "bulk_modulus": 1000.0,
    "shear_modulus": 1000.0,
    "magnetization": 1.0,
}
#: Small words that may stand between a number and what it belongs to.
_SMALL = ("filler", "dash", "colon", "bracket", "between", "to")
#: Properties that a unit alone tells.
_BY_UNIT = {
    "g/cm3": "density",
    "kg/m3": "density",
    "kg/l": "density",
    "muB/A3": "magnetization",
}


@dataclass(frozen=True)
class Bound:
    """A range that a sentence gives of something.

    Attributes:
        target: "atoms", "elements", "units", or a property.
        low: None for an open end, and
        high: likewise, in the property's own unit.
        words: as written.
        strict_low: whether the end itself is left out, and
        strict_high: likewise.
        problem: why it is of no effect; None where it counts.
    """

    target: str
    low: float | None
    high: float | None
    words: str
    strict_low: bool = False
    strict_high: bool = False
    problem: str | None = None

    @property
    def is_property(self) -> bool:
        """Whether it is of a property, not of a count."""
        return self.target in BY_NAME

    @property
    def whole_low(self) -> int:
        """Smallest whole number inside."""
        low = self.low or 0.0
        return math.floor(low) + 1 if self.strict_low else math.ceil(low - 1e-9)

    @property
    def whole_high(self) -> int:
        """Largest whole number inside."""
        high = self.high if self.high is not None else 0.0
        return math.ceil(high) - 1 if self.strict_high else math.floor(high + 1e-9)


@dataclass
class _Said:
    """A number or range with its comparisons, from item ``first`` to before item ``end``."""

    first: int
    end: int
    low: float | None = None
    high: float | None = None
    strict_low: bool = False
    strict_high: bool = False
    unit: str | None = None
    spread: float | None = None
    about: bool = False
    single: bool = False


def read_quantities(items: Sequence[Item], taken: set[int]) -> list[Bound]:
    """The bounds of a sentence; the items that they are made of join ``taken``."""
    bounds: list[Bound] = []
    place = 0
    last: str | None = None
    while place < len(items):
        chain = _chained(items, place)
        if chain is not None and not taken & set(range(place, chain[1].end)):
            last, end = chain[0], chain[1].end
            taken |= set(range(place, end))
            bounds.append(_bound(last, chain[1], " ".join(i.text for i in items[place:end])))
            place = end
            continue
        said = _said(items, place)
        if said is None or said.first in taken:
            place += 1
            continue
        used: set[int] = set(range(said.first, said.end))
        target = _target(items, said, used, last, taken)
        _behind(items, said, used)
        words = " ".join(items[i].text for i in sorted(used))
        if target is None:
            pass  # left over, and said with the words beside it
        elif target == "crystals":
            taken |= used
            bounds.append(Bound("", None, None, words, problem="their number is given with -n"))
        else:
            taken |= used
            bounds.append(_bound(target, said, words))
            last = target
        place = said.end
    return bounds


def _chained(items: Sequence[Item], first: int) -> tuple[str, _Said] | None:
    """A property or count between two numbers, as in "1 eV < gap < 2 eV", and what it is of."""
    said = _Said(first, first + 1)
    if items[first].kind != "number":
        return None
    first_unit = _unit_at(items, said.end)
    said.end += first_unit is not None
    signs: list[str] = []
    for kinds in (("compare",), ("property", "count"), ("compare",), ("number",)):
        if said.end >= len(items) or items[said.end].kind not in kinds:
            return None
        if kinds == ("compare",):
            signs.append(str(items[said.end].value))
        said.end += 1
    target, value = str(items[said.end - 3].value), float(items[said.end - 1].value)
    _take_unit(items, said)
    if {sign[0] for sign in signs} not in ({"<"}, {">"}) or (target == "crystals"):
        return None
    ends = [float(items[first].value), value]
    if first_unit is not None:
        ends[0] *= _ratio(first_unit, said.unit)
        said.unit = said.unit or first_unit
    if signs[0][0] == ">":
        ends.reverse()
        signs.reverse()
    said.low, said.high = ends
    said.strict_low, said.strict_high = signs[0] in "<>", signs[1] in "<>"
    return target, said


def _said(items: Sequence[Item], first: int) -> _Said | None:
    """A number with its comparison from item ``first`` on; None where there is none."""
    kind = items[first].kind
    if kind not in ("number", "compare", "between"):
        return None
    place, operator = first, "="
    if kind == "compare":
        operator = str(items[first].value)
        place = _skip(items, first + 1, ("filler", "bracket"), most=2)
        if place < len(items) and items[place].kind == "compare":
            # "of about 3", "is at least 3": the second one decides.
            operator = str(items[place].value)
            place = _skip(items, place + 1, ("filler",), most=1)
    elif kind == "between":
        place = _skip(items, first + 1, ("filler",), most=1)
    if place >= len(items) or items[place].kind != "number":
        return None
    said = _Said(first, place + 1)
    value = float(items[place].value)
    _take_unit(items, said)
    within = items[first].text.lower() in ("within", "inside")
    upper = _upper(items, said.end, kind == "between" or within)
    if within and upper is not None:
        operator = "="
    if upper is not None and operator in ("=", ">=", ">"):
        _range(items, said, value, upper, operator)
        return said
    if said.end < len(items) and items[said.end].kind == "pm":
        number = said.end + 1
        if number < len(items) and items[number].kind == "number":
            said.spread, said.end = abs(float(items[number].value)), number + 1
            _take_unit(items, said)
    after = said.end
    if after < len(items) and items[after].kind == "bracket" and after + 1 < len(items):
        after += 1 if items[after + 1].kind in ("compare", "compare_after") else 0
    if operator == "=" and after < len(items) and _follows(items, after):
        operator = {"at least": ">=", "at most": "<="}.get(
            items[after].text.lower(), str(items[after].value)
        )
        said.end = after + 1
    _set(said, operator, value)
    said.about = (
        operator == "="
        and kind == "compare"
        and items[first].text.lower()
        not in (
            "=",
            "==",
            ":",
            "exactly",
            "is",
            "of",
            "equals",
            "equal to",
        )
    )
    _second(items, said)
    return said


def _behind(items: Sequence[Item], said: _Said, used: set[int]) -> None:
    """A comparison behind the noun: "20 atoms or less", "a 2 eV gap or more"."""
    end = max(used) + 1
    place = _skip(items, end, ("filler", "bracket"), most=3)
    if not said.single or end >= len(items) or end == said.end or place >= len(items):
        return
    if items[place].kind != "compare_after" and not _follows(items, place):
        return
    value = said.low or 0.0
    said.low = said.high = None
    said.single = said.about = False
    text = items[place].text.lower()
    _set(said, {"at least": ">=", "at most": "<="}.get(text, str(items[place].value)), value)
    used |= set(range(end, place + 1))


def _follows(items: Sequence[Item], place: int) -> bool:
    """Whether a comparison belongs to the number before it: no number behind it."""
    item = items[place]
    if item.kind == "compare_after":
        return True
    if item.kind != "compare" or item.text.lower() not in (
        "at least",
        "at most",
        "minimum",
        "maximum",
        "min",
        "max",
    ):
        return False
    after = _skip(items, place + 1, ("filler", "stop"), most=2)
    return after >= len(items) or items[after].kind != "number"


def _skip(items: Sequence[Item], place: int, kinds: Sequence[str], most: int) -> int:
    for _ in range(most):
        if place < len(items) and items[place].kind in kinds:
            place += 1
    return place


def _take_unit(items: Sequence[Item], said: _Said) -> None:
    if said.end < len(items) and items[said.end].kind == "unit":
        said.unit = str(items[said.end].value)
        said.end += 1


def _unit_at(items: Sequence[Item], place: int) -> str | None:
    here = items[place : place + 1]
    return str(here[0].value) if here and here[0].kind == "unit" else None


def _upper(items: Sequence[Item], place: int, between: bool) -> int | None:
    """Item of the second number of a range that starts before ``place``."""
    if place + 1 >= len(items):
        return None
    joint, number = items[place], items[place + 1]
    bracketed = place > 1 and items[place - 2].kind == "bracket" and joint.kind == "comma"
    if bracketed and number.kind == "number" and items[place + 2 : place + 3]:
        if items[place + 2].kind == "bracket":
            return place + 1
    if number.kind != "number":
        return None
    after = items[place + 2].kind if place + 2 < len(items) else ""
    either = joint.kind == "or" and after in ("count", "unit")
    up_to = between and joint.text.lower() == "up to"
    if (
        joint.kind in ("dash", "range", "to")
        or up_to
        or either
        or (between and joint.kind == "and")
    ):
        return place + 1
    return None


def _range(items: Sequence[Item], said: _Said, low: float, upper: int, operator: str) -> None:
    said.low, said.high = low, float(items[upper].value)
    said.strict_low = operator == ">"
    said.end = upper + 1
    first_unit = said.unit
    if said.end < len(items) and items[said.end].kind == "bracket":
        said.end += 1
    _take_unit(items, said)
    if first_unit is not None and said.unit != first_unit:
        # 500 meV to 2 eV: both in the second unit.
        said.low = low * _ratio(first_unit, said.unit)
    if said.high < said.low < 0 and operator == "=":
        said.low, said.high = said.high, said.low


def _ratio(unit: str, other: str | None) -> float:
    thousandth = {"meV": "eV", "meV/atom": "eV/atom"}
    if other is not None and thousandth.get(unit) == other:
        return 1e-3
    if other is not None and thousandth.get(other) == unit:
        return 1e3
    return 1.0


def _set(said: _Said, operator: str, value: float) -> None:
    if operator in (">", ">="):
        said.low, said.strict_low = value, operator == ">"
    elif operator in ("<", "<="):
        said.high, said.strict_high = value, operator == "<"
    else:
        said.low = said.high = value
        said.single = True


def _second(items: Sequence[Item], said: _Said) -> None:
    """A second comparison: "more than 2 eV and less than 4 eV", "but no more than 4 eV"."""
    if said.single:
        return
    place = _skip(items, said.end, ("comma", "and", "but", "filler"), most=2)
    if place + 1 >= len(items) or items[place].kind != "compare":
        return
    number = _skip(items, place + 1, ("filler",), most=1)
    if number >= len(items) or items[number].kind != "number":
        return
    operator = str(items[place].value)
    missing_high = said.high is None and operator in ("<", "<=")
    missing_low = said.low is None and operator in (">", ">=")
    behind = number + 1
    unit = None
    if behind < len(items) and items[behind].kind == "unit":
        unit, behind = str(items[behind].value), behind + 1
    noun = _skip(items, behind, ("filler", "dash"), most=1)
    named = noun < len(items) and items[noun].kind in ("count", "property")
    if not (missing_high or missing_low) or (said.unit and unit and unit != said.unit):
        return
    if named and said.unit is not None:
        return
    said.unit = said.unit or unit
    _set(said, operator, float(items[number].value))
    said.end = behind


def _target(
    items: Sequence[Item], said: _Said, used: set[int], last: str | None, taken: set[int]
) -> str | None:
    """What the number belongs to: a noun behind it, a property before or behind it, its unit."""
    return (
        _noun(items, said, used)
        or _on_the_left(items, said, used, taken)
        or _on_the_right(items, said, used, taken)
        or _in_bracket(items, said, used, taken)
        or _by_unit(items, said, last)
    )


def _noun(items: Sequence[Item], said: _Said, used: set[int]) -> str | None:
    after = _skip(items, said.end, ("filler", "dash"), most=2)
    if said.unit is not None or after >= len(items) or items[after].kind != "count":
        return None
    sign = items[after + 1].kind if after + 1 < len(items) else ""
    if sign == "compare" and _claimed(items, after) and items[said.first - 1].kind == "count":
        return None  # natoms < 20 nelements = 3
    used |= set(range(said.end, after + 1))
    return str(items[after].value)


def _on_the_left(items: Sequence[Item], said: _Said, used: set[int], taken: set[int]) -> str | None:
    left = said.first - 1
    while left >= 0 and (
        items[left].kind in _SMALL
        or (items[left].kind == "compare" and items[left].value == "=")
        or (items[left].kind == "unit" and left and items[left - 1].kind == "bracket")
    ):
        left -= 1
    if left < 0 or left in taken:
        return None
    item = items[left]
    if item.kind == "loose" and any(w in item.text for w in ("gap", "dens", "modul", "energ")):
        # "a small gap (under 2 eV)": the number is of what the loose words name.
        return LOOSE[str(item.value)][0]
    if item.kind == "unknown" and item.text.lower() == "z":
        used |= set(range(left, said.first))
        return "units"
    counted = item.kind == "count" and said.unit is None and _has_equal(items, left, said)
    if item.kind != "property" and not counted:
        return None
    _limited(items, said, left, used)
    used |= set(range(left, said.first))
    unit = [i for i in range(left, said.first) if items[i].kind == "unit"]
    if said.unit is None and unit:
        said.unit = str(items[unit[0]].value)
    return str(item.value)


def _limited(items: Sequence[Item], said: _Said, left: int, used: set[int]) -> None:
    """A bound before the property: a minimum gap of 1 eV, at least a density of 5."""
    place = left - 1
    while place >= 0 and items[place].kind == "filler" and items[place].text in ("a", "an", "the"):
        place -= 1
    if place < 0 or items[place].kind != "compare" or not said.single or said.spread is not None:
        return
    if items[place].value not in (">", ">=", "<", "<="):
        return
    used |= {place}
    value = said.low or 0.0
    said.low = said.high = None
    said.single = said.about = False
    _set(said, str(items[place].value), value)


def _on_the_right(
    items: Sequence[Item], said: _Said, used: set[int], taken: set[int]
) -> str | None:
    kinds = ("filler", "dash", "between", "compare", "unasked")
    right = _skip(items, said.end, kinds, most=3)
    if right >= len(items) or items[right].kind != "property" or right in taken:
        return None
    if _claimed(items, right):
        return None
    used |= {i for i in range(said.end, right + 1) if items[i].kind != "unasked"}
    return str(items[right].value)


def _in_bracket(items: Sequence[Item], said: _Said, used: set[int], taken: set[int]) -> str | None:
    """A property before a bracket that tells its range: a gap in the visible (1.8 to 3.1 eV)."""
    opened = said.first - 1
    while opened >= 0 and items[opened].text.lower() in ("say", "about", "i.e", "so", "at", "of"):
        opened -= 1
    if opened < 0 or items[opened].text not in "([" or said.unit is None:
        return None
    for place in range(opened - 1, max(-1, opened - 6), -1):
        if items[place].kind in ("comma", "stop", "number", "bracket"):
            return None
        if items[place].kind == "property" and place not in taken:
            used.add(place)
            return str(items[place].value)
    return None


def _by_unit(items: Sequence[Item], said: _Said, last: str | None) -> str | None:
    if said.unit in _BY_UNIT:
        return _BY_UNIT[said.unit]
    near = [item.text.lower() for item in items[max(0, said.first - 3) : said.first]]
    if said.unit in ("eV/atom", "meV/atom") and any("stable" in word for word in near):
        return "energy_above_hull"
    if said.unit in ("eV", "meV") and (_alone(items, said) or _of_a_gap(items, said)):
        return "band_gap"
    joint = {items[i].kind for i in range(max(0, said.first - 2), said.first)}
    if last in ("atoms", "elements") and said.unit is None and not said.single:
        return last if joint & {"and", "but"} else None
    return None


def _of_a_gap(items: Sequence[Item], said: _Said) -> bool:
    """Whether words about the gap stand beside: an insulator above 5 eV, a 3 eV nitride."""
    left = said.first - 1
    while left >= 0 and items[left].kind in ("filler", "comma", "but", "dash"):
        left -= 1
    if left >= 0 and items[left].kind == "loose":
        return LOOSE[str(items[left].value)][0] == "band_gap"
    begins = left < 0 or items[left].kind in ("stop", "colon")
    after = items[said.end : said.end + 1]
    if not begins or not after:
        return False
    loose = after[0].kind == "loose" and LOOSE[str(after[0].value)][0] == "band_gap"
    return loose or after[0].kind in ("anion", "oxy_family")


def _alone(items: Sequence[Item], said: _Said) -> bool:
    """Whether a number has a clause of its own, so that nothing else can be meant by its unit."""
    ends = ("comma", "stop", "bracket", "colon")
    before = said.first == 0 or items[said.first - 1].kind in ends
    return before and (said.end == len(items) or items[said.end].kind in ends)


def _has_equal(items: Sequence[Item], left: int, said: _Said) -> bool:
    """Whether a count is followed by its number: "natoms <= 10", "number of atoms: 8"."""
    if items[left].text.lower().startswith(("natoms", "nsites", "num", "number")):
        return True
    between = items[left + 1 : said.first + 1]
    return any(i.kind in ("colon", "compare", "between") for i in between)


def _claimed(items: Sequence[Item], right: int) -> bool:
    """Whether a property has a number of its own behind it."""
    place = _skip(items, right + 1, ("filler", "colon", "between", "compare", "bracket"), most=3)
    if place >= len(items) or items[place].kind != "number":
        return False
    # A 5 eV gap, 3 elements: the next number counts something else.
    noun = items[place + 1].kind if place + 1 < len(items) else ""
    return noun != "count" or items[right].kind == "count"


def _bound(target: str, said: _Said, words: str) -> Bound:
    if target not in BY_NAME:
        low, high = said.low, said.high
        if said.unit is not None:
            return Bound(target, None, None, words, problem=f"{said.unit} is no unit of a count")
        if said.about and low is not None and high is not None:
            low, high = low * (1 - _ABOUT), high * (1 + _ABOUT)
        if said.spread is not None and low is not None and high is not None:
            low, high = low - said.spread, high + said.spread
        return Bound(target, low, high, words, said.strict_low, said.strict_high)
    known = BY_NAME[target]
    largest = max((abs(end) for end in (said.low, said.high) if end is not None), default=0.0)
    if said.unit is None and largest > _LARGEST[target]:
        return Bound(target, None, None, words, problem=f"give its unit, such as {known.unit}")
    factor = 1.0 if said.unit is None else known.worth(said.unit)
    if factor is None:
        return Bound(target, None, None, words, problem=f"{said.unit} is no unit of {known.title}")
    low = None if said.low is None else said.low * factor
    high = None if said.high is None else said.high * factor
    if said.single and low is not None and high is not None:
        low, high = _around(target, low, said.spread, factor)
    return Bound(target, low, high, words)


def _around(
    target: str, value: float, spread: float | None, factor: float
) -> tuple[float | None, float | None]:
    """The range that a single value stands for."""
    known = BY_NAME[target]
    if target == "band_gap" and value == 0 and spread is None:
        return None, 0.0
    half = known.tolerance * (abs(value) if known.logarithmic else 1.0)
    if spread is not None:
        half = spread * factor
    low = value - half
    if known.lowest is not None and low <= known.lowest:
        return None, value + half
    return low, value + half
