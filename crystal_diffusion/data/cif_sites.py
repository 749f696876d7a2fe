"""The atom table of a CIF block: which rows are atoms, where, and how much of them.

Dummy sites, atoms without coordinates and rows of occupancy 0 are left out and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np

from crystal_diffusion.data.bounds import LARGEST_COORDINATE, MOST_ATOMS, TooMuch
from crystal_diffusion.data.cif_tags import NoNumber, Tags, number
from crystal_diffusion.data.labels import Reading, read_label, read_type
from crystal_diffusion.data.records import ProblemKind

#: Printed occupancies of one atom may exceed 1 by so much.
OCCUPANCY_ROUNDING = 0.02


_COORDINATES = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")


class BadTable(Exception):
    """The atom table cannot be read; kind and text say why."""

    def __init__(self, text: str, kind: ProblemKind = "unreadable") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Sites:
    """The atoms of the asymmetric unit.

    Attributes:
        labels: as the file names them.
        frac_coords: ``(sites, 3)``.
        occupancy: ``(sites,)`` in (0, 1].
        readings: what each can stand for; a certain one is alone.
        places: assembly and group of disorder, empty texts for ordered atoms; empty where no atom
            is in a group.
        multiplicity: ``(sites,)`` atoms of the cell as the file says; 0 where it does not.
        notes: what was left out.
        attached: hydrogens that the table only counts.
    """

    labels: tuple[str, ...]
    frac_coords: np.ndarray
    occupancy: np.ndarray
    readings: tuple[tuple[Reading, ...], ...]
    places: tuple[tuple[str, str], ...]
    multiplicity: np.ndarray
    notes: tuple[str, ...]
    attached: float


def read_sites(tags: Tags) -> Sites:
    """The atom table of a block.

    Raises:
        BadTable: for coordinates or occupancies that are no numbers, and unknown elements.
    """
    columns = [tags.column(tag) for tag in _COORDINATES]
    count = len(columns[0])
    if count > MOST_ATOMS:
        raise TooMuch(f"{count} sites are more than the {MOST_ATOMS} that are read")
    if any(len(column) != count for column in columns):
        raise BadTable("the atom table has no y or z coordinates; correct it")
    labels = _texts(tags, count, "_atom_site_label")
    types = _texts(tags, count, "_atom_site_type_symbol")
    if not any(labels) and not any(types):
        raise BadTable("the atom table has no symbols; add _atom_site_type_symbol")
    labels = [label or symbol for label, symbol in zip(labels, types, strict=True)]
    flags = tags.values.get("_atom_site_calc_flag", ())
    dummy = [flag.lower() == "dum" for flag in flags] if len(flags) == count else [False] * count
    coords = _coordinates(columns, dummy, labels)
    occupancy = _occupancies(tags, count, labels)
    finite = np.isfinite(coords).all(1).tolist()
    shares = occupancy.tolist()
    readings: list[tuple[Reading, ...]] = []
    kept: list[int] = []
    left_out: dict[str, list[str]] = {}
    for row in range(count):
        if dummy[row]:
            left_out.setdefault("dummy sites", []).append(labels[row])
            continue
        if shares[row] == 0.0:
            left_out.setdefault("sites of occupancy 0", []).append(labels[row])
            continue
        found = read_type(types[row]) if types[row] else read_label(labels[row])
        if not found:
            text = f"unknown element {types[row] or labels[row]!r}; correct its symbol"
            raise BadTable(text, "unknown element")
        if not finite[row]:
            if not all(reading.elements == {1} for reading in found):
                raise BadTable(
                    f"atom {row + 1} ({labels[row]}) has coordinates that are not finite; "
                    "correct them",
                    "not finite",
                )
            left_out.setdefault("hydrogens without coordinates", []).append(labels[row])
            continue
        if not found[0].shares and len(found) == 1:
            left_out.setdefault("points that are no atoms", []).append(labels[row])
            continue
        kept.append(row)
        readings.append(found)
    if not kept:
        raise BadTable("the atom table has no atoms; add or remove it", "empty")
    notes = tuple(f"left out: {what} {_list(names)}" for what, names in left_out.items())
    attached = sum(max(0.0, _or_zero(v)) for v in tags.column("_atom_site_attached_hydrogens"))
    places = _places(tags, count)
    multiplicity = _multiplicities(tags, count)
    if len(kept) < count:
        labels = [labels[row] for row in kept]
        places = tuple(places[row] for row in kept) if places else ()
        coords, occupancy, multiplicity = coords[kept], occupancy[kept], multiplicity[kept]
    return Sites(
        tuple(labels),
        coords,
        occupancy,
        tuple(readings),
        places,
        multiplicity,
        notes,
        attached,
    )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _texts(tags: Tags, count: int, *names: str) -> list[str]:
    """One text a row; empty for ``?``, ``.`` and a column that is not there."""
    values = tags.column(*names)
    if len(values) != count:
        return [""] * count
    return [
        v if v[0].isalnum() else "" if v in ("?", ".") else str(gemmi.cif.as_string(v)).strip()
        for v in values
    ]


def _or_zero(text: str) -> float:
    try:
        value = number(text)
    except NoNumber:
        return 0.0
    return 0.0 if np.isnan(value) else value


def _coordinates(
    columns: Sequence[Sequence[str]], dummy: Sequence[bool], labels: Sequence[str]
) -> np.ndarray:
    """``(rows, 3)``; NaN where the file has none."""
    try:
        coords = np.array([[number(text) for text in column] for column in columns]).T
        if np.abs(coords).max(initial=0.0) <= LARGEST_COORDINATE:
            return coords
    except NoNumber:
        pass
    coords = np.full((len(dummy), 3), np.nan)
    for axis, column in enumerate(columns):
        for row, text in enumerate(column):
            try:
                coords[row, axis] = number(text)
            except NoNumber as error:
                if not dummy[row]:
                    raise BadTable(
                        f"the {'xyz'[axis]} coordinate of {labels[row] or 'atom'} in row "
                        f"{row + 1}: {error}"
                    ) from error
    far = np.abs(coords).max(1) > LARGEST_COORDINATE
    if (far & ~np.array(dummy)).any():
        row = int(np.flatnonzero(far)[0])
        raise BadTable(
            f"atom {row + 1} ({labels[row]}) is {np.abs(coords[row]).max():.3g} cells away; "
            "fractional coordinates are meant",
            "not finite",
        )
    return coords


def _occupancies(tags: Tags, count: int, labels: Sequence[str]) -> np.ndarray:
    """``(rows,)``; 1 where the file has none, which is the default of the CIF dictionary."""
    values = tags.column("_atom_site_occupancy")
    if len(values) != count:
        return np.ones(count)
    found = np.ones(count)
    for row, text in enumerate(values):
        if text in ("1", "1.0", "1.00"):
            continue
        try:
            value = number(text)
        except NoNumber as error:
            raise BadTable(f"the occupancy of {labels[row]} in row {row + 1}: {error}") from error
        if np.isnan(value):
            continue
        if not -1e-6 <= value <= 1.0 + OCCUPANCY_ROUNDING:
            raise BadTable(
                f"the occupancy of {labels[row]} in row {row + 1} is {value:g}; it must be 0 to 1"
            )
        found[row] = min(max(value, 0.0), 1.0)
    return found


def _places(tags: Tags, count: int) -> tuple[tuple[str, str], ...]:
    """Assembly and group of each row; empty where the file has no groups."""
    if len(tags.values.get("_atom_site_disorder_group", ())) != count:
        return ()
    groups = _texts(tags, count, "_atom_site_disorder_group")
    assemblies = _texts(tags, count, "_atom_site_disorder_assembly")
    return tuple(
        (assembly, group) if group and group != "0" else ("", "")
        for assembly, group in zip(assemblies, groups, strict=True)
    )


def _multiplicities(tags: Tags, count: int) -> np.ndarray:
    values = tags.column(
        "_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity"
    )
    if len(values) != count:
        return np.zeros(count)
    return np.array([_or_zero(value) for value in values])
