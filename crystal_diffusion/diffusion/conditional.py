"""ConditionalDiffusion: the model of the original design, told of properties.

The reference model with one more input: what is asked of properties joins the time embedding. While
it is trained it is told random pieces of each property's axis, now and then nothing, so that one
network knows both distributions; sampling pushes its noise from the one towards the other at every
step (Ho and Salimans 2022), where the original design mixed two finished samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.conditions import (
    ConditionScale,
    even_quantiles,
    random_conditions,
)
from crystal_diffusion.networks.embeddings import ConditionEmbedding
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.networks.unet import DenoisingNetwork
from crystal_diffusion.networks.unet_chain import UNetChain
from crystal_diffusion.properties import property_named, range_of


class ConditionalNetwork(DenoisingNetwork):
    """The U-Net of the reference with what is asked of properties beside the time.

    Args:
        properties: how many there are.
    """

    def __init__(
        self, properties: int, hidden_dim: int, time_dim: int, learned_variance: bool
    ) -> None:
        super().__init__(hidden_dim, time_dim, learned_variance)
        self.asked = ConditionEmbedding(properties, time_dim)
        self.told: Conditions | None = None

    def encode(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """As of the reference, with what :attr:`told` says of each crystal."""
        padding = None if mask is None or bool((mask > 0).all()) else mask <= 0
        time = self.time(t)
        if self.told is not None:
            time = time + self.asked(self.told)
        features: Tensor = self.body(x, self.body.time_terms(time), padding)
        return features


class _GuidedChain:
    """Stands where the network stands in a reverse chain: its noise with and without the wish."""

    variance = None

    def __init__(self, network: ConditionalNetwork, asked: Conditions, guidance: float) -> None:
        self._network, self._asked, self._guidance = network, asked, guidance

    def chain(
        self, times: Tensor, padding: Tensor | None
    ) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """Features of both at each step."""
        network = self._network
        time, wish = network.time(times), network.asked(self._asked)
        free = UNetChain(network.body, network.body.time_terms(time), padding)
        told = UNetChain(network.body, network.body.time_terms(time + wish), padding)
        return lambda x, step: (free(x, step), told(x, step))

    def out(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """ε∅ + w (ε_c - ε∅)."""
        free, told = (self._network.out(part) for part in features)
        noise: Tensor = free + self._guidance * (told - free)
        return noise


class ConditionalDiffusion(CrystalDiffusionModel):
    """The reference model that can be asked for properties.

    Args:
        labels: properties by name, one value a training crystal, NaN where not known; they say
            which properties there are and on which scale.
        **settings: of :class:`CrystalDiffusionModel`.

    Raises:
        InputError: without labels, or for a property without any value.
    """

    model: ConditionalNetwork

    def __init__(self, labels: Mapping[str, Any], **settings: Any) -> None:
        if not labels:
            raise InputError(
                'labels is empty; give one value a crystal, as in {"band_gap": [1.1, 0.0]}.'
            )
        known: dict[str, NDArray[np.float64]] = {
            _name(name): np.asarray(values, np.float64) for name, values in labels.items()
        }
        self.scale = ConditionScale.from_labels(known)
        self._quantiles = even_quantiles(self.scale.encode_all(known))
        self._chain: _GuidedChain | None = None
        super().__init__(**settings)

    def make_network(self, hidden_dim: int, time_dim: int, learned: bool) -> DenoisingNetwork:
        """The U-Net with room for the properties."""
        return ConditionalNetwork(len(self.scale.names), hidden_dim, time_dim, learned)

    def reverse_network(self) -> Any:
        """The network, or its guided form inside :meth:`sample_conditional`."""
        return self._chain or self.model

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """As that of the reference; the network is told pieces that hold the labels.

        Args:
            batch: as of the reference, with ``labels``: properties by name, ``(crystals,)`` each;
                what is left out or NaN is not told.
        """
        count = len(batch["positions"])
        given = {_name(k): np.asarray(v, np.float64) for k, v in batch.get("labels", {}).items()}
        unknown = sorted(set(given) - set(self.scale.names))
        if unknown:
            raise InputError(
                f"labels has {unknown[0]}, which this model was not made for; it knows "
                f"{', '.join(self.scale.names)}."
            )
        labels = {name: given.get(name, np.full(count, np.nan)) for name in self.scale.names}
        values = self.scale.encode_all(labels)
        told = random_conditions(values, self._quantiles, self._generator)
        self.model.told = told.part(slice(None), self.device)
        try:
            return super().loss(batch)
        finally:
            self.model.told = None

    def sample_conditional(
        self, condition: Mapping[str, Any], guidance_scale: float = 1.0, **sampling: Any
    ) -> Tensor:
        """New coordinates of crystals with properties.

        Args:
            condition: by property a target value (within the property's tolerance), a pair or a
                text, for example ``{"bandgap": 2.5, "density": (3.0, 4.0)}``.
            guidance_scale: w; 0 asks for nothing, 1 as learned, more exaggerates.
            **sampling: of :meth:`sample`.

        Raises:
            InputError: for a property it was not made for, or a negative scale.
        """
        if guidance_scale < 0:
            raise InputError(f"guidance_scale is {guidance_scale}; give 0 or more.")
        asked = {}
        for text, value in condition.items():
            name = property_named(text, self.scale.names)
            if name not in self.scale.names:
                raise InputError(
                    f"property {name} was not among the labels; this model knows "
                    f"{', '.join(self.scale.names)}."
                )
            asked[name] = range_of(name, value)
        wish = self.scale.conditions(asked).part(slice(None), self.device)
        self._chain = _GuidedChain(self.model, wish, guidance_scale)
        try:
            return self.sample(**sampling)
        finally:
            self._chain = None


def _name(text: str) -> str:
    """The name of a listed property, or the text itself for one of the user's own."""
    try:
        return property_named(text)
    except InputError:
        return text
