"""How near two elements typically are, and the distance limits that follow from it.

``contacts.csv`` holds, for each pair of elements, the median over crystals of Materials Project
v2025.02.12 (CC-BY 4.0) of the mean distance from an atom to its nearest neighbour, where that
neighbour is of the other element; made by `recipes/element_tables.py`. A pair seen in n crystals
counts with weight n / (n + 3); the rest of the weight has the sum of the covalent radii of Cordero
et al. 2008, times 1.08 between metals, 0.93 between a metal and a nonmetal and 1 between nonmetals.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion import chemistry
from crystal_diffusion.chemistry import Floats

#: How the limits by pair are called in a report.
SOURCE = "typical contacts of each pair of elements, Materials Project 2025; Cordero et al. 2008"
_FACTORS = {(True, True): 1.08, (True, False): 0.93, (False, True): 0.93, (False, False): 1.0}
_WEIGHT_OF_RADII = 3.0


@cache
def typical_distances() -> Floats:
    """``(104, 104)`` typical nearest distance in Å by atomic numbers; row and column 0 unused."""
    everything = np.arange(chemistry.LAST_ELEMENT + 1)
    radii = chemistry.covalent_radii(everything)
    metal = chemistry.IS_METAL
    factor = np.where(
        metal[:, None] & metal[None],
        _FACTORS[True, True],
        np.where(metal[:, None] != metal[None], _FACTORS[True, False], _FACTORS[False, False]),
    )
    table = factor * (radii[:, None] + radii[None])
    text = resources.files("crystal_diffusion.physics").joinpath("contacts.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        a, b, count = int(row["first"]), int(row["second"]), int(row["crystals"])
        weight = count / (count + _WEIGHT_OF_RADII)
        value = weight * float(row["distance"]) + (1 - weight) * table[a, b]
        table[a, b] = table[b, a] = value
    table.setflags(write=False)
    return np.asarray(table, np.float64)


def typical_of(numbers: NDArray[np.int64]) -> Floats:
    """``(atoms, atoms)`` typical nearest distance of each pair in Å."""
    return typical_distances()[np.ix_(numbers, numbers)]


def pair_limits(atomic_numbers: NDArray[np.int64], ratio: float, smallest: float) -> Floats:
    """``(atoms, atoms)`` smallest allowed distance in Å: ``ratio`` of the typical one.

    Args:
        atomic_numbers: ``(atoms,)`` 1 to 103.
        ratio: part of the typical distance that must be kept.
        smallest: limit in Å for any pair.
    """
    return np.maximum(ratio * typical_of(np.asarray(atomic_numbers, np.int64)), smallest)
