"""How an element is drawn: colour, radius, name; and how strongly it draws electrons.

Atomic number 0 stands for an atom whose element was not given: it is drawn grey.

Sources: colours of Jmol and radii of Cordero et al. (Dalton Trans. 2008, 2832), both as tabulated
by ASE; electronegativities of Pauling's scale (CRC Handbook of Chemistry and Physics, 95th
edition, section 9), 0 where none is known.
"""

from __future__ import annotations

import functools

import numpy as np

#: Pauling electronegativity by atomic number, from hydrogen on.
_PAULING = (
    0.0, 2.2, 0.0, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, 0.0, 0.93, 1.31, 1.61, 1.9, 2.19, 2.58,
    3.16, 0.0, 0.82, 1.0, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88, 1.91, 1.9, 1.65, 1.81, 2.01,
    2.18, 2.55, 2.96, 3.0, 0.82, 0.95, 1.22, 1.33, 1.6, 2.16, 1.9, 2.2, 2.28, 2.2, 1.93, 1.69,
    1.78, 1.96, 2.05, 2.1, 2.66, 2.6, 0.79, 0.89, 1.1, 1.12, 1.13, 1.14, 1.13, 1.17, 1.2, 1.2,
    1.1, 1.22, 1.23, 1.24, 1.25, 1.1, 1.27, 1.3, 1.5, 2.36, 1.9, 2.2, 2.2, 2.28, 2.54, 2.0,
    1.62, 2.33, 2.02, 2.0, 2.2, 2.2, 0.7, 0.9, 1.1, 1.3, 1.5, 1.38, 1.36, 1.28, 1.3, 1.3, 1.3,
    1.3, 1.3, 1.3, 1.3, 1.3, 1.3,
)  # fmt: skip

#: Nonmetals: two of them are bonded by distance alone (C-C in a carbonate of two carbons, O-O).
_NONMETALS = frozenset((1, 2, 6, 7, 8, 9, 10, 15, 16, 17, 18, 34, 35, 36, 52, 53, 54, 85, 86))

#: Drawn radius of a sphere over the covalent radius: small enough to see the bonds.
SPHERE_SCALE = 0.4
_UNKNOWN_RADIUS = 1.2
_UNKNOWN_COLOUR = (0.62, 0.62, 0.66)


def symbol(number: int) -> str:
    """Chemical symbol, or ``"?"`` for an atom whose element is not known."""
    from ase.data import chemical_symbols

    return str(chemical_symbols[number]) if 0 < number < len(chemical_symbols) else "?"


def name(number: int) -> str:
    """English name of the element."""
    from ase.data import atomic_names

    return str(atomic_names[number]) if 0 < number < len(atomic_names) else "not given"


@functools.cache
def colour(number: int) -> tuple[float, float, float]:
    """Red, green, blue in [0, 1]."""
    from ase.data.colors import jmol_colors

    if not 0 < number < len(jmol_colors):
        return _UNKNOWN_COLOUR
    red, green, blue = (float(c) for c in jmol_colors[number])
    return red, green, blue


def hex_colour(number: int) -> str:
    """The colour as ``#rrggbb``."""
    return "#" + "".join(f"{round(255 * c):02x}" for c in colour(number))


@functools.cache
def covalent_radius(number: int) -> float:
    """Covalent radius in Å."""
    from ase.data import covalent_radii

    if not 0 < number < len(covalent_radii):
        return _UNKNOWN_RADIUS
    return float(covalent_radii[number])


def sphere_radius(number: int) -> float:
    """Radius of the drawn sphere in Å."""
    return SPHERE_SCALE * covalent_radius(number)


def electronegativity(number: int) -> float:
    """Pauling electronegativity; 0 where none is known."""
    return _PAULING[number] if 0 <= number < len(_PAULING) else 0.0


def is_nonmetal(numbers: np.ndarray) -> np.ndarray:
    """Which of the atomic numbers are nonmetals, same shape, bool."""
    return np.isin(numbers, list(_NONMETALS))
