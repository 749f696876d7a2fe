"""Fitting the network of the skeletons: batches, loss, and a loop that can be stopped and resumed.

Each crystal is asked about in one of several ways, drawn anew each time: by its composition, by its
elements, by its size, by both, or by nothing; one network so learns to answer all of them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.conditions import even_quantiles, random_conditions
from crystal_diffusion.seeding import stream_seed
from crystal_diffusion.skeletons.conditional import GuidedSkeletonNetwork
from crystal_diffusion.skeletons.network import (
    CONDITIONS,
    UNKNOWN,
    Question,
    SkeletonNetwork,
)
from crystal_diffusion.skeletons.tokens import (
    ELEMENT,
    GROUP,
    LARGEST_COUNT,
    LETTER,
    LETTERS,
    to_sequence,
)
from crystal_diffusion.skeletons.tokens import Sequence as Skeleton
from crystal_diffusion.symmetry.assignments import Assignment

log = logging.getLogger(__name__)

#: Plain, or guided by what is asked of properties.
AnySkeletonNetwork = SkeletonNetwork | GuidedSkeletonNetwork

#: Positions of a sequence that are trained on; what follows says little about the group.
LONGEST = 40
_FAR = -1e9


@dataclass(frozen=True)
class FitSettings:
    """How the network is fitted.

    Attributes:
        steps: batches.
        tokens: positions in a batch, those of the question included.
        learning_rate: at its peak, after ``warm_up`` steps; it falls to zero as a cosine.
        composition: share of crystals that are asked about by their composition.
        seed: of the order, the questions and the dropout.
        save_every: seconds between checkpoints.
        pull: weight of the squared distance to the weights at the start (L2-SP, Li et al. 2018),
            for networks that are adapted.
    """

    steps: int = 10_000
    tokens: int = 4096
    learning_rate: float = 1.5e-3
    warm_up: int = 300
    weight_decay: float = 0.05
    composition: float = 0.7
    seed: int = 0
    bfloat16: bool = False
    save_every: float = 120.0
    pull: float = 0.0


@dataclass(frozen=True, eq=False)
class Skeletons:
    """Many sequences, flat.

    Attributes:
        inputs: ``(positions, 5)``, targets ``(positions, 2)``, allowed ``(positions,)`` and
            groups ``(crystals, 29)`` packed bits; see :class:`tokens.Sequence`.
        start: ``(crystals + 1,)`` first position of each.
    """

    inputs: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    groups: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @classmethod
    def from_sequences(
        cls, sequences: Sequence[Skeleton], longest: int | None = LONGEST
    ) -> Skeletons:
        """Joined, each cut after ``longest`` positions.

        Raises:
            InputError: without any.
        """
        if not sequences:
            raise InputError("no skeleton to learn from; give at least one crystal.")
        lengths = [len(s.inputs[:longest]) for s in sequences]
        return cls(
            np.concatenate([s.inputs[:longest] for s in sequences]).astype(np.int16),
            np.concatenate([s.targets[:longest] for s in sequences]).astype(np.int16),
            np.concatenate([s.allowed[:longest] for s in sequences]).astype(np.int32),
            np.array([np.frombuffer(s.groups.to_bytes(29, "little"), np.uint8) for s in sequences]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )

    @classmethod
    def from_assignments(cls, assignments: Sequence[Assignment]) -> Skeletons:
        """From skeletons, each once or as often as it is given."""
        known: dict[Assignment, Skeleton] = {}
        for assignment in assignments:
            if assignment not in known:
                known[assignment] = to_sequence(assignment)
        return cls.from_sequences([known[a] for a in assignments])

    @classmethod
    def join(cls, parts: Sequence[Skeletons]) -> Skeletons:
        """All of them, in order."""
        ends = np.cumsum([0, *(part.start[-1] for part in parts)])
        starts = [part.start[1:] + end for part, end in zip(parts, ends, strict=False)]
        return cls(
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.allowed for part in parts]),
            np.concatenate([part.groups for part in parts]),
            np.concatenate([[0], *starts]),
        )

    def take(self, rows: np.ndarray) -> Skeletons:
        """Those of ``rows`` alone."""
        spans = [np.arange(self.start[row], self.start[row + 1]) for row in rows]
        flat = np.concatenate(spans)
        return Skeletons(
            self.inputs[flat],
            self.targets[flat],
            self.allowed[flat],
            self.groups[rows],
            np.concatenate([[0], np.cumsum([len(span) for span in spans])]),
        )


@dataclass(frozen=True)
class Batch:
    """Padded sequences with their questions.

    Attributes:
        inputs: ``(crystals, positions, 5)``; targets ``(crystals, positions, 2)``.
        allowed: ``(crystals, positions)`` bit masks; groups ``(crystals, 230)`` bool.
        real: ``(crystals, positions)``.
        given: ``(crystals,)`` whether the composition was asked for.
    """

    asked: Question
    inputs: Tensor
    targets: Tensor
    allowed: Tensor
    groups: Tensor
    real: Tensor
    given: Tensor


@dataclass(frozen=True)
class SkeletonReport:
    """What the question tells of each crystal, ``(crystals,)`` bool each.

    Attributes:
        composition: elements with counts.
        elements: which elements; total: how many atoms.
    """

    composition: np.ndarray
    elements: np.ndarray
    total: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, crystals: int, composition: float) -> SkeletonReport:
        """The composition for a share of them, elements and total at random for the others."""
        given = rng.random(crystals) < composition
        elements = given | (rng.random(crystals) < 0.5)
        return cls(given, elements, given | (rng.random(crystals) < 0.5))

    @classmethod
    def same(cls, crystals: int, *, composition: bool) -> SkeletonReport:
        """The composition of all, or else the elements alone."""
        all_of = np.ones(crystals, bool)
        return cls(all_of & composition, all_of, all_of & composition)


def make_batch(data: Skeletons, rows: np.ndarray, told: SkeletonReport) -> Batch:
    """The crystals of ``rows`` with their questions."""
    lengths = data.start[rows + 1] - data.start[rows]
    longest = int(lengths.max())
    places = np.arange(longest)
    real = places < lengths[:, None]
    flat = np.where(real, data.start[rows][:, None] + places, data.start[rows][:, None])
    inputs = data.inputs[flat].astype(np.int64)
    targets = data.targets[flat].astype(np.int64)
    bits = np.unpackbits(data.groups[rows], axis=1, bitorder="little")[:, :230].astype(bool)
    # Where counts are free they rule out no group, else groups that seldom fit would be favoured.
    bits |= ~told.composition[:, None]
    asked = _questions(inputs, real, told)
    return Batch(
        asked,
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        torch.from_numpy(data.allowed[flat].astype(np.int64)),
        torch.from_numpy(bits),
        torch.from_numpy(real),
        torch.from_numpy(told.composition),
    )


def _questions(inputs: np.ndarray, real: np.ndarray, told: SkeletonReport) -> Question:
    given = told.composition
    crystals = len(inputs)
    at = (inputs[:, :, 0] == ELEMENT) & real
    most = int(at.sum(1).max())
    elements = np.zeros((crystals, most), np.int64)
    counts = np.zeros((crystals, most), np.int64)
    total = np.zeros(crystals, np.int64)
    units = np.zeros(crystals, np.int64)
    for row in range(crystals):
        mine = inputs[row, at[row]]
        k = len(mine)
        elements[row, :k], counts[row, :k] = mine[:, 1], mine[:, 2]
        total[row] = mine[:, 2].sum()
        units[row] = reduce(math.gcd, mine[:, 2].tolist())
    counts = np.where(given[:, None], counts, UNKNOWN)
    elements = np.where(told.elements[:, None], elements, 0)
    return Question(
        torch.from_numpy(elements),
        torch.from_numpy(counts),
        torch.from_numpy(np.where(told.total, total, UNKNOWN)),
        torch.from_numpy(np.where(given, units, 0)),
        torch.zeros(crystals, CONDITIONS),
    )


@dataclass(frozen=True)
class Losses:
    """Sums of minus the logarithm of the probability, and how many choices they are of."""

    group: Tensor
    letters: Tensor
    elements: Tensor
    crystals: int

    @property
    def mean(self) -> Tensor:
        """What is minimised: nats of a crystal, those of its elements only where they are free."""
        return (self.group + self.letters + self.elements) / self.crystals


def losses(network: SkeletonNetwork, batch: Batch) -> Losses:
    """Negative log-likelihood of the batch, with what cannot fit masked out."""
    states = network(batch.asked, batch.inputs).float()
    at_group = group_losses(network, batch, states).sum()
    at_letters = letter_losses(network, batch, states)[1].sum()
    at_elements = element_losses(network, batch, states)[1].sum()
    crystals = len(batch.given)
    return Losses(at_group, at_letters, at_elements, crystals)


def group_losses(network: AnySkeletonNetwork, batch: Batch, states: Tensor) -> Tensor:
    """``(crystals,)`` nats of the space groups."""
    scores = network.group_scores(states[:, 0]).masked_fill(~batch.groups, _FAR)
    return cross_entropy(scores, batch.targets[:, 0, 0] - 1, reduction="none")


def letter_losses(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor]:
    """``(letters,)`` which crystal each letter belongs to, and its nats."""
    kind, left = batch.inputs[..., 0], batch.inputs[..., 2]
    at = batch.real & ((kind == ELEMENT) | ((kind == LETTER) & (left > 0)))
    scores = network.letter_scores(states[at], batch.inputs[..., 4][at])
    fits = (batch.allowed[at][:, None] >> torch.arange(LETTERS)) & 1
    scores = scores.masked_fill(fits == 0, _FAR)
    return at.nonzero()[:, 0], cross_entropy(scores, batch.targets[..., 0][at], reduction="none")


def element_losses(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor]:
    """Which crystal each choice of an element and its count belongs to, and its nats.

    Only where the composition was not told.
    """
    kind, left = batch.inputs[..., 0], batch.inputs[..., 2]
    at = batch.real & ~batch.given[:, None]
    at &= (kind == GROUP) | ((kind == LETTER) & (left == 0))
    owner, chosen = at.nonzero()[:, 0], batch.targets[at]
    more = chosen[:, 0] > 0
    scores = network.element_scores(states[at])
    counts = network.count_scores(states[at][more], chosen[more, 0])
    elements = cross_entropy(scores, chosen[:, 0], reduction="none")
    of_counts = cross_entropy(counts, chosen[more, 1].clamp(max=LARGEST_COUNT), reduction="none")
    return torch.cat([owner, owner[more]]), torch.cat([elements, of_counts])


def batches(data: Skeletons, tokens: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of one pass, crystals of like length together, in random order."""
    lengths = np.diff(data.start) + 5
    order = np.lexsort((rng.random(len(data)), lengths))
    parts, first = [], 0
    while first < len(order):
        size = max(1, tokens // int(lengths[order[min(first + 1, len(order) - 1)]]))
        while size > 1 and int(lengths[order[min(first + size, len(order)) - 1]]) * size > tokens:
            size -= max(1, size // 16)
        parts.append(order[first : first + size])
        first += size
    for index in rng.permutation(len(parts)):
        yield parts[index]


def fit(
    network: SkeletonNetwork,
    data: Skeletons,
    settings: FitSettings,
    *,
    state: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    labels: Tensor | None = None,
) -> SkeletonNetwork:
    """Train in place, resuming from ``state`` where it exists.

    Args:
        labels: ``(crystals, properties)`` scaled, NaN where not known, for a network that is asked
            for properties.
        state: file for weights and optimiser, written every ``save_every`` seconds.
        progress: called with the step and the mean loss since the last call, every 100 steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return _fit(network, data, settings, state, progress, labels)


def _fit(
    network: SkeletonNetwork,
    data: Skeletons,
    settings: FitSettings,
    state: Path | None,
    progress: Callable[[int, float], None] | None,
    labels: Tensor | None,
) -> SkeletonNetwork:
    from crystal_diffusion.skeletons.weights import load_state, save_state

    optimiser = _optimiser(network, settings)
    step = load_state(state, network, optimiser) if state is not None else 0
    quantiles = None if labels is None else even_quantiles(labels)
    network.train()
    begun = [p.detach().clone() for p in network.parameters()] if settings.pull else []
    saved, total, since = time.monotonic(), 0.0, 0
    for rows, number in _all_batches(data, settings, step):
        rng = np.random.default_rng([settings.seed, 1, number])
        for part in optimiser.param_groups:
            part["lr"] = _rate(number, settings)
        batch = make_batch(data, rows, SkeletonReport.drawn(rng, len(rows), settings.composition))
        if labels is not None and quantiles is not None:
            chance = torch.Generator().manual_seed(stream_seed(settings.seed, "asked", number))
            asked = random_conditions(labels[torch.from_numpy(rows)], quantiles, chance)
            batch = replace(batch, asked=replace(batch.asked, properties=asked))
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            loss = losses(network, batch).mean
        for now, then in zip(network.parameters(), begun, strict=False):
            loss = loss + 0.5 * settings.pull * (now - then).square().sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        total, since = total + float(loss.detach()), since + 1
        if progress and (number + 1) % 100 == 0:
            progress(number + 1, total / since)
            total, since = 0.0, 0
        if state is not None and time.monotonic() - saved > settings.save_every:
            save_state(state, network, optimiser, number + 1)
            saved = time.monotonic()
    if state is not None:
        save_state(state, network, optimiser, max(step, settings.steps))
    return network.eval()


def _optimiser(network: SkeletonNetwork, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices: dict[str, Any] = {
        "params": [p for p in network.parameters() if p.ndim > 1],
        "weight_decay": settings.weight_decay,
    }
    vectors: dict[str, Any] = {"params": [p for p in network.parameters() if p.ndim <= 1]}
    return torch.optim.AdamW(
        [matrices, vectors], lr=settings.learning_rate, weight_decay=0.0, betas=(0.9, 0.98)
    )


def _all_batches(
    data: Skeletons, settings: FitSettings, first: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Batches from step ``first`` on, the same whether or not the run was interrupted."""
    number = 0
    for epoch in range(settings.steps):
        rng = np.random.default_rng([settings.seed, 0, epoch])
        for rows in batches(data, settings.tokens, rng):
            if number >= settings.steps:
                return
            if number >= first:
                yield rows, number
            number += 1


def _rate(step: int, settings: FitSettings) -> float:
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class Nats:
    """Minus the natural logarithm of the probability of each crystal's choices, ``(crystals,)``.

    Attributes:
        group: of the space group; letters: of all letters given it.
        elements: of the counts (and the order of elements), 0 where the composition was told.
    """

    group: np.ndarray
    letters: np.ndarray
    elements: np.ndarray


@torch.no_grad()
def nats(
    network: AnySkeletonNetwork,
    data: Skeletons,
    *,
    composition: bool = True,
    tokens: int = 8192,
) -> Nats:
    """How likely the crystals are, their composition told or else their elements alone."""
    out = Nats(np.zeros(len(data)), np.zeros(len(data)), np.zeros(len(data)))
    for rows in batches(data, tokens, np.random.default_rng(0)):
        batch = make_batch(data, rows, SkeletonReport.same(len(rows), composition=composition))
        states = network(batch.asked, batch.inputs)
        out.group[rows] = group_losses(network, batch, states).numpy()
        for total, (which, found) in (
            (out.letters, letter_losses(network, batch, states)),
            (out.elements, element_losses(network, batch, states)),
        ):
            np.add.at(total, rows[which.numpy()], found.numpy())
    return out
