"""Where candidates come from: prototypes, exchange of like elements, and the network from noise."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.discovery.wish import Wish
from crystal_diffusion.errors import CrystalDiffusionError, InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.generator import CrystalGenerator

log = logging.getLogger(__name__)

#: Kinds of start.
PROTOTYPE, EXCHANGE, NOISE, RANDOM = "prototype", "exchange", "noise", "random type"
#: Elements that stand in for each other in an exchange are drawn among this many nearest ones.
_LIKE = 8
#: Structures that are proposed for the composition of an accepted crystal.
_POLYMORPHS = 24


@dataclass(frozen=True)
class Proposed:
    """A candidate and where it came from.

    Attributes:
        structure: the crystal as proposed.
        start: kind of start.
        kind: label of its structure type; empty for one from noise.
    """

    structure: Structure
    start: str
    kind: str = ""


class Proposing:
    """Draws candidates for a wish; every draw is set by its random stream.

    Args:
        generator: the model in the box, or one that brings a library.
        wish: what is looked for.

    Raises:
        InputError: when the model brings no library.
    """

    def __init__(self, generator: CrystalGenerator, wish: Wish) -> None:
        library, proposer = generator.library, generator.proposer
        if library is None or proposer is None:
            raise InputError(
                "model: it brings no library of known structure types, which candidates are made "
                "of; leave --model out to use the model in the box."
            )
        self.generator, self.wish = generator, wish
        self.library, self.proposer = library, proposer

    @cached_property
    def elements(self) -> list[int]:
        """Atomic numbers that may appear."""
        from ase.data import atomic_numbers, chemical_symbols

        known = [z for z in self.generator.known_elements if z <= 94]
        if self.wish.elements:
            return [atomic_numbers[symbol] for symbol in self.wish.elements]
        # Noble gases and what no potential knows make no discoveries unless they are asked for.
        left_out = {2, 10, 18, 36, 54, 84, 85, 86, 87, 88, 89, 91, 93, 94}
        left_out |= {atomic_numbers[symbol] for symbol in self.wish.exclude}
        return [z for z in known if z not in left_out and chemical_symbols[z]]

    @cached_property
    def _kinds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Structure types that fit the wish, and how often each is met."""
        library = self.library
        counts = library.type_counts.astype(int)
        roles = (counts > 0).sum(1)
        sizes = np.diff(library.type_start)
        most = len(self.elements) if self.wish.elements else 5
        fits = (roles >= 2) & (roles <= most) & (counts.sum(1) <= self.wish.most_atoms)
        if self.wish.proportions is not None:
            reduced = np.sort(counts, axis=1) // np.gcd.reduce(counts, axis=1)[:, None]
            wanted = np.zeros(counts.shape[1], int)
            wanted[-len(self.wish.proportions) :] = self.wish.proportions
            fits &= (reduced == wanted).all(1)
        kinds = np.flatnonzero(fits)
        weight = sizes[kinds] ** 0.5
        if self.wish.elements:  # as many elements as wished are worth more than a subset
            weight = weight * 3.0 ** (roles[kinds] - most)
        return kinds, weight / weight.sum()

    def random_types(self, rng: np.random.Generator, count: int) -> Iterator[Proposed]:
        """Types and elements drawn at random: no knowledge of what goes with what."""
        for kind, numbers in self._draw(rng, count):
            structure = self._filled(kind, numbers)
            if structure is not None:
                yield Proposed(structure, RANDOM, str(self.library.type_label[kind]))

    def prototypes(self, rng: np.random.Generator, count: int) -> Iterator[Proposed]:
        """Compositions of known proportions, each in the prototypes that suit its elements best."""
        made = 0
        for kind, numbers in self._draw(rng, 20 * count):
            roles = self.library.type_counts[kind]
            content = dict(zip(numbers, roles[roles > 0].tolist(), strict=True))
            if not neutral(content) and rng.random() < 0.7:
                continue
            found = self._in_types(content, 4)
            yield from found
            made += len(found)
            if made >= count:
                return

    def exchange(self, rng: np.random.Generator, count: int) -> Iterator[Proposed]:
        """Known crystals near the published hull with an element exchanged for a like one."""
        library = self.library
        allowed = set(self.elements)
        small = library.type_counts.sum(1) <= self.wish.most_atoms
        near = np.flatnonzero((library.e_above_hull <= 0.05) & small[library.entry_type])
        if self.wish.elements:  # one exchange must lead into the system
            inside = np.isin(library.elements[near], [0, *allowed])
            near = near[(~inside).sum(1) <= 1]
        made = 0
        for entry in rng.permutation(near).tolist():
            numbers = [int(z) for z in library.elements[entry] if z]
            outside = [i for i, z in enumerate(numbers) if z not in allowed]
            if len(outside) > 1 or len(numbers) < 2:
                continue
            place = outside[0] if outside else int(rng.integers(len(numbers)))
            old = numbers[place]
            choices = [z for z in self._like(old) if z not in numbers]
            if not choices:
                continue
            other = choices[int(rng.integers(len(choices)))]
            new = [*numbers[:place], other, *numbers[place + 1 :]]
            kind = int(library.entry_type[entry])
            structure = self._filled(kind, new, entry)
            if structure is not None:
                yield Proposed(structure, EXCHANGE, str(library.type_label[kind]))
                made += 1
            if made >= count:
                return

    def _like(self, z: int) -> list[int]:
        """Elements of the wish that are most like this one, nearest first."""
        from crystal_diffusion.proposals.similarity import MAX_ELEMENT, default_tables

        apart = default_tables().squared_distances
        others = np.array([other for other in self.elements if other != z])
        if not len(others):
            return []
        top = MAX_ELEMENT + 1  # the second half: as the most electronegative of a crystal
        gaps = apart[z, others] + apart[z + top, others + top]
        return [int(others[i]) for i in np.argsort(gaps, kind="stable")[:_LIKE]]

    def variants(
        self, rng: np.random.Generator, parents: Sequence[Proposed], count: int
    ) -> Iterator[Proposed]:
        """What this run has found, with an element exchanged for a like one."""
        from pymatgen.core import Element

        for _ in range(count if parents else 0):
            parent = parents[int(rng.integers(len(parents)))]
            kinds = sorted({site.specie.Z for site in parent.structure})
            old = kinds[int(rng.integers(len(kinds)))]
            choices = [z for z in self._like(old) if z not in kinds]
            if not choices:
                continue
            new = choices[int(rng.integers(len(choices)))]
            structure = parent.structure.copy()
            structure.replace_species({Element.from_Z(old): Element.from_Z(new)})
            if self.wish.allows(counts_of(structure)):
                yield Proposed(structure, EXCHANGE, parent.kind)

    def polymorphs(
        self, rng: np.random.Generator, parents: Sequence[Proposed], count: int
    ) -> Iterator[Proposed]:
        """Other structures for compositions of what this run has found, the most suitable first."""
        from pymatgen.core import Composition

        formulas = sorted({p.structure.composition.reduced_formula for p in parents})
        made = 0
        for place in rng.permutation(len(formulas)).tolist():
            unit = Composition(formulas[place])
            most = self.wish.most_atoms // round(unit.num_atoms)
            content = {element.Z: round(n) for element, n in unit.items()}
            found = self._in_types(content, _POLYMORPHS, range(1, most + 1))
            yield from found
            made += len(found)
            if made >= count:
                return

    def _in_types(
        self, content: Mapping[int, int], count: int, units: Collection[int] | None = None
    ) -> list[Proposed]:
        """Some contents in the structure types that suit them best; none where nothing does.

        Args:
            units: numbers of formula units per cell; that of the contents when left out.
        """
        try:
            found = self.proposer.propose(content, n=count, units=units, known=False)
        except CrystalDiffusionError as error:
            log.debug("no prototype for %s: %s", content, error)
            return []
        return [Proposed(p.structure, PROTOTYPE, p.prototype_label) for p in found]

    def noise(self, seed: int, count: int) -> Iterator[Proposed]:
        """The network from noise, each crystal on a skeleton of its own drawing."""
        from crystal_diffusion.generation.request import Request
        from crystal_diffusion.generation.settings import GenerationSettings

        settings = GenerationSettings(noise_share=1.0, scorer="none", group=False, max_attempts=2)
        most = min(self.wish.most_atoms, 20)
        symbols = tuple(self.wish.elements)
        request = Request(
            elements=symbols,
            exclude=self.wish.exclude,
            num_atoms=(max(2, len(symbols)), most),
        )
        try:
            result = self.generator.run(
                request, count, seed=seed, settings=settings, describe=False
            )
        except CrystalDiffusionError as error:
            log.warning("nothing from noise: %s", error)
            return
        for structure in result:
            yield Proposed(structure, NOISE)

    def _draw(self, rng: np.random.Generator, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Types with an element for each role."""
        kinds, weight = self._kinds
        if not len(kinds):
            return
        for kind in rng.choice(kinds, size=count, p=weight).tolist():
            roles = int((self.library.type_counts[kind] > 0).sum())
            if roles <= len(self.elements):
                chosen = rng.choice(self.elements, size=roles, replace=False)
                yield int(kind), tuple(int(z) for z in chosen)

    def _filled(
        self, kind: int, numbers: tuple[int, ...] | list[int], entry: int | None = None
    ) -> Structure | None:
        """A type with these elements, at the volume their tables expect."""
        from pymatgen.core import Element

        from crystal_diffusion.proposals.similarity import default_tables

        library = self.library
        start, stop = int(library.type_start[kind]), int(library.type_start[kind + 1])
        row = entry if entry is not None else start + (stop - start) // 2
        structure = library.structure(row)
        roles = library.roles_of(kind)
        tables = default_tables()
        counts = library.type_counts[kind]
        counts = counts[counts > 0].astype(float)
        old = np.array([int(z) for z in library.elements[row] if z])
        before = float(tables.expected_volume(tables.indices(old), counts))
        after = float(tables.expected_volume(tables.indices(np.array(numbers)), counts))
        filled = structure.copy()
        for site, role in enumerate(roles.tolist()):
            filled.replace(site, Element.from_Z(int(numbers[role])))
        filled.scale_lattice(structure.volume * after / before)
        return filled if self.wish.allows(counts_of(filled)) else None


def counts_of(structure: Structure) -> dict[str, int]:
    """Atoms of each element in the cell."""
    return {k: round(v) for k, v in structure.composition.get_el_amt_dict().items()}


def neutral(content: dict[int, int]) -> bool:
    """Whether common oxidation states can cancel; a composition of metals alone counts as such."""
    from pymatgen.core import Composition, Element

    symbols = {Element.from_Z(z): n for z, n in content.items()}
    if all(element.is_metal for element in symbols):
        return True
    composition = Composition({element.symbol: n for element, n in symbols.items()})
    return bool(composition.oxi_state_guesses(max_sites=-1))
