"""The skeletons of a user's crystals: the shipped distribution fitted further to them."""

from __future__ import annotations

import logging
from pathlib import Path

from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons.adapting import Adapted, adapt
from crystal_diffusion.skeletons.weights import SKELETONS_FILE, save_network

log = logging.getLogger(__name__)


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
