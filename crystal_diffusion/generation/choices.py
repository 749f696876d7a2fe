"""Requests that leave elements open: for each crystal, which ones it is made of.

Elements of a set ("one of the halides"), further elements beside the named ones, and the elements
of a structure type are drawn for each crystal: from the known crystals of the library that fit,
each chemical system as often as it is known; where none fits, evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.cells import Cells
from crystal_diffusion.generation.request import parse_formula, reduced
from crystal_diffusion.seeding import stream_seed
from crystal_diffusion.symmetry.structure_types import NamedType, names_a_lattice, types_named

if TYPE_CHECKING:
    from crystal_diffusion.generation.plan import Plan, Planner
    from crystal_diffusion.generation.request import Request
    from crystal_diffusion.proposals.library import CrystalLibrary

#: A symbol or an atomic number.
Element = TypeVar("Element")
#: Draws of elements where no known crystal fits.
_TRIES = 2000
#: Of what a stream of random numbers is for, so that it is not that of the crystal itself.
_PURPOSE = 7


class ChoicePlanner:
    """A planner for each choice of elements; which one a crystal gets depends on its index alone.

    Args:
        request: with open elements.
        seed: of the run.
        known: atomic numbers that the model has met.
        library: known crystals, None where there are none.
        planner: makes the planner of a request without open elements.
    """

    def __init__(
        self,
        request: Request,
        seed: int,
        known: Sequence[int],
        library: CrystalLibrary | None,
        planner: Callable[[Request], Planner],
    ) -> None:
        self._request, self._seed, self._make = request, seed, planner
        self._choices = ElementChoices(request, known, library)
        self._planners: dict[tuple[object, ...], Planner] = {}

    @property
    def cells(self) -> Cells:
        """The contents that were tried, of all choices so far."""
        made = [planner.cells for planner in self._planners.values()]
        return Cells(
            tuple(unit for cells in made for unit in cells.drawn),
            tuple(unit for cells in made for unit in cells.proposed),
        )

    def plans(self, wanted: Sequence[tuple[int, int]]) -> list[Plan]:
        """The plans of several candidates, each an index and an attempt."""
        out: dict[int, Plan] = {}
        groups: dict[tuple[object, ...], list[int]] = {}
        requests: dict[tuple[object, ...], Request] = {}
        for row, (index, attempt) in enumerate(wanted):
            # A choice that fails again and again is given up for another.
            seed = stream_seed(self._seed, index, attempt // 3)
            asked = self._choices.draw(np.random.default_rng([seed, _PURPOSE]))
            key: tuple[object, ...] = (
                asked.formula,
                asked.elements,
                asked.spacegroup,
                asked.wyckoff,
            )
            groups.setdefault(key, []).append(row)
            requests[key] = asked
        for choice, rows in groups.items():
            if choice not in self._planners:
                self._planners[choice] = self._make(requests[choice])
            plans = self._planners[choice].plans([wanted[row] for row in rows])
            out.update(zip(rows, plans, strict=True))
        return [out[row] for row in range(len(wanted))]


class ElementChoices:
    """Draws requests without open elements.

    Args:
        request: with open elements.
        known: atomic numbers that the model has met.
        library: known crystals, None where there are none.

    Raises:
        RequestError: when no choice of elements can be found.
    """

    def __init__(
        self, request: Request, known: Sequence[int], library: CrystalLibrary | None
    ) -> None:
        self.request = request
        self.kinds: tuple[NamedType, ...] = ()
        if request.structure_type is not None:
            self.kinds = types_named(request.structure_type)
        #: Several elements may be ordered on one lattice, in any ratio.
        self._lattice = bool(self.kinds) and names_a_lattice(self.kinds)
        named = request.named_elements
        self._numbers = sorted(set(known) - named.excluded)
        self._symbols = {chemistry.symbol(z) for z in self._numbers}
        missing = sorted(named.symbols[z] for z in set(named.required) - set(known))
        if missing:
            raise RequestError(
                f"the model has not met {', '.join(missing)} in training; use a model trained "
                "with it, such as the pretrained one (leave the model argument out)."
            )
        self._found = [] if library is None else self._from_library(library)

    def draw(self, rng: np.random.Generator) -> Request:
        """One request with all elements named."""
        if self.request.formula:
            return self._typed(dict(self._formula()), rng)
        if self._found:
            counts = self._found[int(rng.integers(len(self._found)))]
        else:
            counts = self._freely(rng)
        if self.kinds:
            return self._typed(counts, rng)
        return replace(self.request, elements=tuple(sorted(counts)), one_of=(), num_elements=None)

    def _formula(self) -> dict[str, int]:
        return reduced(parse_formula(str(self.request.formula)))

    def _sizes(self) -> tuple[int, int]:
        request = self.request
        if self.kinds and not self._lattice:
            sizes = [len(kind.counts) for kind in self.kinds]
            return min(sizes), max(sizes)
        named = len(request.elements) + len(request.one_of)
        return request.num_elements or (named, max(1, named))

    def _fits(self, symbols: frozenset[str]) -> bool:
        low, high = self._sizes()
        if not low <= len(symbols) <= high or not symbols <= self._symbols:
            return False
        if not set(self.request.elements) <= symbols:
            return False
        left = symbols - set(self.request.elements)
        return _one_of_each(left, self.request.one_of)

    def _from_library(self, library: CrystalLibrary) -> list[dict[str, int]]:
        """Counts of the known compositions that fit, one for each known crystal."""
        counts = library.type_counts[library.entry_type]
        wanted = np.zeros(104, dtype=bool)
        wanted[self._numbers] = True
        wanted[0] = True
        low, high = self._sizes()
        number = (counts > 0).sum(1)
        rows = (number >= low) & (number <= high) & wanted[library.elements].all(1)
        named = self.request.named_elements
        for z in named.required:
            rows &= (library.elements == z).any(1)
        for members in named.one_of:
            rows &= np.isin(library.elements, list(members)).any(1)
        ratios = {kind.ratio for kind in self.kinds if not self._lattice}
        found = []
        for row in np.flatnonzero(rows):
            numbers = [int(z) for z in library.elements[row]]
            if not _one_of_each(frozenset(numbers) - {0, *named.required}, named.one_of):
                continue
            pairs = zip(numbers, counts[row], strict=True)
            made = reduced({chemistry.SYMBOLS[z]: int(n) for z, n in pairs if n})
            if ratios and tuple(sorted(made.values())) not in ratios:
                continue
            found.append(made)
        return found

    def _freely(self, rng: np.random.Generator) -> dict[str, int]:
        """Elements drawn evenly."""
        low, high = self._sizes()
        rest = sorted(self._symbols - set(self.request.elements))
        for _ in range(_TRIES):
            chosen = set(self.request.elements)
            for choice in self.request.one_of:
                possible = sorted(set(choice) & self._symbols - chosen)
                if possible:
                    chosen.add(str(rng.choice(possible)))
            size = int(rng.integers(max(low, len(chosen)), max(high, len(chosen)) + 1))
            while len(chosen) < size and len(chosen) < len(rest):
                chosen.add(str(rng.choice(rest)))
            if not self._fits(frozenset(chosen)):
                continue
            order = [str(symbol) for symbol in rng.permutation(sorted(chosen))]
            if not self.kinds or self._lattice:
                return dict.fromkeys(order, 1)
            kinds = [kind for kind in self.kinds if len(kind.counts) == len(order)]
            if kinds:
                return kinds[int(rng.integers(len(kinds)))].formula(tuple(order))
        raise RequestError(
            "no choice of elements meets the request; name other elements, or allow more."
        )

    def _typed(self, counts: dict[str, int], rng: np.random.Generator) -> Request:
        """The request for one formula in the structure type.

        Its own group and Wyckoff positions are taken unless the request asks for symmetry of its
        own, as for a tetragonal perovskite: then the type gives the ratio of atoms.
        """
        request = self.request
        base = replace(request, elements=(), one_of=(), num_elements=None, structure_type=None)
        if self._lattice and len(counts) > 1:
            # Several elements on one lattice: their order is not part of the type.
            return replace(base, elements=tuple(sorted(counts)))
        kind, roles = next(
            (k, found) for k in self.kinds if (found := k.roles_of(counts)) is not None
        )
        formula = "".join(s + (str(n) if n > 1 else "") for s, n in counts.items())
        own = request.spacegroup or request.crystal_system or request.point_group
        if own and not self._includes(kind):
            return replace(base, formula=formula)
        return replace(
            base,
            formula=formula,
            spacegroup=str(kind.space_group),
            crystal_system=None,
            point_group=None,
            wyckoff=kind.wyckoff(roles),
            num_atoms=None,
        )

    def _includes(self, kind: NamedType) -> bool:
        """Whether the symmetry asked for has the group of the type."""
        return kind.space_group in {group.number for group in self.request.space_groups()}


def _one_of_each(left: frozenset[Element], choices: Sequence[Collection[Element]]) -> bool:
    """Whether each choice can be met by an element of its own."""
    if not choices:
        return True
    first, *others = choices
    return any(_one_of_each(left - {element}, others) for element in left & set(first))
