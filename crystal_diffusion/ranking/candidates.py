"""What a scorer sees of a candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
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


def by_composition(candidates: list[Candidate]) -> list[list[int]]:
    """Rows of the candidates of each reduced formula, in order of their first."""
    rows: dict[str, list[int]] = {}
    for row, candidate in enumerate(candidates):
        rows.setdefault(candidate.structure.composition.reduced_formula, []).append(row)
    return list(rows.values())
