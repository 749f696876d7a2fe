"""Known crystals for the nearest one of each row: the training set, or the shipped library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystal_diffusion import chemistry
from crystal_diffusion.matching import ReferenceIndex

if TYPE_CHECKING:
    from crystal_diffusion.generation.generator import CrystalGenerator

#: Above this many crystals only those of the composition at hand are indexed.
_WHOLE = 5000


class LibraryReference:
    """Nearest known crystal in a large library, indexing one composition at a time."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._indices: dict[tuple[tuple[int, int], ...], ReferenceIndex | None] = {}

    def nearest(self, structure: Any) -> Any:
        """The nearest library entry of the same composition; None where there is none."""
        composition = {
            chemistry.atomic_number(el): int(n)
            for el, n in structure.composition.get_el_amt_dict().items()
        }
        key = tuple(sorted(composition.items()))
        if key not in self._indices:
            entries = [int(i) for i in self._library.entries_of(composition)]
            self._indices[key] = (
                ReferenceIndex.from_structures(
                    {self._library.id_of(i): self._library.structure(i) for i in entries}
                )
                if entries
                else None
            )
        index = self._indices[key]
        return None if index is None else index.nearest(structure)


def reference_index(generator: CrystalGenerator) -> Any:
    """Something with ``nearest(structure)``, or None when the training set is not at hand."""
    if generator.in_the_box:
        return LibraryReference(generator.library)
    if generator.training is None:
        return None
    if len(generator.training) > _WHOLE and generator.library is not None:
        return LibraryReference(generator.library)
    return ReferenceIndex.from_arrays(generator.training)
