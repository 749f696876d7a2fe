"""Every crystal that the tests build, in one place: named ones, triclinic ones, moved ones."""

from __future__ import annotations

import numpy as np
import torch
from pymatgen.core import Lattice, Structure

from crystal_diffusion.crystal import CrystalBatch

#: Corners and face centres.
FCC = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def rock_salt(cation: str = "Na", anion: str = "Cl", edge: float = 5.64) -> Structure:
    """The conventional cell of eight atoms."""
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def small_rock_salt(cation: str = "Na", anion: str = "Cl", edge: float = 5.6) -> Structure:
    """The primitive cell of two atoms; ``edge`` is that of the conventional one."""
    return rock_salt(cation, anion, edge).get_primitive_structure()


def caesium_chloride(cation: str = "Cs", anion: str = "Cl", edge: float = 4.12) -> Structure:
    """Two atoms."""
    return Structure(Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def zinc_blende(cation: str = "Zn", anion: str = "S", edge: float = 5.41) -> Structure:
    """The conventional cell of eight atoms."""
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )


def perovskite(a: str = "Sr", b: str = "Ti", x: str = "O", edge: float = 3.905) -> Structure:
    """Five atoms: corner, centre, faces."""
    return Structure(
        Lattice.cubic(edge),
        [a, b, x, x, x],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def rutile(
    cation: str = "Ti", anion: str = "O", a: float = 4.594, c: float = 2.959, u: float = 0.305
) -> Structure:
    """Six atoms."""
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(a, c), [cation, anion], [[0, 0, 0], [u, u, 0]]
    )


def body_centred(element: str, edge: float) -> Structure:
    """Two atoms of one element."""
    return Structure.from_spacegroup("Im-3m", Lattice.cubic(edge), [element], [[0, 0, 0]])


def diamond() -> Structure:
    """Eight carbon atoms."""
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])


def osmium() -> Structure:
    """Hexagonal close packing."""
    return Structure(
        Lattice.hexagonal(2.734, 4.317), ["Os", "Os"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    )


def graphite() -> Structure:
    """Layers."""
    return Structure(
        Lattice.hexagonal(2.464, 6.711),
        ["C"] * 4,
        [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    )


def polonium() -> Structure:
    """One atom in a cube."""
    return Structure(Lattice.cubic(3.359), ["Po"], [[0, 0, 0]])


def selenium() -> Structure:
    """Chains."""
    return Structure.from_spacegroup(
        "P3_121", Lattice.hexagonal(4.366, 4.954), ["Se"], [[0.2254, 0, 1 / 3]]
    )


def dry_ice() -> Structure:
    """Molecules."""
    return Structure.from_spacegroup(
        "Pa-3", Lattice.cubic(5.624), ["C", "O"], [[0, 0, 0], [0.1185, 0.1185, 0.1185]]
    )


def copper_sulfate() -> Structure:
    """Triclinic and without symmetry on purpose: CuSO4 in a skewed cell."""
    lattice = Lattice.from_parameters(4.83, 6.0, 6.6, 82.0, 107.5, 102.6)
    frac = [[0, 0, 0], [0.03, 0.31, 0.62], [0.9, 0.1, 0.7], [0.24, 0.31, 0.8]]
    return Structure(lattice, ["Cu", "S", "O", "O"], frac)


#: Crystals of elements and simple compounds with measured cells, as functions without arguments.
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


def shaken(structure: Structure, amount: float, seed: int = 0) -> Structure:
    """Every atom moved by a normal vector of ``amount`` Å in each direction, the cell kept."""
    steps = np.random.default_rng(seed).normal(scale=amount, size=(len(structure), 3))
    frac = structure.frac_coords + steps @ structure.lattice.inv_matrix
    return Structure(structure.lattice, structure.species, frac)


def rotation(seed: int = 0) -> torch.Tensor:
    """A proper rotation in double precision; cells of rows turn as ``lattice @ rotation``."""
    generator = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    return turned * torch.linalg.det(turned).sign()


#: A cell far from its own transpose: no two edges or angles alike, rows not along the axes.
TRICLINIC = torch.tensor([[4.9, 0.6, -0.8], [-1.3, 6.4, 0.5], [1.1, -1.9, 7.8]])


def triclinic_batch(crystals: int = 3, atoms: int = 6, seed: int = 0) -> CrystalBatch:
    """Triclinic crystals of random coordinates, each cell :data:`TRICLINIC` strained by itself.

    The elements are titanium, and oxygen for two atoms of three.
    """
    generator = torch.Generator().manual_seed(seed)
    strain = torch.eye(3) + 0.08 * torch.randn(crystals, 3, 3, generator=generator)
    numbers = torch.tensor([22 if atom % 3 == 0 else 8 for atom in range(atoms)])
    return CrystalBatch(
        torch.rand(crystals, atoms, 3, generator=generator),
        TRICLINIC @ strain,
        numbers.expand(crystals, atoms).clone(),
    )


def distance(pair: torch.Tensor, lattice: torch.Tensor) -> float:
    """Distance in Å of two atoms ``(2, 3)``, by pymatgen."""
    cell = Lattice(lattice.double().numpy())
    found, _ = cell.get_distance_and_image(pair[0].double().numpy(), pair[1].double().numpy())
    return float(found)
