"""Entries of NOMAD as its own interface sends them: archives with lengths in metres.

An archive says its crystal up to twice: ``run[...].system[...].atoms`` holds every step of a
relaxation, ``results.properties.structures.structure_original`` the one that stands for the entry.
Source: the metainfo of NOMAD 1 (Scheidgen et al. 2023, J. Open Source Softw. 8, 5388). Through
OPTIMADE the same entries come in Å (:mod:`crystal_diffusion.data.optimade_entry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from crystal_diffusion.data.labels import element_number
from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.records import PlainCrystal, failed, make_crystal, shorten, to_float
from crystal_diffusion.data.witness import Statement, read_formula, settle_statement

#: Å in a metre, and eV in a joule.
_ANGSTROM, _EV = 1e10, 1.0 / 1.602176634e-19


def is_nomad(data: Mapping[str, Any]) -> bool:
    """Whether a mapping is an archive of NOMAD, or an entry that carries one."""
    archive = data.get("archive", data)
    if not isinstance(archive, Mapping):
        return False
    return _system(archive) is not None or _original(archive) is not None


def nomad_crystal(data: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    """The crystal of an archive, or the problem with it.

    Args:
        data: an archive, or a mapping with one as ``archive``.
        name: id where the entry has none.
        source: where it came from, for messages.
    """
    archive = data.get("archive", data)
    about = archive.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    label = about.get("entry_id") or data.get("entry_id")
    name = str(label) if isinstance(label, str) and label.strip() else name
    try:
        crystal = _crystal(archive, name, source)
    except (KeyError, TypeError, ValueError, IndexError, np.linalg.LinAlgError) as error:
        text = f"the archive is no whole structure ({type(error).__name__}: {shorten(error)})"
        crystal = failed(name, source, f"{text}; ask NOMAD for the whole archive")
    origin = Provenance(
        provider="nomad",
        entry_id=name,
        version=str(about.get("nomad_version") or ""),
        last_modified=str(about.get("last_processing_time") or ""),
        license=str(about.get("license") or ""),
    )
    return replace(settle_statement(crystal, _statement(archive)), provenance=origin)


def _list(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def _mapping(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _system(archive: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Atoms of the system that stands for the entry: marked so, else the last of the last run."""
    systems = [
        system
        for run in _list(archive.get("run"))
        for system in _list(_mapping(run).get("system"))
        if isinstance(system, Mapping) and isinstance(system.get("atoms"), Mapping)
    ]
    marked = [system for system in systems if system.get("is_representative") is True]
    chosen = (marked or systems)[-1:]
    return chosen[0]["atoms"] if chosen else None


def _original(archive: Mapping[str, Any]) -> Mapping[str, Any] | None:
    structures = _mapping(archive, "results", "properties", "structures")
    found = structures.get("structure_original")
    return found if isinstance(found, Mapping) else None


def _crystal(archive: Mapping[str, Any], name: str, source: str) -> PlainCrystal:
    atoms = _system(archive)
    if atoms is not None:
        symbols, positions = atoms.get("labels"), atoms.get("positions")
        numbers = atoms.get("species") if symbols is None else None
        periodic = atoms.get("periodic")
    else:
        atoms = _original(archive) or {}
        symbols, positions = atoms.get("species_at_sites"), atoms.get("cartesian_site_positions")
        numbers, periodic = None, atoms.get("dimension_types")
    cell = atoms.get("lattice_vectors")
    if cell is None or positions is None:
        text = "it has no cell, so it is a molecule; leave it out"
        return failed(name, source, text, "no volume")
    if numbers is None:
        if not isinstance(symbols, list):
            raise KeyError("labels")
        numbers = [element_number(str(symbol)) for symbol in symbols]
        if 0 in numbers:
            text = f"unknown element {symbols[numbers.index(0)]!r}; correct its symbol"
            return failed(name, source, text, "unknown element")
    lattice = np.array(cell, dtype=np.float64) * _ANGSTROM
    places = np.array(positions, dtype=np.float64) * _ANGSTROM
    if lattice.shape != (3, 3) or abs(float(np.linalg.det(lattice))) == 0.0:
        coords = np.zeros_like(places)
    else:
        coords = places @ np.linalg.inv(lattice)
    crystal = make_crystal(name, source, lattice, coords, numbers, _labels(archive))
    flags = [bool(flag) for flag in periodic] if isinstance(periodic, list) else [True] * 3
    if crystal.problem is None and not all(flags):
        note = f"periodic along {sum(flags)} of 3 directions only, says the entry"
        crystal = replace(crystal, notes=(note,))
    return crystal


def _labels(archive: Mapping[str, Any]) -> dict[str, float]:
    """The total energy of the last step in eV, where there is one."""
    run = _mapping((_list(archive.get("run")) or [None])[-1])
    last = (_list(run.get("calculation")) or [None])[-1]
    value = to_float(_mapping(last, "energy", "total").get("value"))
    energy = None if value is None else to_float(value * _EV)
    return {} if energy is None else {"energy": energy}


def _statement(archive: Mapping[str, Any]) -> Statement:
    material = _mapping(archive, "results", "material")
    for key in ("chemical_formula_hill", "chemical_formula_reduced", "chemical_formula_iupac"):
        formula = material.get(key)
        if isinstance(formula, str) and (amounts := read_formula(formula)):
            return Statement(amounts)
    return Statement()
