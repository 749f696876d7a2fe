"""Known crystals for the nearest one of each row: the training set, or the shipped library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystal_diffusion.matching import ReferenceIndex

if TYPE_CHECKING:
    from crystal_diffusion.generation.generator import CrystalGenerator

#: Above this many crystals only those of the composition at hand are indexed.
_WHOLE = 5000


class LibraryReference:
    """Nearest known crystal in a large library, indexing one composition at a time."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._indices: dict[tuple[tuple[int, int], ...], Any] = {}

    def nearest(self, structure: Any) -> Any:
        """The nearest entry of the same composition, or of the same anonymous formula."""
        amounts = structure.composition.get_el_amt_dict()
        from crystal_diffusion import chemistry

        composition = {chemistry.atomic_number(el): int(n) for el, n in amounts.items()}
        key = tuple(sorted(composition.items()))
        if key not in self._indices:
            entries = [int(i) for i in self._library.entries_of(composition)]
            if not entries:
                self._indices[key] = None
            else:
                self._indices[key] = ReferenceIndex(
                    [self._library.structure(i) for i in entries],
                    ids=[self._library.id_of(i) for i in entries],
                )
        index = self._indices[key]
        return None if index is None else index.nearest(structure)


def reference_index(generator: CrystalGenerator) -> Any:
    """Something with ``nearest(structure)``, or None when the training set is not at hand."""
    if generator.in_the_box:
        return LibraryReference(generator.library)
    if generator.training is None:
        return None
    arrays = generator.training
    if len(arrays) > _WHOLE and generator.library is not None:
        return LibraryReference(generator.library)
    structures = [arrays.crystal(i).to_structure() for i in range(len(arrays))]
    return ReferenceIndex(structures, ids=list(arrays.ids))
