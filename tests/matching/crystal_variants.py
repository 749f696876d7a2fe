"""Variants of crystals: moved, strained, relabelled, repeated, permuted."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import create_demo_dataset


def known_crystals() -> list[Structure]:
    """The demo crystals of at most 12 atoms."""
    found = []
    for item in create_demo_dataset():
        if len(item["atom_types"]) <= 12:
            found.append(
                Structure(Lattice(item["lattice"]), item["atom_types"].tolist(), item["positions"])
            )
    return found


def displaced(s: Structure, amount: float, rng: np.random.Generator) -> Structure:
    """Atoms moved by ``amount`` (V/N)^(1/3) on average, cell strained by a third of it."""
    scale = amount * (s.volume / len(s)) ** (1 / 3)
    cell = s.lattice.matrix @ (np.eye(3) + rng.normal(size=(3, 3)) * min(amount, 0.2) / 3)
    frac = s.frac_coords + rng.normal(size=(len(s), 3)) * scale @ s.lattice.inv_matrix
    return Structure(Lattice(cell), s.species, frac)


def permuted(s: Structure, rng: np.random.Generator) -> Structure:
    """Other order of atoms, other origin, rotated."""
    order = rng.permutation(len(s))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    frac = s.frac_coords[order] + rng.random(3)
    return Structure(Lattice(s.lattice.matrix @ rotation), [s.species[i] for i in order], frac)


def shuffled(s: Structure, rng: np.random.Generator) -> Structure:
    """The same cell and sites with the elements dealt out anew."""
    species = [s.species[i] for i in rng.permutation(len(s))]
    return Structure(s.lattice, species, s.frac_coords)


def repeated(s: Structure, rng: np.random.Generator) -> Structure:
    """A skewed supercell of twice the size."""
    large = s.copy()
    large.make_supercell([[2, 1, 0], [0, 1, 0], [1, 0, 1]])
    return large
