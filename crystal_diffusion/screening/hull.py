"""Formation energy and energy above hull, from references of the same potential.

The convex hull is pymatgen's `PhaseDiagram` over the references of the crystal's chemical system.
The crystal itself is not among them, so a crystal below the hull of what is known has a negative
energy above hull: it would be a new stable phase (for this potential and these references).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crystal_diffusion.screening.references import ReferenceEnergies


@dataclass(frozen=True)
class HullResult:
    """Where a crystal stands among its references.

    Attributes:
        formation_energy: eV/atom against the elements; None where a reference is missing.
        energy_above_hull: eV/atom above (below: negative) the hull of the references.
        n_competing: reference compounds in its chemical system (elements not counted).
        decomposition: what it would decompose into, formula → fraction of atoms.
        reference_date: latest date of a reference in the system.
        problem: why a figure is missing.
    """

    formation_energy: float | None
    energy_above_hull: float | None
    n_competing: int
    decomposition: Mapping[str, float]
    reference_date: str
    problem: str = ""


@dataclass
class HullBuilder:
    """Hulls by chemical system, each built once."""

    references: ReferenceEnergies
    _diagrams: dict[frozenset[str], Any] = field(default_factory=dict)

    def missing_elements(self, elements: frozenset[str]) -> list[str]:
        """Elements without a reference energy."""
        return sorted(e for e in elements if self.references.elemental_energy(e) is None)

    def diagram(self, elements: frozenset[str]) -> Any:
        """pymatgen's phase diagram of the references made of these elements."""
        if elements not in self._diagrams:
            from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
            from pymatgen.core import Composition

            entries = []
            for reference in self.references.of_system(elements):
                composition = Composition(dict(reference.composition))
                total = reference.energy_per_atom * composition.num_atoms
                entries.append(PDEntry(composition, total, name=reference.id))
            self._diagrams[elements] = PhaseDiagram(entries)
        return self._diagrams[elements]

    def place(self, composition: Mapping[str, float], energy_per_atom: float) -> HullResult:
        """Formation energy and energy above hull of a crystal.

        Args:
            composition: atoms of each element.
            energy_per_atom: eV, of the references' own potential.
        """
        elements = frozenset(composition)
        own = self.references.of_system(elements)
        competing = sum(1 for entry in own if len(entry.elements) > 1)
        date = max((entry.date for entry in own), default="")
        missing = self.missing_elements(elements)
        if missing:
            text = f"no reference energy for {', '.join(missing)} with {self.references.potential}"
            return HullResult(None, None, competing, {}, date, text)
        atoms = sum(composition.values())
        formation = energy_per_atom - sum(
            n / atoms * (self.references.elemental_energy(e) or 0.0) for e, n in composition.items()
        )
        if len(elements) == 1:
            only = next(iter(elements))
            return HullResult(formation, formation, competing, {only: 1.0}, date)
        from pymatgen.analysis.phase_diagram import PDEntry
        from pymatgen.core import Composition

        whole = Composition(dict(composition))
        entry = PDEntry(whole, energy_per_atom * whole.num_atoms)
        parts, above = self.diagram(elements).get_decomp_and_e_above_hull(
            entry, allow_negative=True, check_stable=False
        )
        products = {part.composition.reduced_formula: float(x) for part, x in parts.items()}
        return HullResult(formation, float(above), competing, products, date)
