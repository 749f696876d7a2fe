"""One crystal as arrays, with what several checks need worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion import chemistry
from crystal_diffusion.cell_geometry import cell_angles, edge_lengths
from crystal_diffusion.chemistry import Floats
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics import bonding, contacts
from crystal_diffusion.physics.distances import (
    FLAT,
    NeighbourPairs,
    minimum_distance,
    neighbour_pairs,
    reduce_cell,
    relative_volume,
    triple_product,
)
from crystal_diffusion.physics.neutrality import ChargeAssignment, neutral_assignment

Ints = NDArray[np.int64]

#: Neighbours are looked for up to this multiple of the typical contact.
REACH = 1.45
#: Neighbours nearer than this multiple of the typical contact crowd an atom.
CROWDED = 0.85
#: Less volume per atom than this (Å3) or less space between lattice planes (Å) is no crystal:
#: nothing that needs neighbours is worked out, because their number explodes.
SMALLEST_VOLUME, SMALLEST_SPACING = 1.5, 0.6


@dataclass(frozen=True, eq=False)
class CrystalGeometry:
    """Arrays of one ordered crystal.

    Attributes:
        frac_coords: ``(atoms, 3)`` as given, wrapped or not.
        lattice: ``(3, 3)`` rows in Å.
        atomic_numbers: ``(atoms,)`` 1 to 103.
        charges: ``(atoms,)`` oxidation states if the crystal came with them.
    """

    frac_coords: Floats
    lattice: Floats
    atomic_numbers: Ints
    charges: Floats | None = None

    @property
    def atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.atomic_numbers)

    @cached_property
    def volume(self) -> float:
        """Å3, positive."""
        return abs(triple_product(self.lattice))

    @cached_property
    def edges(self) -> Floats:
        """``(3,)`` a, b, c in Å."""
        return edge_lengths(self.lattice)

    @cached_property
    def angles(self) -> Floats:
        """``(3,)`` alpha, beta, gamma in degrees."""
        return cell_angles(self.lattice)

    @cached_property
    def flat(self) -> bool:
        """Whether the cell has (next to) no volume."""
        return relative_volume(self.lattice) < FLAT

    @cached_property
    def squeezed(self) -> bool:
        """Whether the cell is so small or flat that neighbours cannot be listed."""
        if self.flat or self.volume < SMALLEST_VOLUME * self.atoms:
            return True
        return bool(reduce_cell(self.lattice).spacings.min() < SMALLEST_SPACING)

    @cached_property
    def typical(self) -> Floats:
        """``(atoms, atoms)`` typical distance of each pair in Å."""
        return contacts.typical_of(self.atomic_numbers)

    @cached_property
    def pairs(self) -> NeighbourPairs:
        """All pairs up to ``REACH`` times the typical contact of any two of the elements.

        Raises:
            InputError: for a squeezed cell.
        """
        if self.squeezed:
            raise InputError(
                "the cell is too small for its atoms to list neighbours; "
                "check volume and edges first."
            )
        reach = REACH * float(self.typical.min(1).max())
        return neighbour_pairs(self.frac_coords, self.lattice, reach)

    @cached_property
    def ratios(self) -> Floats:
        """``(pairs,)`` distance over the typical distance of that pair of elements."""
        return np.asarray(
            self.pairs.distance / self.typical[self.pairs.first, self.pairs.second], np.float64
        )

    @cached_property
    def crowding(self) -> Floats:
        """``(atoms,)`` sum over neighbours of (0.85 - ratio)², where the ratio is below 0.85."""
        overlap = np.maximum(CROWDED - self.ratios, 0.0) ** 2
        sums = np.bincount(self.pairs.first, weights=overlap, minlength=self.atoms)
        return np.asarray(sums, np.float64)

    @cached_property
    def contact(self) -> Floats:
        """``(atoms,)`` distance to the nearest neighbour over what is typical, at most REACH."""
        out = np.full(self.atoms, REACH)
        nearest = np.full(self.atoms, np.inf)
        np.minimum.at(nearest, self.pairs.first, self.pairs.distance)
        first = self.pairs.first
        # Where two neighbours are equally near, the more typical of them counts.
        mine = self.pairs.distance <= nearest[first] * 1.001
        best = np.zeros(self.atoms)
        np.maximum.at(best, first[mine], np.minimum(self.ratios[mine], REACH))
        return np.where(np.isfinite(nearest), np.minimum(best, out), out)

    @cached_property
    def bonds(self) -> NeighbourPairs:
        """The pairs that count as bonds."""
        return bonding.bonds_of(self.pairs, self.ratios, self.atomic_numbers)

    @cached_property
    def coordination(self) -> Ints:
        """``(atoms,)`` number of bonds of each atom."""
        return np.bincount(self.bonds.first, minlength=self.atoms).astype(np.int64)

    @cached_property
    def assignment(self) -> ChargeAssignment:
        """Oxidation states that were assigned to the elements."""
        return neutral_assignment(self.atomic_numbers.tolist())

    @cached_property
    def smallest_distance(self) -> float:
        """Smallest distance between any two atoms, own images included, Å; 0 in a flat cell."""
        if self.flat:
            return 0.0
        if not self.squeezed and len(self.pairs):
            return float(self.pairs.distance.min())
        return minimum_distance(self.frac_coords, self.lattice)

    @cached_property
    def density(self) -> float:
        """g/cm3; infinite in a flat cell."""
        mass = float(chemistry.ATOMIC_MASSES[self.atomic_numbers].sum())
        return mass * chemistry.DENSITY_UNIT / self.volume if self.volume > 0 else float("inf")

    @classmethod
    def from_arrays(
        cls, frac_coords: Any, lattice: Any, atomic_numbers: Any, charges: Any = None
    ) -> CrystalGeometry:
        """A view of plain arrays.

        Raises:
            InputError: for shapes that do not fit, numbers that are not finite, unknown elements.
        """
        frac = np.asarray(frac_coords, np.float64)
        cell = np.asarray(lattice, np.float64)
        numbers = np.asarray(atomic_numbers, np.int64)
        if numbers.ndim != 1 or len(numbers) == 0:
            raise InputError("the crystal has no atoms; give at least one.")
        if frac.shape != (len(numbers), 3) or cell.shape != (3, 3):
            raise InputError(
                f"frac_coords {frac.shape} and lattice {cell.shape} do not fit {len(numbers)} "
                "atoms; give (atoms, 3) and (3, 3)."
            )
        if not (np.all(np.isfinite(frac)) and np.all(np.isfinite(cell))):
            raise InputError("coordinates or lattice are not finite; correct the crystal.")
        if numbers.min() < 1 or numbers.max() > chemistry.LAST_ELEMENT:
            raise InputError(
                f"atomic number {numbers.min() if numbers.min() < 1 else numbers.max()} is not in "
                f"the tables; use 1 to {chemistry.LAST_ELEMENT}."
            )
        given = None if charges is None else np.asarray(charges, np.float64)
        return cls(frac, cell, numbers, given)

    @classmethod
    def of(cls, structure: Any) -> CrystalGeometry:
        """A view of a pymatgen ``Structure`` or ASE ``Atoms``.

        Raises:
            InputError: for anything else, and for partial occupancy.
        """
        if isinstance(structure, CrystalGeometry):
            return structure
        if hasattr(structure, "get_scaled_positions"):
            cell = np.asarray(structure.cell[:], np.float64)
            # A cell without volume has no fractional coordinates; that it is flat is told later.
            flat = relative_volume(cell) < FLAT
            frac = (
                np.zeros((len(structure), 3))
                if flat
                else structure.get_scaled_positions(wrap=False)
            )
            return cls.from_arrays(frac, cell, structure.numbers)
        if not hasattr(structure, "frac_coords") or not hasattr(structure, "lattice"):
            raise InputError(
                f"expected a pymatgen Structure or ASE Atoms, got {type(structure).__name__}; "
                "read files with crystal_diffusion.data.readers.iter_crystals."
            )
        try:
            species = structure.species
        except AttributeError:
            raise InputError(
                f"{structure.formula} has partial occupancy; order it first, "
                "for example with `crystal-diffusion check --disorder order`."
            ) from None
        states = [getattr(specie, "oxi_state", None) for specie in species]
        charges = None if any(q is None for q in states) else np.array(states, np.float64)
        return cls.from_arrays(
            structure.frac_coords,
            structure.lattice.matrix,
            [specie.Z for specie in species],
            charges,
        )
