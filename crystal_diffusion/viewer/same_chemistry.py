"""Known crystals of the same chemistry as those of a run, to compare distributions with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import CrystalDiffusionError

#: A run of more sets of elements than these has no chemistry of its own.
MOST_SETS = 6
#: Fewer known crystals than these make no distribution; more than the second take too long.
FEWEST, MOST = 10, 150


@dataclass(frozen=True)
class Reference:
    """What the crystals of a run are compared with.

    Attributes:
        name: in a legend, such as "known crystals of this chemistry".
        words: a sentence on which crystals these are.
        values: by column; counts by number for the space groups.
    """

    name: str
    words: str
    values: dict[str, Any]


def same_chemistry(formulas: Iterable[str]) -> Reference | None:
    """Crystals of the library with the same elements, or with one of them exchanged.

    Args:
        formulas: of the crystals of a run.

    Returns:
        None where the run has many sets of elements, or the library has too few such crystals.
    """
    from pymatgen.core import Composition

    try:
        sets = {frozenset(e.symbol for e in Composition(f).elements) for f in set(formulas)}
    except (ValueError, CrystalDiffusionError):
        return None
    return _near(frozenset(sets)) if 0 < len(sets) <= MOST_SETS else None


@lru_cache(maxsize=32)
def _near(sets: frozenset[frozenset[str]]) -> Reference | None:
    """Looked up once for reports of the same chemistry; nobody changes what comes out."""
    from crystal_diffusion.physics.facts import distributions
    from crystal_diffusion.proposals.library import default_library

    try:
        library = default_library()
    except CrystalDiffusionError:
        return None
    near = np.zeros(len(library), bool)
    size = (library.elements > 0).sum(1)
    for names in sets:
        numbers = [chemistry.NUMBERS.get(name, -1) for name in names]
        shared = np.isin(library.elements, numbers).sum(1)
        near |= (size == len(names)) & (shared >= max(len(names) - 1, 1))
    found = np.flatnonzero(near)
    if len(found) < FEWEST:
        return None
    chosen = found
    if len(found) > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(found, MOST, replace=False))
    values: dict[str, Any] = dict(distributions(library.structure(int(k)) for k in chosen))
    groups = Counter(int(number) for number in values.pop("space_group_0.1"))
    values["space_group_0.1"] = {str(number): count for number, count in groups.items()}
    systems = ", ".join(sorted("-".join(sorted(names)) for names in sets))
    drawn = f", {len(chosen)} of them drawn evenly" if len(chosen) < len(found) else ""
    words = (
        f"Known crystals of this chemistry: {len(found)} of the library with the elements of "
        f"{systems}, or one of these exchanged{drawn}."
    )
    return Reference("known crystals of this chemistry", words, values)
