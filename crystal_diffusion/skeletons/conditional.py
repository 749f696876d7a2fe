"""Skeletons of crystals with properties: classifier-free guidance of the choices.

A second network was trained like the first and told what is asked of properties as well
(``recipes/train_conditions.py``). With c what is asked, a choice is scored by
ln p(c) + (w - 1)·(ln p(c) - ln p(∅)) of that network alone (Ho and Salimans 2022, on logits): w = 1
is what was learned, larger w exaggerates it. A network that was adapted to a user's crystals keeps
the word, and is pushed by w·(ln p(c) - ln p(∅)) of the other.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.skeletons.network import Question, SkeletonNetwork

#: The network in the box that is told of properties.
SKELETON_CONDITIONS = asset_path("conditions.skeletons.safetensors")
#: Nats by which being told may raise a choice, before w: for what was hardly ever seen the ratio of
#: two small numbers means nothing.
_MOST = 3.0


class GuidedSkeletonNetwork:
    """Scores of several networks as one; stands where a plain network stands.

    States and memories are kept side by side: of the network that is told, with and without what
    is asked, and of an adapted one where there is one.

    Args:
        told: the network that knows properties.
        conditions: what is asked, one row.
        guidance: w, above 0.
        adapted: a network of the same size that was adapted to a user's crystals.

    Raises:
        InputError: for a guidance that is not above 0, or networks of different size.
    """

    def __init__(
        self,
        told: SkeletonNetwork,
        conditions: Conditions,
        guidance: float,
        adapted: SkeletonNetwork | None = None,
    ) -> None:
        if guidance <= 0:
            raise InputError(f"the guidance scale is {guidance}; give a number above 0.")
        networks = [told, told] if adapted is None else [told, told, adapted]
        sizes = [(n.config.dim, n.config.layers, n.config.heads) for n in networks]
        if sizes[0] != sizes[-1]:
            raise InputError(
                f"the model of skeletons is of size {sizes[-1]}, what tells it of properties of "
                f"{sizes[0]}; train both alike."
            )
        self._networks = networks
        self.conditions, self.guidance = conditions, guidance

    def freeze(self) -> GuidedSkeletonNetwork:
        """As that of a plain network."""
        for network in self._networks:
            network.freeze()
        return self

    def _questions(self, asked: Question) -> list[Question]:
        rows = len(asked.total)
        ours = (self.conditions.low, self.conditions.high, self.conditions.asked)
        told = replace(asked, properties=Conditions(*(row.expand(rows, -1) for row in ours)))
        return [told, *[asked] * (len(self._networks) - 1)]

    def __call__(self, asked: Question, inputs: Tensor) -> Tensor:
        """``(crystals, positions, networks · dim)``."""
        pairs = zip(self._networks, self._questions(asked), strict=True)
        return torch.cat([network(question, inputs) for network, question in pairs], -1)

    def read_question(self, asked: Question) -> Tensor:
        """``(networks · layers, 2, 1, heads, 1 + asked, width)``."""
        pairs = zip(self._networks, self._questions(asked), strict=True)
        return torch.cat([network.read_question(question) for network, question in pairs])

    def step(self, inputs: Tensor, place: int, seen: Tensor) -> Tensor:
        """``(crystals, networks · dim)``; the memories of all networks get the new position."""
        parts = zip(self._networks, seen.chunk(len(self._networks)), strict=True)
        return torch.cat([network.step(inputs, place, own) for network, own in parts], -1)

    def group_scores(self, states: Tensor) -> Tensor:
        """``(..., 230)``."""
        return self._pushed([n.group_scores(part) for n, part in self._parts(states)])

    def letter_scores(self, states: Tensor, groups: Tensor) -> Tensor:
        """``(..., LETTERS)``."""
        return self._pushed([n.letter_scores(part, groups) for n, part in self._parts(states)])

    def element_scores(self, states: Tensor) -> Tensor:
        """``(..., ELEMENTS)``."""
        return self._pushed([n.element_scores(part) for n, part in self._parts(states)])

    def count_scores(self, states: Tensor, elements: Tensor) -> Tensor:
        """``(..., LARGEST_COUNT + 1)``."""
        return self._pushed([n.count_scores(part, elements) for n, part in self._parts(states)])

    def _parts(self, states: Tensor) -> zip[tuple[SkeletonNetwork, Tensor]]:
        return zip(self._networks, states.chunk(len(self._networks), -1), strict=True)

    def _pushed(self, scores: list[Tensor]) -> Tensor:
        told, anything = (torch.log_softmax(part, -1) for part in scores[:2])
        change = (told - anything).clamp(max=_MOST)
        if len(scores) == 3:
            return scores[2] + self.guidance * change
        return told + (self.guidance - 1) * change
