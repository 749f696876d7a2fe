"""From the logs of the stages to the tables and files people read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.files import (
    below,
    cell_text,
    file_names,
    make_folder,
    remove_others,
    write_text,
)
from crystal_diffusion.runs.cif_writer import cif_text
from crystal_diffusion.runs.folder import extxyz_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Columns of ``screening.jsonl`` and ``screening.csv``.
COLUMNS = (
    "id",
    "formula",
    "valid",
    "problem",
    "group",
    "duplicate_of",
    "potential",
    "potential_version",
    "energy_per_atom_eV",
    "formation_energy_eV_atom",
    "energy_above_hull_eV_atom",
    "n_competing",
    "reference_date",
    "converged",
    "steps",
    "max_force_eV_A",
    "max_stress_GPa",
    "spread_eV_atom",
    "doubt",
    "novel",
    "known_by",
    "nearest_known_id",
    "nearest_known_distance",
    "swap_of_like_elements",
    "score",
    "rank",
)


def merge_rows(ids: Iterable[str], stages: Iterable[Mapping[str, Mapping[str, Any]]]) -> list[Any]:
    """One row per id: what each stage said, problems joined in order of the stages."""
    rows = []
    logs = list(stages)
    for key in ids:
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row["id"] = key
        problems = []
        for found in logs:
            said = dict(found.get(key, {}))
            problem = said.pop("problem", "")
            if problem and problem not in problems:
                problems.append(problem)
            row.update((name, value) for name, value in said.items() if name in COLUMNS)
        row["problem"] = "; ".join(problems)
        rows.append(row)
    return rows


def rank_rows(rows: list[dict[str, Any]]) -> None:
    """Give ranks from 1: lowest energy above hull, then formation energy, then energy per atom.

    Invalid crystals, duplicates and crystals without energy have no rank. Where no hull distance
    could be had (a missing reference), a crystal comes after those that have one; a doubtful one
    comes after all that are not. Where no crystal has an energy, the built-in score decides: it
    compares crystals of one formula, so the best of each formula come first, then the second best.
    """
    if all(row["energy_per_atom_eV"] is None for row in rows):
        _rank_by_score(rows)
        return

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        keys = ("energy_above_hull_eV_atom", "formation_energy_eV_atom", "energy_per_atom_eV")
        values = [row[k] for k in keys]
        numbers = tuple((v is None, v if v is not None else 0.0) for v in values)
        return (bool(row["doubt"]), *numbers)

    ranked = [
        row
        for row in rows
        if row["energy_per_atom_eV"] is not None
        and row["valid"] is not False
        and not row["duplicate_of"]
    ]
    for row in rows:
        row["rank"] = None
    for number, row in enumerate(sorted(ranked, key=order), 1):
        row["rank"] = number


def _rank_by_score(rows: list[dict[str, Any]]) -> None:
    """Ranks where nothing has an energy; see `rank_rows`."""
    places: dict[Any, int] = {}
    order = []
    scored = [
        row
        for row in rows
        if row["score"] is not None and row["valid"] is not False and not row["duplicate_of"]
    ]
    for row in sorted(scored, key=lambda row: -float(row["score"])):
        place = places[row["formula"]] = places.get(row["formula"], 0) + 1
        order.append((place, row))
    for row in rows:
        row["rank"] = None
    for number, (_, row) in enumerate(sorted(order, key=lambda pair: pair[0]), 1):
        row["rank"] = number


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """``screening.jsonl`` and ``screening.csv``, each whole or not at all."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(folder / "screening.jsonl", lines)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if row.get(k) is None else cell_text(row[k]) for k in COLUMNS})
    write_text(folder / "screening.csv", buffer.getvalue())


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
