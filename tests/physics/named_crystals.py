"""Named crystals for the tests of physics, with measured cells."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure


def rock_salt(a: float = 5.64) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


def diamond() -> Structure:
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])


def osmium() -> Structure:
    return Structure(
        Lattice.hexagonal(2.734, 4.317), ["Os", "Os"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    )


def graphite() -> Structure:
    return Structure(
        Lattice.hexagonal(2.464, 6.711),
        ["C"] * 4,
        [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    )


def polonium() -> Structure:
    return Structure(Lattice.cubic(3.359), ["Po"], [[0, 0, 0]])


def selenium() -> Structure:
    return Structure.from_spacegroup(
        "P3_121", Lattice.hexagonal(4.366, 4.954), ["Se"], [[0.2254, 0, 1 / 3]]
    )


def dry_ice() -> Structure:
    return Structure.from_spacegroup(
        "Pa-3", Lattice.cubic(5.624), ["C", "O"], [[0, 0, 0], [0.1185, 0.1185, 0.1185]]
    )


def copper_sulfate() -> Structure:
    """Triclinic and without symmetry on purpose: CuSO4 in a skewed cell."""
    lattice = Lattice.from_parameters(4.83, 6.0, 6.6, 82.0, 107.5, 102.6)
    frac = [[0, 0, 0], [0.03, 0.31, 0.62], [0.9, 0.1, 0.7], [0.24, 0.31, 0.8]]
    return Structure(lattice, ["Cu", "S", "O", "O"], frac)


ALL = {
    "rock salt": rock_salt,
    "rutile": rutile,
    "diamond": diamond,
    "osmium": osmium,
    "graphite": graphite,
    "polonium": polonium,
    "selenium": selenium,
    "dry ice": dry_ice,
}

#: Corners and face centres.
FCC = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def like_ions() -> Structure:
    """Chains of sodium and chains of chlorine: every ion has its own kind nearest."""
    frac = [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0], [0.5, 0.5, 0.5]]
    return Structure(Lattice.tetragonal(7.0, 5.0), ["Na", "Na", "Cl", "Cl"], frac)


def crowded_oxygen() -> Structure:
    """An oxygen with twelve magnesium around it."""
    lattice = Lattice.cubic(3.0)
    return Structure(lattice, ["O", "Mg", "Mg", "Mg"], FCC)


def sharp_angle() -> Structure:
    """Two oxygens 0.7 Å from each other, both 2 Å from a magnesium."""
    frac = [[0.5, 0.5, 0.5], [0.7, 0.5, 0.465], [0.7, 0.5, 0.535]]
    return Structure(Lattice.cubic(10.0), ["Mg", "O", "O"], frac)
