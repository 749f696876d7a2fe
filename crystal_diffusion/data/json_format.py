"""JSON as plain data: pymatgen structures, dicts of the data set class, ASE rows.

What databases send is unpacked in :mod:`crystal_diffusion.data.database_json`. No class named in
a file is imported, so a file cannot make anything run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crystal_diffusion.data.database_json import database_entry, unpack
from crystal_diffusion.data.records import (
    ID_KEYS,
    Occupancy,
    PlainCrystal,
    failed,
    id_from,
    make_crystal,
    numbers_of,
    shorten,
    to_float,
)
from crystal_diffusion.data.witness import settle_statement, statement_of


def parse_json(text: str, name: str, source: str) -> Iterator[PlainCrystal]:
    """The crystals of a JSON text: one structure, a list, or a mapping of id to structure."""
    yield from _entries(json.loads(text), name, source)


def parse_jsonl(text: str, name: str, path: str) -> Iterator[PlainCrystal]:
    """The crystals of JSON lines; a broken line is a problem of its own."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label = f"{name}#{number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            source = f"{path} line {number}"
            yield failed(label, source, f"line {number} is no JSON ({shorten(error)}); correct it")
            continue
        yield from _entries(data, label, f"{path} line {number}")


def _entries(data: Any, name: str, source: str) -> Iterator[PlainCrystal]:
    """Crystals of parsed JSON: one structure, a list of them, or a mapping of id to structure."""
    if isinstance(data, Mapping) and (unpacked := unpack(data, name)) is not None:
        for label, entry in unpacked.entries:
            yield unpacked.with_origin(structure_entry(entry, label, f"{source} entry {label}"))
        if not unpacked.entries and not unpacked.heading:
            yield failed(name, source, "the response of the database has no entries", "empty")
        return
    if isinstance(data, list):
        if not data:
            yield failed(name, source, "the list has no structures; remove the file", "empty")
        for number, entry in enumerate(data, 1):
            yield structure_entry(entry, f"{name}#{number}", f"{source} entry {number}")
        return
    if isinstance(data, Mapping) and not _is_structure(data) and "structure" not in data:
        if isinstance(data.get("ids"), list):
            data = {str(i): data.get(str(i)) for i in data["ids"]}
        nested = {str(k): v for k, v in data.items() if isinstance(v, Mapping)}
        if nested and all(_is_structure(v) or "structure" in v for v in nested.values()):
            for key, entry in nested.items():
                yield structure_entry(entry, key, f"{source} entry {key}")
            return
    yield structure_entry(data, name, source)


def _is_structure(data: Mapping[str, Any]) -> bool:
    return ("lattice" in data and ("sites" in data or "positions" in data)) or (
        "numbers" in data and "cell" in data
    )


def structure_entry(data: Any, name: str, source: str) -> PlainCrystal:
    """One structure in JSON, compared with the formula and number of atoms of its entry."""
    crystal = _structure_entry(data, name, source)
    return settle_statement(crystal, statement_of(data)) if isinstance(data, Mapping) else crystal


def _structure_entry(data: Any, name: str, source: str) -> PlainCrystal:
    """One structure in JSON: pymatgen's, the dict of the data set class, or an ASE row."""
    if not isinstance(data, Mapping):
        return failed(name, source, "the entry is no structure; give pymatgen's Structure as dict")
    crystal = database_entry(data, name, source)
    if crystal is not None:
        return crystal
    labels = {**_mapping(data.get("data")), **_mapping(data.get("properties"))}
    labels = {**labels, **_mapping(data.get("key_value_pairs"))}
    structure = data
    if isinstance(data.get("structure"), Mapping):
        structure = data["structure"]
        labels = {**{k: v for k, v in data.items() if k != "structure"}, **labels}
    try:
        name = id_from({**labels, **{k: data.get(k) for k in ID_KEYS}}, name)
        properties = numbers_of(labels)
        if "sites" in structure and "lattice" in structure:
            return _pymatgen_dict(structure, name, source, properties)
        if "positions" in structure and "lattice" in structure:
            return from_dict({**structure, "properties": properties}, name, source)
        if "numbers" in structure and "cell" in structure:
            return _ase_row(structure, name, source, properties)
    # Foreign data fails in every way there is; each is a recorded problem of this entry.
    except Exception as error:
        text = f"the entry is no whole structure ({type(error).__name__}: {shorten(error)})"
        return failed(name, source, f"{text}; write it again")
    return failed(name, source, "no structure in the JSON; give pymatgen's Structure as dict")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _pymatgen_dict(
    data: Mapping[str, Any], name: str, source: str, properties: dict[str, float]
) -> PlainCrystal:
    cell = data["lattice"]
    matrix = _matrix(cell) if isinstance(cell, Mapping) else cell
    sites = data["sites"]
    species: list[dict[int, float]] = []
    coords = []
    for site in sites:
        coords.append(site["abc"])
        shares: dict[int, float] = {}
        for part in site["species"]:
            number = symbol_number(str(part["element"]))
            if number == 0:
                return failed(
                    name,
                    source,
                    f"unknown element {part['element']!r}; correct its symbol",
                    "unknown element",
                )
            shares[number] = shares.get(number, 0.0) + float(part.get("occu", 1.0))
        species.append(shares)
    numbers = [next(iter(shares)) for shares in species]
    crystal = make_crystal(name, source, matrix, coords, numbers, properties)
    crystal = replace(crystal, frozen=_frozen(sites), notes=_periodicity(cell))
    if all(len(s) == 1 and abs(sum(s.values()) - 1) < 1e-6 for s in species):
        return crystal
    if crystal.problem is not None:
        return crystal
    return replace(crystal, occupancy=Occupancy(crystal.frac_coords, tuple(species)))


def _matrix(cell: Mapping[str, Any]) -> Any:
    """The rows of pymatgen's lattice, or its lengths and angles where the rows are left out."""
    if "matrix" in cell:
        return cell["matrix"]
    return [cell[key] for key in ("a", "b", "c", "alpha", "beta", "gamma")]


def _frozen(sites: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """``(sites, 3)`` true where pymatgen's ``selective_dynamics`` is false; None where all move."""
    free = [_mapping(site.get("properties")).get("selective_dynamics") for site in sites]
    rows = [[True] * 3 if row is None else [bool(flag) for flag in row] for row in free]
    if any(len(row) != 3 for row in rows):
        raise ValueError("selective_dynamics is not three flags for each site")
    table = ~np.array(rows, dtype=bool).reshape(-1, 3)
    return table if table.any() else None


def _periodicity(cell: Any) -> tuple[str, ...]:
    """A note where pymatgen's lattice is not periodic in all directions."""
    flags = cell.get("pbc") if isinstance(cell, Mapping) else None
    if not isinstance(flags, list) or all(flags):
        return ()
    along = [axis for axis, flag in zip("abc", flags, strict=False) if flag]
    where = f"periodic along {' and '.join(along)} only" if along else "not periodic"
    return (f"{where}, says the lattice; it is read as if it were periodic",)


def symbol_number(symbol: str) -> int:
    """The atomic number of a symbol, with or without a charge (``Fe3+``); 0 for no element."""
    from ase.data import atomic_numbers

    match = re.fullmatch(r"([A-Za-z]{1,2})[0-9.+-]*", symbol.strip())
    letters = match.group(1).capitalize() if match else ""
    letters = {"D": "H", "T": "H"}.get(letters, letters)
    return int(atomic_numbers.get(letters, 0)) if letters != "X" else 0


def _ase_row(
    data: Mapping[str, Any], name: str, source: str, properties: dict[str, float]
) -> PlainCrystal:
    numbers, positions, cell = (_array(data[key]) for key in ("numbers", "positions", "cell"))
    if "energy" in data and (energy := to_float(data["energy"])) is not None:
        properties = {"energy": energy, **properties}
    if cell.shape != (3, 3) or abs(float(np.linalg.det(cell))) == 0.0:
        return make_crystal(name, source, cell, np.zeros((len(numbers), 3)), numbers, properties)
    return make_crystal(name, source, cell, positions @ np.linalg.inv(cell), numbers, properties)


def _array(value: Any) -> np.ndarray:
    """An array in ASE's JSON: nested lists, or ``{"__ndarray__": [shape, dtype, values]}``."""
    if isinstance(value, Mapping) and "array" in value:
        value = value["array"]
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, values = value["__ndarray__"]
        return np.array(values, dtype=np.float64).reshape(shape)
    return np.array(value, dtype=np.float64)


def from_dict(data: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    """The dict of the data set class: positions (fractional), atom_types, lattice."""
    missing = [key for key in ("positions", "atom_types", "lattice") if key not in data]
    if missing:
        return failed(
            name, source, f"the dict has no {missing[0]!r}; give positions, atom_types and lattice"
        )
    types = data["atom_types"]
    if any(isinstance(t, str) for t in types):
        numbers = [symbol_number(t) if isinstance(t, str) else t for t in types]
        if 0 in numbers:
            return failed(
                name,
                source,
                f"unknown element {str(types[numbers.index(0)])[:40]!r}; correct its symbol",
                "unknown element",
            )
        types = numbers
    crystal = make_crystal(
        id_from(data, name),
        source,
        data["lattice"],
        data["positions"],
        types,
        numbers_of(_mapping(data.get("properties"))),
    )
    if "mask" in data and crystal.problem is None:
        real = np.asarray(data["mask"]).astype(bool)
        if real.shape != crystal.atomic_numbers.shape:
            return failed(name, source, f"mask of shape {real.shape}; give one entry for each atom")
        return replace(
            crystal,
            frac_coords=crystal.frac_coords[real],
            atomic_numbers=crystal.atomic_numbers[real],
        )
    return crystal
