"""What the property network says of the published hull distance, for those who join opinions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.prediction.model import default_properties, default_properties_path

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.prediction.model import PropertyModel

_NAME = "energy_above_hull"


@dataclass(frozen=True)
class NetworkOpinion:
    """What the network says of a crystal; not a number where it says nothing.

    Attributes:
        above: eV/atom above the published hull.
        inside: probability that this is at most the limit asked for.
    """

    above: float
    inside: float


def network_opinions(
    structures: Sequence[Structure], limit: float, model: PropertyModel | None = None
) -> list[NetworkOpinion]:
    """The network's word on each crystal; nothing is said where no network is shipped.

    Args:
        structures: ordered crystals.
        limit: eV/atom above hull.
        model: the shipped one by default.
    """
    if model is None and not default_properties_path().is_file():
        return [NetworkOpinion(math.nan, math.nan) for _ in structures]
    said = (model or default_properties()).predict(structures)
    values = said.values[:, said.names.index(_NAME)]
    inside = said.probability_inside({_NAME: (-np.inf, limit)})[:, 0]
    return [NetworkOpinion(float(v), float(p)) for v, p in zip(values, inside, strict=True)]
