"""How a crystal of the demo set is written down, and the structure types with short recipes."""

from __future__ import annotations

from dataclasses import dataclass

_WYCKOFF = "Wyckoff, Crystal Structures vol. {}, 2nd ed., Interscience 1963-1965"
W1, W2 = _WYCKOFF.format(1), _WYCKOFF.format(2)
#: Tables of measured prototype structures, where the values were checked or taken from.
AFLOW = "tabulated by Mehl et al., Comput. Mater. Sci. 136, S1 (2017)"

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


def cubic(a: float) -> tuple[float, float, float, float, float, float]:
    """Cell of a cubic crystal (Å)."""
    return (a, a, a, 90.0, 90.0, 90.0)


def tetragonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    """Cell of a tetragonal crystal (Å)."""
    return (a, a, c, 90.0, 90.0, 90.0)


def hexagonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    """Hexagonal cell (Å), of trigonal crystals too."""
    return (a, a, c, 90.0, 90.0, 120.0)


def orthorhombic(a: float, b: float, c: float) -> tuple[float, float, float, float, float, float]:
    """Cell of an orthorhombic crystal (Å)."""
    return (a, b, c, 90.0, 90.0, 90.0)


ORIGIN: tuple[float, float, float] = (0.0, 0.0, 0.0)
CENTRE: tuple[float, float, float] = (0.5, 0.5, 0.5)
QUARTER: tuple[float, float, float] = (0.25, 0.25, 0.25)
HCP: tuple[float, float, float] = (1 / 3, 2 / 3, 0.25)


def rock_salt(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    """The rock salt type."""
    sites = ((metal, *ORIGIN), (anion, *CENTRE))
    return DemoCrystal(name, f"{metal}{anion}", "rock salt", "F m -3 m", cubic(a), sites, W1)


def zinc_blende(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    """The zinc blende type."""
    sites = ((metal, *ORIGIN), (anion, *QUARTER))
    return DemoCrystal(name, f"{metal}{anion}", "zinc blende", "F -4 3 m", cubic(a), sites, W1)


def wurtzite(
    name: str, metal: str, anion: str, a_c_u: tuple[float, float, float], source: str
) -> DemoCrystal:
    """The wurtzite type; a and c in Å, u of the anion."""
    a, c, u = a_c_u
    sites = ((metal, 1 / 3, 2 / 3, 0.0), (anion, 1 / 3, 2 / 3, u))
    return DemoCrystal(
        name, f"{metal}{anion}", "wurtzite", "P 63 m c", hexagonal(a, c), sites, source
    )


def fluorite(name: str, metal: str, anion: str, a: float) -> DemoCrystal:
    """The fluorite type."""
    sites = ((metal, *ORIGIN), (anion, *QUARTER))
    return DemoCrystal(name, f"{metal}{anion}2", "fluorite", "F m -3 m", cubic(a), sites, W1)


def perovskite(name: str, a_site: str, b_site: str, anion: str, a: float) -> DemoCrystal:
    """The cubic perovskite type."""
    sites = ((a_site, *ORIGIN), (b_site, *CENTRE), (anion, 0.5, 0.5, 0.0))
    return DemoCrystal(
        name, f"{a_site}{b_site}{anion}3", "perovskite", "P m -3 m", cubic(a), sites, W2
    )


def element(
    name: str, symbol: str, prototype: str, a: float, c: float | None = None
) -> DemoCrystal:
    """An element in one of the four simplest structures."""
    group, position = {
        "fcc": ("F m -3 m", ORIGIN),
        "bcc": ("I m -3 m", ORIGIN),
        "diamond": ("F d -3 m:2", (0.125, 0.125, 0.125)),
        "hcp": ("P 63/m m c", HCP),
    }[prototype]
    cell = cubic(a) if c is None else hexagonal(a, c)
    return DemoCrystal(name, symbol, prototype, group, cell, ((symbol, *position),), W1)
