"""Validity as published: structural (distances) and compositional (charges), versions named.

CDVAE (Xie et al. 2022) calls a crystal valid if its smallest distance is at least 0.5 Å and SMACT
(Davies et al. 2019) finds charges for its composition. The published code forgets the distance
of an atom to its own periodic images; here they count, and the published variant has its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import minimum_distance

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Å and Å3.
SMALLEST_DISTANCE = 0.5
SMALLEST_VOLUME = 0.1


def structural_validity(structure: Structure) -> bool:
    """Smallest distance, own images included, at least 0.5 Å, and volume at least 0.1 Å3."""
    volume = float(structure.volume)
    if not np.isfinite(volume) or volume < SMALLEST_VOLUME or not len(structure):
        return False
    try:
        smallest = minimum_distance(structure.frac_coords, structure.lattice.matrix)
    except InputError:
        return False
    return bool(smallest >= SMALLEST_DISTANCE)


def structural_validity_published(structure: Structure) -> bool:
    """As in the code of CDVAE: only distances between different atoms of the cell count."""
    volume = float(structure.volume)
    if not np.isfinite(volume) or volume < SMALLEST_VOLUME or not len(structure):
        return False
    distances = np.array(structure.distance_matrix)
    np.fill_diagonal(distances, np.inf)
    return bool(distances.min() >= SMALLEST_DISTANCE)


def composition_of(structure: Structure) -> tuple[tuple[str, int], ...]:
    """Reduced composition, sorted by symbol; sites count by their elements."""
    counts: dict[str, int] = {}
    for symbol in (site.specie.symbol for site in structure):
        counts[symbol] = counts.get(symbol, 0) + 1
    common = int(np.gcd.reduce(list(counts.values())))
    return tuple(sorted((symbol, count // common) for symbol, count in counts.items()))


@lru_cache(maxsize=200)
def _element(symbol: str) -> tuple[tuple[int, ...], float | None, bool]:
    """Oxidation states of 2014, Pauling electronegativity, whether SMACT calls it a metal."""
    import smact

    element: Any = smact.Element(symbol)
    states = tuple(int(q) for q in (element.oxidation_states_smact14 or ()))
    polarity = element.pauling_eneg
    return states, None if polarity is None else float(polarity), symbol in smact.metals


@lru_cache(maxsize=100_000)
def compositional_validity(composition: tuple[tuple[str, int], ...]) -> bool:
    """Whether SMACT's rules allow a composition.

    One element alone passes, and so does a composition of metals only. Otherwise there must be
    one oxidation state for each element, from SMACT's list of 2014 (its default when the test
    was published), so that charges add up to zero and every cation is less electronegative than
    every anion. Equal to the product over all states of the published code, which takes seconds for
    six elements: here one limit of electronegativity between cations and anions is tried after
    the other and the reachable sums are followed.

    Args:
        composition: pairs of symbol and count, as :func:`composition_of` gives them.
    """
    if len(composition) == 1:
        return True
    table = [_element(symbol) for symbol, _ in composition]
    if all(metal for _, _, metal in table):
        return True
    polarities = [polarity for _, polarity, _ in table]
    known = [p for p in polarities if p is not None]
    if len(known) < len(table):
        return False
    counts = [count for _, count in composition]
    for limit in (*sorted(set(known)), float("inf")):
        sums = {0}
        for (states, _, _), polarity, count in zip(table, known, counts, strict=True):
            sign = 1 if polarity < limit else -1
            allowed = [q * count for q in states if q * sign >= 0]
            sums = {total + charge for total in sums for charge in allowed}
        if 0 in sums:
            return True
    return False


def compositional_validities(structures: Iterable[Structure]) -> list[bool]:
    """:func:`compositional_validity` of many; partial occupancy is not valid."""
    return [s.is_ordered and compositional_validity(composition_of(s)) for s in structures]


def smact_version() -> str:
    """Version of the installed SMACT, for definitions."""
    from importlib.metadata import version

    return version("smact")


def validity_definitions() -> Mapping[str, str]:
    """Texts for the reports."""
    return {
        "structural": "smallest distance >= 0.5 Å, own periodic images included, and volume >= "
        "0.1 Å3",
        "published": "as in the code of CDVAE: smallest distance between different atoms of the "
        "cell >= 0.5 Å (own periodic images forgotten), volume >= 0.1 Å3",
        "compositional": f"SMACT {smact_version()}, oxidation states of 2014 (smact14): neutral "
        "charges with cations less electronegative than anions; one element alone and metals "
        "only pass",
    }
