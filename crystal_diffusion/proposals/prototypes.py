"""Candidates for a composition from known structure types.

For every type with the right numbers of atoms, and every way to put the elements on its roles, the
known crystals of the type vote with a learned similarity (``similarity.py``); the best are built
with cell and coordinates predicted from their members (``blending.py``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.proposals.blending import BlendSettings, blend
from crystal_diffusion.proposals.library import CrystalLibrary, default_library
from crystal_diffusion.proposals.quantisation import composition_code
from crystal_diffusion.proposals.similarity import (
    MAX_ELEMENT,
    ElementTables,
    Floats,
    Ints,
    default_tables,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Most atoms in a cell when only a formula is given.
MAX_ATOMS = 52
#: Exponents of the kernel with which votes are counted; the first decides the order.
SHARPNESSES = (1.0, 3.0, 0.3)
#: Exponent of the kernel with which the user's own crystals vote by themselves, and the sum below
#: which they count as none; the second pair hears crystals of quite different elements too.
OWN_KERNELS = ((1.0, 0.01), (0.3, 1e-4))
#: What to leave out of the library: ids, or pairs of reduced formula and space group.
Exclusion = Collection[str | tuple[str, int]]


@dataclass(frozen=True)
class Proposal:
    """One candidate structure from a structure type.

    Attributes:
        structure: the candidate; source_id: the most similar known crystal of the type.
        prototype_label: name of the type; similarity: w of the source in (0, 1].
        predicted_volume_per_atom: Å3; score: log of the share of votes, higher is better.
        features: named numbers for the ranker.
    """

    structure: Structure
    source_id: str
    prototype_label: str
    similarity: float
    predicted_volume_per_atom: float
    score: float
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Option:
    """A type with elements on its roles, not built yet."""

    kind: int
    elements: tuple[int, ...]
    log_votes: tuple[float, float, float]
    log_share: tuple[float, float, float]
    entries: Ints
    distances: Floats
    known: bool
    log_own: tuple[float, float] = (0.0, 0.0)


@lru_cache(maxsize=4096)
def assignments(counts: tuple[int, ...], wanted: tuple[tuple[int, int], ...]) -> Ints:
    """All ways ``(ways, roles)`` to put elements on roles with these counts.

    Args:
        counts: atoms of each role, ascending; wanted: (count, element), sorted.
    """
    ways: list[list[int]] = [[]]
    for count in counts:
        ways = [
            [*way, element]
            for way in ways
            for size, element in wanted
            if size == count and element not in way
        ]
    return np.array(ways, dtype=np.int64).reshape(-1, len(counts))


def parse_composition(composition: Mapping[int, int] | str) -> tuple[dict[int, int], bool]:
    """Atomic numbers to counts, and whether the counts are those of a formula unit only.

    Raises:
        InputError: not a formula, or counts that are not positive whole numbers.
        RequestError: an element beyond the tables.
    """
    if isinstance(composition, str):
        from pymatgen.core import Composition

        try:
            units, _ = Composition(composition).get_integer_formula_and_factor()
            parsed = {int(element.Z): int(count) for element, count in Composition(units).items()}
        except (ValueError, KeyError, AttributeError) as problem:
            raise InputError(
                f"Formula {composition!r} cannot be read ({problem}); write it like SrTiO3."
            ) from problem
        found, only_unit = parsed, True
    else:
        found = {int(number): int(count) for number, count in composition.items()}
        only_unit = False
        if any(found[int(n)] != c or c <= 0 for n, c in composition.items()):
            raise InputError(
                f"Composition {dict(composition)} has counts that are not positive whole numbers; "
                "give atoms per cell."
            )
    if not found:
        raise InputError("The composition is empty; name at least one element.")
    if not all(1 <= number <= MAX_ELEMENT for number in found):
        raise RequestError(
            f"Composition {found} has an element outside 1 to {MAX_ELEMENT}; leave it out."
        )
    return found, only_unit


class PrototypeProposer:
    """Proposes structures for a composition from known structure types.

    Args:
        library: known crystals; the shipped library when left out.
        tables: what was learned about elements; the shipped ones when left out.
        settings: how the members of a type are averaged.
        own_bonus: added to the log weight of crystals that the user added to the library.
    """

    def __init__(
        self,
        library: CrystalLibrary | None = None,
        tables: ElementTables | None = None,
        settings: BlendSettings | None = None,
        own_bonus: float = 0.0,
    ) -> None:
        self.library = default_library() if library is None else library
        self.tables = default_tables() if tables is None else tables
        self.settings = settings or BlendSettings()
        self.own_bonus = own_bonus
        self._indices = self.tables.indices(self.library.elements)

    def excluded(self, exclude: Exclusion) -> NDArray[np.bool_]:
        """``(entries,)`` true for entries to leave out.

        Raises:
            InputError: an item is neither an id nor a (formula, space group) pair.
        """
        mask = np.zeros(len(self.library), dtype=bool)
        names = {item for item in exclude if isinstance(item, str)}
        if names:
            mask |= np.array([name in names for name in self.library.ids], dtype=bool)
        for item in exclude:
            if isinstance(item, str):
                continue
            if not isinstance(item, tuple) or len(item) != 2:
                raise InputError(
                    f"exclude holds {item!r}; give ids or (reduced formula, space group) pairs."
                )
            entries = self.library.entries_of(parse_composition(item[0])[0])
            mask[entries[self.library.space_group[entries] == item[1]]] = True
        return mask

    def options(
        self,
        composition: Mapping[int, int] | str,
        *,
        any_cell: bool = False,
        units: Collection[int] | None = None,
        known: bool = True,
        mask: NDArray[np.bool_] | None = None,
        most: int = 100,
    ) -> list[Option]:
        """Types and assignments in order of votes, not built yet.

        Args:
            composition: atoms per primitive cell, or a formula (then any cell size is allowed).
            any_cell: take the counts as a formula unit and allow any multiple up to 52 atoms.
            units: allow these numbers of reduced formula units per primitive cell instead.
            known: whether entries of the same composition vote.
            mask: ``(entries,)`` true for entries to leave out.
        """
        cell, only_unit = parse_composition(composition)
        code = composition_code(np.array(list(cell)), np.array(list(cell.values())))
        divisor = math.gcd(*cell.values())
        found: list[Option] = []
        unit = {number: count // divisor for number, count in cell.items()}
        if units is not None:
            multiples = sorted(units)
        elif any_cell or only_unit:
            multiples = list(range(1, max(MAX_ATOMS // sum(unit.values()), 1) + 1))
        else:
            multiples = [divisor]
        for multiple in multiples:
            contents = {number: count * multiple for number, count in unit.items()}
            found += self._options_of(contents, int(code), known, mask)
        found.sort(key=lambda option: -option.log_votes[0])
        if not found:
            return []
        votes = np.array([option.log_votes for option in found])
        shares = votes - np.logaddexp.reduce(votes, axis=0)
        return [
            replace(option, log_share=tuple(share.tolist()))
            for option, share in zip(found[:most], shares, strict=False)
        ]

    def _options_of(
        self,
        cell: dict[int, int],
        code: int,
        known: bool,
        mask: NDArray[np.bool_] | None,
    ) -> list[Option]:
        """Options among the types with exactly these counts of atoms."""
        key = tuple(sorted(cell.values()))
        span = self.library.keys.get(key)
        if span is None:
            return []
        wanted = assignments(key, tuple(sorted((count, z) for z, count in cell.items())))
        first, after = int(self.library.type_start[span[0]]), int(self.library.type_start[span[1]])
        entries = np.arange(first, after)
        own = self.library.composition_codes[first:after] == code
        keep = np.ones(len(entries), dtype=bool)
        if mask is not None:
            keep &= ~mask[first:after]
        holders = set(self.library.entry_type[first:after][own & keep].tolist())
        if not known:
            keep &= ~own
        entries = entries[keep]
        if not len(entries):
            return []
        roles = len(key)
        tables = self.tables
        distances = tables.distances(key, tables.indices(wanted), self._indices[entries][:, :roles])
        hull = self.library.e_above_hull[entries]
        lowered = np.where(
            np.isfinite(hull),
            tables.hull_slope * np.clip(hull, 0.0, 1.0) + tables.hull_known,
            0.0,
        )
        own_here = None if self.library.own is None else self.library.own[entries]
        if own_here is not None:
            lowered = lowered - self.own_bonus * own_here
        weights = [
            (np.exp(-sharpness * distances) + tables.floor) * np.exp(-lowered)
            for sharpness in SHARPNESSES
        ]
        kinds = self.library.entry_type[entries]
        starts = np.flatnonzero(np.diff(kinds, prepend=-1))
        votes = np.log([np.add.reduceat(part, starts, axis=1) for part in weights])
        mine = [np.full_like(votes[0], np.log(floor)) for _, floor in OWN_KERNELS]
        if own_here is not None:
            mine = [
                np.log(
                    np.add.reduceat(np.exp(-sharpness * distances) * own_here, starts, 1) + floor
                )
                for sharpness, floor in OWN_KERNELS
            ]
        ends = np.append(starts[1:], len(entries))
        found = []
        for column, (start, end) in enumerate(zip(starts, ends, strict=True)):
            kind = int(kinds[start])
            taken: set[tuple[int, ...]] = set()
            swaps = self.library.type_swaps.get(kind, ())
            for row in np.argsort(-votes[0][:, column], kind="stable"):
                elements = tuple(wanted[row].tolist())
                if elements in taken:
                    continue
                taken.add(elements)
                for swap in swaps:
                    twin = [0] * roles
                    for role, image in enumerate(swap):
                        twin[image] = elements[role]
                    taken.add(tuple(twin))
                found.append(
                    Option(
                        kind,
                        elements,
                        tuple(votes[:, row, column].tolist()),
                        (0.0, 0.0, 0.0),
                        entries[start:end],
                        distances[row, start:end],
                        kind in holders,
                        (float(mine[0][row, column]), float(mine[1][row, column])),
                    )
                )
        return found

    def build(self, option: Option) -> Proposal:
        """The structure of one option."""
        from pymatgen.core import Lattice, Structure

        wanted = self.tables.indices(np.array(option.elements))
        made = blend(
            self.library,
            self.tables,
            option.kind,
            wanted,
            option.entries,
            option.distances,
            self.settings,
        )
        numbers = np.array(option.elements)[self.library.roles_of(option.kind)]
        structure = Structure(
            Lattice.from_parameters(*made.parameters), numbers.tolist(), made.frac_coords
        )
        nearest = int(option.distances.argmin())
        counts = self.library.type_counts[option.kind][: len(wanted)]
        expected = float(self.tables.expected_volume(wanted, counts))
        hull = self.library.e_above_hull[option.entries]
        known = np.isfinite(hull)
        return Proposal(
            structure,
            self.library.id_of(int(option.entries[nearest])),
            str(self.library.type_label[option.kind]),
            float(np.exp(-option.distances[nearest])),
            made.volume_per_atom,
            option.log_share[0],
            {
                "log_share": option.log_share[0],
                "log_share_sharp": option.log_share[1],
                "log_share_broad": option.log_share[2],
                "log_votes": option.log_votes[0],
                "nearest": float(option.distances[nearest]),
                "log_members": float(np.log(len(option.entries))),
                "misfit": float(np.log(made.volume_per_atom / expected)),
                "hull_nearest": float(hull[nearest]),
                "hull": float(hull[known].min()) if known.any() else math.nan,
                "volume_spread": made.spread,
                "known": float(option.known),
                "own": option.log_own[0],
                "own_broad": option.log_own[1],
                "space_group": float(self.library.type_space_group[option.kind]),
            },
        )

    def propose(
        self,
        composition: Mapping[int, int] | str,
        n: int = 20,
        exclude: Exclusion | None = None,
        seed: int = 0,
        *,
        any_cell: bool = False,
        units: Collection[int] | None = None,
        known: bool = True,
    ) -> list[Proposal]:
        """Up to ``n`` candidates, best first; fewer when the library knows fewer.

        Args:
            composition: atoms per primitive cell (atomic number to count), or a formula, for
                which cells of any number of formula units up to 52 atoms are proposed.
            exclude: ids or (reduced formula, space group) pairs to leave out.
            seed: not used, the order is fixed; all kinds of start are called alike.
            any_cell: read counts as a formula unit.
            units: numbers of reduced formula units per primitive cell that are allowed.
            known: whether known crystals of the same composition count as sources.

        Raises:
            InputError, RequestError: a composition that cannot be used.
        """
        if n < 1:
            raise InputError(f"n is {n}; ask for at least one candidate.")
        mask = self.excluded(exclude) if exclude else None
        chosen = self.options(
            composition, any_cell=any_cell, units=units, known=known, mask=mask, most=n
        )
        return [self.build(option) for option in chosen]
