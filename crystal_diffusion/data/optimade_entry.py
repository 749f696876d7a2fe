"""One structure in the OPTIMADE format, and what its response says of where it comes from.

The format is that of the OPTIMADE specification, version 1.2 (Andersen et al. 2021, Scientific
Data 8, 217): Cartesian positions in Å, species by name with symbols and concentrations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.data.provenance import NOT_KNOWN, Provenance
from crystal_diffusion.data.records import (
    DisorderPlace,
    Occupancy,
    PlainCrystal,
    failed,
    make_crystal,
    shorten,
    to_float,
)
from crystal_diffusion.data.witness import Statement, read_formula, settle_statement

#: What is asked for and read; everything else of an entry that is a number is a label.
STRUCTURE_FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
    "nsites",
    "chemical_formula_reduced",
    "dimension_types",
    "structure_features",
    "last_modified",
    "immutable_id",
    "assemblies",
)
_NO_LABEL = ("nelements", "nsites", "nperiodic_dimensions", "space_group_it_number")
#: Largest difference of a concentration sum from 1 that counts as rounding.
_WHOLE = 1e-3


@dataclass(frozen=True)
class _Species:
    """What stands on a site: shares by atomic number, and atoms that are only counted."""

    shares: dict[int, float]
    unknown: str = ""
    attached: int = 0


def is_optimade(data: Mapping[str, Any]) -> bool:
    """Whether parsed JSON is one OPTIMADE structure."""
    attributes = data.get("attributes", data)
    return isinstance(attributes, Mapping) and (
        "cartesian_site_positions" in attributes or "lattice_vectors" in attributes
    )


def response_provenance(data: Mapping[str, Any]) -> Provenance:
    """What the ``meta`` of a response says of its provider."""
    meta = data.get("meta")
    provider = meta.get("provider") if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(provider, Mapping):
        return NOT_KNOWN
    database = meta.get("database")
    version = database.get("version") if isinstance(database, Mapping) else None
    query = meta.get("query")
    return Provenance(
        provider=str(provider.get("prefix") or provider.get("name") or ""),
        version=str(version or ""),
        retrieved_at=str(meta.get("time_stamp") or ""),
        filter=_filter_of(query) if isinstance(query, Mapping) else "",
    )


def _filter_of(query: Mapping[str, Any]) -> str:
    """The filter in the address that the server repeats."""
    from urllib.parse import parse_qs, urlsplit

    address = str(query.get("representation") or "")
    return parse_qs(urlsplit(address).query).get("filter", [""])[0]


def optimade_crystal(data: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    """The crystal of an entry; what is no whole ordered crystal becomes a problem or occupancy."""
    label = data.get("id")
    name = str(label) if isinstance(label, str | int) and str(label).strip() else name
    attributes = data.get("attributes", data)
    try:
        crystal = _crystal(attributes, name, source)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        text = (
            f"the entry is no whole OPTIMADE structure ({type(error).__name__}: {shorten(error)})"
        )
        crystal = failed(name, source, f"{text}; ask the database for all its fields")
    origin = Provenance(
        entry_id=name,
        version=str(attributes.get("immutable_id") or ""),
        last_modified=str(attributes.get("last_modified") or ""),
    )
    return replace(crystal, provenance=origin)


def _crystal(attributes: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    vectors, positions = attributes["lattice_vectors"], attributes["cartesian_site_positions"]
    if not vectors or any(value is None for row in vectors for value in row or [None]):
        text = (
            "it has no three lattice vectors, so it is a molecule, a chain or a layer; leave it out"
        )
        return failed(name, source, text, "no volume")
    if not positions:
        return failed(name, source, "it has no sites; ask for another entry", "empty")
    if any(value is None for row in positions for value in row):
        return failed(
            name, source, "some of its positions are not known; leave it out", "not finite"
        )
    if "assemblies" in (attributes.get("structure_features") or []) and not attributes.get(
        "assemblies"
    ):
        text = "groups of its sites take turns, and it does not say which (no assemblies)"
        return failed(name, source, f"{text}; take another entry", "partial occupancy")
    at_sites = [str(species) for species in attributes["species_at_sites"]]
    if len(at_sites) != len(positions):
        text = f"{len(positions)} positions but {len(at_sites)} species; ask for the entry again"
        return failed(name, source, text)
    kinds = {str(kind["name"]): _species(kind) for kind in attributes.get("species") or []}
    for missing in sorted({s for s in at_sites if s not in kinds}):
        kinds[missing] = _species({"chemical_symbols": [missing], "concentration": [1.0]})
    unknown = next((kinds[s].unknown for s in at_sites if kinds[s].unknown), "")
    if unknown:
        text = f"{unknown!r} is no element; leave the entry out"
        return failed(name, source, text, "unknown element")
    cell = np.array(vectors, dtype=np.float64)
    cartesian = np.array(positions, dtype=np.float64)
    if cell.shape != (3, 3) or abs(float(np.linalg.det(cell))) == 0.0:
        return make_crystal(name, source, cell, np.zeros_like(cartesian), [1] * len(cartesian))
    places = _places(attributes, len(at_sites))
    shares = [
        {number: part * chance for number, part in kinds[s].shares.items()}
        for s, (_, chance) in zip(at_sites, places, strict=True)
    ]
    numbers = [next(iter(share), 0) for share in shares]
    labels = _labels(attributes)
    coords = cartesian @ np.linalg.inv(cell)
    crystal = make_crystal(name, source, cell, coords, numbers, labels)
    crystal = replace(crystal, notes=_notes(attributes, [kinds[s] for s in at_sites]))
    grouped = any(place is not None for place, _ in places)
    if crystal.problem is None and (grouped or any(_is_partial(share) for share in shares)):
        inside = tuple(place for place, _ in places) if grouped else ()
        occupancy = Occupancy(crystal.frac_coords, tuple(shares), inside)
        crystal = replace(crystal, occupancy=occupancy)
    return settle_statement(crystal, _statement(attributes))


def _species(kind: Mapping[str, Any]) -> _Species:
    symbols = [str(symbol) for symbol in kind["chemical_symbols"]]
    given = kind.get("concentration") or [1.0 / len(symbols)] * len(symbols)
    shares: dict[int, float] = {}
    for symbol, share in zip(symbols, given, strict=True):
        if symbol == "vacancy":
            continue
        number = int(gemmi.Element(symbol).atomic_number) if symbol != "X" else 0
        if number == 0:
            return _Species({}, unknown=symbol)
        shares[number] = shares.get(number, 0.0) + float(share)
    attached = sum(int(count) for count in kind.get("nattached") or [])
    return _Species(shares, attached=attached)


def _is_partial(shares: Mapping[int, float]) -> bool:
    return len(shares) != 1 or abs(sum(shares.values()) - 1) > _WHOLE


def _notes(attributes: Mapping[str, Any], kinds: Sequence[_Species]) -> tuple[str, ...]:
    notes = []
    attached = sum(kind.attached for kind in kinds)
    if attached:
        notes.append(f"{attached} atoms that the entry only counts are not in the structure")
    if "implicit_atoms" in (attributes.get("structure_features") or []):
        notes.append("the entry says that some of its atoms have no site; they are missing")
    periodic = attributes.get("dimension_types")
    if isinstance(periodic, list) and 0 in periodic:
        notes.append(f"periodic in {sum(periodic)} of 3 directions only, says the entry")
    return tuple(notes)


def _statement(attributes: Mapping[str, Any]) -> Statement:
    """What the entry says of its own composition."""
    formula, count = attributes.get("chemical_formula_reduced"), attributes.get("nsites")
    if "implicit_atoms" in (attributes.get("structure_features") or []):
        formula = None
    return Statement(
        read_formula(formula) if isinstance(formula, str) else None,
        num_atoms=count if isinstance(count, int) and count > 0 else None,
    )


def _places(
    attributes: Mapping[str, Any], sites: int
) -> tuple[tuple[DisorderPlace | None, float], ...]:
    """The group of each site that takes turns with others, and the probability of that group.

    Raises:
        ValueError: when a site is in two groups.
    """
    found: list[tuple[DisorderPlace | None, float]] = [(None, 1.0)] * sites
    for number, assembly in enumerate(attributes.get("assemblies") or []):
        groups, shares = assembly["sites_in_groups"], assembly["group_probabilities"]
        for label, (members, share) in enumerate(zip(groups, shares, strict=True), 1):
            for site in members:
                if found[site][0] is not None:
                    raise ValueError(f"site {site + 1} is in two groups")
                found[site] = (DisorderPlace(str(number), str(label), 0), float(share))
    return tuple(found)


def _labels(attributes: Mapping[str, Any]) -> dict[str, float]:
    found = {k: to_float(v) for k, v in attributes.items() if k not in _NO_LABEL}
    return {k: v for k, v in found.items() if v is not None}
