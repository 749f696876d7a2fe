"""The published distance from the hull, foretold by two opinions: a potential's and a network's.

Published distances are those of PBE calculations (Materials Project). A potential of another
functional and a network trained on published distances err in different crystals, so together they
tell better whether a crystal lies within 0.1 eV/atom of that hull than each alone. The weights are
fitted by ``benchmarks/hull_check.py --unmet`` on known crystals of formulas that the network never
met, with distances by diep, and measured on such formulas by weights that had not seen them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The potential whose distances the shipped weights were fitted with.
FITTED_WITH = "diep"
#: What "near the hull" means, eV/atom.
NEAR_EV = 0.1
#: A crystal that is near with at least this probability is marked as likely: the highest threshold
#: whose verdicts agree in 94 %, on either half of the formulas.
LIKELY = 0.78
#: Distances by the potential beyond this (eV/atom) say no more.
_FAR_EV = 0.4
#: Keeps the network's odds finite.
_FLOOR = 0.01


@dataclass(frozen=True)
class PublishedWeights:
    """How two opinions become one.

    Attributes:
        estimate: weights of the potential's and the network's distance, and a constant (eV/atom).
        odds: constant, weight of the potential's distance (per eV/atom), weight of the network's
            log-odds.
    """

    estimate: tuple[float, float, float]
    odds: tuple[float, float, float]


#: Fitted on all formulas the network never met.
SHIPPED = PublishedWeights((0.496, 0.476, -0.004), (2.12, -19.11, 0.74))


@dataclass(frozen=True)
class PublishedHull:
    """What is foretold of a crystal.

    Attributes:
        above: eV/atom above the published hull, 0 or more.
        near_probability: that it is at most `NEAR_EV` above.
    """

    above: float
    near_probability: float

    @property
    def likely(self) -> bool:
        """Whether it is near with a probability of at least `LIKELY`."""
        return self.near_probability >= LIKELY


def evidence(above: float, inside: float) -> tuple[float, float]:
    """What the probability is linear in, as log-odds: see `published_hull`."""
    odds = math.log((inside + _FLOOR) / (1 + _FLOOR - inside))
    return min(max(above, 0.0), _FAR_EV), odds


def published_hull(
    above: float, predicted: float, inside: float, weights: PublishedWeights = SHIPPED
) -> PublishedHull | None:
    """The published distance and the probability of being near, foretold.

    Args:
        above: eV/atom above the hull of known crystals by the potential (diep).
        predicted: the network's distance, eV/atom.
        inside: the network's probability of at most `NEAR_EV`.
        weights: of the two opinions.

    Returns:
        None where one of the opinions is missing (not a number).
    """
    if not all(map(math.isfinite, (above, predicted, inside))):
        return None
    one, two, more = weights.estimate
    said = one * max(above, 0.0) + two * max(predicted, 0.0) + more
    distance, odds = evidence(above, inside)
    constant, slope, share = weights.odds
    return PublishedHull(
        max(0.0, said), 1 / (1 + math.exp(-(constant + slope * distance + share * odds)))
    )
