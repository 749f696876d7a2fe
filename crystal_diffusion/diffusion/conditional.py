"""ConditionalDiffusion: the model of the original design, told of properties or of texts.

The original model with one more input: what is asked of properties, or the vector of a text, joins
the time embedding. While it is trained it is told random pieces of each property's axis and the
texts of the crystals, now and then nothing, so that one network knows both distributions; sampling
pushes its noise from the one towards the other at every step (Ho and Salimans 2022), where the
original design mixed two finished samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.conditions import (
    ALL_DROPPED,
    ConditionScale,
    even_quantiles,
    random_conditions,
)
from crystal_diffusion.networks.embeddings import ConditionEmbedding
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.networks.text import Encode, TextEncoder
from crystal_diffusion.networks.unet import DenoisingNetwork, UNetChain
from crystal_diffusion.properties import property_named, range_of

log = logging.getLogger(__name__)
#: Cosine below which a prompt is told to be unlike all texts of the training.
_UNLIKE = 0.5


class ConditionalNetwork(DenoisingNetwork):
    """The U-Net of the original with what is asked beside the time.

    Args:
        properties: how many there are; text: size of the vectors of texts, 0 for none.
    """

    def __init__(
        self, properties: int, text: int, hidden_dim: int, time_dim: int, learned_variance: bool
    ) -> None:
        super().__init__(hidden_dim, time_dim, learned_variance)
        self.asked = ConditionEmbedding(properties, time_dim, text)
        self.told: Conditions | None = None

    def encode(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """As of the original, with what :attr:`told` says of each crystal."""
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
    """The original model that can be asked for properties, or in words.

    Args:
        labels: properties by name, one value a training crystal, NaN where not known; they say
            which properties there are and on which scale.
        text_encoder: what makes vectors of texts, see :class:`TextEncoder`; None for a model that
            is told no texts.
        **settings: of :class:`CrystalDiffusionModel`.

    Raises:
        InputError: without both, or for a property without any value.
        MissingDependencyError: where the encoder is not installed.
    """

    model: ConditionalNetwork

    def __init__(
        self,
        labels: Mapping[str, Any] | None = None,
        text_encoder: str | Encode | None = None,
        **settings: Any,
    ) -> None:
        if not labels and text_encoder is None:
            raise InputError(
                'labels is empty; give one value a crystal, as in {"band_gap": [1.1, 0.0]}, or a '
                "text_encoder."
            )
        known: dict[str, NDArray[np.float64]] = {
            _name(name): np.asarray(values, np.float64) for name, values in (labels or {}).items()
        }
        self.scale = ConditionScale.from_labels(known)
        self._quantiles = even_quantiles(self.scale.encode_all(known)) if known else None
        self.text_encoder = None if text_encoder is None else TextEncoder(text_encoder)
        #: Texts that the model was told in training, in order of appearance.
        self.texts: tuple[str, ...] = ()
        self._chain: _GuidedChain | None = None
        super().__init__(**settings)

    def make_network(self, hidden_dim: int, time_dim: int, learned: bool) -> DenoisingNetwork:
        """The U-Net with room for the properties and texts."""
        size = 0 if self.text_encoder is None else self.text_encoder.size
        return ConditionalNetwork(len(self.scale.names), size, hidden_dim, time_dim, learned)

    def reverse_network(self) -> Any:
        """The network, or its guided form while it samples what was asked."""
        return self._chain or self.model

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """As that of the original; the network is told pieces that hold the labels.

        Args:
            batch: as of the original, with ``labels``: properties by name, ``(crystals,)`` each;
                what is left out or NaN is not told; and ``text``, one a crystal, for a model with
                an encoder.

        Raises:
            InputError: for labels or texts that the model was not made for.
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
        if self._quantiles is None:
            told = self.scale.conditions({}, count)
        else:
            values = self.scale.encode_all(labels)
            told = random_conditions(values, self._quantiles, self._generator)
        if "text" in batch:
            told = replace(told, text=self._told_text(batch["text"], count))
        self.model.told = told.part(slice(None), self.device)
        try:
            return super().loss(batch)
        finally:
            self.model.told = None

    def _told_text(self, texts: Sequence[str], count: int) -> Tensor:
        """Vectors of the crystals' texts, now and then nothing."""
        if len(texts) != count:
            raise InputError(f"text has {len(texts)} entries for {count} crystals; give one each.")
        vectors = torch.from_numpy(self._encoder()(texts))
        self.texts = tuple(dict.fromkeys([*self.texts, *texts]))
        kept = torch.rand(count, 1, generator=self._generator) >= ALL_DROPPED
        return vectors * kept

    def _encoder(self) -> TextEncoder:
        """The encoder of texts, for a model that has one."""
        if self.text_encoder is None:
            raise InputError('this model is told no texts; make it with text_encoder="sentence".')
        return self.text_encoder

    def sample(
        self,
        *args: Any,
        prompt: str | None = None,
        guidance_scale: float = 1.0,
        **sampling: Any,
    ) -> Tensor:
        """New coordinates, of the original or as a text asks.

        Args:
            *args: of the original, see :meth:`CrystalDiffusionModel.sample`.
            prompt: for example ``"cubic silicon crystal"``. It is compared with the texts of the
                training as a whole: nothing in it is understood, and a prompt unlike all of them
                is warned of.
            guidance_scale: w; 0 asks for nothing, 1 as learned, more exaggerates.
            **sampling: of the original, too.

        Raises:
            InputError: for an empty prompt, a model that was told no texts, or a negative scale.
        """
        if prompt is None:
            return super().sample(*args, **sampling)
        wish = replace(self.scale.conditions({}), text=self._asked_text(prompt))
        return self._guided(wish, guidance_scale, *args, **sampling)

    def _asked_text(self, prompt: str) -> Tensor:
        """The vector of a prompt, with a warning where it is unlike all that was told."""
        encoder = self._encoder()
        if not prompt.strip():
            raise InputError("the prompt is empty; say what is wished, or leave it out.")
        if not self.texts:
            raise InputError(
                'this model was told no texts yet; train it on batches with "text", one a crystal.'
            )
        nearest, cosine = encoder.nearest(prompt, self.texts)
        if cosine < _UNLIKE:
            log.warning(
                "the prompt %r is unlike all texts of the training (the nearest, %r, has cosine "
                "%.2f); what is made has little to do with it.",
                prompt, nearest, cosine,
            )  # fmt: skip
        return torch.from_numpy(encoder([prompt]))

    def sample_conditional(
        self, condition: Mapping[str, Any], guidance_scale: float = 1.0, **sampling: Any
    ) -> Tensor:
        """New coordinates of crystals with properties.

        Args:
            condition: by property a target value (within the property's tolerance), a pair or a
                text, for example ``{"bandgap": 2.5, "density": (3.0, 4.0)}``.
            guidance_scale: w; 0 asks for nothing, 1 as learned, more exaggerates.
            **sampling: of the original's :meth:`sample`.

        Raises:
            InputError: for a property it was not made for, or a negative scale.
        """
        asked = {}
        for text, value in condition.items():
            name = property_named(text, self.scale.names)
            if name not in self.scale.names:
                raise InputError(
                    f"property {name} was not among the labels; this model knows "
                    f"{', '.join(self.scale.names)}."
                )
            asked[name] = range_of(name, value)
        return self._guided(self.scale.conditions(asked), guidance_scale, **sampling)

    def _guided(self, wish: Conditions, scale: float, *args: Any, **sampling: Any) -> Tensor:
        """Samples of the original, pushed towards the wish."""
        if scale < 0:
            raise InputError(f"guidance_scale is {scale}; give 0 or more.")
        told = wish.part(slice(None), self.device)
        self._chain = _GuidedChain(self.model, told, scale)
        try:
            return super().sample(*args, **sampling)
        finally:
            self._chain = None


def _name(text: str) -> str:
    """The name of a listed property, or the text itself for one of the user's own."""
    try:
        return property_named(text)
    except InputError:
        return text
