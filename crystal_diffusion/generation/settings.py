"""How a run is made, and what it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crystal_diffusion.deprecated import renamed
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.asking import PropertySelection
from crystal_diffusion.generation.finishing import Original
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.physics.validator import PhysicsValidator

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from crystal_diffusion.generation.confidence import HowMany
    from crystal_diffusion.generation.rows import GeneratedRow
    from crystal_diffusion.ranking.candidates import Pool


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
        if self.max_attempts < 1:
            raise InputError(f"max_attempts is {self.max_attempts}; give at least 1.")
        if not 0 <= self.idealise <= 1:
            raise InputError(f"idealise is {self.idealise}; give a tolerance of 0 to 1 Å.")


@dataclass(repr=False)
class GenerationResult:
    """What a run made.

    Attributes:
        structures: by id, best rank first.
        rows: one table row each, the same order.
        rejected: how many candidates failed, by reason.
        missing: indices of crystals that were given up, with the last reason.
        plans: the plan of each structure.
        seconds: wall time by stage.
        interrupted: whether Ctrl-C ended it before all crystals were made.
        originals: crystals as sampled, by id, where their symmetry was made exact.
        pools: prototype candidates that those of a reduced formula are judged against.
        how_many: for each composition, how many first candidates hold the answer with 50, 80, 90 %.
        formula_units: numbers of formula units per cell that were tried, where a formula was given.
        selection: what was asked of properties and how candidates were chosen; None for nothing.
    """

    structures: dict[str, Structure]
    rows: list[GeneratedRow]
    rejected: dict[str, int]
    missing: dict[int, str]
    plans: dict[str, Plan]
    seconds: dict[str, float]
    interrupted: bool = False
    originals: dict[str, Original] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    formula_units: tuple[int, ...] = ()
    how_many: list[HowMany] = field(default_factory=list)
    selection: PropertySelection | None = None

    def predictions(self, name: str) -> Mapping[str, float | None]:
        """Columns of what was predicted of a crystal; none where nothing was asked."""
        return {} if self.selection is None else self.selection.cells[name]

    def __len__(self) -> int:
        return len(self.structures)

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures.values())

    def __getitem__(self, which: int | str) -> Structure:
        """A structure by its place from 0, best first, or by its id."""
        if isinstance(which, str):
            return self.structures[which]
        return list(self.structures.values())[which]

    def __repr__(self) -> str:
        from crystal_diffusion.generation.crystals import summary

        return summary(self)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each crystal, columns as in ``structures.csv``."""
        from crystal_diffusion.generation.crystals import table

        return table(self.rows)

    def _repr_html_(self) -> str:
        """A gallery for notebooks."""
        from crystal_diffusion.viewer.view import gallery_html

        captions = [f"{row.id} {row.formula}" for row in self.rows]
        return gallery_html(list(self.structures.values()), captions)
