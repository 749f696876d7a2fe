"""A structure type of the library with an element on every role, and the crystal it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
    from crystal_diffusion.proposals.similarity import Ints

#: Options of a composition that are looked through for a decoration.
_OPTIONS = 400


@dataclass(frozen=True)
class Decoration:
    """A type of the library with an element on every role."""

    kind: int
    elements: tuple[int, ...]


def decoration_codes(library: CrystalLibrary, kind: int, elements: Ints) -> Ints:
    """``(rows,)`` one number for each decoration, the same where a swap of roles joins them."""
    places = 128 ** np.arange(elements.shape[1])[::-1]
    codes = elements @ places
    for swap in library.type_swaps.get(kind, ()):
        twin = np.empty_like(elements)
        twin[:, list(swap)] = elements
        codes = np.minimum(codes, twin @ places)
    return np.asarray(codes, dtype=np.int64)


def built(proposer: PrototypeProposer, chosen: Decoration) -> Proposal | None:
    """The crystal of a decoration; None where the library would not propose it."""
    library = proposer.library
    counts = library.type_counts[chosen.kind]
    composition = {z: int(n) for z, n in zip(chosen.elements, counts, strict=False)}
    wanted = decoration_codes(library, chosen.kind, np.array([chosen.elements]))[0]
    for option in proposer.options(composition, most=_OPTIONS):
        if option.kind != chosen.kind:
            continue
        code = decoration_codes(library, option.kind, np.array([option.elements]))[0]
        if code == wanted:
            return proposer.build(option)
    return None
