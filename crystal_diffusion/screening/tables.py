"""From the logs of the stages to the tables and files people read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.data.run_folder import cif_text, extxyz_text, write_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Columns of ``screening.jsonl`` and ``screening.csv``.
COLUMNS = (
    "id",
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
    "novel",
    "nearest_known_id",
    "nearest_known_distance",
    "swap_of_like_elements",
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
    could be had (a missing reference), a crystal comes after those that have one.
    """

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        keys = ("energy_above_hull_eV_atom", "formation_energy_eV_atom", "energy_per_atom_eV")
        values = [row[k] for k in keys]
        return tuple((v is None, v if v is not None else 0.0) for v in values)

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


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A number fit for JSON: None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """``screening.jsonl`` and ``screening.csv``, each whole or not at all."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(folder / "screening.jsonl", lines)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if row.get(k) is None else row[k] for k in COLUMNS})
    write_text(folder / "screening.csv", buffer.getvalue())


def write_relaxed(folder: Path, structures: Mapping[str, Structure]) -> None:
    """``relaxed.extxyz`` and ``relaxed/ID.cif``, with the ids and cells of the table."""
    frames = "".join(extxyz_text(s, file_name(k)) for k, s in structures.items())
    write_text(folder / "relaxed.extxyz", frames)
    (folder / "relaxed").mkdir(exist_ok=True)
    for key, structure in structures.items():
        write_text(
            folder / "relaxed" / f"{file_name(key)}.cif", cif_text(structure, key), flush=False
        )


def file_name(key: str) -> str:
    """An id as a file name: letters, digits, ``. _ - ~ +``; anything else becomes ``_``."""
    return "".join(c if c.isalnum() or c in "._-~+" else "_" for c in key).lstrip(".") or "_"


def structure_row(structure: Structure) -> dict[str, Any]:
    """A structure as a few lists, all digits kept."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }


def structure_from_row(row: Mapping[str, Any]) -> Structure:
    """The structure `structure_row` was made of."""
    from pymatgen.core import Structure

    return Structure(row["lattice"], row["species"], row["frac_coords"])


def relaxed_structures(folder: Path) -> dict[str, Structure]:
    """Relaxed structures of a screened folder, by id, in full precision."""
    found: dict[str, Structure] = {}
    file = folder / "screening" / "relax.jsonl"
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run; StageLog removes it
            if not entry["row"]["problem"]:
                found[entry["id"]] = structure_from_row(entry["row"]["structure"])
    return found
