"""JSON as the public databases send it, unpacked to single entries.

Envelopes (``{"data": [...]}``, ``{"entries": [...]}``, pandas tables, the two levels of MPtrj)
become lists of entries; the entries that are no pymatgen structure (OPTIMADE, NOMAD, JARVIS, OQMD)
become crystals here, the others in :mod:`crystal_diffusion.data.json_format`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.data.nomad_entry import is_nomad, nomad_crystal
from crystal_diffusion.data.optimade_entry import (
    is_optimade,
    optimade_crystal,
    response_provenance,
)
from crystal_diffusion.data.provenance import NOT_KNOWN, Provenance
from crystal_diffusion.data.records import (
    PlainCrystal,
    failed,
    id_from,
    make_crystal,
    numbers_of,
    shorten,
)

#: Keys under which an envelope carries its entries, in the order in which they are looked for.
_ENVELOPES = ("data", "entries", "response", "results", "structures")
#: Keys that make a mapping an entry of its own, so that it is no envelope.
_ENTRY_KEYS = (
    "structure",
    "atoms",
    "attributes",
    "sites",
    "numbers",
    "positions",
    "unit_cell",
    "positions_fractional",
    "archive",
    "run",
)
_OQMD_SITE = re.compile(r"\s*([A-Z][a-z]?)\S*\s*@\s*(\S+)\s+(\S+)\s+(\S+)\s*")


@dataclass(frozen=True)
class Unpacked:
    """The entries of an envelope.

    Attributes:
        entries: (name to use where the entry has none, entry).
        shared: what the envelope says of the origin of all of them.
        heading: it is the first line of a dump, which holds no entries and is not missed.
    """

    entries: tuple[tuple[str, Any], ...]
    shared: Provenance = NOT_KNOWN
    heading: bool = False

    def with_origin(self, crystal: PlainCrystal) -> PlainCrystal:
        """The crystal with what the envelope says of its origin."""
        if not self.shared.known:
            return crystal
        last = crystal.provenance.last_modified
        origin = replace(self.shared, entry_id=crystal.id, last_modified=last)
        return replace(crystal, provenance=origin)


def unpack(data: Mapping[str, Any], name: str) -> Unpacked | None:
    """The entries of a database's response; ``None`` when the mapping is no envelope.

    Args:
        data: parsed JSON.
        name: entries without a name of their own are called ``name#1``, ``name#2``, ...
    """
    if any(isinstance(data.get(key), Mapping | list) for key in _ENTRY_KEYS if key != "structure"):
        return None
    if "x-optimade" in data or (data.get("type") == "info" and "attributes" not in data):
        return Unpacked((), heading=True)
    answers = _client_results(data)
    if answers:
        return Unpacked(
            tuple(pair for answer in answers for pair in _numbered(answer, name).entries)
        )
    table = _pandas_rows(data)
    if table is not None:
        return _numbered(table, name)
    if isinstance(data.get("structure"), Mapping):
        return None
    for key in _ENVELOPES:
        found = data.get(key)
        if isinstance(found, Mapping) and any(k in found for k in _ENTRY_KEYS):
            found = [found]
        if isinstance(found, list) and all(isinstance(entry, Mapping) for entry in found):
            unpacked = _numbered(found, name)
            return (
                replace(unpacked, shared=response_provenance(data)) if key == "data" else unpacked
            )
    return _two_levels(data)


def _numbered(entries: Sequence[Any], name: str) -> Unpacked:
    if len(entries) == 1:
        return Unpacked(((name, entries[0]),))
    return Unpacked(tuple((f"{name}#{i}", entry) for i, entry in enumerate(entries, 1)))


def _client_results(data: Mapping[str, Any]) -> list[list[Any]]:
    """The answers in a file of the OPTIMADE client: structures -> filter -> address -> answer."""
    filters = data.get("structures")
    if not isinstance(filters, Mapping):
        return []
    answers = [
        a for found in filters.values() if isinstance(found, Mapping) for a in found.values()
    ]
    if not all(isinstance(a, Mapping) and isinstance(a.get("data"), list) for a in answers):
        return []
    return [list(answer["data"]) for answer in answers]


def _pandas_rows(data: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of ``DataFrame.to_json``, by rows (``orient="split"``) or by columns."""
    columns, rows = data.get("columns"), data.get("data")
    if isinstance(columns, list) and isinstance(rows, list):
        if "structure" not in columns or not all(isinstance(row, list) for row in rows):
            return None
        names = data.get("index")
        named = isinstance(names, list) and len(names) == len(rows)
        found = [dict(zip(columns, row, strict=False)) for row in rows]
        if named and isinstance(names, list) and all(isinstance(n, str) for n in names):
            found = [{"id": label, **row} for label, row in zip(names, found, strict=True)]
        return found
    column = data.get("structure")
    if not isinstance(column, Mapping) or not column or "lattice" in column:
        return None
    if not all(isinstance(v, Mapping) and "lattice" in v for v in column.values()):
        return None
    return [
        {key: values.get(row) for key, values in data.items() if isinstance(values, Mapping)}
        for row in column
    ]


def _two_levels(data: Mapping[str, Any]) -> Unpacked | None:
    """MPtrj and its like: material -> frame -> structure with labels; a frame's name is its id."""
    frames: list[tuple[str, Any]] = []
    for group in data.values():
        if not isinstance(group, Mapping) or any(key in group for key in _ENTRY_KEYS):
            return None
        for label, frame in group.items():
            if not isinstance(frame, Mapping) or not isinstance(frame.get("structure"), Mapping):
                return None
            frames.append((str(label), {**frame, "id": str(label)}))
    return Unpacked(tuple(frames)) if frames else None


def database_entry(data: Any, name: str, source: str) -> PlainCrystal | None:
    """The crystal of an entry of OPTIMADE, NOMAD, JARVIS, OQMD or AFLOW; ``None`` for another."""
    if not isinstance(data, Mapping):
        return None
    if is_optimade(data):
        return optimade_crystal(data, name, source)
    if is_nomad(data):
        return nomad_crystal(data, name, source)
    atoms = data.get("atoms", data)
    try:
        if isinstance(atoms, Mapping) and "lattice_mat" in atoms and "elements" in atoms:
            return _jarvis(data, atoms, name, source)
        if isinstance(data.get("unit_cell"), list) and isinstance(data.get("sites"), list):
            return _oqmd(data, name, source)
        if "positions_fractional" in data and "geometry" in data:
            return _aflow(data, name, source)
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        text = f"the entry is no whole structure ({type(error).__name__}: {shorten(error)})"
        return failed(name, source, f"{text}; write it again")
    return None


def _labels(data: Mapping[str, Any], leave_out: tuple[str, ...]) -> dict[str, float]:
    return numbers_of({k: v for k, v in data.items() if k not in leave_out})


def _elements(symbols: Sequence[Any], name: str, source: str) -> list[int] | PlainCrystal:
    numbers = [int(gemmi.Element(str(symbol).strip()).atomic_number) for symbol in symbols]
    if 0 in numbers:
        bad = symbols[numbers.index(0)]
        text = f"unknown element {bad!r}; correct its symbol"
        return failed(name, source, text, "unknown element")
    return numbers


def _jarvis(
    data: Mapping[str, Any], atoms: Mapping[str, Any], name: str, source: str
) -> PlainCrystal:
    """JARVIS: ``atoms`` with ``lattice_mat`` (Å), ``coords``, ``elements`` and ``cartesian``."""
    name = id_from(data, name)
    numbers = _elements(atoms["elements"], name, source)
    if isinstance(numbers, PlainCrystal):
        return numbers
    lattice = np.array(atoms["lattice_mat"], dtype=np.float64)
    coords = np.array(atoms["coords"], dtype=np.float64)
    if atoms.get("cartesian"):
        coords = coords @ np.linalg.inv(lattice)
    return make_crystal(name, source, lattice, coords, numbers, _labels(data, ("atoms",)))


def _oqmd(data: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    """OQMD's own interface: ``unit_cell`` (Å) and sites as ``Na @ 0 0 0.5``, fractional."""
    name = id_from(data, name)
    matches = [_OQMD_SITE.fullmatch(str(site)) for site in data["sites"]]
    if None in matches:
        bad = data["sites"][matches.index(None)]
        return failed(name, source, f"site {bad!r} is not 'symbol @ x y z'; correct it")
    numbers = _elements([match[1] for match in matches if match], name, source)
    if isinstance(numbers, PlainCrystal):
        return numbers
    coords = [[float(match[i]) for i in (2, 3, 4)] for match in matches if match]
    labels = _labels(data, ("natoms", "ntypes"))
    return make_crystal(name, source, data["unit_cell"], coords, numbers, labels)


def _aflow(data: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    """AFLOW: ``geometry`` (a, b, c in Å, angles in degrees), atoms counted by ``composition``."""
    label = data.get("auid")
    name = str(label) if isinstance(label, str) and label else id_from(data, name)
    numbers = _elements(data["species"], name, source)
    if isinstance(numbers, PlainCrystal):
        return numbers
    counts = [int(count) for count in data["composition"]]
    each = [z for z, count in zip(numbers, counts, strict=True) for _ in range(count)]
    labels = _labels(data, ("auid", "nspecies", "natoms"))
    return make_crystal(name, source, data["geometry"], data["positions_fractional"], each, labels)
