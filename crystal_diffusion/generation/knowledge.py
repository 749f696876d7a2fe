"""What a loaded model knows beside its weights: library, scorer, known crystals, shares."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.symmetric import FREE_SHARE
from crystal_diffusion.ranking.own import OwnEvidence, OwnScorer
from crystal_diffusion.ranking.scorers import Floats, LearnedScorer, ResidualScorer, Scorer
from crystal_diffusion.ranking.stability import StabilityOpinion

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.data.tables import CrystalArrays
    from crystal_diffusion.diffusion.joint import JointDiffusion
    from crystal_diffusion.generation.asking import PropertyJudge
    from crystal_diffusion.generation.nearest import KnownIndex
    from crystal_diffusion.generation.type_opinion import TypeOpinion
    from crystal_diffusion.proposals.labels import LibraryLabels
    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import PrototypeProposer
    from crystal_diffusion.ranking.own_confidence import Calibration
    from crystal_diffusion.skeletons.distribution import SkeletonModel


log = logging.getLogger(__name__)

#: How near to the user's crystals new ones are by default.
LIKE_TRAINING = 0.75
#: Which crystals prototypes are made from.
LIBRARIES = ("both", "own", "shipped")


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Chosen once, when a model is loaded; nothing else asks which model it is.

    Attributes:
        scorer: judges candidates where the built-in score is asked for.
        open_library: makes the prototypes, None where there are none; called when first needed.
        open_known: makes the index of known crystals from the library, likewise.
        noise_share: share of crystals that start from noise, where the user does not say.
        own_bonus: how much more the user's crystals in the library vote than others, log weight.
        pretrained: whether the shipped library and ranker are part of it.
        symmetric: share of the noise starts that get a space group and Wyckoff positions first,
            where the user does not say.
        skeletons_file: of the learned space groups and Wyckoff positions; None for the shipped.
        open_properties: makes what predicts properties; None where the model predicts none.
        open_labels: reads the labels of the library's crystals; None where there are none.
        open_student: reads the network distilled from the model for at most four steps, if any.
        like_training: how near crystals of no given composition stay to the user's own, 0 to 1,
            where the user does not say; None draws them from noise alone.
        calibration: of the confidence, where the model has its own; None for the shipped one.
    """

    scorer: Scorer
    open_library: Callable[[], CrystalLibrary | None]
    open_known: Callable[[CrystalLibrary | None], KnownIndex | None]
    noise_share: float
    own_bonus: float = 0.0
    pretrained: bool = False
    like_training: float | None = None
    symmetric: float = 0.0
    skeletons_file: Path | None = None
    open_properties: Callable[[], PropertyJudge | None] = lambda: None
    open_labels: Callable[[], LibraryLabels | None] = lambda: None
    open_student: Callable[[], JointDiffusion | None] = lambda: None
    calibration: Calibration | None = None

    @cached_property
    def student(self) -> JointDiffusion | None:
        """Answers in the model's place where only a few steps are asked for."""
        return self.open_student()

    @cached_property
    def labels(self) -> LibraryLabels | None:
        """Labels of the library's crystals."""
        return self.open_labels()

    @cached_property
    def properties(self) -> PropertyJudge | None:
        """What predicts properties."""
        return self.open_properties()

    @cached_property
    def skeletons(self) -> SkeletonModel:
        """The learned distribution of space groups, Wyckoff positions and elements on them."""
        from crystal_diffusion.skeletons.distribution import SkeletonModel

        return SkeletonModel.load(self.skeletons_file)

    @cached_property
    def types(self) -> TypeOpinion:
        """What known structure types say of skeletons.

        A model trained alone that learned skeletons asks its own types, by their votes. One that
        did not draws skeletons from the shipped distribution, and so has the shipped library and
        ranker judge them.
        """
        from crystal_diffusion.generation.type_opinion import TypeOpinion
        from crystal_diffusion.proposals.prototypes import PrototypeProposer

        if (self.pretrained or self.skeletons_file) and self.proposer is not None:
            return TypeOpinion(self.proposer, self.scorer)
        return TypeOpinion(PrototypeProposer(), shipped_scorer())

    @cached_property
    def stability(self) -> StabilityOpinion | None:
        """What the ranking knows of energies; None where it knows nothing."""
        scorer = self.scorer.learned if isinstance(self.scorer, OwnScorer) else self.scorer
        return scorer.stability if isinstance(scorer, LearnedScorer) else None

    @cached_property
    def library(self) -> CrystalLibrary | None:
        """Prototypes."""
        return self.open_library()

    @cached_property
    def proposer(self) -> PrototypeProposer | None:
        """Finds prototypes for a composition."""
        from crystal_diffusion.proposals.prototypes import PrototypeProposer

        if self.library is None:
            return None
        return PrototypeProposer(self.library, own_bonus=self.own_bonus)

    @cached_property
    def known(self) -> KnownIndex | None:
        """Known crystals, for the nearest one of each row."""
        return self.open_known(self.library)


def shipped_scorer(residual: ResidualScorer | None = None) -> LearnedScorer:
    """The shipped ranker with what the shipped property network says of formation energies."""

    def energies(structures: Sequence[Structure]) -> Floats:
        from crystal_diffusion.prediction.model import default_properties

        return default_properties().formation_energies(structures)

    return LearnedScorer(residual=residual, stability=StabilityOpinion(energies))


def pretrained_knowledge(model: JointDiffusion) -> Knowledge:
    """Shipped library and the ranker trained with it; half of the crystals from noise."""

    def library() -> CrystalLibrary:
        from crystal_diffusion.proposals.library import default_library

        return default_library()

    def known(library: CrystalLibrary | None) -> KnownIndex | None:
        from crystal_diffusion.generation.nearest import NearestInLibrary

        return None if library is None else NearestInLibrary(library)

    return Knowledge(
        shipped_scorer(ResidualScorer(model)),
        library,
        known,
        noise_share=0.5,
        pretrained=True,
        symmetric=1.0 - FREE_SHARE,
        open_labels=shipped_labels,
    )


def shipped_labels() -> LibraryLabels:
    """Labels of the crystals of the shipped library."""
    from crystal_diffusion.proposals.labels import default_labels

    return default_labels()


def joined_knowledge(
    model: JointDiffusion, training: CrystalArrays, evidence: OwnEvidence, use: str = "both"
) -> Knowledge:
    """What the pretrained model knows with a user's crystals added.

    Args:
        use: "both" joins the user's crystals to the shipped library, "own" takes them alone,
            "shipped" leaves them out of proposals and ranking.

    Raises:
        InputError: for another word.
    """
    if use not in LIBRARIES:
        raise InputError(f"library {use!r} is not known; choose one of {', '.join(LIBRARIES)}.")
    if use == "shipped":
        return pretrained_knowledge(model)

    def library() -> CrystalLibrary:
        from crystal_diffusion.proposals.joining import join, read_own
        from crystal_diffusion.proposals.library import CrystalLibrary, default_library

        structures = [training.crystal(i).to_structure() for i in range(len(training))]
        entries, left_out = read_own(structures, training.ids)
        for name, reason in left_out.items():
            log.warning("%s is no structure type: %s", name, reason)
        base = default_library() if use == "both" else CrystalLibrary.from_types([], "own")
        return join(base, entries)

    def known(_: CrystalLibrary | None) -> KnownIndex:
        from crystal_diffusion.generation.nearest import NearerOf, NearestInLibrary
        from crystal_diffusion.matching import ReferenceIndex
        from crystal_diffusion.proposals.library import default_library

        own = ReferenceIndex.from_arrays(training)
        return NearerOf(own, NearestInLibrary(default_library()))

    learned = shipped_scorer(ResidualScorer(model))
    return Knowledge(
        OwnScorer(learned, evidence),
        library,
        known,
        noise_share=0.5,
        own_bonus=evidence.bonus,
        pretrained=True,
        symmetric=1.0 - FREE_SHARE,
        like_training=LIKE_TRAINING,
        open_labels=lambda: shipped_labels().with_own(training.ids, training.properties),
    )


def own_knowledge(model: JointDiffusion, training: CrystalArrays | None) -> Knowledge:
    """The training crystals alone, judged by the network itself; all crystals from noise."""

    def library() -> CrystalLibrary | None:
        if training is None:
            return None
        from crystal_diffusion.proposals.library import CrystalLibrary

        structures = [training.crystal(i).to_structure() for i in range(len(training))]
        return CrystalLibrary.from_structures(structures, ids=list(training.ids))

    def known(_: CrystalLibrary | None) -> KnownIndex | None:
        from crystal_diffusion.generation.nearest import training_index

        return None if training is None else training_index(training, made.library)

    made = Knowledge(ResidualScorer(model), library, known, noise_share=1.0)
    return made
