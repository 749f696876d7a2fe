"""Queries in words that several databases understand: ``elements=Li,O nsites<=20 stable``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from crystal_diffusion.chemistry import atomic_number
from crystal_diffusion.errors import InputError

#: The query that asks for everything.
EVERYTHING = "all"
_NAMES = {
    "id": "ids",
    "ids": "ids",
    "material_ids": "ids",
    "elements": "elements",
    "exclude": "exclude",
    "exclude_elements": "exclude",
    "chemsys": "chemical_system",
    "system": "chemical_system",
    "chemical_system": "chemical_system",
    "formula": "formula",
    "nsites": "num_sites",
    "num_sites": "num_sites",
    "nelements": "num_elements",
    "num_elements": "num_elements",
    "gap": "band_gap",
    "band_gap": "band_gap",
    "hull": "energy_above_hull",
    "e_above_hull": "energy_above_hull",
    "energy_above_hull": "energy_above_hull",
    "stable": "stable",
    "is_stable": "stable",
}
_RANGES = ("num_sites", "num_elements", "band_gap", "energy_above_hull")
_WHOLE = ("num_sites", "num_elements")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Range:
    """An interval with both ends in it; ``None`` is an open end."""

    low: float | None = None
    high: float | None = None

    def narrowed(self, other: Range) -> Range:
        """What lies in both."""
        lows = [x for x in (self.low, other.low) if x is not None]
        highs = [x for x in (self.high, other.high) if x is not None]
        return Range(max(lows, default=None), min(highs, default=None))


@dataclass(frozen=True)
class DatabaseQuery:
    """What is asked of a database; everything not asked for is free.

    Attributes:
        ids: names of entries.
        elements: all of them must be there, others may be.
        exclude: none of them may be there.
        chemical_system: exactly these elements.
        formula: reduced formula.
        num_sites, num_elements: per cell.
        band_gap: eV.
        energy_above_hull: eV/atom.
        stable: on the hull of the database, or not.
    """

    ids: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    chemical_system: tuple[str, ...] = ()
    formula: str = ""
    num_sites: Range = Range()
    num_elements: Range = Range()
    band_gap: Range = Range()
    energy_above_hull: Range = Range()
    stable: bool | None = None

    def refuse(self, source: str, *unknown: str) -> None:
        """Raise for wishes that a database cannot be asked for, so that none is ignored.

        Raises:
            InputError: naming the first of them that is set.
        """
        for name in unknown:
            if getattr(self, name) != getattr(DatabaseQuery(), name):
                raise InputError(
                    f"{source} cannot be asked for {name}; leave it out of the query and select "
                    "from the table afterwards."
                )


def parse_query(text: str) -> DatabaseQuery:
    """Conditions separated by blanks, all of which must hold.

    ``name=value``, ``name<=value``, ``name=low-high`` or a bare word: ``Li-O`` is a chemical
    system, ``Li,O`` are elements, ``mp-149`` and ``1000041`` are ids, ``LiFePO4`` is a formula,
    ``stable`` means on the hull, ``all`` means everything.

    Raises:
        InputError: for an empty text, an unknown name, or a value that does not fit it.
    """
    if not text.strip():
        raise InputError(
            "the query is empty; say what you want, for example 'elements=Li,O nsites<=20', or "
            f"{EVERYTHING!r}."
        )
    query = DatabaseQuery()
    words = re.sub(r"\s*(<=|>=|=|<|>)\s*", r"\1", re.sub(r"\s*,\s*", ",", text)).split()
    for word in words:
        if word.lower() in (EVERYTHING, "and"):
            continue
        match = re.fullmatch(r"(\w+?)(<=|>=|=|<|>)(.+)", word)
        query = _compared(query, *match.groups()) if match else _bare(query, word)
    return query


def _compared(query: DatabaseQuery, name: str, sign: str, value: str) -> DatabaseQuery:
    field = _NAMES.get(name.lower())
    if field is None:
        names = ", ".join(dict.fromkeys(_NAMES.values()))
        raise InputError(f"{name!r} is no name of a query; known are {names}.")
    if field in _RANGES:
        old: Range = getattr(query, field)
        new = old.narrowed(_range(field, sign, value))
        if new.low is not None and new.high is not None and new.low > new.high:
            raise InputError(f"{name}{sign}{value} leaves nothing: {new.low:g} to {new.high:g}.")
        return _with(query, field, new)
    if sign != "=":
        raise InputError(f"{name}{sign}{value}: {name} takes '=' only.")
    if field == "stable":
        truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if value.lower() not in truth:
            raise InputError(f"stable={value}: give true or false.")
        return replace(query, stable=truth[value.lower()])
    if field == "formula":
        return replace(query, formula=_formula(value))
    parts = tuple(part for part in re.split("-|," if field == "chemical_system" else ",", value))
    if field != "ids":
        _check_elements(parts)
    return _with(query, field, parts)


def _with(query: DatabaseQuery, field: str, value: object) -> DatabaseQuery:
    return replace(query, **{field: value})  # type: ignore[arg-type]


def _range(field: str, sign: str, value: str) -> Range:
    match = re.fullmatch(rf"({_NUMBER})(?:(?:-|\.\.)({_NUMBER}))?", value)
    if match is None or (match[2] and sign != "="):
        raise InputError(f"{field}{sign}{value}: give a number, or {field}=low-high.")
    first = float(match[1])
    if sign == "=":
        return Range(first, float(match[2]) if match[2] else first)
    # Databases take closed intervals; the next number makes an open end exact.
    step = 1.0 if field in _WHOLE else 0.0
    if sign in ("<", "<="):
        below = first - step if step else math.nextafter(first, -math.inf)
        return Range(None, first if sign == "<=" else below)
    above = first + step if step else math.nextafter(first, math.inf)
    return Range(first if sign == ">=" else above, None)


def _bare(query: DatabaseQuery, word: str) -> DatabaseQuery:
    if word.lower() == "stable":
        return replace(query, stable=True)
    if re.fullmatch(r"(mp|mvc)-\d+|\d+", word.split(",")[0]):
        return replace(query, ids=tuple(word.split(",")))
    if "-" in word:
        parts = tuple(word.split("-"))
        _check_elements(parts)
        return replace(query, chemical_system=parts)
    if "," in word:
        parts = tuple(word.split(","))
        _check_elements(parts)
        return replace(query, elements=parts)
    return replace(query, formula=_formula(word))


def _formula(text: str) -> str:
    if not re.fullmatch(r"([A-Z][a-z]?\d*)+", text):
        raise InputError(
            f"{text!r} is neither a formula nor a condition; write for example LiFePO4, Li-Fe-O, "
            "elements=Li,O or nsites<=20."
        )
    _check_elements(re.findall(r"[A-Z][a-z]?", text))
    return text


def _check_elements(symbols: tuple[str, ...] | list[str]) -> None:
    for name in symbols:
        atomic_number(name)
