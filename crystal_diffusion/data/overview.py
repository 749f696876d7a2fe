"""What a source of crystals holds, in a few figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.chemistry import symbol
from crystal_diffusion.data.formats import format_of
from crystal_diffusion.data.parquet_writer import read_made_by
from crystal_diffusion.data.provenance import OriginSummary, summarize
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.errors import InputError


@dataclass(frozen=True)
class SourceOverview:
    """The crystals of a source.

    Attributes:
        crystals: that can be used as they are.
        unusable: that cannot; ``crystal-diffusion check`` says why.
        num_atoms: fewest and most in a cell.
        elements: symbols, in order of number.
        labels: how many crystals have each.
        origins: where the crystals come from.
        made_by: how a table of this library was made; empty for others.
    """

    crystals: int
    unusable: int
    num_atoms: tuple[int, int]
    elements: tuple[str, ...]
    labels: dict[str, int]
    origins: tuple[OriginSummary, ...]
    made_by: dict[str, Any]


def overview(source: str | Path) -> SourceOverview:
    """Look through a file or folder of crystals.

    Raises:
        InputError: when it cannot be read or holds no usable crystal.
    """
    crystals = list(iter_plain(source))
    good = [crystal for crystal in crystals if crystal.problem is None]
    if not good:
        raise InputError(f"{source} has no usable crystal; crystal-diffusion check says why.")
    sizes = [len(crystal.atomic_numbers) for crystal in good]
    numbers = np.unique(np.concatenate([crystal.atomic_numbers for crystal in good]))
    labels = Counter(name for crystal in good for name in crystal.properties)
    path = Path(source)
    table = path.is_file() and format_of(path) == "parquet"
    return SourceOverview(
        len(good),
        len(crystals) - len(good),
        (min(sizes), max(sizes)),
        tuple(symbol(int(z)) for z in numbers),
        dict(sorted(labels.items())),
        summarize(crystal.provenance for crystal in good),
        read_made_by(path) if table else {},
    )
