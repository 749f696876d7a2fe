"""Which reading of an ambiguous label is meant: the formula of the file decides.

``HO1`` is hydrogen where the formula has no holmium, ``CA1`` calcium where it has no carbon. Where
the formula has both, the readings are tried until the composition is that of the formula. Without
a formula the spelling decides (``Ho1`` is holmium), and what is still open is refused: nothing is
guessed from a first letter.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from crystal_diffusion.data.cif_sites import BadTable
from crystal_diffusion.data.labels import Reading
from crystal_diffusion.data.witness import Statement, compare

#: The most combinations of readings that are tried.
_MOST_TRIES = 512


def choose_readings(
    options: Sequence[tuple[Reading, ...]],
    labels: Sequence[str],
    weights: np.ndarray,
    volume: float,
    statement: Statement,
) -> tuple[list[Reading], tuple[str, ...]]:
    """One reading for each site, and notes on what was decided.

    Args:
        options: the readings of each site.
        labels: for messages.
        weights: ``(sites,)`` atoms in the cell, occupancies counted in.
        volume: Å3 of the cell.
        statement: what the file says of its composition.

    Raises:
        BadTable: when a label stays ambiguous.
    """
    if all(len(found) == 1 for found in options):
        return _with_shares([found[0] for found in options], weights, statement), ()
    formula = statement.formula
    if formula is None:
        return [
            _by_spelling(found, options, label)
            for found, label in zip(options, labels, strict=True)
        ], ()
    allowed = [_allowed(found, frozenset(formula)) for found in options]
    chosen = _tried(allowed, labels, weights, volume, statement)
    changed = [
        f"{label} as {_describe(reading)}"
        for label, found, reading in zip(labels, options, chosen, strict=True)
        if found[0].certain and reading is not found[0]
    ]
    note = (f"read by the formula of the file: {', '.join(changed[:5])}",) if changed else ()
    return _with_shares(chosen, weights, statement), note


def _describe(reading: Reading) -> str:
    import gemmi

    if not reading.shares:
        return "no atom"
    return "/".join(gemmi.Element(number).name for number, _ in reading.shares)


def _allowed(found: tuple[Reading, ...], known: frozenset[int]) -> tuple[Reading, ...]:
    """The readings whose elements are in the formula; the first of them when none are."""
    return tuple(r for r in found if r.elements <= known) or found[:1]


def _by_spelling(
    found: tuple[Reading, ...], options: Sequence[tuple[Reading, ...]], label: str
) -> Reading:
    """The reading without a formula: as it is written, where that leaves no doubt."""
    first = found[0]
    if len(found) == 1 or first.certain or not first.shares:
        return first
    others = {r.elements for o in options if o is not found and len(o) == 1 for r in o}
    doubtful = any(r.elements == {1} or r.elements in others for r in found[1:])
    if doubtful:
        names = " or ".join(dict.fromkeys(_describe(reading) for reading in found))
        raise BadTable(
            f"the label {label!r} can be {names}; add _atom_site_type_symbol or "
            "_chemical_formula_sum",
            "unknown element",
        )
    return first


def _tried(
    allowed: Sequence[tuple[Reading, ...]],
    labels: Sequence[str],
    weights: np.ndarray,
    volume: float,
    statement: Statement,
) -> list[Reading]:
    """One reading each; where the formula leaves several, those that give its composition."""
    groups = {found: _heads(allowed, labels, found) for found in allowed if len(found) > 1}
    places = [(found, rows) for found, heads in groups.items() for rows in heads]
    chosen = [found[0] for found in allowed]
    if not places:
        return chosen
    tries = int(np.prod([float(len(found)) for found, _ in places]))
    agreeing: list[list[Reading]] = []
    if tries <= _MOST_TRIES:
        for combination in itertools.product(*(found for found, _ in places)):
            for (_, rows), reading in zip(places, combination, strict=True):
                for row in rows:
                    chosen[row] = reading
            amounts = amounts_of(chosen, weights)
            if amounts and compare(amounts, volume, statement, False).agrees:
                agreeing.append(list(chosen))
    if agreeing and (len(agreeing) == 1 or _complete(agreeing, weights, statement)):
        return min(agreeing, key=lambda c: _off(c, weights, statement))
    if all(found[0].certain for found, _ in places) or agreeing:
        return agreeing[0] if agreeing else [found[0] for found in allowed]
    if tries <= _MOST_TRIES:
        return [found[0] for found in allowed]
    label = labels[places[0][1][0]]
    raise BadTable(
        f"the label {label!r} can be {' or '.join(_describe(r) for r in places[0][0])}; "
        "add _atom_site_type_symbol",
        "unknown element",
    )


def _heads(
    allowed: Sequence[tuple[Reading, ...]], labels: Sequence[str], found: tuple[Reading, ...]
) -> list[list[int]]:
    """The sites with these readings, those with labels of the same letters together."""
    rows: dict[str, list[int]] = {}
    for row, other in enumerate(allowed):
        if other == found:
            rows.setdefault("".join(itertools.takewhile(str.isalpha, labels[row])), []).append(row)
    return list(rows.values())


def amounts_of(readings: Sequence[Reading], weights: np.ndarray) -> dict[int, float]:
    """Atoms in the cell by atomic number."""
    amounts: dict[int, float] = {}
    for reading, weight in zip(readings, weights.tolist(), strict=True):
        for number, share in reading.shares:
            amounts[number] = amounts.get(number, 0.0) + share * weight
    return amounts


def _complete(agreeing: Sequence[list[Reading]], weights: np.ndarray, said: Statement) -> bool:
    """Whether one combination fits better than all others, missing hydrogens counted."""
    errors = sorted(_off(chosen, weights, said) for chosen in agreeing)
    return errors[0] < errors[1] - 1e-6


def _off(chosen: Sequence[Reading], weights: np.ndarray, statement: Statement) -> float:
    """How far the composition is from the formula, in atoms per formula unit."""
    amounts, formula = amounts_of(chosen, weights), statement.formula or {}
    heavy = sum(n for z, n in formula.items() if z != 1) or 1.0
    factor = sum(n for z, n in amounts.items() if z != 1) / heavy or 1.0
    return sum(
        abs(amounts.get(z, 0.0) / factor - formula.get(z, 0.0)) for z in {*amounts, *formula}
    )


def _with_shares(chosen: list[Reading], weights: np.ndarray, statement: Statement) -> list[Reading]:
    """Mixtures without parts (``Fe/Mn``) in the ratio of the formula, if only they have them."""
    formula = statement.formula
    if formula is None or all(reading.known_shares for reading in chosen):
        return chosen
    found: list[Reading] = []
    for reading in chosen:
        elsewhere = {
            z
            for other in chosen
            if other is not reading and other != reading
            for z in other.elements
        }
        parts = {z: formula.get(z, 0.0) for z in reading.elements}
        if reading.known_shares or elsewhere & reading.elements or not sum(parts.values()):
            found.append(reading)
            continue
        total = sum(parts.values())
        shares = tuple((z, n / total) for z, n in parts.items() if n > 0)
        found.append(Reading(shares, reading.hydrogens, reading.certain))
    return found
