"""Known crystals for the nearest one of each row: the training set, or the shipped library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from crystal_diffusion import chemistry
from crystal_diffusion.deprecated import old_names
from crystal_diffusion.matching import NearestKnown, ReferenceIndex, StructureMatch

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.data.tables import CrystalArrays
    from crystal_diffusion.proposals.library import CrystalLibrary

#: Above this many crystals only those of the composition at hand are indexed.
_WHOLE = 5000
#: Structures of at most this many atoms are compared with crystals of at most this many only:
#: two crystals match where their primitive cells have the same number of atoms.
_SMALL = 20

#: A composition, and whether the structure is large.
Key: TypeAlias = tuple[tuple[tuple[int, int], ...], bool]


class KnownIndex(Protocol):
    """Known crystals that can be asked for the nearest one."""

    def nearest_many(
        self, structures: Sequence[Structure], matcher: StructureMatch
    ) -> Sequence[NearestKnown | None]:
        """The nearest known crystal of the same composition; None where there is none."""
        ...


class NearestInLibrary:
    """Nearest known crystal in a large library, indexing one composition at a time."""

    def __init__(self, library: CrystalLibrary) -> None:
        self._library = library
        self._indices: dict[Key, ReferenceIndex | None] = {}

    def nearest_many(
        self, structures: Sequence[Structure], matcher: StructureMatch
    ) -> list[NearestKnown | None]:
        """The nearest library entry of the same composition; None where there is none."""
        answers: list[NearestKnown | None] = [None] * len(structures)
        rows: dict[Key, list[int]] = {}
        for row, structure in enumerate(structures):
            amounts = structure.composition.get_el_amt_dict()
            kinds = tuple(
                sorted((chemistry.atomic_number(el), int(n)) for el, n in amounts.items())
            )
            rows.setdefault((kinds, len(structure) > _SMALL), []).append(row)
        for key, members in rows.items():
            index = self._index(key)
            if index is None:
                continue
            found = index.nearest_many([structures[i] for i in members], matcher)
            for row, answer in zip(members, found, strict=True):
                answers[row] = answer
        return answers

    def _index(self, key: Key) -> ReferenceIndex | None:
        if key not in self._indices:
            library, (kinds, large) = self._library, key
            entries = [
                int(i)
                for i in library.entries_of(dict(kinds))
                if large or library.atoms_of(int(library.entry_type[i])) <= _SMALL
            ]
            self._indices[key] = (
                ReferenceIndex.from_structures(
                    {library.id_of(i): library.structure(i) for i in entries}
                )
                if entries
                else None
            )
        return self._indices[key]


class NearerOf:
    """Two indices asked together: a match before none, then the smaller distance."""

    def __init__(self, first: KnownIndex, second: KnownIndex) -> None:
        self._first, self._second = first, second

    def nearest_many(
        self, structures: Sequence[Structure], matcher: StructureMatch
    ) -> list[NearestKnown | None]:
        """The nearest of both; where they are equally near, that of the first."""
        pairs = zip(
            self._first.nearest_many(structures, matcher),
            self._second.nearest_many(structures, matcher),
            strict=True,
        )
        return [_nearer(first, second) for first, second in pairs]


def _nearer(first: NearestKnown | None, second: NearestKnown | None) -> NearestKnown | None:
    if first is None or second is None:
        return first or second
    keys = [(not near.matches, near.distance) for near in (first, second)]
    return first if keys[0] <= keys[1] else second


def training_index(training: CrystalArrays, library: CrystalLibrary | None) -> KnownIndex:
    """An index of a training set: whole, or by composition where it is large."""
    if len(training) > _WHOLE and library is not None:
        return NearestInLibrary(library)
    return ReferenceIndex.from_arrays(training)


__getattr__ = old_names(__name__, LibraryReference="NearestInLibrary")
