"""Crystals to a Parquet table with the columns that :mod:`crystal_diffusion.data.tables` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.chemistry import formula
from crystal_diffusion.data.provenance import PROVENANCE_COLUMNS
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.tables import CELL_COLUMNS
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.geometry import lattice_to_parameters

#: Key of the schema's metadata under which a table says how it was made.
METADATA_KEY = b"crystal_diffusion"


def write_parquet(
    path: Path, crystals: Sequence[PlainCrystal], made_by: Mapping[str, Any] | None = None
) -> None:
    """Write ordered crystals, their labels and their provenance; whole or not at all.

    Args:
        path: the file; an older one is replaced.
        crystals: none of them with a problem.
        made_by: how the table was made, JSON-ready; kept in the metadata of the file.

    Raises:
        InputError: when the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(_columns(crystals))
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(made_by or {}))})
    with atomic_write(path, flush=True) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part)


def read_made_by(path: Path) -> dict[str, Any]:
    """How a table was made; empty for a table of another origin.

    Raises:
        InputError: when the file is no Parquet table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({error}); write it again.") from error
    found: dict[str, Any] = json.loads(metadata.get(METADATA_KEY, b"{}"))
    return found


def _columns(crystals: Sequence[PlainCrystal]) -> dict[str, Any]:
    import pyarrow as pa

    lattices = np.array([c.lattice for c in crystals], dtype=np.float64).reshape(-1, 3, 3)
    cells = lattice_to_parameters(torch.from_numpy(lattices)).numpy()
    numbers = [c.atomic_numbers.astype(np.uint8) for c in crystals]
    columns: dict[str, Any] = {
        "material_id": [c.id for c in crystals],
        "formula": [_reduced_formula(c.atomic_numbers) for c in crystals],
        "num_sites": pa.array([len(n) for n in numbers], pa.int32()),
    }
    columns |= {name: cells[:, i] for i, name in enumerate(CELL_COLUMNS)}
    columns["atomic_numbers"] = pa.array(numbers, pa.list_(pa.uint8()))
    coords = [c.frac_coords.ravel() for c in crystals]
    columns["frac_coords"] = pa.array(coords, pa.list_(pa.float64()))
    for name in sorted({name for c in crystals for name in c.properties} - set(columns)):
        columns[name] = np.array([c.properties.get(name, np.nan) for c in crystals], np.float64)
    if any(c.provenance.known for c in crystals):
        rows = [astuple(c.provenance) for c in crystals]
        texts = zip(PROVENANCE_COLUMNS, zip(*rows, strict=True), strict=True)
        columns |= {name: pa.array(list(values)).dictionary_encode() for name, values in texts}
    return columns


def _reduced_formula(numbers: np.ndarray) -> str:
    values, counts = np.unique(numbers, return_counts=True)
    return formula(np.repeat(values, counts // np.gcd.reduce(counts)))
