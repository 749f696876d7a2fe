"""Real, well-known crystals with measured cells, built in code from their space groups.

Cells and positional parameters are the measured ones, at room temperature unless said otherwise,
from the source named with each crystal. They are given in the primitive Niggli cell, at most 20
atoms, so that models train on them in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.data.cif import expand
from crystal_diffusion.data.records import lattice_from_parameters
from crystal_diffusion.data.reduction import reduce_arrays

_WYCKOFF = "Wyckoff, Crystal Structures vol. {}, 2nd ed., Interscience 1963-1965"
W1, W2, W3 = _WYCKOFF.format(1), _WYCKOFF.format(2), _WYCKOFF.format(3)

Site = tuple[str, float, float, float]


@dataclass(frozen=True)
class DemoCrystal:
    """One crystal of the demo set.

    Attributes:
        name: common name.
        formula: reduced formula.
        prototype: structure type.
        space_group: Hermann-Mauguin symbol with its setting; where there are two origins, :2 is
            the one at the inversion centre.
        cell: a, b, c (Å), alpha, beta, gamma (degrees) of the conventional cell.
        sites: one atom of each orbit: symbol and fractional coordinates.
        source: where cell and coordinates were measured.
    """

    name: str
    formula: str
    prototype: str
    space_group: str
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[Site, ...]
    source: str

    def build(self) -> dict[str, Any]:
        """Positions, atom_types and lattice of the primitive Niggli cell, and where it is from."""
        group = gemmi.SpaceGroup(self.space_group)
        operations = list(group.operations())
        rotations = np.array([op.rot for op in operations]) / gemmi.Op.DEN
        translations = np.array([op.tran for op in operations]) / gemmi.Op.DEN
        coords, rows = expand(np.array([s[1:] for s in self.sites]), rotations, translations)
        numbers = np.array([gemmi.Element(s[0]).atomic_number for s in self.sites])[rows]
        lattice, coords, numbers = reduce_arrays(
            lattice_from_parameters(self.cell), coords, numbers.astype(np.int64)
        )
        return {
            "positions": coords,
            "atom_types": numbers,
            "lattice": lattice,
            "name": self.name,
            "formula": self.formula,
            "prototype": self.prototype,
            "source": self.source,
        }


def _cubic(a: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, a, 90.0, 90.0, 90.0)


def _tetragonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, c, 90.0, 90.0, 90.0)


def _hexagonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, c, 90.0, 90.0, 120.0)


def _ortho(a: float, b: float, c: float) -> tuple[float, float, float, float, float, float]:
    return (a, b, c, 90.0, 90.0, 90.0)


_ORIGIN: tuple[float, float, float] = (0.0, 0.0, 0.0)
_CENTRE: tuple[float, float, float] = (0.5, 0.5, 0.5)
_QUARTER: tuple[float, float, float] = (0.25, 0.25, 0.25)
_HCP: tuple[float, float, float] = (1 / 3, 2 / 3, 0.25)


def _rock_salt(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    sites = ((metal, *_ORIGIN), (anion, *_CENTRE))
    return DemoCrystal(name, f"{metal}{anion}", "rock salt", "F m -3 m", _cubic(a), sites, W1)


def _zinc_blende(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    sites = ((metal, *_ORIGIN), (anion, *_QUARTER))
    return DemoCrystal(name, f"{metal}{anion}", "zinc blende", "F -4 3 m", _cubic(a), sites, W1)


def _wurtzite(
    formula: str, name: str, metal: str, anion: str, a: float, c: float, u: float, source: str
) -> DemoCrystal:
    sites = ((metal, 1 / 3, 2 / 3, 0.0), (anion, 1 / 3, 2 / 3, u))
    return DemoCrystal(name, formula, "wurtzite", "P 63 m c", _hexagonal(a, c), sites, source)


def _fluorite(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    sites = ((metal, *_ORIGIN), (anion, *_QUARTER))
    return DemoCrystal(name, f"{metal}{anion}2", "fluorite", "F m -3 m", _cubic(a), sites, W1)


def _perovskite(name: str, a_site: str, b_site: str, anion: str, a: float) -> DemoCrystal:
    sites = ((a_site, *_ORIGIN), (b_site, *_CENTRE), (anion, 0.5, 0.5, 0.0))
    return DemoCrystal(
        name, f"{a_site}{b_site}{anion}3", "perovskite", "P m -3 m", _cubic(a), sites, W2
    )


def _element(
    name: str, symbol: str, prototype: str, a: float, c: float | None = None
) -> DemoCrystal:
    group, position = {
        "fcc": ("F m -3 m", _ORIGIN),
        "bcc": ("I m -3 m", _ORIGIN),
        "diamond": ("F d -3 m:2", (0.125, 0.125, 0.125)),
        "hcp": ("P 63/m m c", _HCP),
    }[prototype]
    cell = _cubic(a) if c is None else _hexagonal(a, c)
    return DemoCrystal(name, symbol, prototype, group, cell, ((symbol, *position),), W1)


#: The demo set. Coordinates are those of the named space-group setting.
DEMO_CRYSTALS: tuple[DemoCrystal, ...] = (
    _element("copper", "Cu", "fcc", 3.6149),
    _element("aluminium", "Al", "fcc", 4.0496),
    _element("alpha iron", "Fe", "bcc", 2.8665),
    _element("tungsten", "W", "bcc", 3.1650),
    _element("magnesium", "Mg", "hcp", 3.2094, 5.2105),
    _element("titanium", "Ti", "hcp", 2.9506, 4.6788),
    _element("diamond", "C", "diamond", 3.5668),
    _element("silicon", "Si", "diamond", 5.4307),
    _rock_salt("halite", "Na", "Cl", 5.6402),
    _rock_salt("periclase", "Mg", "O", 4.2117),
    _rock_salt("lithium fluoride", "Li", "F", 4.0270),
    _rock_salt("galena", "Pb", "S", 5.9362),
    _zinc_blende("sphalerite", "Zn", "S", 5.4093),
    _zinc_blende("gallium arsenide", "Ga", "As", 5.6533),
    _wurtzite(
        "ZnO",
        "zincite",
        "Zn",
        "O",
        3.2501,
        5.2071,
        0.3817,
        "Kisi and Elcombe, Acta Cryst. C 45, 1867 (1989)",
    ),
    _wurtzite(
        "GaN",
        "gallium nitride",
        "Ga",
        "N",
        3.190,
        5.189,
        0.377,
        "Schulz and Thiemann, Solid State Commun. 23, 815 (1977)",
    ),
    _fluorite("fluorite", "Ca", "F", 5.4626),
    _fluorite("ceria", "Ce", "O", 5.4110),
    DemoCrystal(
        "rutile",
        "TiO2",
        "rutile",
        "P 42/m n m",
        _tetragonal(4.5937, 2.9587),
        (("Ti", *_ORIGIN), ("O", 0.3048, 0.3048, 0.0)),
        "Abrahams and Bernstein, J. Chem. Phys. 55, 3206 (1971)",
    ),
    DemoCrystal(
        "anatase",
        "TiO2",
        "anatase",
        "I 41/a m d:2",
        _tetragonal(3.7842, 9.5146),
        (("Ti", 0.0, 0.75, 0.125), ("O", 0.0, 0.75, 0.3331)),
        "Howard, Sabine and Dickson, Acta Cryst. B 47, 462 (1991)",
    ),
    _perovskite("strontium titanate", "Sr", "Ti", "O", 3.9050),
    _perovskite("potassium magnesium fluoride", "K", "Mg", "F", 3.9889),
    DemoCrystal(
        "barium titanate",
        "BaTiO3",
        "tetragonal perovskite",
        "P 4 m m",
        _tetragonal(3.9945, 4.0335),
        (
            ("Ba", *_ORIGIN),
            ("Ti", 0.5, 0.5, 0.5215),
            ("O", 0.5, 0.5, -0.0233),
            ("O", 0.5, 0.0, 0.4895),
        ),
        "Kwei, Lawson, Billinge and Cheong, J. Phys. Chem. 97, 2368 (1993)",
    ),
    DemoCrystal(
        "spinel",
        "MgAl2O4",
        "spinel",
        "F d -3 m:2",
        _cubic(8.0806),
        (("Mg", 0.125, 0.125, 0.125), ("Al", *_CENTRE), ("O", 0.2624, 0.2624, 0.2624)),
        "Yamanaka and Takeuchi, Z. Kristallogr. 165, 65 (1983)",
    ),
)


def create_demo_dataset() -> list[dict[str, Any]]:
    """Real crystals to try things on, as the dicts that `CrystalStructureDataset` takes.

    Returns:
        One dict a crystal: ``positions (atoms, 3)`` fractional in [0, 1), ``atom_types (atoms,)``
        atomic numbers, ``lattice (3, 3)`` rows in Å, and the texts ``name``, ``formula``,
        ``prototype`` and ``source``.
    """
    return [crystal.build() for crystal in DEMO_CRYSTALS]
