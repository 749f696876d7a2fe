"""How many of some crystals the shipped index holds, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_diffusion.known.index import load_known
from crystal_diffusion.known.novelty import Novelty, group_and_sites, nearest_known

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class KnownShare:
    """How many crystals the index of known crystals holds.

    Attributes:
        title: of the index.
        crystals: that were looked up.
        known: of them, those that the matcher or formula, group and volume find.
        same_group: of these, those whose known crystal has the same space group at 0.1 Å.
        example: one of these, in words; empty without one.
    """

    title: str
    crystals: int
    known: int
    same_group: int
    example: str = ""

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if not self.known:
            return f"None of the {self.crystals} is among {self.title}."
        # The matcher lays rock salt on zincblende, so the groups are told beside its answer.
        same = f"{self.same_group or 'none'} of them with the same space group"
        example = f" ({self.example})" if self.example else ""
        return f"{self.known} of the {self.crystals} are among {self.title}, {same}{example}."


def look_up(structures: Sequence[Structure]) -> tuple[list[Novelty], KnownShare]:
    """What the shipped index says of each crystal, and how many it holds."""
    index = load_known()
    found = nearest_known(structures, index, {})
    known, same = 0, []
    for structure, novelty in zip(structures, found, strict=True):
        name = novelty.nearest_known_id
        if novelty.novel is not False or name is None:
            continue
        known += 1
        if index.space_group[index.row_of[name]] == group_and_sites(structure)[0]:
            same.append(f"{structure.composition.reduced_formula} is {name}")
    example = same[0] if same else ""
    return found, KnownShare(index.title, len(structures), known, len(same), example)
