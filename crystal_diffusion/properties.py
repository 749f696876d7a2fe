"""Properties that can be asked for and predicted: names, units, ranges, and how they are written.

One list for requests, words, training labels and predictions. A range is an interval of the
property's own unit; one end may be open. A property that is not on the list is one of the user's
own, without unit.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crystal_diffusion.errors import RequestError


@dataclass(frozen=True)
class Property:
    """One property of a crystal.

    Attributes:
        name: as it is written in requests and tables.
        unit: of all its values.
        title: for people.
        aliases: other names it goes by, in lower case without blanks, hyphens and underscores.
        lowest: no crystal is below this.
        tolerance: half the range that a single value stands for; a share of the value where
            ``logarithmic``.
        logarithmic: whether it spreads over orders of magnitude, so that ratios count.
        units: other units it may be given in, with what they are worth.
    """

    name: str
    unit: str
    title: str
    aliases: tuple[str, ...]
    lowest: float | None
    tolerance: float
    logarithmic: bool = False
    units: tuple[tuple[str, float], ...] = ()

    def worth(self, unit: str) -> float | None:
        """How many of the property's own units one of ``unit`` is; None for one it has not."""
        folded = _folded_unit(unit)
        known = {_folded_unit(name): factor for name, factor in ((self.unit, 1.0), *self.units)}
        return known.get(folded)


#: Everything the shipped models know, in the order of tables.
PROPERTIES: tuple[Property, ...] = (
    Property(
        "formation_energy",
        "eV/atom",
        "formation energy",
        ("formationenergyperatom", "eform", "ef", "heatofformation", "enthalpyofformation"),
        None,
        0.1,
        units=(("meV/atom", 1e-3), ("eV", 1.0), ("meV", 1e-3), ("kJ/mol", 0.010364269656262175)),
    ),
    Property(
        "energy_above_hull",
        "eV/atom",
        "energy above hull",
        ("eabovehull", "ehull", "hullenergy", "hulldistance", "distancetohull", "hull"),
        0.0,
        0.025,
        units=(("meV/atom", 1e-3), ("eV", 1.0), ("meV", 1e-3)),
    ),
    Property(
        "band_gap",
        "eV",
        "band gap",
        ("bandgap", "gap", "eg", "bandgapenergy"),
        0.0,
        0.25,
        units=(("meV", 1e-3), ("electronvolt", 1.0), ("electronvolts", 1.0)),
    ),
    Property(
        "magnetization",
        "µB/Å3",
        "magnetisation per volume",
        ("magnetisation", "totalmagnetization", "magnetizationpervolume", "moment"),
        0.0,
        0.01,
        units=(("µB/A3", 1.0), ("muB/Å3", 1.0), ("muB/A3", 1.0), ("uB/A3", 1.0), ("uB/Å3", 1.0)),
    ),
    Property(
        "bulk_modulus",
        "GPa",
        "bulk modulus",
        ("bulkmod", "k", "kvrh", "kv", "bulk", "incompressibility"),
        0.0,
        0.1,
        logarithmic=True,
        units=(("MPa", 1e-3), ("kbar", 0.1), ("Mbar", 100.0), ("Pa", 1e-9)),
    ),
    Property(
        "shear_modulus",
        "GPa",
        "shear modulus",
        ("shearmod", "g", "gvrh", "shear"),
        0.0,
        0.1,
        logarithmic=True,
        units=(("MPa", 1e-3), ("kbar", 0.1), ("Mbar", 100.0), ("Pa", 1e-9)),
    ),
    Property(
        "density",
        "g/cm3",
        "density",
        ("massdensity", "rho", "ρ"),
        0.0,
        0.05,
        logarithmic=True,
        units=(("g/cc", 1.0), ("g/ml", 1.0), ("kg/m3", 1e-3), ("kg/l", 1.0), ("t/m3", 1.0)),
    ),
)
#: The list by name.
BY_NAME: Mapping[str, Property] = {known.name: known for known in PROPERTIES}
_BY_ALIAS: Mapping[str, Property] = {
    alias: known for known in PROPERTIES for alias in (known.name.replace("_", ""), *known.aliases)
}


@dataclass(frozen=True)
class PropertyRange:
    """What is asked of one property, in its own unit; an infinite end is open.

    Raises:
        RequestError: for a range that is empty or no range.
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high):
            raise RequestError("a range of a property has an end that is no number; give two.")
        if self.low > self.high:
            raise RequestError(
                f"the range {self.low:g}..{self.high:g} is empty; give the smaller number first."
            )
        if math.isinf(self.low) and math.isinf(self.high):
            raise RequestError("a range of a property is open at both ends; give at least one.")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"≤ {self.high:g}"
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


def property_named(text: str, own: Iterable[str] = ()) -> str:
    """The name of a property from what a user wrote.

    Args:
        text: a name or an alias, in any case; blanks, hyphens and underscores do not count.
        own: names of the user's own properties, which come first.

    Raises:
        RequestError: for an unknown one, with the list of known ones and the likeliest meant.
    """
    folded = _folded(text)
    by_own = {_folded(name): name for name in own}
    if folded in by_own:
        return by_own[folded]
    if folded in _BY_ALIAS:
        return _BY_ALIAS[folded].name
    known = [*own, *(name for name in BY_NAME if name not in set(own))]
    near = difflib.get_close_matches(folded, [*by_own, *_BY_ALIAS], 1, 0.7)
    meant = by_own.get(near[0]) or _BY_ALIAS[near[0]].name if near else None
    hint = f"did you mean {meant}? " if meant else ""
    raise RequestError(
        f"property {text.strip()!r} is not known; {hint}Known are {', '.join(known)}."
    )


def checked_range(name: str, wanted: PropertyRange) -> PropertyRange:
    """The range of a property, refused where no crystal can be in it.

    Raises:
        RequestError: for a range below what is possible.
    """
    known = BY_NAME.get(name)
    if known is not None and known.lowest is not None and wanted.high < known.lowest:
        raise RequestError(
            f"{name} {wanted} {known.unit} is impossible: no crystal is below {known.lowest:g} "
            f"{known.unit}; correct the range."
        )
    return wanted


def range_of(name: str, value: object) -> PropertyRange:
    """A range from what Python code gives: a pair, a :class:`PropertyRange`, a text or a number.

    Args:
        name: of the property.
        value: ``(low, high)`` with None for an open end, ``"1.5..2.5"``, ``"<4"``, or one number,
            which stands for itself within the property's tolerance.

    Raises:
        RequestError: for anything else.
    """
    if isinstance(value, PropertyRange):
        return checked_range(name, value)
    if isinstance(value, str):
        compared = re.match(r"\s*[=<>≤≥]", value)
        return parse_property(f"{name}{value if compared else '=' + value}", (name,))[1]
    if isinstance(value, bool) or value is None:
        raise RequestError(f"property {name}: {value!r} is no range; give a pair such as (1, 2).")
    if isinstance(value, int | float):
        return checked_range(name, _around(name, float(value), None))
    try:
        ends = [float(end) if end is not None else None for end in value]  # type: ignore[attr-defined]
        low, high = ends
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"property {name}: {value!r} is no range; give a pair such as (1.5, 2.5), None for an "
            "open end."
        ) from error
    wanted = PropertyRange(-math.inf if low is None else low, math.inf if high is None else high)
    return checked_range(name, wanted)


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_UNIT = r"[^\d\s.,<>=±+-][^\s<>=±]*"
_QUANTITY = rf"(?P<{{0}}>{_NUMBER})\s*(?P<{{0}}_unit>{_UNIT})?"
_LOW, _HIGH, _MIDDLE, _HALF = (_QUANTITY.format(end) for end in ("low", "high", "mid", "half"))
_BETWEEN = re.compile(rf"{_LOW}\s*(?:\.\.\.?|…|–|—|-|\bto\b|,)\s*{_HIGH}")
_AROUND = re.compile(rf"{_MIDDLE}\s*(?:±|\+/?-)\s*{_HALF}")
_SINGLE = re.compile(_MIDDLE)
_COMPARED = re.compile(
    r"(?P<name>[^<>=≤≥±]+?)\s*(?P<sign><=|>=|=<|=>|==|≤|≥|<|>|=|:)\s*(?P<rest>.+)"
)
_CHAINED = re.compile(rf"{_LOW}\s*(?:<=|≤|<)\s*(?P<name>[^<>=≤≥±]+?)\s*(?:<=|≤|<)\s*{_HIGH}")


def parse_property(text: str, own: Iterable[str] = ()) -> tuple[str, PropertyRange]:
    """Name and range from a text such as ``band_gap=1.5..2.5`` or ``density<4 g/cm3``.

    ``=`` takes a range (``1.5..2.5``, ``1.5-2.5``, ``1.5 to 2.5``), a value with its tolerance
    (``3±0.5``, ``3+-0.5``), or one value, for which the property's own tolerance is taken;
    ``<``, ``<=``, ``>``, ``>=`` one end; ``1 < band_gap < 2`` both. Units may follow the numbers.

    Args:
        text: what a user wrote.
        own: names of the user's own properties.

    Raises:
        RequestError: for what cannot be read, an unknown property or unit, or an impossible range.
    """
    own = tuple(own)
    cleaned = re.sub(r"\s+per\s+", "/", " ".join(text.replace("\u2212", "-").split()))
    chained = _CHAINED.fullmatch(cleaned)
    if chained:
        name = property_named(chained["name"], own)
        return name, checked_range(name, _between(name, chained, text))
    parts = _COMPARED.fullmatch(cleaned)
    if parts is None:
        raise RequestError(
            f"property {text!r} does not parse; write a name and a range, as in "
            '"band_gap=1.5..2.5" or "density<4".'
        )
    name, sign, rest = property_named(parts["name"], own), parts["sign"], parts["rest"].strip()
    return name, checked_range(name, _read_range(name, sign, rest, text))


def _read_range(name: str, sign: str, rest: str, text: str) -> PropertyRange:
    if sign in ("=", "==", ":"):
        between, around = _BETWEEN.fullmatch(rest), _AROUND.fullmatch(rest)
        single = _SINGLE.fullmatch(rest)
        if between:
            return _between(name, between, text)
        if around:
            unit = around["mid_unit"] or around["half_unit"]
            half = _value(name, around["half"], around["half_unit"] or unit, text)
            return _around(name, _value(name, around["mid"], unit, text), half)
        if single:
            return _around(name, _value(name, single["mid"], single["mid_unit"], text), None)
    else:
        single = _SINGLE.fullmatch(rest)
        if single:
            value = _value(name, single["mid"], single["mid_unit"], text)
            below = "<" in sign or sign == "≤"
            return PropertyRange(high=value) if below else PropertyRange(low=value)
    raise RequestError(
        f"property {text!r}: {rest!r} is no number or range; write for example "
        f'"{name}=1.5..2.5", "{name}<4" or "{name}=3±0.5".'
    )


def _between(name: str, match: re.Match[str], text: str) -> PropertyRange:
    unit = match["high_unit"] or match["low_unit"]
    low = _value(name, match["low"], match["low_unit"] or unit, text)
    return PropertyRange(low, _value(name, match["high"], unit, text))


def _value(name: str, number: str, unit: str | None, text: str) -> float:
    """A number in the property's own unit."""
    value = float(number)
    if unit is None:
        return value
    known = BY_NAME.get(name)
    if known is None:
        raise RequestError(
            f"property {text!r}: {name} has no unit that is known; give the bare number, as in "
            "your table."
        )
    factor = known.worth(unit)
    if factor is None:
        others = ", ".join(dict.fromkeys((known.unit, *(name for name, _ in known.units))))
        raise RequestError(f"property {text!r}: {unit!r} is no unit of {name}; give {others}.")
    return value * factor


def _around(name: str, value: float, half: float | None) -> PropertyRange:
    """A value with its tolerance, the property's own where none is given."""
    known = BY_NAME.get(name)
    if half is None:
        if known is None:
            half = 0.05 * abs(value)
        else:
            half = known.tolerance * (abs(value) if known.logarithmic else 1.0)
    if half < 0:
        raise RequestError(f"property {name}: the tolerance {half:g} is negative; give it above 0.")
    return PropertyRange(value - half, value + half)


def _folded(text: str) -> str:
    return re.sub(r"[\s_\-]+", "", text.strip().lower())


def _folded_unit(text: str) -> str:
    out = text.strip().lower().replace("μ", "µ").replace("³", "3").replace("^", "")
    out = out.replace("per", "/").replace("å", "a").replace("cm-3", "/cm3")
    return re.sub(r"\s+|\*|·", "", out).replace("//", "/").rstrip(".")
