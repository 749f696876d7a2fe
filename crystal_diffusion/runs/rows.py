"""Structures and numbers as rows of JSON, all digits kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.frozen import frozen_of_structure
from crystal_diffusion.runs.reading import read_text

if TYPE_CHECKING:
    from pymatgen.core import Structure


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A number fit for JSON: None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)


def structure_hash(structure: Structure) -> str:
    """SHA-256 of cell, elements and positions: the name under which results are kept."""
    digest = hashlib.sha256()
    numbers = np.array([site.specie.Z for site in structure], dtype="<i8")
    for array, kind in (
        (numbers, "<i8"),
        (structure.lattice.matrix, "<f8"),
        (structure.frac_coords, "<f8"),
    ):
        digest.update(np.ascontiguousarray(np.asarray(array), dtype=kind).tobytes())
    return digest.hexdigest()


def structure_row(structure: Structure) -> dict[str, Any]:
    """A structure as a few lists, all digits kept."""
    row = {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }
    frozen = frozen_of_structure(structure)
    return row if frozen is None else row | {"frozen": frozen.tolist()}


def structure_from_row(row: Mapping[str, Any]) -> Structure:
    """The structure `structure_row` was made of.

    Raises:
        ValueError: for a cell without volume or numbers that are not finite.
    """
    from pymatgen.core import Structure

    numbers = np.array(row["lattice"], dtype=np.float64)
    if numbers.shape != (3, 3) or not np.isfinite(numbers).all():
        raise ValueError("the cell is none")
    if abs(np.linalg.det(numbers)) < 1e-3:
        raise ValueError("the cell has no volume")
    coords = np.array(row["frac_coords"], dtype=np.float64)
    if not np.isfinite(coords).all():
        raise ValueError("coordinates are not finite")
    free = None
    if "frozen" in row:
        free = {"selective_dynamics": (~np.array(row["frozen"], dtype=bool)).tolist()}
    return Structure(numbers, row["species"], coords, site_properties=free)


def relaxed_structures(folder: Path) -> dict[str, Structure]:
    """Relaxed structures of a screened folder, by id, in full precision."""
    found: dict[str, Structure] = {}
    file = folder / "screening" / "relax.jsonl"
    if not file.is_file():
        return found
    for place, line in enumerate(read_text(file).split("\n"), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the last line of a killed run; StageLog removes it
        try:
            row = entry["row"]
            if not row["problem"]:
                found[str(entry["id"])] = structure_from_row(row["structure"])
        # Damaged numbers make pymatgen fail in every way there is.
        except Exception as error:
            raise InputError(
                f"{file}: line {place} is damaged ({' '.join(str(error).split())[:120]}); run "
                f"`crystal-diffusion screen {folder}` again, it does that crystal anew."
            ) from error
    return found
