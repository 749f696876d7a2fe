"""Random symmetric crystals for the tests of this folder."""

from __future__ import annotations

import itertools

import numpy as np

from crystal_diffusion.symmetry.assignments import Site, make_assignment
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.template import SymmetricTemplate

#: One group or more of each lattice type and of each difficulty (polar, centred, chiral, large).
GROUPS = (1, 2, 5, 9, 14, 15, 38, 43, 62, 70, 88, 122, 142, 146, 148, 155, 161, 166, 167, 176, 186,
          194, 199, 205, 214, 216, 221, 225, 227, 230)  # fmt: skip


def random_template(
    number: int, rng: np.random.Generator, extra: int = 1, general: bool = True
) -> SymmetricTemplate:
    """Titanium on the general position, oxygen and strontium on random ones."""
    group = SpaceGroup.from_number(number)
    sites = [Site(22, group.positions[-1].letter)] if general else []
    taken: set[str] = set()
    for element in (8, 38, 16)[:extra]:
        position = group.positions[int(rng.integers(len(group.positions)))]
        if position.freedom or position.letter not in taken:
            taken.add(position.letter)
            sites.append(Site(element, position.letter))
    return SymmetricTemplate.from_assignment(make_assignment(group, sites))


def random_crystal(template: SymmetricTemplate, rng: np.random.Generator) -> Cell:
    """Random free parameters and cell, redrawn while two atoms are nearer than 0.2 Å."""
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)), float)
    for _ in range(200):
        cell = template.rebuild(template.random_coords(rng), template.random_lattice(14.0, rng))
        away = cell.frac_coords[:, None, None] - cell.frac_coords[None, :, None] + shifts
        distance = np.linalg.norm(away @ cell.lattice, axis=-1)
        if distance[distance > 0].min() > 0.2 and (distance == 0).sum() == len(cell):
            return cell
    raise AssertionError(f"{template.assignment}: atoms always overlap")


def torus_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest component of the difference, modulo lattice translations."""
    away = np.asarray(a, float) - np.asarray(b, float)
    return float(np.abs(away - np.round(away)).max())


def orbit_error(template: SymmetricTemplate, coords: np.ndarray) -> float:
    """Largest distance from the image of an atom under any operation to an atom of its kind."""
    rotations, translations = template.group.primitive_operations
    worst = 0.0
    images = np.einsum("nij,aj->nai", rotations, coords) + translations[:, None]
    for orbit in range(len(template.assignment.sites)):
        mine = template.orbit == orbit
        away = images[:, mine][:, :, None] - coords[mine][None, None]
        away = np.abs(away - np.round(away)).max(-1)
        worst = max(worst, float(away.min(-1).max()))
    return worst
