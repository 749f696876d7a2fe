"""Real, well-known crystals with measured cells: the table behind the demo data set.

Cells and positional parameters are the measured ones, at room temperature, from the source named
with each crystal. First the structure types that need one line a crystal, then the crystals.
"""

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


#: The demo set. Coordinates are those of the named space-group setting.
DEMO_CRYSTALS: tuple[DemoCrystal, ...] = (
    element("copper", "Cu", "fcc", 3.6150),
    element("aluminium", "Al", "fcc", 4.0496),
    element("alpha iron", "Fe", "bcc", 2.8665),
    element("tungsten", "W", "bcc", 3.1647),
    element("magnesium", "Mg", "hcp", 3.2095, 5.2107),
    element("titanium", "Ti", "hcp", 2.950, 4.686),
    element("diamond", "C", "diamond", 3.5668),
    element("silicon", "Si", "diamond", 5.4307),
    DemoCrystal(
        "graphite",
        "C",
        "graphite",
        "P 63/m m c",
        hexagonal(2.464, 6.711),
        (("C", 0.0, 0.0, 0.25), ("C", *HCP)),
        "Trucano and Chen, Nature 258, 136 (1975)",
    ),
    DemoCrystal(
        "black phosphorus",
        "P",
        "black phosphorus",
        "C m c a",
        orthorhombic(3.3136, 10.478, 4.3763),
        (("P", 0.0, 0.10168, 0.08056),),
        "Brown and Rundqvist, Acta Cryst. 19, 684 (1965)",
    ),
    DemoCrystal(
        "grey arsenic",
        "As",
        "alpha arsenic",
        "R -3 m:H",
        hexagonal(3.7598, 10.5475),
        (("As", 0.0, 0.0, 0.22707),),
        "Schiferl and Barrett, J. Appl. Cryst. 2, 30 (1969)",
    ),
    rock_salt("halite", "Na", "Cl", 5.6406),
    rock_salt("periclase", "Mg", "O", 4.2112),
    rock_salt("galena", "Pb", "S", 5.9362),
    DemoCrystal(
        "caesium chloride",
        "CsCl",
        "caesium chloride",
        "P m -3 m",
        cubic(4.123),
        (("Cs", *ORIGIN), ("Cl", *CENTRE)),
        W1,
    ),
    zinc_blende("sphalerite", "Zn", "S", 5.4093),
    zinc_blende("gallium arsenide", "Ga", "As", 5.6537),
    wurtzite(
        "zincite",
        "Zn",
        "O",
        (3.2501, 5.2071, 0.3817),
        "Kisi and Elcombe, Acta Cryst. C 45, 1867 (1989)",
    ),
    wurtzite(
        "gallium nitride",
        "Ga",
        "N",
        (3.190, 5.189, 0.377),
        "Schulz and Thiemann, Solid State Commun. 23, 815 (1977)",
    ),
    DemoCrystal(
        "nickeline",
        "NiAs",
        "nickel arsenide",
        "P 63/m m c",
        hexagonal(3.602, 5.009),
        (("Ni", *ORIGIN), ("As", *HCP)),
        W1,
    ),
    DemoCrystal(
        "tenorite",
        "CuO",
        "tenorite",
        "C 1 2/c 1",
        (4.6837, 3.4226, 5.1288, 90.0, 99.54, 90.0),
        (("Cu", 0.25, 0.25, 0.0), ("O", 0.0, 0.4184, 0.25)),
        "Asbrink and Norrby, Acta Cryst. B 26, 8 (1970)",
    ),
    DemoCrystal(
        "herzenbergite",
        "SnS",
        "germanium sulfide",
        "P m c n",
        orthorhombic(3.982, 4.329, 11.18),
        (("Sn", 0.25, 0.3806, 0.6194), ("S", 0.25, 0.0201, 0.3507)),
        AFLOW,
    ),
    fluorite("fluorite", "Ca", "F", 5.4630),
    fluorite("ceria", "Ce", "O", 5.4110),
    DemoCrystal(
        "magnesium diboride",
        "MgB2",
        "aluminium diboride",
        "P 6/m m m",
        hexagonal(3.086, 3.524),
        (("Mg", *ORIGIN), ("B", 1 / 3, 2 / 3, 0.5)),
        "Nagamatsu et al., Nature 410, 63 (2001)",
    ),
    DemoCrystal(
        "cadmium iodide",
        "CdI2",
        "cadmium iodide",
        "P -3 m 1",
        hexagonal(4.24, 6.84),
        (("Cd", *ORIGIN), ("I", 1 / 3, 2 / 3, 0.25)),
        W1,
    ),
    DemoCrystal(
        "molybdenite",
        "MoS2",
        "molybdenite",
        "P 63/m m c",
        hexagonal(3.1602, 12.294),
        (("Mo", *HCP), ("S", 1 / 3, 2 / 3, 0.621)),
        "Bronsema, de Boer and Jellinek, Z. anorg. allg. Chem. 540, 15 (1986)",
    ),
    DemoCrystal(
        "rutile",
        "TiO2",
        "rutile",
        "P 42/m n m",
        tetragonal(4.5937, 2.9587),
        (("Ti", *ORIGIN), ("O", 0.3048, 0.3048, 0.0)),
        "Abrahams and Bernstein, J. Chem. Phys. 55, 3206 (1971)",
    ),
    DemoCrystal(
        "anatase",
        "TiO2",
        "anatase",
        "I 41/a m d:2",
        tetragonal(3.7842, 9.5146),
        (("Ti", 0.0, 0.75, 0.125), ("O", 0.0, 0.75, 0.3331)),
        "Horn, Schwerdtfeger and Meagher, Z. Kristallogr. 136, 273 (1972)",
    ),
    DemoCrystal(
        "pyrite",
        "FeS2",
        "pyrite",
        "P a -3",
        cubic(5.4179),
        (("Fe", *ORIGIN), ("S", 0.38484, 0.38484, 0.38484)),
        "Brostigen and Kjekshus, Acta Chem. Scand. 23, 2186 (1969)",
    ),
    DemoCrystal(
        "marcasite",
        "FeS2",
        "marcasite",
        "P n n m",
        orthorhombic(4.4446, 5.4246, 3.3864),
        (("Fe", *ORIGIN), ("S", 0.2004, 0.3787, 0.0)),
        AFLOW,
    ),
    DemoCrystal(
        "baddeleyite",
        "ZrO2",
        "baddeleyite",
        "P 1 21/c 1",
        (5.1505, 5.2116, 5.3173, 90.0, 99.23, 90.0),
        (
            ("Zr", 0.2754, 0.0395, 0.2083),
            ("O", 0.0700, 0.3317, 0.3447),
            ("O", 0.4496, 0.7569, 0.4792),
        ),
        "Howard, Hill and Reichert, Acta Cryst. B 44, 116 (1988)",
    ),
    DemoCrystal(
        "diphosphorus tetraiodide",
        "PI2",
        "diphosphorus tetraiodide",
        "P -1",
        (4.56, 7.06, 7.40, 80.2, 73.0333, 81.8),
        (
            ("P", 0.397, 0.361, 0.537),
            ("I", 0.557, 0.270, 0.835),
            ("I", 0.820, 0.197, 0.305),
        ),
        f"Leung and Waser, J. Phys. Chem. 60, 539 (1956), {AFLOW}",
    ),
    DemoCrystal(
        "cuprite",
        "Cu2O",
        "cuprite",
        "P n -3 m:2",
        cubic(4.2696),
        (("Cu", *ORIGIN), ("O", *QUARTER)),
        W1,
    ),
    DemoCrystal(
        "corundum",
        "Al2O3",
        "corundum",
        "R -3 c:H",
        hexagonal(4.7605, 12.9956),
        (("Al", 0.0, 0.0, 0.35216), ("O", 0.30668, 0.0, 0.25)),
        "Lutterotti and Scardi, J. Appl. Cryst. 23, 246 (1990)",
    ),
    perovskite("strontium titanate", "Sr", "Ti", "O", 3.9051),
    perovskite("potassium tantalate", "K", "Ta", "O", 3.9885),
    DemoCrystal(
        "macedonite",
        "PbTiO3",
        "tetragonal perovskite",
        "P 4 m m",
        tetragonal(3.902, 4.156),
        (
            ("Pb", *ORIGIN),
            ("Ti", 0.5, 0.5, 0.5377),
            ("O", 0.5, 0.5, 0.1118),
            ("O", 0.5, 0.0, 0.6174),
        ),
        "Glazer and Mabud, Acta Cryst. B 34, 1065 (1978)",
    ),
    DemoCrystal(
        "perovskite",
        "CaTiO3",
        "GdFeO3",
        "P b n m",
        orthorhombic(5.3796, 5.4423, 7.6401),
        (
            ("Ca", 0.99324, 0.03602, 0.25),
            ("Ti", 0.0, 0.5, 0.0),
            ("O", 0.07141, 0.48380, 0.25),
            ("O", 0.71080, 0.28883, 0.03708),
        ),
        "Sasaki, Prewitt, Bass and Schulze, Acta Cryst. C 43, 1668 (1987)",
    ),
    DemoCrystal(
        "lithium niobate",
        "LiNbO3",
        "lithium niobate",
        "R 3 c:H",
        hexagonal(5.14829, 13.8631),
        (("Nb", *ORIGIN), ("Li", 0.0, 0.0, 0.2787), ("O", 0.0492, 0.3446, 0.0647)),
        "Abrahams, Reddy and Bernstein, J. Phys. Chem. Solids 27, 997 (1966)",
    ),
    DemoCrystal(
        "ilmenite",
        "FeTiO3",
        "ilmenite",
        "R -3:H",
        hexagonal(5.0884, 14.0855),
        (("Ti", 0.0, 0.0, 0.1464), ("Fe", 1 / 3, 2 / 3, 0.0220), ("O", 0.9767, 0.2941, 0.2451)),
        AFLOW,
    ),
    DemoCrystal(
        "lithium cobaltate",
        "LiCoO2",
        "caswellsilverite",
        "R -3 m:H",
        hexagonal(2.8161, 14.0536),
        (("Co", *ORIGIN), ("Li", 0.0, 0.0, 0.5), ("O", 0.0, 0.0, 0.2605)),
        "Akimoto, Gotoh and Oosawa, J. Solid State Chem. 141, 298 (1998)",
    ),
    DemoCrystal(
        "chalcopyrite",
        "CuFeS2",
        "chalcopyrite",
        "I -4 2 d",
        tetragonal(5.289, 10.423),
        (("Cu", *ORIGIN), ("Fe", 0.0, 0.0, 0.5), ("S", 0.2574, 0.25, 0.125)),
        "Hall and Stewart, Acta Cryst. B 29, 579 (1973)",
    ),
    DemoCrystal(
        "calcite",
        "CaCO3",
        "calcite",
        "R -3 c:H",
        hexagonal(4.9896, 17.0610),
        (("Ca", *ORIGIN), ("C", 0.0, 0.0, 0.25), ("O", 0.25682, 0.0, 0.25)),
        "Effenberger, Mereiter and Zemann, Z. Kristallogr. 156, 233 (1981)",
    ),
    DemoCrystal(
        "aragonite",
        "CaCO3",
        "aragonite",
        "P m c n",
        orthorhombic(4.9616, 7.9705, 5.7394),
        (
            ("Ca", 0.25, 0.4151, 0.2403),
            ("C", 0.25, 0.7627, 0.0850),
            ("O", 0.25, 0.9231, 0.0952),
            ("O", 0.4729, 0.6801, 0.0870),
        ),
        "Dal Negro and Ungaretti, Am. Mineral. 56, 768 (1971)",
    ),
    DemoCrystal(
        "half-Heusler MgAgAs",
        "MgAgAs",
        "half-Heusler",
        "F -4 3 m",
        cubic(6.24),
        (("Mg", *ORIGIN), ("Ag", *CENTRE), ("As", *QUARTER)),
        AFLOW,
    ),
    DemoCrystal(
        "Heusler alloy",
        "MnAlCu2",
        "Heusler",
        "F m -3 m",
        cubic(5.95),
        (("Al", *ORIGIN), ("Mn", *CENTRE), ("Cu", *QUARTER)),
        AFLOW,
    ),
    DemoCrystal(
        "spinel",
        "MgAl2O4",
        "spinel",
        "F d -3 m:2",
        cubic(8.0832),
        (("Mg", 0.125, 0.125, 0.125), ("Al", *CENTRE), ("O", 0.2626, 0.2626, 0.2626)),
        AFLOW,
    ),
)
