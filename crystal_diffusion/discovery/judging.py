"""What comes of a relaxed candidate: its place on the hull, and what a second potential says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.potentials import Potential
from crystal_diffusion.energy.reference_energies import ReferenceEnergies, ReferenceEntry
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.known.phases import near_hull

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Known phases this near to the hull (eV/atom) are evaluated with the second potential.
_WINDOW_EV = 0.03
#: Where known phases without coordinates lower the hull by more (eV/atom), the second potential
#: cannot be asked.
_BLIND_EV = 0.02

#: Energies (eV/atom) of structures at their cells, by id; None where one failed.
Energies = Callable[[Mapping[str, "Structure"]], Mapping[str, float | None]]


@dataclass(frozen=True)
class Opinion:
    """What the second potential says.

    Attributes:
        above_hull: eV/atom above the hull of its own energies; None where it cannot be asked.
        agrees: whether that is at most the limit; None where it cannot be asked.
        reason: why it cannot be asked.
    """

    above_hull: float | None
    agrees: bool | None
    reason: str = ""


@dataclass
class SecondOpinion:
    """Hulls of a second potential, single points at published cells, made when first asked for.

    Attributes:
        potential: the one that judges.
        known: index of known crystals, whose table says which phases count.
        energies: evaluates known crystals with the potential, or recalls what it said.
        evaluate: the same for crystals that are new.
        references: what has been evaluated.
    """

    potential: Potential
    known: KnownCrystals
    energies: Energies
    evaluate: Energies
    references: ReferenceEnergies = field(init=False)
    _systems: set[frozenset[str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.references = ReferenceEnergies(self.potential.name, self.potential.version)

    def prepare(self, systems: Iterable[frozenset[str]]) -> None:
        """Evaluate the known phases near the hulls of these systems."""
        new = [system for system in systems if system not in self._systems]
        near = near_hull(self.known, new, _WINDOW_EV)
        wanted = {
            key: structure
            for key, structure in near.structures.items()
            if key not in self.references.entries
        }
        for key, energy in self.energies(wanted).items():
            counts = wanted[key].composition.get_el_amt_dict()
            entry = ReferenceEntry(
                key, counts, energy if energy is not None else 0.0, False, self.known.date,
                "" if energy is not None else "no energy",
            )  # fmt: skip
            self.references.entries[key] = entry
        self._systems.update(new)

    def ask(self, composition: Mapping[str, float], energy: float | None, limit: float) -> Opinion:
        """The second potential's word on a crystal.

        Args:
            composition: atoms of each element.
            energy: eV/atom of the relaxed crystal with the second potential.
            limit: eV/atom above hull at which it is accepted.
        """
        if energy is None:
            return Opinion(None, None, f"{self.potential.name} gives no energy for it")
        elements = frozenset(composition)
        self.prepare([elements])
        first = ReferenceEnergies(
            self.known.potential, self.known.potential_version, table=self.known
        )
        whole = HullBuilder(first).mixture(composition)[0]
        inside = [e for e in first.of_system(elements) if e.id in self.references.entries]
        reduced = ReferenceEnergies(first.potential, first.version, {e.id: e for e in inside})
        if HullBuilder(reduced).missing_elements(elements):
            return Opinion(None, None, "an element has no known crystal with coordinates")
        if HullBuilder(reduced).mixture(composition)[0] - whole > _BLIND_EV:
            return Opinion(None, None, "the phases that compete have no coordinates at hand")
        place = HullBuilder(self.references).place(composition, energy)
        if place.energy_above_hull is None:
            return Opinion(None, None, place.problem)
        return Opinion(place.energy_above_hull, place.energy_above_hull <= limit)
