"""Known patterns as a second opinion on the skeletons of a composition.

The frequency table of :mod:`crystal_diffusion.symmetry.prior` remembers every pattern of letters
and which elements sit on it, which a small network does not. Its opinion on a composition counts
the more, the more crystals with like elements support it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from crystal_diffusion.skeletons.tokens import canonical_skeleton
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.prior import WyckoffPrior


@dataclass(frozen=True)
class Trust:
    """How much the table is believed: share = 1 / (1 + exp(-offset - slope · ln(support)))."""

    offset: float
    slope: float

    def share(self, support: float) -> float:
        """From 0 to 1; 0 without support."""
        if support <= 0:
            return 0.0
        return 1.0 / (1.0 + math.exp(-self.offset - self.slope * math.log(support)))


@dataclass(frozen=True)
class Known:
    """What the table says of a composition.

    Attributes:
        chances: probability of each known skeleton, adding up to 1, likeliest first.
        support: crystals that speak for them, weighted by how well the elements fit.
    """

    chances: Mapping[Assignment, float]
    support: float


def known_skeletons(
    prior: WyckoffPrior, counts: Mapping[int, int], groups: Collection[int] | None = None
) -> Known:
    """Skeletons of known patterns with these counts in the primitive cell.

    Args:
        prior: the frequency table.
        counts: atomic number to atoms.
        groups: numbers of the space groups to choose from; all by default.
    """
    weights: dict[Assignment, float] = {}
    for assignment, weight in prior.pattern_weights(counts):
        if groups is None or assignment.space_group in groups:
            skeleton = canonical_skeleton(assignment)
            weights[skeleton] = weights.get(skeleton, 0.0) + weight
    total = sum(weights.values())
    if total <= 0:
        return Known({}, 0.0)
    ordered = sorted(weights.items(), key=lambda pair: -pair[1])
    return Known({skeleton: weight / total for skeleton, weight in ordered}, total)
