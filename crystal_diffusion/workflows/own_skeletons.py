"""The skeletons of a user's crystals: the shipped distribution fitted further, or one alone."""

from __future__ import annotations

import logging
from pathlib import Path

from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons.adapting import TIMED, Adapted, adapt, fit_alone, seconds_alone
from crystal_diffusion.skeletons.weights import PRIOR_FILE, SKELETONS_FILE, save_network

log = logging.getLogger(__name__)

#: From and up to so many crystals space groups and positions are learned from them alone: fewer say
#: little, and more take minutes to look at.
_ALONE_FROM, _ALONE_TO = 100, 5000
#: Share of crystals with noise of their own space group where skeletons are learned alone. Without
#: it (and skeletons) a model of 300 nitrides answers next to nothing from noise.
SYMMETRIC_NOISE = 0.7


def learns_skeletons(crystals: int) -> bool:
    """Whether a model of these crystals alone learns their space groups and positions too."""
    return _ALONE_FROM <= crystals <= _ALONE_TO


def write_skeletons(folder: Path, arrays: CrystalArrays, seed: int = 0) -> Adapted | None:
    """Adapt the shipped skeletons and write them beside the weights, where that helped.

    Args:
        folder: of the model.
        arrays: the training crystals.
        seed: of the split and the order.

    Returns:
        What was found; None where no crystal has a skeleton.
    """
    file = folder / SKELETONS_FILE
    crystals = [arrays.crystal(i).to_structure() for i in range(len(arrays))]
    try:
        adapted = adapt(crystals, seed=seed)
    except InputError as error:
        log.warning("space groups and Wyckoff positions are not adapted: %s", error)
        file.unlink(missing_ok=True)
        return None
    if not adapted.rounds:
        log.info("the shipped distribution of space groups and positions fits the crystals best")
        file.unlink(missing_ok=True)
        return adapted
    save_network(file, adapted.model.network, adapted.model.header)
    log.info(
        "space groups and positions adapted to %d crystals: %.2f nats a held-out one, %.2f before",
        adapted.crystals,
        adapted.after,
        adapted.before,
    )
    return adapted


def write_own_skeletons(folder: Path, arrays: CrystalArrays, seed: int = 0) -> Adapted | None:
    """Learn space groups and positions from these crystals alone, and write them.

    Args:
        folder: of the model; arrays: the training crystals; seed: of weights, split and order.

    Returns:
        What was found; None where too few have a skeleton, then starts stay free of symmetry.
    """
    file = folder / SKELETONS_FILE
    try:
        alone = fit_alone((arrays.crystal(i).to_structure() for i in range(len(arrays))), seed=seed)
    except InputError as error:
        log.warning("space groups and Wyckoff positions are not learned: %s", error)
        file.unlink(missing_ok=True)
        return None
    if alone.model.prior is not None:
        alone.model.prior.save(folder / PRIOR_FILE)
    save_network(file, alone.model.network, alone.model.header)
    return alone


def alone_seconds(arrays: CrystalArrays) -> float:
    """What :func:`write_own_skeletons` will take, and finding symmetry for the noise before it."""
    few = [arrays.crystal(i).to_structure() for i in range(min(len(arrays), TIMED))]
    return seconds_alone(few, len(arrays))
