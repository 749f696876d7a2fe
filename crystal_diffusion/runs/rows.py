"""Structures and numbers as rows of JSON, all digits kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A number fit for JSON: None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)


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
