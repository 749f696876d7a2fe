"""Formation energy and energy above hull, from references of the same potential.

The convex hull is pymatgen's `PhaseDiagram` over the references of the crystal's chemical system.
The crystal itself is not among them, so a crystal below the hull of what is known has a negative
energy above hull: it would be a new stable phase (for this potential and these references).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crystal_diffusion.energy.potentials import Potential
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.runs.rows import rounded

if TYPE_CHECKING:
    from pymatgen.core import Structure


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


def hull_row(
    structure: Structure,
    energy_per_atom: float,
    hull: HullBuilder,
    others: Mapping[str, HullBuilder],
    said: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The hull columns of a crystal, with the spread of its formation energy over potentials.

    Args:
        structure: the relaxed crystal.
        energy_per_atom: eV, of the first potential.
        hull: references of the first potential.
        others: elemental references of the further potentials.
        said: their energies of this structure (``energy_per_atom_eV``, ``problem``).
    """
    composition = structure.composition.get_el_amt_dict()
    place = hull.place(composition, energy_per_atom)
    formation = [place.formation_energy]
    problems = [place.problem] if place.problem else []
    for name, other in others.items():
        answer = said.get(name, {})
        energy = answer.get("energy_per_atom_eV")
        if energy is None:
            problems.append(f"{name}: {answer.get('problem') or 'no energy'}")
            continue
        second = other.place(composition, energy)
        problems += [second.problem] if second.problem else []
        formation.append(second.formation_energy)
    known = [value for value in formation if value is not None]
    spread = max(known) - min(known) if len(known) > 1 else None
    return {
        "formation_energy_eV_atom": rounded(place.formation_energy),
        "energy_above_hull_eV_atom": rounded(place.energy_above_hull),
        "n_competing": place.n_competing,
        "reference_date": place.reference_date,
        "decomposition": {k: round(v, 4) for k, v in place.decomposition.items()},
        "spread_eV_atom": rounded(spread),
        "problem": "; ".join(problems),
    }


def hull_text(
    potential: Potential,
    hull: HullBuilder,
    structures: Mapping[str, Structure],
    energies: Mapping[str, float],
    rows: Mapping[str, Mapping[str, Any]],
) -> str:
    """``hull.json``: the references of every chemical system and the candidates among them."""
    systems: dict[frozenset[str], list[str]] = {}
    for key, structure in structures.items():
        systems.setdefault(frozenset(structure.composition.get_el_amt_dict()), []).append(key)
    text: dict[str, Any] = {
        "potential": potential.name,
        "potential_version": potential.version,
        "functional": potential.functional,
        "note": "energies of one potential; candidates are not part of the hull they are "
        "measured against, so a negative distance is below what is known",
        "systems": {},
    }
    for system, keys in sorted(systems.items(), key=lambda item: sorted(item[0])):
        text["systems"]["-".join(sorted(system))] = {
            "references": [
                {
                    "id": e.id,
                    "composition": dict(e.composition),
                    "energy_per_atom_eV": e.energy_per_atom,
                    "converged": e.converged,
                    "date": e.date,
                }
                for e in sorted(hull.references.of_system(system), key=lambda e: e.id)
            ],
            "candidates": [
                {
                    "id": key,
                    "composition": structures[key].composition.get_el_amt_dict(),
                    "energy_per_atom_eV": energies[key],
                    **{k: v for k, v in rows[key].items() if k != "problem"},
                }
                for key in keys
            ],
        }
    return json.dumps(text, indent=1) + "\n"
