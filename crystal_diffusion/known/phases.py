"""Which known crystals the hulls of some chemical systems hang on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.known.index import KnownCrystals

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Forms of an element that are at most this far (eV/atom) above its lowest are relaxed too.
_ELEMENT_WINDOW_EV = 0.05


@dataclass(frozen=True)
class NearHull:
    """Known crystals at or near the hulls of some chemical systems, by the table's energies.

    Attributes:
        structures: by id, those whose coordinates are at hand.
        without_coordinates: ids of the others; they keep the energy of the table.
    """

    structures: dict[str, Structure]
    without_coordinates: tuple[str, ...]


def near_hull(
    known: KnownCrystals, systems: Iterable[frozenset[str]], window: float = 0.05
) -> NearHull:
    """For each composition the lowest known crystal, where it is near the hull of its system.

    Args:
        known: the index, with energies.
        systems: sets of symbols.
        window: largest distance to the hull, eV/atom.
    """
    table = ReferenceEnergies(known.potential, known.potential_version, table=known)
    hull = HullBuilder(table)
    wanted: dict[str, None] = {}
    for system in systems:
        if hull.missing_elements(system):
            continue
        wanted.update(dict.fromkeys(entry.id for entry in hull.near_hull(system, window)))
        for element in system:
            rows = known.of_system([element])
            near = known.energy[rows] <= (hull.elemental_energy(element) or 0) + _ELEMENT_WINDOW_EV
            order = np.argsort(known.energy[rows[near]], kind="stable")[:4]
            wanted.update(dict.fromkeys(known.id_of(row) for row in rows[near][order].tolist()))
    rows_of = {key: known.row_of[key] for key in wanted}
    return NearHull(
        {key: known.structure(row) for key, row in rows_of.items() if known.has_structure(row)},
        tuple(key for key, row in rows_of.items() if not known.has_structure(row)),
    )
