"""Numbers of a crystal that need no training: its density, and statistics over its elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.chemistry import (
    ATOMIC_MASSES,
    ELECTRONEGATIVITY,
    IS_METAL,
    MENDELEEV_NUMBERS,
    VOLUMES_COMPOUND,
    covalent_radii,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Names of the descriptors that are tried alone where labels are few.
BRIEF = (
    "density",
    "log volume per atom",
    "mean electronegativity",
    "spread of electronegativity",
    "mean radius",
    "mean mass",
    "share of metals",
    "elements",
)
_STATISTICS = ("mean", "spread", "least", "largest")
_OF_ELEMENTS = ("electronegativity", "radius", "mass", "mendeleev", "volume")
#: All descriptors, in the order of :func:`descriptors`.
NAMES: tuple[str, ...] = (
    "density",
    "log volume per atom",
    "packing",
    "elements",
    "entropy",
    "largest share",
    "share of metals",
    *(
        f"{how} {what}".replace("spread ", "spread of ")
        for what in _OF_ELEMENTS
        for how in _STATISTICS
    ),
)
#: Where those of :data:`BRIEF` stand.
BRIEF_COLUMNS: NDArray[np.int64] = np.array([NAMES.index(name) for name in BRIEF])


def descriptors(structure: Structure) -> NDArray[np.float64]:
    """``(27,)`` see :data:`NAMES`; densities in g/cm3, volumes in Å3, radii in Å, masses in u.

    Electronegativities that are not known count as 2, volumes as 20 Å3.
    """
    numbers = np.array(structure.atomic_numbers, dtype=np.int64)
    kinds, counts = np.unique(numbers, return_counts=True)
    share = counts / counts.sum()
    volumes = np.nan_to_num(VOLUMES_COMPOUND[kinds, 0], nan=20.0)
    tables = (
        np.nan_to_num(ELECTRONEGATIVITY[kinds], nan=2.0),
        covalent_radii(kinds),
        ATOMIC_MASSES[kinds],
        MENDELEEV_NUMBERS[kinds].astype(float),
        volumes,
    )
    per_atom = float(structure.volume) / len(numbers)
    found = [
        float(structure.density),
        float(np.log(per_atom)),
        float(share @ volumes) / per_atom,
        float(len(kinds)),
        -float((share * np.log(share)).sum()),
        float(share.max()),
        float(share @ IS_METAL[kinds]),
    ]
    for table in tables:
        mean = float(share @ table)
        spread = float(np.sqrt(share @ (table - mean) ** 2))
        found += [mean, spread, float(table.min()), float(table.max())]
    return np.array(found)
