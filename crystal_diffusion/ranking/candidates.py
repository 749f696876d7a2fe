"""What a scorer sees of a candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from crystal_diffusion.proposals.alignment import Frame, neighbour_fingerprint
from crystal_diffusion.proposals.environments import Environments, environments

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.prototypes import Proposal


@dataclass(frozen=True)
class Candidate:
    """One structure to be ranked.

    Attributes:
        structure: the candidate; kind: where it started; proposal: where it has one.
        residual: RMS of what a denoising network would still change, nan where not known.
    """

    structure: Structure
    kind: Literal["prototype", "noise"]
    proposal: Proposal | None = None
    residual: float = math.nan


@dataclass(frozen=True, eq=False)
class Pool:
    """Prototype candidates of one composition that every candidate of it is judged against.

    It follows from the composition and the library, not from how many crystals are asked for: so
    the score of a crystal is the same in any run.
    """

    proposals: tuple[Proposal, ...]

    @cached_property
    def environments(self) -> list[Environments]:
        """Environments of the atoms of each."""
        return [environments_of(proposal.structure) for proposal in self.proposals]

    @cached_property
    def fingerprints(self) -> list[NDArray[np.float64]]:
        """Neighbour distances by element of each."""
        return [element_fingerprint(proposal.structure) for proposal in self.proposals]


def environments_of(structure: Structure) -> Environments:
    """Environments of the atoms of a structure."""
    return environments(
        structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers)
    )


def element_fingerprint(structure: Structure) -> NDArray[np.float64]:
    """``(elements, neighbours)`` neighbour distances by element, elements ascending."""
    _, roles = np.unique(np.array(structure.atomic_numbers), return_inverse=True)
    frame = Frame(
        np.array(structure.lattice.matrix), np.array(structure.frac_coords), roles.astype(np.int64)
    )
    return neighbour_fingerprint(frame)


def by_composition(candidates: list[Candidate]) -> list[list[int]]:
    """Rows of the candidates of each reduced formula, in order of their first."""
    rows: dict[str, list[int]] = {}
    for row, candidate in enumerate(candidates):
        rows.setdefault(candidate.structure.composition.reduced_formula, []).append(row)
    return list(rows.values())
