"""Real, well-known crystals, built in code from the space groups of :mod:`demo_table`."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.cell_geometry import lattice_from_parameters
from crystal_diffusion.data.demo_table import DEMO_CRYSTALS, DemoCrystal
from crystal_diffusion.data.orbits import expand
from crystal_diffusion.data.reduction import reduce_arrays
from crystal_diffusion.data.space_groups import make_operations


def build_crystal(crystal: DemoCrystal) -> dict[str, Any]:
    """The crystal in its primitive Niggli cell, as a dict of the data set class."""
    operations = list(gemmi.SpaceGroup(crystal.space_group).operations())
    sites = np.array([site[1:] for site in crystal.sites])
    cell = lattice_from_parameters(crystal.cell)
    orbits = expand(sites, make_operations(operations), cell)
    numbers = np.array([gemmi.Element(site[0]).atomic_number for site in crystal.sites])
    lattice, coords, numbers = reduce_arrays(
        cell, orbits.frac_coords, numbers[orbits.rows].astype(np.int64)
    )
    return {
        "positions": coords,
        "atom_types": numbers,
        "lattice": lattice,
        "name": crystal.name,
        "formula": crystal.formula,
        "prototype": crystal.prototype,
        "source": crystal.source,
    }


def create_demo_dataset() -> list[dict[str, Any]]:
    """Real crystals to try things on, as the dicts that `CrystalStructureDataset` takes.

    Returns:
        One dict a crystal: ``positions (atoms, 3)`` fractional in [0, 1), ``atom_types (atoms,)``
        atomic numbers, ``lattice (3, 3)`` rows in Å, and the texts ``name``, ``formula``,
        ``prototype`` and ``source``.
    """
    return [build_crystal(crystal) for crystal in DEMO_CRYSTALS]
