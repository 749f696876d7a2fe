"""Formation energy and energy above hull, from references of the same potential.

The convex hull is taken over the references of the crystal's chemical system.
The crystal itself is not among them, so a crystal below the hull of what is known has a negative
energy above hull: it would be a new stable phase (for this potential and these references).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.energy.potentials import Potential
from crystal_diffusion.energy.published_hull import published_hull
from crystal_diffusion.energy.reference_energies import ReferenceEnergies, ReferenceEntry
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.columns import Row
from crystal_diffusion.runs.rows import rounded

if TYPE_CHECKING:
    from pymatgen.core import Structure


#: A crystal further than this below the hull (eV/atom) is more likely an error than a discovery.
DOUBTFUL_BELOW_EV = 0.1


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


@dataclass(frozen=True, eq=False, kw_only=True)
class HullRow(Row):
    """What the stage hull records of a crystal."""

    formation_energy_eV_atom: float | None
    energy_above_hull_eV_atom: float | None
    published_above_hull_eV_atom: float | None
    published_near_hull_probability: float | None
    n_competing: int
    reference_date: str
    decomposition: dict[str, float]
    spread_eV_atom: float | None
    doubt: str
    problem: str


@dataclass(frozen=True)
class _System:
    """References of a chemical system, for each composition the lowest.

    Attributes:
        entries: the lowest of each composition.
        fractions: ``(elements, entries)`` share of the atoms, elements in alphabetical order.
        energies: ``(entries,)`` eV/atom.
    """

    entries: tuple[ReferenceEntry, ...]
    fractions: NDArray[np.float64]
    energies: NDArray[np.float64]


@dataclass
class HullBuilder:
    """Energies above the hull, each system's references looked up once.

    The hull at a composition is the mixture of references with the least energy there, a linear
    program; what a full diagram of many elements would cost is not spent.
    """

    references: ReferenceEnergies
    _systems: dict[frozenset[str], _System] = field(default_factory=dict)
    _ground: dict[str, float | None] = field(default_factory=dict)

    def elemental_energy(self, element: str) -> float | None:
        """Lowest energy per atom (eV) of an element; None where there is no reference."""
        if element not in self._ground:
            self._ground[element] = self.references.elemental_energy(element)
        return self._ground[element]

    def missing_elements(self, elements: frozenset[str]) -> list[str]:
        """Elements without a reference energy."""
        return sorted(e for e in elements if self.elemental_energy(e) is None)

    def system(self, elements: frozenset[str]) -> _System:
        """The references made of these elements."""
        if elements not in self._systems:
            order = sorted(elements)
            lowest: dict[tuple[float, ...], ReferenceEntry] = {}
            for entry in self.references.of_system(elements):
                atoms = sum(entry.composition.values())
                key = tuple(round(entry.composition.get(e, 0.0) / atoms, 6) for e in order)
                if key not in lowest or entry.energy_per_atom < lowest[key].energy_per_atom:
                    lowest[key] = entry
            entries = tuple(lowest.values())
            shares = [
                [entry.composition.get(e, 0.0) / sum(entry.composition.values()) for e in order]
                for entry in entries
            ]
            self._systems[elements] = _System(
                entries,
                np.array(shares, dtype=float).reshape(-1, len(order)).T,
                np.array([entry.energy_per_atom for entry in entries], dtype=float),
            )
        return self._systems[elements]

    def mixture(self, composition: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Least energy (eV/atom) of a mixture of references with this composition.

        Returns:
            The energy, and the share of the atoms by id of the reference.

        Raises:
            InputError: no mixture has this composition (an element has no reference).
        """
        from scipy.optimize import linprog

        elements = frozenset(composition)
        system = self.system(elements)
        atoms = sum(composition.values())
        target = np.array([composition[e] / atoms for e in sorted(elements)])
        found: Any = linprog(system.energies, A_eq=system.fractions, b_eq=target, method="highs")
        if not found.success:
            raise InputError(
                f"no mixture of the references has the composition {dict(composition)} "
                f"({found.message}); every element needs a reference energy"
            )
        parts = {
            entry.id: float(share)
            for entry, share in zip(system.entries, found.x, strict=True)
            if share > 1e-6
        }
        return float(found.fun), parts

    def near_hull(self, elements: frozenset[str], window: float) -> list[ReferenceEntry]:
        """References of a system that are at most ``window`` (eV/atom) above its hull."""
        return [
            entry
            for entry in self.system(elements).entries
            if entry.energy_per_atom - self.mixture(entry.composition)[0] <= window
        ]

    def place(self, composition: Mapping[str, float], energy_per_atom: float) -> HullResult:
        """Formation energy and energy above hull of a crystal.

        Args:
            composition: atoms of each element.
            energy_per_atom: eV, of the references' own potential.
        """
        elements = frozenset(composition)
        entries = self.system(elements).entries
        competing = sum(1 for entry in entries if len(entry.elements) > 1)
        date = max((entry.date for entry in entries), default="")
        missing = self.missing_elements(elements)
        if missing:
            text = f"no reference energy for {', '.join(missing)} with {self.references.potential}"
            return HullResult(None, None, competing, {}, date, text)
        atoms = sum(composition.values())
        formation = energy_per_atom - sum(
            n / atoms * (self.elemental_energy(e) or 0.0) for e, n in composition.items()
        )
        below, parts = self.mixture(composition)
        by_id = {entry.id: entry for entry in self.system(elements).entries}
        products: dict[str, float] = {}
        for key, share in parts.items():
            formula = formula_of(by_id[key].composition)
            products[formula] = products.get(formula, 0.0) + share
        return HullResult(formation, energy_per_atom - below, competing, products, date)


def formula_of(composition: Mapping[str, float]) -> str:
    """The reduced formula; an element is its symbol (not O2)."""
    from pymatgen.core import Composition

    kinds = [symbol for symbol, count in composition.items() if count > 0]
    return kinds[0] if len(kinds) == 1 else str(Composition(dict(composition)).reduced_formula)


def hull_row(
    structure: Structure,
    energy_per_atom: float,
    hull: HullBuilder,
    others: Mapping[str, HullBuilder],
    said: Mapping[str, Mapping[str, Any]],
    known: bool = False,
    predicted: tuple[float, float] | None = None,
) -> HullRow:
    """The hull columns of a crystal, with the spread of its formation energy over potentials.

    Args:
        structure: the relaxed crystal.
        energy_per_atom: eV, of the first potential.
        hull: references of the first potential.
        others: elemental references of the further potentials.
        said: their energies of this structure (``energy_per_atom_eV``, ``problem``).
        known: whether it is one of the known crystals. Then it is part of the hull, and what it
            gains by relaxing from the published cell puts it on the hull, not below.
        predicted: the property network's distance from the published hull, and its probability of
            being near (`published_hull`); None where it was not asked.
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
    told = [value for value in formation if value is not None]
    spread = max(told) - min(told) if len(told) > 1 else None
    above = place.energy_above_hull
    if above is not None and known:
        above = max(above, 0.0)
    foretold = published_hull(above, *predicted) if predicted and above is not None else None
    return HullRow(
        formation_energy_eV_atom=rounded(place.formation_energy),
        energy_above_hull_eV_atom=rounded(above),
        published_above_hull_eV_atom=rounded(foretold.above) if foretold else None,
        published_near_hull_probability=rounded(foretold.near_probability) if foretold else None,
        n_competing=place.n_competing,
        reference_date=place.reference_date,
        decomposition={k: round(v, 4) for k, v in place.decomposition.items()},
        spread_eV_atom=rounded(spread),
        doubt=doubt(len(composition), place.n_competing, above),
        problem="; ".join(problems),
    )


def doubt(elements: int, competing: int, above: float | None) -> str:
    """Why a hull distance is not to be believed; empty where nothing speaks against it.

    Args:
        elements: of the crystal.
        competing: compounds among the references of its system.
        above: eV/atom above (below: negative) the hull.
    """
    if above is None:
        return ""
    if elements > 1 and not competing:
        return "no competing compound is known: the distance is to the elements only"
    if above < -DOUBTFUL_BELOW_EV:
        return (
            f"more than {DOUBTFUL_BELOW_EV:g} eV/atom below all that is known: more likely an "
            "error of the potential than a new ground state"
        )
    return ""


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
