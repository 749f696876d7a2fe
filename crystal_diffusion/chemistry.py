"""Element tables, index 0 unused: ``ATOMIC_MASSES[14]`` is silicon. Plain Python and numpy.

``elements.csv`` is made by `recipes/element_tables.py`. Sources of its columns:

* masses, electronegativity (Pauling scale), Mendeleev numbers (Pettifor 1984), metals: as
  tabulated in pymatgen (Ong et al. 2013);
* covalent radii: Cordero et al. 2008;
* known oxidation states: more than five reports in the ICSD of 2024, as tabulated in SMACT
  (Davies et al. 2019); common ones: 5 % of the reports, and the common states of pymatgen;
* bond valence parameters: O'Keeffe and Brese 1991;
* volumes: least squares over nine tenths of Materials Project v2025.02.12 (CC-BY 4.0), apart in
  crystals of metals only and in the others, with the 0.1 and 99.9 % quantiles; numbers of
  neighbours in the first shell: the same quantiles.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystal_diffusion.errors import InputError

Floats = NDArray[np.float64]

#: Largest atomic number in the tables (lawrencium).
LAST_ELEMENT = 103


def _read() -> list[dict[str, str]]:
    text = resources.files("crystal_diffusion").joinpath("elements.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


_ROWS = _read()


def _column(name: str) -> Floats:
    column = np.array([np.nan] + [float(row[name] or "nan") for row in _ROWS])
    column.setflags(write=False)
    return column


def _states(name: str) -> tuple[tuple[int, ...], ...]:
    return ((), *(tuple(int(word) for word in row[name].split()) for row in _ROWS))


#: Symbols by atomic number; the first is empty.
SYMBOLS: tuple[str, ...] = ("", *(row["symbol"] for row in _ROWS))
#: Atomic number by symbol.
NUMBERS: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
#: ``(104,)`` unified atomic mass units.
ATOMIC_MASSES: Floats = _column("mass")
#: ``(104,)`` Å, Cordero et al. 2008; NaN beyond curium.
COVALENT_RADII: Floats = _column("covalent_radius")
#: ``(104,)`` Pauling scale; NaN where no value is known (helium, neon, argon).
ELECTRONEGATIVITY: Floats = _column("electronegativity")
#: ``(104,)`` place on the chemical scale of Pettifor 1984.
MENDELEEV_NUMBERS: NDArray[np.int64] = np.nan_to_num(_column("mendeleev_number")).astype(np.int64)
#: ``(104,)`` true for metals; boron, silicon and the other metalloids are not.
IS_METAL: NDArray[np.bool_] = np.nan_to_num(_column("metal")).astype(bool)
#: Oxidation states met most often, by atomic number.
COMMON_OXIDATION_STATES: tuple[tuple[int, ...], ...] = _states("common_states")
#: All oxidation states that are reported more than a few times, by atomic number.
OXIDATION_STATES: tuple[tuple[int, ...], ...] = _states("known_states")
#: ``(104,)`` bond valence size parameter r (Å) and electronegativity parameter c; NaN if unknown.
BOND_VALENCE_R: Floats = _column("bond_valence_r")
BOND_VALENCE_C: Floats = _column("bond_valence_c")
#: ``(104, 3)`` mean, low, high volume in Å3 an atom takes in crystals of metals only.
VOLUMES_METALLIC: Floats = np.stack(
    [_column(f"volume_metallic{s}") for s in ("", "_low", "_high")], -1
)
#: ``(104, 3)`` mean, low, high volume in Å3 an atom takes in all other crystals.
VOLUMES_COMPOUND: Floats = np.stack(
    [_column(f"volume_compound{s}") for s in ("", "_low", "_high")], -1
)
#: ``(104, 2)`` fewest and most neighbours in the first shell; 0 to 30 where hardly any is known.
COORDINATION_RANGE: Floats = np.stack(
    [
        np.nan_to_num(_column("neighbours_low"), nan=0.0),
        np.nan_to_num(_column("neighbours_high"), nan=30.0),
    ],
    -1,
)
#: 1 u/Å3 in g/cm3 (CODATA 2018).
DENSITY_UNIT = 1.66053906660

#: Radius taken where Cordero gives none, Å (that of curium).
_HEAVY_RADIUS = 1.69


def symbol(number: int) -> str:
    """The symbol of an atomic number.

    Raises:
        InputError: outside 1 to 103.
    """
    if not 1 <= int(number) <= LAST_ELEMENT:
        raise InputError(
            f"atomic number {number} is not in the tables; use 1 (H) to {LAST_ELEMENT} (Lr)."
        )
    return SYMBOLS[int(number)]


def atomic_number(name: str) -> int:
    """The atomic number of a symbol.

    Raises:
        InputError: for a symbol that is none.
    """
    try:
        return NUMBERS[name]
    except KeyError:
        raise InputError(
            f"'{name}' is no element symbol; write one like 'Na', with a capital first."
        ) from None


def as_numbers(elements: Iterable[int | str]) -> NDArray[np.int64]:
    """Atomic numbers from symbols, numbers or a mixture.

    Raises:
        InputError: for an element that is not in the tables.
    """
    numbers = [atomic_number(e) if isinstance(e, str) else int(e) for e in elements]
    for number in numbers:
        symbol(number)
    return np.array(numbers, np.int64)


def covalent_radii(numbers: NDArray[np.int64]) -> Floats:
    """Covalent radius of each atom in Å, with a stand-in beyond curium."""
    return np.nan_to_num(COVALENT_RADII[numbers], nan=_HEAVY_RADIUS)


def is_all_metal(numbers: NDArray[np.int64]) -> bool:
    """Whether every atom is of a metal."""
    return bool(IS_METAL[numbers].all())


def expected_volume(numbers: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean, low and high volume in Å3 *per atom* that crystals of these atoms have.

    Elements that no crystal of the fit contains count with 20 Å3 (10 to 60).
    """
    table = VOLUMES_METALLIC if is_all_metal(numbers) else VOLUMES_COMPOUND
    values = table[numbers]
    values = np.where(np.isnan(values), np.array([20.0, 10.0, 60.0]), values)
    mean, low, high = values.mean(0)
    return float(mean), float(low), float(high)


def formula(numbers: NDArray[np.int64]) -> str:
    """Formula in order of electronegativity, counts not reduced, e.g. ``Na4Cl4``."""
    kinds, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(np.nan_to_num(ELECTRONEGATIVITY[kinds], nan=9.0), kind="stable")
    return "".join(f"{SYMBOLS[kinds[k]]}{counts[k] if counts[k] > 1 else ''}" for k in order)


def contents(numbers: ArrayLike) -> dict[int, int]:
    """Atomic number to count, for ``(atoms,)`` atomic numbers."""
    kinds, counts = np.unique(np.asarray(numbers), return_counts=True)
    return {int(z): int(n) for z, n in zip(kinds, counts, strict=True)}
