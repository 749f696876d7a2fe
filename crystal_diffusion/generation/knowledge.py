"""What a loaded model knows beside its weights: library, scorer, known crystals, shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from crystal_diffusion.ranking.scorers import LearnedScorer, ResidualScorer, Scorer

if TYPE_CHECKING:
    from crystal_diffusion.data.tables import CrystalArrays
    from crystal_diffusion.diffusion.joint import JointDiffusion
    from crystal_diffusion.generation.reference import KnownIndex
    from crystal_diffusion.proposals.library import ReferenceLibrary
    from crystal_diffusion.proposals.prototypes import PrototypeProposer


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Chosen once, when a model is loaded; nothing else asks which model it is.

    Attributes:
        scorer: judges candidates where the built-in score is asked for.
        open_library: makes the prototypes, None where there are none; called when first needed.
        open_known: makes the index of known crystals from the library, likewise.
        novel: share of crystals that start from noise, where the user does not say.
    """

    scorer: Scorer
    open_library: Callable[[], ReferenceLibrary | None]
    open_known: Callable[[ReferenceLibrary | None], KnownIndex | None]
    novel: float

    @cached_property
    def library(self) -> ReferenceLibrary | None:
        """Prototypes."""
        return self.open_library()

    @cached_property
    def proposer(self) -> PrototypeProposer | None:
        """Finds prototypes for a composition."""
        from crystal_diffusion.proposals.prototypes import PrototypeProposer

        return None if self.library is None else PrototypeProposer(self.library)

    @cached_property
    def known(self) -> KnownIndex | None:
        """Known crystals, for the nearest one of each row."""
        return self.open_known(self.library)


def pretrained_knowledge(model: JointDiffusion) -> Knowledge:
    """Shipped library and the ranker trained with it; half of the crystals from noise."""

    def library() -> ReferenceLibrary:
        from crystal_diffusion.proposals.library import default_library

        return default_library()

    def known(library: ReferenceLibrary | None) -> KnownIndex | None:
        from crystal_diffusion.generation.reference import LibraryReference

        return None if library is None else LibraryReference(library)

    return Knowledge(LearnedScorer(residual=ResidualScorer(model)), library, known, novel=0.5)


def own_knowledge(model: JointDiffusion, training: CrystalArrays | None) -> Knowledge:
    """The training crystals alone, judged by the network itself; all crystals from noise."""

    def library() -> ReferenceLibrary | None:
        if training is None:
            return None
        from crystal_diffusion.proposals.library import ReferenceLibrary

        structures = [training.crystal(i).to_structure() for i in range(len(training))]
        return ReferenceLibrary.from_structures(structures, ids=list(training.ids))

    def known(_: ReferenceLibrary | None) -> KnownIndex | None:
        from crystal_diffusion.generation.reference import training_index

        return None if training is None else training_index(training, made.library)

    made = Knowledge(ResidualScorer(model), library, known, novel=1.0)
    return made
