"""How a run is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from crystal_diffusion.deprecated import old_names, renamed
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.validator import PhysicsValidator


@renamed(novel="noise_share", new="known_last", rank="scorer")
@dataclass(frozen=True)
class GenerationSettings:
    """How candidates are made and chosen.

    Attributes:
        sampler: steps and strengths from noise.
        prototype_steps: network calls for a prototype start; prototype_level: where on the path
            it enters, 0 leaves the prototype as it is.
        noise_share: share of crystals that start from noise where prototypes exist; None leaves
            the choice to the model (0.5 for the pretrained one, 1 for one trained alone).
        symmetry: share of the noise starts that get a space group and Wyckoff positions first:
            "learned" (all but one in twenty), "free" (none), or a number; None leaves it to the
            model.
        idealise: Å; a free crystal that has more symmetry within this is given out with that
            symmetry made exact, the original kept. 0 leaves all as sampled.
        known_last: structure types in which the library already holds the composition come last.
        max_attempts: tries per crystal before it is given up.
        scorer: "score" (built in), a potential's name such as "diep" (its energy joined with the
            built-in score where there is one), "residual" (of the network), or "none".
        group: group duplicates by structure matching.
        like_training: 0 to 1, how near crystals of no given composition stay to the user's own;
            None leaves the choice to the model.
        guidance: how strongly properties that are asked for steer what is made: 0 not at all, 1 as
            learned, more exaggerates.
        select: candidates made for each crystal kept where properties are asked for; 1 keeps all.
        tries: draws for each crystal that starts from noise with space group and positions chosen,
            where the composition is given and energies are predicted; the lowest one is kept.
    """

    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    prototype_steps: int = 4
    prototype_level: float = 0.0
    noise_share: float | None = None
    known_last: bool = False
    symmetry: str | float | None = None
    idealise: float = 0.1
    max_attempts: int = 8
    scorer: str = "score"
    group: bool = True
    validator: PhysicsValidator | None = None
    like_training: float | None = None
    guidance: float = 1.5
    select: int = 4
    tries: int = 3

    def __post_init__(self) -> None:
        if self.noise_share is not None and not 0 <= self.noise_share <= 1:
            raise InputError(f"noise_share is {self.noise_share}; give a share between 0 and 1.")
        if self.like_training is not None and not 0 <= self.like_training <= 1:
            raise InputError(
                f"like_training is {self.like_training}; give a number between 0 and 1."
            )
        if not 0 <= self.guidance <= 20:
            raise InputError(f"guidance is {self.guidance}; give a number from 0 to 20.")
        if not 1 <= self.select <= 1000:
            raise InputError(f"select is {self.select}; give a whole number from 1 to 1000.")
        if not 1 <= self.tries <= 1000:
            raise InputError(f"tries is {self.tries}; give a whole number from 1 to 1000.")
        if self.max_attempts < 1:
            raise InputError(f"max_attempts is {self.max_attempts}; give at least 1.")
        if not 0 <= self.idealise <= 1:
            raise InputError(f"idealise is {self.idealise}; give a tolerance of 0 to 1 Å.")


__getattr__ = old_names(__name__, GenerationResult="generation.result:GenerationResult")
