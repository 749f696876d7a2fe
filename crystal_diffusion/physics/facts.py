"""What a table row says of any crystal, wherever it comes from: sizes, density, groups, distance.

Rows of a screened folder, columns a report lacks and the distributions of a training set all use
these functions, so that equal column names mean equal quantities.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import minimum_distance
from crystal_diffusion.runs.columns import Row, named

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

#: Columns whose values over a training set are drawn beside those of a run.
DISTRIBUTIONS = ("volume_per_atom_A3", "density_g_cm3", "min_distance_A", "space_group_0.1")


@dataclass(frozen=True, eq=False, kw_only=True)
class CrystalFacts(Row):
    """The columns of a row that follow from an ordered crystal alone, beside its id.

    A figure is None where the cell allows no answer.
    """

    id: str | None = named("id", optional=True)
    formula: str
    num_atoms: int
    space_group_loose: int | None = named("space_group_0.1")
    space_group_strict: int | None = named("space_group_0.01")
    volume_A3: float
    volume_per_atom_A3: float
    density_g_cm3: float
    min_distance_A: float | None


def space_group(structure: Structure, symprec: float) -> int | None:
    """Space group number that moyopy finds at a tolerance in Å; None where it finds none."""
    numbers = [int(z) for z in structure.atomic_numbers]
    lattice, places = structure.lattice.matrix, structure.frac_coords
    try:
        return int(symmetry_search(lattice, places, numbers, symprec).number)
    except ValueError as error:
        log.info("no space group found for %s (%s)", structure.formula, error)
        return None


def shortest_distance(structure: Structure) -> float | None:
    """Å between the two nearest atoms, images included; None where the cell allows no answer."""
    try:
        return round(minimum_distance(structure.frac_coords, structure.lattice.matrix), 4)
    except InputError as error:
        log.info("no shortest distance for %s (%s)", structure.formula, error)
        return None


def crystal_facts(structure: Structure) -> CrystalFacts:
    """What follows from an ordered crystal alone."""
    return CrystalFacts(
        formula=structure.composition.reduced_formula,
        num_atoms=len(structure),
        space_group_loose=space_group(structure, 0.1),
        space_group_strict=space_group(structure, 0.01),
        volume_A3=round(float(structure.volume), 4),
        volume_per_atom_A3=round(float(structure.volume) / len(structure), 4),
        density_g_cm3=round(float(structure.density), 4),
        min_distance_A=shortest_distance(structure),
    )


def distributions(structures: Iterable[Structure]) -> dict[str, list[float]]:
    """The values of ``DISTRIBUTIONS`` over many crystals; what a crystal lacks is left out."""
    found: dict[str, list[float]] = {name: [] for name in DISTRIBUTIONS}
    for structure in structures:
        facts = crystal_facts(structure)
        for name, values in found.items():
            if facts[name] is not None:
                values.append(facts[name])
    return found
