"""From the logs of the stages to the tables and files people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.files import (
    below,
    file_names,
    make_folder,
    remove_others,
    write_text,
)
from crystal_diffusion.runs.cif_writer import cif_text
from crystal_diffusion.runs.folder import csv_text, extxyz_text, json_lines
from crystal_diffusion.screening.rows import ScreeningRow

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: What decides the rank, in this order.
_ENERGIES = ("energy_above_hull_eV_atom", "formation_energy_eV_atom", "energy_per_atom_eV")


def merge_rows(
    ids: Iterable[str], stages: Iterable[Mapping[str, Mapping[str, Any]]]
) -> list[ScreeningRow]:
    """One row per id: what each stage said, problems joined in order of the stages."""
    rows = []
    logs = list(stages)
    for key in ids:
        merged: dict[str, Any] = {}
        problems = []
        for found in logs:
            said = dict(found.get(key, {}))
            problem = said.pop("problem", "")
            if problem and problem not in problems:
                problems.append(problem)
            merged.update(said)
        merged |= {"id": key, "problem": "; ".join(problems)}
        rows.append(ScreeningRow.from_dict(merged))
    return rows


def rank_rows(rows: Iterable[ScreeningRow]) -> list[ScreeningRow]:
    """The rows with ranks from 1: lowest energy above hull, formation energy, energy per atom.

    Invalid crystals, duplicates and crystals without energy have no rank. Where no hull distance
    could be had (a missing reference), a crystal comes after those that have one; a doubtful one
    comes after all that are not. Where no crystal has an energy, the built-in score decides: it
    compares crystals of one formula, so the best of each formula come first, then the second best.
    """
    given = list(rows)
    counted = [row for row in given if row.valid is not False and not row.duplicate_of]
    if all(row.energy_per_atom_eV is None for row in given):
        ordered = _by_score(row for row in counted if row.score is not None)
    else:
        ordered = sorted((r for r in counted if r.energy_per_atom_eV is not None), key=_by_energy)
    ranks = {row.id: number for number, row in enumerate(ordered, 1)}
    return [replace(row, rank=ranks.get(row.id)) for row in given]


def _by_energy(row: ScreeningRow) -> tuple[Any, ...]:
    values = [row[name] for name in _ENERGIES]
    return (bool(row.doubt), *((v is None, v if v is not None else 0.0) for v in values))


def _by_score(rows: Iterable[ScreeningRow]) -> list[ScreeningRow]:
    """The order where nothing has an energy; see `rank_rows`."""
    places: Counter[str | None] = Counter()
    order = []
    for row in sorted(rows, key=lambda row: -(row.score or 0.0)):
        places[row.formula] += 1
        order.append((places[row.formula], row))
    return [row for _, row in sorted(order, key=lambda pair: pair[0])]


def write_rows(folder: Path, rows: Sequence[ScreeningRow]) -> None:
    """``screening.jsonl`` and ``screening.csv``, each whole or not at all."""
    write_text(folder / "screening.jsonl", json_lines(rows))
    write_text(folder / "screening.csv", csv_text(rows, ScreeningRow.columns()))


def write_relaxed(folder: Path, structures: Mapping[str, Structure]) -> None:
    """``relaxed.extxyz`` and ``relaxed/ID.cif``, with the ids and cells of the table.

    Files of crystals that are no longer among them are removed.
    """
    if not structures:
        below(folder, "relaxed.extxyz").unlink(missing_ok=True)
        remove_others(below(folder, "relaxed"), ())
        return
    frames = "".join(extxyz_text(s, k) for k, s in structures.items())
    write_text(folder / "relaxed.extxyz", frames)
    make_folder(below(folder, "relaxed"))
    names = file_names(structures)
    for key, structure in structures.items():
        file = below(folder, "relaxed", f"{names[key]}.cif")
        write_text(file, cif_text(structure, names[key]), flush=False)
    remove_others(folder / "relaxed", names.values())
