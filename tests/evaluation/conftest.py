"""A few targets with candidates of every kind: right, moved, wrong, squeezed, missing."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import create_demo_dataset


@pytest.fixture(scope="session")
def targets() -> dict[str, Structure]:
    """Real crystals of at most ten atoms by id."""
    found = {}
    for item in create_demo_dataset():
        if 2 <= len(item["atom_types"]) <= 10:
            found[f"t{len(found)}"] = Structure(
                Lattice(item["lattice"]), item["atom_types"].tolist(), item["positions"]
            )
        if len(found) == 14:
            break
    return found


@pytest.fixture(scope="session")
def candidates(targets: dict[str, Structure]) -> dict[str, list[Structure]]:
    """Three candidates for each target but the last; the right one at changing ranks."""
    rng = np.random.default_rng(0)
    made = {}
    for number, (name, target) in enumerate(list(targets.items())[:-1]):
        near = target.copy()
        near.perturb(0.08)
        wrong = Structure(
            Lattice.orthorhombic(2.2, 3.1, target.volume / 6.82),
            target.species,
            rng.random((len(target), 3)),
        )
        squeezed = Structure(
            Lattice(target.lattice.matrix * 0.15), target.species, target.frac_coords
        )
        options = [[near, wrong, squeezed], [wrong, near, squeezed], [squeezed, wrong, wrong]]
        made[name] = options[number % 3]
    return made
