"""What known structure types say of the skeletons of a composition.

The network of the skeletons and the table of known patterns see letters and elements alone. A
structure type with the wanted elements on its sites is a whole crystal, which the ranker can judge
against the other types; the skeletons of the best ones are a third opinion.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.scorers import Floats, Scorer
from crystal_diffusion.skeletons.distribution import Drawn
from crystal_diffusion.skeletons.tokens import composition_of, skeleton_of
from crystal_diffusion.symmetry.assignments import Assignment

#: How much the structure types are believed beside network and table, and the factor of their
#: scores (log-odds) before chances are made of them; fitted on crystals that neither network,
#: table, library nor ranker had seen (docs/experiments.md).
SHARE = 0.5
SHARPNESS = 1.2
#: Structure types that are built and judged.
MOST = 24


@dataclass(frozen=True, eq=False)
class TypeOpinion:
    """Chances of skeletons from the structure types of a composition.

    Crystals of the composition itself have no vote: what is known of it comes as a prototype, and
    a single known crystal far above the hull would outvote its whole family.

    Attributes:
        proposer: builds the structure types; scorer: judges them.
        share: how much they are believed, from 0 to 1.
    """

    proposer: PrototypeProposer
    scorer: Scorer
    share: float = SHARE

    def chances(
        self, counts: Mapping[int, int], numbers: Collection[int] | None = None
    ) -> dict[Assignment, float]:
        """Skeletons of the types with their chances, adding up to 1; empty without any.

        Args:
            counts: atomic number to atoms in the primitive cell.
            numbers: space groups to choose from; all by default.
        """
        found = self.proposer.propose(counts, MOST, known=False)
        scores = self._scores(found)
        weights: dict[Assignment, float] = {}
        for proposal, score in zip(
            found, SHARPNESS * (scores - scores.max(initial=-math.inf)), strict=True
        ):
            try:
                skeleton = skeleton_of(proposal.structure)
            except CrystalDiffusionError:  # atoms too near for a group to be found
                continue
            fits = numbers is None or skeleton.space_group in numbers
            if fits and composition_of(skeleton) == dict(counts):
                weights[skeleton] = weights.get(skeleton, 0.0) + math.exp(score)
        total = sum(weights.values())
        return {skeleton: weight / total for skeleton, weight in weights.items()}

    def joined(
        self,
        listed: Sequence[Drawn],
        counts: Mapping[int, int],
        numbers: Collection[int] | None = None,
    ) -> list[Drawn]:
        """The skeletons of the learned distribution and of the types, with joined chances."""
        types = self.chances(counts, numbers)
        if not types:
            return list(listed)
        chances = {d.skeleton: (1 - self.share) * math.exp(d.log_probability) for d in listed}
        for skeleton, chance in types.items():
            chances[skeleton] = chances.get(skeleton, 0.0) + self.share * chance
        return [Drawn(skeleton, math.log(max(p, 1e-300))) for skeleton, p in chances.items()]

    def _scores(self, found: Sequence[Proposal]) -> Floats:
        """Log-odds among the types; their votes where the scorer gives none."""
        if not self.scorer.log_odds:
            return np.array([proposal.score for proposal in found], dtype=float)
        return self.scorer.score([Candidate(p.structure, "prototype", p) for p in found])
