"""The built-in pair potential: nothing to install, exact derivatives, the same answer every time.

It puts atoms at sensible distances in a cell of sensible size. Its energies rank nothing across
compositions and say nothing about stability; that is what the learned potentials are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray
from pymatgen.core import Element
from pymatgen.optimization.neighbors import find_points_in_spheres

PAIR_VERSION = "1"

#: Volume per atom (Å³) of H to Pu in crystals: robust least squares of the cell volumes of 59,801
#: crystals of the Materials Project v2025.02.12 (at most 20 sites) on their atom counts; median
#: deviation of a cell 7.4 %. Po, At, Rn, Fr and Ra do not occur there: neighbours' values.
_VOLUMES = (
    "6.2 16.6 10.4 7.8 6.4 7.1 7.8 8.1 12.5 18.5 21.3 22.4 15.9 15.0 18.0 21.9 30.5 38.6 36.0 25.6 "
    "20.2 14.6 14.2 11.8 12.9 11.5 10.1 9.6 11.9 16.2 16.9 18.1 20.5 28.7 37.8 49.0 42.0 27.8 27.4 "
    "21.0 17.3 17.1 14.0 12.8 12.9 14.5 19.4 23.0 25.6 25.9 27.7 37.0 50.2 65.4 48.5 35.2 30.7 "
    "29.3 32.1 30.8 31.9 29.3 28.5 27.3 27.3 26.7 26.4 25.7 25.0 25.3 24.2 19.4 16.7 19.1 14.5 "
    "13.7 13.9 15.5 18.6 25.3 30.0 31.2 31.6 33.0 38.0 65.0 52.0 40.0 43.2 31.4 24.7 22.7 22.9 24.5"
)
ATOMIC_VOLUMES: NDArray[np.float64] = np.array([0.0, *map(float, _VOLUMES.split())])
PAIR_ELEMENTS: frozenset[str] = frozenset(chemical_symbols[1 : len(ATOMIC_VOLUMES)])

_STEEPNESS = 1.6  # Å⁻¹, exponent of the Morse well
_WELL, _POLAR_WELL = 0.10, 0.45  # eV: any pair, and what a polar pair gains
_LIKE_SHIFT = 1.0  # Å: atoms of like charge keep this much further apart
_VOLUME_STIFFNESS = 1.5  # eV per atom and squared log of the volume ratio
_REACH = 2.0  # the well ends at this multiple of its distance
_SWITCH = 0.75  # and is switched off from this fraction of its reach


@lru_cache(maxsize=256)
def _electronegativity(number: int) -> float:
    """Pauling electronegativity; 2.0 for elements without one (noble gases)."""
    value = Element.from_Z(number).X
    return float(value) if np.isfinite(value) and value > 0 else 2.0


def _wells(
    numbers: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance (Å) and depth (eV) of the well of every pair of atoms, each (atoms, atoms)."""
    radii = covalent_radii[numbers]
    chi = np.array([_electronegativity(int(z)) for z in numbers])
    polarity = 1.0 - np.exp(-((chi[:, None] - chi[None, :]) ** 2) / 4.0)
    charge = chi - chi.mean()
    like = (charge[:, None] * charge[None, :] > 0) & (
        np.minimum(np.abs(charge)[:, None], np.abs(charge)[None, :]) > 0.3
    )
    distance = radii[:, None] + radii[None, :] + np.where(like, _LIKE_SHIFT, 0.0)
    return distance, _WELL + _POLAR_WELL * polarity


def _switch(
    r: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smooth step from 1 to 0 with two continuous derivatives, and its derivative (1/Å)."""
    start = _SWITCH * reach
    x = np.clip((r - start) / (reach - start), 0.0, 1.0)
    value = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    slope = -30.0 * x**2 * (1.0 - x) ** 2 / (reach - start)
    return value, slope


class PairPotential(Calculator):
    """Morse wells at sums of covalent radii plus a volume term, as an ASE calculator.

    ``E = Σ_pairs D (q² − 2q) s(r) + k Σ_atoms ln²(V/V0)`` with ``q = exp(−a (r − d))`` (Morse,
    Phys. Rev. 34, 57 (1929)). ``d``: covalent radii (Cordero et al., 2008), atoms of like charge
    pushed apart; ``D`` grows with the difference of electronegativity; ``V0``: sum of the tabled
    atomic volumes; ``s`` switches the pair off smoothly at twice ``d``. Forces and stress are the
    exact derivatives. Energies in eV, forces in eV/Å, stress in eV/Å³ (ASE's sign and order).
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "forces",
        "stress",
    ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy, forces (atoms, 3) and stress (6,) of a fully periodic cell.

        Raises:
            ValueError: an element beyond Pu, or a cell that is not periodic in three directions.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        cell: Any = self.atoms
        numbers = np.asarray(cell.numbers, dtype=np.int64)
        if numbers.max() >= len(ATOMIC_VOLUMES) or numbers.min() < 1:
            raise ValueError("the pair potential knows the elements H to Pu only")
        if not cell.pbc.all():
            raise ValueError("the pair potential needs a cell periodic in three directions")
        self.results = _evaluate(cell.get_positions(wrap=True), np.array(cell.cell), numbers)


def _evaluate(
    positions: NDArray[np.float64], lattice: NDArray[np.float64], numbers: NDArray[np.int64]
) -> dict[str, Any]:
    distance, depth = _wells(numbers)
    first, second, images, r = find_points_in_spheres(
        np.ascontiguousarray(positions),
        np.ascontiguousarray(positions),
        r=float(_REACH * distance.max()),
        pbc=np.ones(3, dtype=np.int64),
        lattice=np.ascontiguousarray(lattice),
        tol=1e-8,
    )
    keep = (first != second) | (r > 1e-8)
    keep &= r < _REACH * distance[first, second]
    first, second, images, r = first[keep], second[keep], images[keep], r[keep]
    d, well = distance[first, second], depth[first, second]
    q = np.exp(-_STEEPNESS * (r - d))
    switch, switch_slope = _switch(r, _REACH * d)
    morse = well * (q**2 - 2.0 * q)
    slope = well * 2.0 * _STEEPNESS * (q - q**2) * switch + morse * switch_slope  # dE/dr

    vectors = positions[second] + images @ lattice - positions[first]
    pull = (slope / np.maximum(r, 1e-8))[:, None] * vectors  # eV/Å, towards the neighbour
    forces = np.zeros_like(positions)
    np.add.at(forces, first, pull)

    volume = abs(float(np.linalg.det(lattice)))
    log_ratio = float(np.log(volume / ATOMIC_VOLUMES[numbers].sum()))
    stiffness = _VOLUME_STIFFNESS * len(numbers)
    energy = 0.5 * float(morse @ switch) + stiffness * log_ratio**2
    virial = 0.5 * pull.T @ vectors + 2.0 * stiffness * log_ratio * np.eye(3)
    stress = virial / volume
    return {
        "energy": energy,
        "free_energy": energy,
        "forces": forces,
        "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
    }
