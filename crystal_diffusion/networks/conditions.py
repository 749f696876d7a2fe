"""What is asked of properties, in the numbers that networks are told.

A network is trained on events "the property lies in I". If I were drawn around a crystal's own
label, the interval alone would tell it; so the axis of each property is cut at places that do not
depend on the crystal, and the crystal is told the piece that it lies in. Given a piece, crystals
are then distributed exactly as those inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.properties import BY_NAME, PropertyRange
from crystal_diffusion.shapes import Float

#: Added before logarithms, as a share of the smallest value that differs from zero for anybody.
_SMALLEST = 0.01
#: Cuts of one axis: how many, with their chances.
_CUTS = ((1, 0.4), (2, 0.4), (4, 0.2))
#: Chance that nothing is asked of a property, and that nothing is asked of any.
DROPPED, ALL_DROPPED = 0.4, 0.15
#: Chance that a cut is a label of the training set; the others are even over the axis.
_AT_A_LABEL = 0.5


@dataclass(frozen=True)
class ConditionScale:
    """How values become numbers of about unit size.

    Attributes:
        names: of the properties, in the order that the network was trained with.
        centre, spread: of each, after the logarithm where the property has one.
        smallest, largest: of the labels it was trained on, in units of the property.
        labelled: how many labels of each there were.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    smallest: tuple[float, ...]
    largest: tuple[float, ...]
    labelled: tuple[int, ...]

    @classmethod
    def from_labels(cls, labels: Mapping[str, NDArray[np.float64]]) -> ConditionScale:
        """Fit to labels, NaN where not known.

        Raises:
            InputError: for a property without any label.
        """
        rows = []
        for name, values in labels.items():
            known = values[np.isfinite(values)]
            if not len(known):
                raise InputError(f"property {name} has no label; leave it out.")
            plain = _plain(name, known)
            spread = max(float(plain.std()), 1e-6)
            rows.append((float(plain.mean()), spread, float(known.min()), float(known.max())))
        centre, spread_of, low, high = zip(*rows, strict=True) if rows else ((),) * 4
        counts = tuple(int(np.isfinite(v).sum()) for v in labels.values())
        return cls(tuple(labels), centre, spread_of, low, high, counts)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> ConditionScale:
        """From what :func:`dataclasses.asdict` made of it."""
        return cls(**{name: tuple(values) for name, values in header.items()})

    def encode(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of a property as the network's numbers; infinities and NaN stay."""
        place = self.names.index(name)
        out = (_plain(name, np.asarray(values, np.float64)) - self.centre[place]) / (
            self.spread[place]
        )
        return np.asarray(out, np.float64)

    def encode_all(
        self, labels: Mapping[str, NDArray[np.float64]]
    ) -> Float[Tensor, "crystals properties"]:
        """``(crystals, properties)`` float32, NaN where not known."""
        columns = [self.encode(name, labels[name]) for name in self.names]
        return torch.from_numpy(np.stack(columns, 1)).float()

    def conditions(self, asked: Mapping[str, PropertyRange], crystals: int = 1) -> Conditions:
        """What is asked, the same of every crystal; properties it does not know are left out."""
        low = torch.full((len(self.names),), -torch.inf)
        high = torch.full((len(self.names),), torch.inf)
        known = torch.zeros(len(self.names), dtype=torch.bool)
        for place, name in enumerate(self.names):
            if name in asked:
                wanted = asked[name]
                ends = self.encode(name, np.array([wanted.low, wanted.high]))
                low[place], high[place] = float(ends[0]), float(ends[1])
                known[place] = True
        return Conditions(*(row.expand(crystals, -1).clone() for row in (low, high, known)))

    def outside(self, asked: Mapping[str, PropertyRange]) -> dict[str, tuple[float, float]]:
        """Properties whose range holds no label, with the smallest and largest label."""
        out = {}
        for name, low, high in zip(self.names, self.smallest, self.largest, strict=True):
            wanted = asked.get(name)
            if wanted is not None and (wanted.low > high or wanted.high < low):
                out[name] = (low, high)
        return out


def _plain(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The axis on which differences count: logarithms of properties that spread over decades."""
    known = BY_NAME.get(name)
    if known is None or not known.logarithmic:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(np.maximum(values, _SMALLEST) * (values > 0)), np.float64)


def random_conditions(
    values: Float[Tensor, "crystals properties"],
    quantiles: Float[Tensor, "properties places"],
    generator: torch.Generator,
) -> Conditions:
    """One piece of every axis for each crystal, cut where its own label has no say.

    Args:
        values: ``(crystals, properties)`` scaled labels, NaN where not known.
        quantiles: ``(properties, places)`` even quantiles of all labels, scaled.
        generator: of the cuts and of what is asked.

    Returns:
        Intervals that hold the labels; each property is left out now and then, all of them as well.
    """
    crystals, properties = values.shape
    most = max(count for count, _ in _CUTS)
    shape = (crystals, properties, most)
    places = quantiles.shape[1]
    which = torch.randint(places, shape, generator=generator)
    at_label = quantiles.expand(crystals, -1, -1).gather(2, which)
    lowest, highest = quantiles[:, :1], quantiles[:, -1:]
    even = lowest + torch.rand(shape, generator=generator) * (highest - lowest)
    cuts = torch.where(torch.rand(shape, generator=generator) < _AT_A_LABEL, at_label, even)
    shares = torch.tensor([share for _, share in _CUTS])
    counts = torch.tensor([count for count, _ in _CUTS])
    drawn = torch.multinomial(
        shares.expand(crystals * properties, -1), 1, replacement=True, generator=generator
    )
    used = counts[drawn].view(crystals, properties, 1)
    beyond = torch.arange(most) >= used
    own = values.unsqueeze(-1)
    # A label on a cut belongs to the piece above it, which is what "at least" means.
    below = torch.where((cuts <= own) & ~beyond, cuts, -torch.inf).amax(-1)
    above = torch.where((cuts > own) & ~beyond, cuts, torch.inf).amin(-1)
    asked = torch.isfinite(values) & (
        torch.rand(crystals, properties, generator=generator) >= DROPPED
    )
    asked &= torch.rand(crystals, 1, generator=generator) >= ALL_DROPPED
    asked &= torch.isfinite(below) | torch.isfinite(above)
    return Conditions(below, above, asked)


def even_quantiles(
    values: Float[Tensor, "crystals properties"], places: int = 200
) -> Float[Tensor, "properties places"]:
    """``(properties, places)`` of the labels that are known, for :func:`random_conditions`."""
    at = torch.linspace(0.002, 0.998, places, dtype=values.dtype)
    columns: Sequence[Tensor] = [
        torch.quantile(column[torch.isfinite(column)], at) for column in values.unbind(1)
    ]
    return torch.stack(list(columns))
