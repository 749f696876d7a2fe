"""Data in: readers, the data set class, checks before training, and the demo crystals.

The names below are loaded when they are first used, so importing this room costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crystal_diffusion.data.check import CheckTable, check_source
    from crystal_diffusion.data.dataset import CrystalStructureDataset
    from crystal_diffusion.data.demo import create_demo_dataset
    from crystal_diffusion.data.readers import iter_crystals
    from crystal_diffusion.data.records import CrystalRecord
    from crystal_diffusion.data.reduction import reduce_cell
    from crystal_diffusion.data.sources.fetching import fetch, load_materials_project_data
    from crystal_diffusion.data.tables import CrystalArrays, parquet_arrays

_HOMES = {
    "CheckTable": "check",
    "CrystalArrays": "tables",
    "CrystalRecord": "records",
    "CrystalStructureDataset": "dataset",
    "check_source": "check",
    "create_demo_dataset": "demo",
    "fetch": "sources.fetching",
    "load_materials_project_data": "sources.fetching",
    "iter_crystals": "readers",
    "parquet_arrays": "tables",
    "reduce_cell": "reduction",
}

__all__ = [
    "CheckTable",
    "CrystalArrays",
    "CrystalRecord",
    "CrystalStructureDataset",
    "check_source",
    "create_demo_dataset",
    "fetch",
    "load_materials_project_data",
    "iter_crystals",
    "parquet_arrays",
    "reduce_cell",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
