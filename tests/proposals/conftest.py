"""A small library of named crystals, made without any data file."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.proposals.library import CrystalLibrary


def rock_salt(cation: str, anion: str, edge: float) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def caesium_chloride(cation: str, anion: str, edge: float) -> Structure:
    return Structure(Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(a: str, b: str, x: str, edge: float) -> Structure:
    return Structure(
        Lattice.cubic(edge),
        [a, b, x, x, x],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def rutile(cation: str, anion: str, a: float, c: float, u: float) -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(a, c), [cation, anion], [[0, 0, 0], [u, u, 0]]
    )


CRYSTALS: dict[str, Structure] = {
    "mp-1": rock_salt("Na", "Cl", 5.64),
    "mp-2": rock_salt("K", "Cl", 6.29),
    "mp-3": rock_salt("Mg", "O", 4.21),
    "mp-4": caesium_chloride("Cs", "Cl", 4.12),
    "mp-5": caesium_chloride("Cs", "Br", 4.30),
    "mp-6": perovskite("Sr", "Ti", "O", 3.905),
    "mp-7": perovskite("Ba", "Zr", "O", 4.19),
    "own-8": rutile("Ti", "O", 4.594, 2.959, 0.305),
    "own-9": rutile("Sn", "O", 4.737, 3.186, 0.307),
}


@pytest.fixture(scope="session")
def library() -> CrystalLibrary:
    return CrystalLibrary.from_structures(
        list(CRYSTALS.values()),
        list(CRYSTALS),
        e_above_hull=[0.0] * 8 + [float("nan")],
        source="tests",
    )
