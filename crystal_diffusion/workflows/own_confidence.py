"""Confidence of a model that was trained: crystals with a known answer are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.generation.request import Request
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.own import MOST_LEFT_OUT, OwnEvidence, OwnScorer
from crystal_diffusion.ranking.own_confidence import (
    FEWEST_SAMPLED,
    MOST_ANSWERED,
    MOST_SAMPLED,
    SAMPLES,
    AdjustedCalibration,
    SampledCalibration,
    adjust,
    answered_lists,
    fit_sampled,
    sampled_columns,
    save_calibration,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.ranking.confidence import Floats

#: What one answered list takes of what leaving a crystal out takes, which makes several.
_SHARE = 0.3


def write_adjusted(
    folder: Path,
    joined: CrystalLibrary,
    crystals: Sequence[Structure],
    evidence: OwnEvidence,
    seed: int = 0,
) -> AdjustedCalibration:
    """The shipped calibration moved by what is found for own crystals, each left out in turn.

    Args:
        folder: of the model.
        joined: library with the crystals; evidence: how much they count in it.
        crystals: those that can be asked for.
    """
    proposer = PrototypeProposer(joined, own_bonus=evidence.bonus)
    scorer = OwnScorer(shipped_scorer(), evidence)
    calibration = adjust(answered_lists(proposer, scorer, crystals, seed))
    save_calibration(folder, calibration)
    return calibration


def adjusting_seconds(leaving_out: float, crystals: int) -> float:
    """What :func:`write_adjusted` will take.

    Args:
        leaving_out: seconds of :func:`.left_out_seconds`.
    """
    asked = min(crystals, MOST_ANSWERED) / max(1, min(crystals, MOST_LEFT_OUT))
    return _SHARE * leaving_out * asked


def write_sampled(
    generator: CrystalGenerator, held: CrystalArrays, folder: Path, seed: int = 0
) -> SampledCalibration:
    """Confidence of a model from scratch, fitted on what it answers for crystals held out.

    Args:
        generator: the finished model.
        held: crystals that it was not trained on; too few are not asked for.
        folder: of the model.
    """
    asked = min(len(held), MOST_SAMPLED)
    lists = []
    if asks_samples(len(held)):
        for row in np.random.default_rng((seed, 37)).permutation(len(held))[:asked]:
            lists.append(sampled(generator, held.crystal(int(row)).to_structure(), seed))
    calibration = fit_sampled([each for each in lists if each is not None], asked)
    save_calibration(folder, calibration)
    return calibration


def sampled(
    generator: CrystalGenerator, target: Structure, seed: int
) -> tuple[Floats, Floats] | None:
    """Columns of the groups of a composition, best first, and which is the answer."""
    formula = target.composition.reduced_formula
    request = Request(formula=formula, num_atoms=(len(target), len(target)))
    try:
        result = generator.run(request, SAMPLES, seed=seed)
    except CrystalDiffusionError:
        return None  # a crystal that this model cannot be asked for is no row
    if not len(result):
        return None
    scores = np.array([row.score for row in result.rows], dtype=float)
    groups = [int(row.group or 0) for row in result.rows]
    names, columns = sampled_columns(scores, groups, len(target))
    matcher = StructureMatch()
    right = np.array([matcher.fit(made, target) for made in result], dtype=bool)
    hits = np.array([right[np.array(groups) == name].any() for name in names])
    return columns, hits


def asks_samples(held: int) -> bool:
    """Whether :func:`write_sampled` asks for crystals; it takes as long as looking at samples."""
    return min(held, MOST_SAMPLED) >= FEWEST_SAMPLED
