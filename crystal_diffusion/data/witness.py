"""The file's own word on what is in the cell: formula, formula units, density, volume.

A misread symmetry or label nearly always changes the composition, and most files say it once
more. What they say is compared with what was read; a disagreement is a problem that names both.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.data.labels import element_number
from crystal_diffusion.data.records import PlainCrystal, failed, to_float

#: Relative and absolute (atoms per formula unit) tolerance of amounts, all sites fully occupied.
EXACT = (0.02, 0.05)
#: The same with partial occupancies, which are printed rounded and refined apart from analyses.
ROUNDED = (0.05, 0.1)
#: Parts of the stated density and volume by which the crystal may differ.
DENSITY_PART, VOLUME_PART = 0.1, 0.05
#: Part of the stated mass by which the atoms may differ, and the least that may be there where
#: hydrogens are missing.
WEIGHT_PART, MISSING_PART = 0.02, 0.8
#: g/cm3 of one atomic mass unit per Å3.
_GRAMS = 1.66053907
#: Names under which tables and databases say formula and number of atoms of an entry.
FORMULA_KEYS = (
    "formula_pretty", "pretty_formula", "chemical_formula_reduced", "full_formula", "formula",
)  # fmt: skip
COUNT_KEYS = ("nsites", "num_sites", "num_atoms", "n_atoms")
_LONGEST_COMPOSITION = 4096
_AMOUNT = r"(\d*\.?\d+|\d+\.)?"
_TOKEN = re.compile(rf"([A-Za-z]{{1,2}}){_AMOUNT}")
_BRACKET = re.compile(rf"\(([^()]*)\)\s*{_AMOUNT}")
_PART = re.compile(rf"([A-Z][a-z]?){_AMOUNT}")
_UNKNOWN_AMOUNT = re.compile(r"[nxy](?![a-z])")
_HYDRATE = re.compile(
    r"(?<=[\w)\]])\s*(?:[·•*]|\.(?=\s*\d*\.?\d*\s*[HD]2O))\s*(\d*\.?\d*)\s*(?=[A-Z(])"
)


@dataclass(frozen=True)
class Statement:
    """What a file says of its own crystal; what it does not say is None.

    Attributes:
        formula: amounts by atomic number, deuterium as hydrogen.
        units: formula units in the cell (Z).
        density: g/cm3, as computed from the crystal.
        volume: Å3 of the cell.
        num_atoms: atoms in the cell.
        weight: molar mass of the formula, g/mol.
    """

    formula: Mapping[int, float] | None = None
    units: float | None = None
    density: float | None = None
    volume: float | None = None
    num_atoms: int | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Agreement:
    """What came out of comparing a crystal with a statement.

    Attributes:
        agrees: None when the file says nothing that could be compared.
        text: what disagrees, naming both sides; empty unless ``agrees`` is False.
        notes: disagreements that do not matter to what was read.
        missing_hydrogens: in the cell, of those that the formula has.
    """

    agrees: bool | None = None
    text: str = ""
    notes: tuple[str, ...] = field(default=())
    missing_hydrogens: float = 0.0


def read_formula(text: str) -> dict[int, float] | None:
    """Amounts by atomic number of ``C26 H26 O``, ``Al2O3``, ``NA1 CL1``; None if it is none."""
    water = _HYDRATE.search(text)
    if water:
        # CaSO4.2H2O: everything behind the dot counts as often as the number says.
        dry, wet = read_formula(text[: water.start()]), read_formula(text[water.end() :])
        times = float(water[1] or 1.0)
        if dry is None or wet is None:
            return None
        return {z: dry.get(z, 0.0) + times * wet.get(z, 0.0) for z in {*dry, *wet}}
    bracket = _BRACKET.search(text) if "(" in text else None
    if bracket:
        inner, rest = read_formula(bracket[1]), text[: bracket.start()] + text[bracket.end() :]
        outer = read_formula(rest) if rest.strip(" ,") else {}
        if inner is None or outer is None:
            return None
        times = float(bracket[2] or 1.0)
        return {z: outer.get(z, 0.0) + times * inner.get(z, 0.0) for z in {*outer, *inner}}
    amounts: dict[int, float] = {}
    words = text.replace(",", " ").split()
    # NA1 CL1 is sodium chloride, but CO alone is carbon and oxygen.
    capitals = len(words) > 1 and text.isupper()
    for word in words:
        token = _TOKEN.fullmatch(word)
        if word[0] in "nxy" and _UNKNOWN_AMOUNT.match(word):
            # n(C2 H4), x H2 O: an amount that nobody knows.
            return None
        if token and (len(token[1]) == 1 or not token[1].isupper() or capitals):
            tokens = [token]
        else:
            tokens = list(_PART.finditer(word))
            if "".join(t[0] for t in tokens) != word:
                # A charge (2+) says nothing of the composition.
                if re.fullmatch(r"\d*[+-]+|[+-]\d*", word):
                    continue
                return None
        for part in tokens:
            number = element_number(part[1])
            if not number:
                return None
            amounts[number] = amounts.get(number, 0.0) + float(part[2] or 1.0)
    return {z: n for z, n in amounts.items() if n > 0} or None


def statement_of(labels: Mapping[str, Any]) -> Statement:
    """What the labels of a database entry or the columns of a table say of its crystal."""
    formula = next((v for k in FORMULA_KEYS if isinstance(v := labels.get(k), str) and v), None)
    read = read_formula(formula) if formula else _composition(labels.get("composition"))
    count = next((n for k in COUNT_KEYS if (n := to_float(labels.get(k))) is not None), None)
    whole = int(count) if count is not None and count > 0 and count == int(count) else None
    return Statement(read, num_atoms=whole)


def _composition(value: Any) -> dict[int, float] | None:
    """Amounts of ``{"Na": 4.0, "Cl": 4.0}``, as pymatgen's entries have it, or of its text."""
    if isinstance(value, str) and len(value) < _LONGEST_COMPOSITION:
        try:
            value = ast.literal_eval(value) if value[:1] == "{" else value
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if isinstance(value, str):
            return read_formula(value)
    if not isinstance(value, Mapping):
        return None
    found: dict[int, float] = {}
    for symbol, amount in value.items():
        match = re.fullmatch(r"([A-Z][a-z]?)(?:\d*\.?\d*[+-])?", str(symbol))
        number, count = element_number(match[1]) if match else 0, to_float(amount)
        if not number or count is None or count < 0:
            return None
        found[number] = found.get(number, 0.0) + count
    return {z: n for z, n in found.items() if n > 0} or None


def settle_statement(crystal: PlainCrystal, statement: Statement) -> PlainCrystal:
    """The crystal, or the problem that it is not what its entry says it is."""
    if crystal.problem is not None or statement == Statement():
        return crystal
    volume = abs(float(np.linalg.det(crystal.lattice)))
    amounts = crystal.amounts()
    if not (amounts and np.isfinite(volume) and volume > 0):
        return crystal
    found = compare(amounts, volume, statement, crystal.occupancy is None)
    if found.agrees is False:
        text = f"{found.text}; correct the crystal or what is said of it"
        lost = failed(crystal.id, crystal.source, text, "contradiction")
        return replace(lost, provenance=crystal.provenance)
    notes = list(found.notes)
    if found.missing_hydrogens:
        notes.append(f"{found.missing_hydrogens:g} hydrogens of the formula are not there")
    return replace(crystal, notes=(*crystal.notes, *notes))


def formula_text(amounts: Mapping[int, float]) -> str:
    """``Al2 O3``, in alphabetic order."""
    names = {gemmi.Element(int(z)).name: n for z, n in amounts.items()}
    return " ".join(f"{name}{names[name]:.4g}" for name in sorted(names))


def compare(
    amounts: Mapping[int, float], volume: float, statement: Statement, ordered: bool = True
) -> Agreement:
    """Whether a crystal is what its file says.

    Hydrogens may be missing (they often have no coordinates); everything else must agree.

    Args:
        amounts: atoms in the cell by atomic number, occupancies counted in.
        volume: Å3 of the cell.
        statement: what the file says.
        ordered: whether all sites are fully occupied, which leaves less room for rounding.
    """
    if statement.volume and abs(volume / statement.volume - 1) > VOLUME_PART:
        text = f"the cell has {volume:.2f} Å3, the file says {statement.volume:.2f} Å3"
        return Agreement(False, text)
    stated = statement.formula
    counted: tuple[str, ...] = ()
    if statement.num_atoms and ordered and not _missing(amounts, stated):
        count = round(sum(amounts.values()))
        text = f"{count} atoms were read, the file says {statement.num_atoms}"
        if count % statement.num_atoms and statement.num_atoms % count:
            return Agreement(False, text)
        # A whole multiple is what primitive and conventional cells differ by.
        counted = () if count == statement.num_atoms else (text,)
    if not stated:
        return replace(_by_density(amounts, volume, statement), notes=counted)
    factor = _factor(amounts, stated)
    if not factor or not _same(amounts, stated, factor, EXACT if ordered else ROUNDED):
        return Agreement(False, _both(amounts, statement))
    missing = max(0.0, stated.get(1, 0.0) * factor - amounts.get(1, 0.0))
    missing = missing if missing > 0.05 * max(1.0, stated.get(1, 0.0) * factor) else 0.0
    complete = {**amounts, 1: amounts.get(1, 0.0) + missing}
    density = _off(complete, volume, statement.density)
    if statement.units and not _is_multiple(factor, stated, statement.units):
        if density is None or density > DENSITY_PART:
            return Agreement(False, _both(amounts, statement), (), missing)
        note = f"Z = {statement.units:g} in the file, but the cell holds {factor:g} formula units"
        return Agreement(True, "", (*counted, note), missing)
    if density is not None and density > DENSITY_PART:
        text = f"{_density(complete, volume):.3f} g/cm3, but the file says {statement.density:g}"
        if not statement.units:
            text = f"the atoms are {formula_text(amounts)}, which gives {text}"
            return Agreement(False, text, (), missing)
        return Agreement(True, "", (*counted, f"the cell gives {text}"), missing)
    return Agreement(True, "", counted, missing)


def _both(amounts: Mapping[int, float], statement: Statement) -> str:
    """The atoms and the formula of the file beside each other."""
    said = formula_text(statement.formula or {})
    units = f" with Z = {statement.units:g}" if statement.units else ""
    return f"the atoms are {formula_text(amounts)}, but the formula of the file is {said}{units}"


def _missing(amounts: Mapping[int, float], stated: Mapping[int, float] | None) -> bool:
    """Whether hydrogens may be missing, so that a number of atoms says nothing."""
    return bool(stated and stated.get(1) and amounts.get(1, 0.0) < stated[1])


def _by_density(amounts: Mapping[int, float], volume: float, statement: Statement) -> Agreement:
    off = _off(amounts, volume, statement.density)
    if off is None:
        return _by_weight(amounts, statement)
    if off <= DENSITY_PART:
        return Agreement(True)
    text = (
        f"the atoms ({formula_text(amounts)}) give {_density(amounts, volume):.3f} g/cm3, "
        f"the file says {statement.density:g}"
    )
    return Agreement(False, text)


def _by_weight(amounts: Mapping[int, float], statement: Statement) -> Agreement:
    """Compare the mass of the cell with Z times the molar mass; hydrogens may be missing."""
    if not (statement.weight and statement.units):
        return Agreement()
    stated = statement.weight * statement.units
    part = _mass(amounts) / stated
    if abs(part - 1) <= WEIGHT_PART:
        return Agreement(True)
    if MISSING_PART < part < 1:
        return Agreement()
    text = (
        f"the atoms ({formula_text(amounts)}) weigh {_mass(amounts):.2f} g/mol, the file says "
        f"{statement.weight:g} g/mol with Z = {statement.units:g}"
    )
    return Agreement(False, text)


def _factor(amounts: Mapping[int, float], stated: Mapping[int, float]) -> float:
    """How many of the stated formula are in the cell, by everything but hydrogen."""
    heavy = sum(n for z, n in stated.items() if z != 1)
    if not heavy:
        return amounts.get(1, 0.0) / stated[1]
    return sum(n for z, n in amounts.items() if z != 1) / heavy


def _same(
    amounts: Mapping[int, float],
    stated: Mapping[int, float],
    factor: float,
    tolerance: tuple[float, float],
) -> bool:
    relative, absolute = tolerance
    for number in {*amounts, *stated}:
        wanted, found = stated.get(number, 0.0), amounts.get(number, 0.0) / factor
        room = max(relative * wanted, absolute if wanted else 0.01)
        if found - wanted > room or (number != 1 and wanted - found > room):
            return False
    return True


def _is_multiple(factor: float, stated: Mapping[int, float], units: float) -> bool:
    """Whether the cell holds Z formulas, or one where the formula is that of the whole cell."""
    whole = all(abs(n / units - round(n / units)) < 1e-6 for n in stated.values())
    near = 0.03 * max(factor, 1.0)
    return abs(factor - units) < near or (whole and abs(factor - 1.0) < near)


def _density(amounts: Mapping[int, float], volume: float) -> float:
    return _GRAMS * _mass(amounts) / volume


def _mass(amounts: Mapping[int, float]) -> float:
    return sum(n * float(gemmi.Element(int(z)).weight) for z, n in amounts.items())


def _off(amounts: Mapping[int, float], volume: float, density: float | None) -> float | None:
    if not density or volume <= 0:
        return None
    return abs(_density(amounts, volume) / density - 1.0)
