"""Fitting the network of the skeletons: batches, loss, and a loop that can be stopped and resumed.

Each crystal is asked about in one of several ways, drawn anew each time: by its composition, by its
elements, by its size, by both, or by nothing; one network so learns to answer all of them. Batches
are made ahead by threads, with the places of all choices in them, so that a step on a GPU never
waits for the host.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.conditions import even_quantiles, random_conditions
from crystal_diffusion.networks.protocol import Conditions
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

Moved = TypeVar("Moved", "Batch", Question, Conditions)

#: Positions of a sequence that are trained on; what follows says little about the group.
LONGEST = 40
#: Threads that make batches for a GPU.
_MAKERS = 3
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
        bfloat16: blocks in bfloat16; scores and losses stay in float32.
        pull: weight of the squared distance to the weights at the start (L2-SP, Li et al. 2018),
            for networks that are adapted.
        device: where the steps run, in words of PyTorch.
        average: how much of the running average of the weights a step keeps (Polyak and Juditsky
            1992); 0 for the last weights.
        check_every: steps between looks at the crystals held out; the weights that were best on
            them are kept. 0 for the last weights.
        seconds: the rate falls to zero, and training ends, after this time where it comes first.
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
    device: str = "cpu"
    average: float = 0.0
    check_every: int = 0
    seconds: float = math.inf


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
        letters: ``(letters,)`` where letters are chosen, among all positions of the batch.
        elements: ``(choices,)`` where elements are, the composition not being told.
        more: ``(elements,)`` which of ``elements`` are no end.
    """

    asked: Question
    inputs: Tensor
    targets: Tensor
    allowed: Tensor
    groups: Tensor
    letters: Tensor
    elements: Tensor
    more: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return _moved(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies from without waiting."""
        return _moved(self, Tensor.pin_memory)


def _moved(value: Moved, move: Callable[[Tensor], Tensor]) -> Moved:
    """Every tensor of a batch moved."""
    out: dict[str, Any] = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, Tensor):
            out[field.name] = move(part)
        elif part is not None:
            out[field.name] = _moved(part, move)
    return replace(value, **out)


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
    steps = np.arange(longest)
    real = steps < lengths[:, None]
    flat = np.where(real, data.start[rows][:, None] + steps, data.start[rows][:, None])
    inputs = data.inputs[flat].astype(np.int64)
    targets = data.targets[flat].astype(np.int64)
    bits = np.unpackbits(data.groups[rows], axis=1, bitorder="little")[:, :230].astype(bool)
    # Where counts are free they rule out no group, else groups that seldom fit would be favoured.
    bits |= ~told.composition[:, None]
    kind, left = inputs[..., 0], inputs[..., 2]
    letters = real & ((kind == ELEMENT) | ((kind == LETTER) & (left > 0)))
    elements = real & ~told.composition[:, None]
    elements &= (kind == GROUP) | ((kind == LETTER) & (left == 0))
    at_elements = np.flatnonzero(elements)
    more = np.flatnonzero(targets.reshape(-1, 2)[at_elements, 0] > 0)
    arrays = (inputs, targets, data.allowed[flat].astype(np.int64), bits)
    places = (np.flatnonzero(letters), at_elements, more)
    return Batch(
        _questions(inputs, real, told),
        *(torch.from_numpy(array) for array in arrays),
        *(torch.from_numpy(array) for array in places),
    )


def _questions(inputs: np.ndarray, real: np.ndarray, told: SkeletonReport) -> Question:
    given = told.composition
    crystals = len(inputs)
    at = (inputs[:, :, 0] == ELEMENT) & real
    most = int(at.sum(1).max())
    elements = np.zeros((crystals, most), np.int64)
    counts = np.zeros((crystals, most), np.int64)
    row, place = np.nonzero(at)
    column = (np.cumsum(at, 1) - 1)[row, place]
    elements[row, column], counts[row, column] = inputs[row, place, 1], inputs[row, place, 2]
    total, units = counts.sum(1), np.gcd.reduce(counts, axis=1)
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


def losses(
    network: SkeletonNetwork,
    batch: Batch,
    *,
    bfloat16: bool = False,
    taught: Taught | None = None,
) -> Losses:
    """Negative log-likelihood of the batch, with what cannot fit masked out."""
    states = _states(network, batch, bfloat16)
    at_group = group_losses(network, batch, states).sum()
    at_letters = letter_losses(network, batch, states)[1].sum()
    at_elements = element_losses(network, batch, states)[1].sum()
    found = Losses(at_group, at_letters, at_elements, len(batch.inputs))
    return found if taught is None else taught.mixed(network, batch, states, found)


def _states(network: SkeletonNetwork, batch: Batch, bfloat16: bool) -> Tensor:
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bfloat16):
        states = network(batch.asked, batch.inputs)
    return states.float()


@dataclass(frozen=True)
class Taught:
    """What larger networks say in place of some of what the crystals say (Hinton et al. 2015).

    Attributes:
        teachers: frozen, on the device of the batch; the mean of their probabilities counts.
        share: of their word.
    """

    teachers: Sequence[SkeletonNetwork]
    share: float

    def mixed(
        self, network: SkeletonNetwork, batch: Batch, states: Tensor, plain: Losses
    ) -> Losses:
        """Losses towards both."""
        with torch.no_grad():
            of_teachers = [
                _all_scores(teacher, batch, _states(teacher, batch, True))
                for teacher in self.teachers
            ]
            words = [
                torch.stack([torch.softmax(scores, -1) for scores in of_one]).mean(0)
                for of_one in zip(*of_teachers, strict=True)
            ]
        sums = [
            cross_entropy(scores, word, reduction="sum")
            for scores, word in zip(_all_scores(network, batch, states), words, strict=True)
        ]
        group, letters, elements = sums[0], sums[1], sums[2] + sums[3]
        own = 1 - self.share
        return Losses(
            own * plain.group + self.share * group,
            own * plain.letters + self.share * letters,
            own * plain.elements + self.share * elements,
            plain.crystals,
        )


def _all_scores(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of groups, letters, elements and counts, with what cannot fit far below."""
    return (
        _group_scores(network, batch, states),
        _letter_scores(network, batch, states),
        *_element_scores(network, batch, states),
    )


def _group_scores(network: AnySkeletonNetwork, batch: Batch, states: Tensor) -> Tensor:
    return network.group_scores(states[:, 0]).masked_fill(~batch.groups, _FAR)


def _letter_scores(network: AnySkeletonNetwork, batch: Batch, states: Tensor) -> Tensor:
    at = batch.letters
    scores = network.letter_scores(_at(states, at), _at(batch.inputs, at)[:, 4])
    allowed = batch.allowed.flatten()[at][:, None]
    fits = (allowed >> torch.arange(LETTERS, device=allowed.device)) & 1
    return scores.masked_fill(fits == 0, _FAR)


def _element_scores(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the elements, and of the counts of those that are no end."""
    here, chosen = _at(states, batch.elements), _at(batch.targets, batch.elements)
    counts = network.count_scores(here[batch.more], chosen[batch.more, 0])
    return network.element_scores(here), counts


def group_losses(network: AnySkeletonNetwork, batch: Batch, states: Tensor) -> Tensor:
    """``(crystals,)`` nats of the space groups."""
    scores = _group_scores(network, batch, states)
    return cross_entropy(scores, batch.targets[:, 0, 0] - 1, reduction="none")


def letter_losses(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor]:
    """``(letters,)`` which crystal each letter belongs to, and its nats."""
    scores = _letter_scores(network, batch, states)
    targets = _at(batch.targets, batch.letters)[:, 0]
    found = cross_entropy(scores, targets, reduction="none")
    return batch.letters // batch.inputs.shape[1], found


def element_losses(
    network: AnySkeletonNetwork, batch: Batch, states: Tensor
) -> tuple[Tensor, Tensor]:
    """Which crystal each choice of an element and its count belongs to, and its nats.

    Only where the composition was not told.
    """
    more, chosen = batch.more, _at(batch.targets, batch.elements)
    owner = batch.elements // batch.inputs.shape[1]
    scores, counts = _element_scores(network, batch, states)
    elements = cross_entropy(scores, chosen[:, 0], reduction="none")
    of_counts = cross_entropy(counts, chosen[more, 1].clamp(max=LARGEST_COUNT), reduction="none")
    return torch.cat([owner, owner[more]]), torch.cat([elements, of_counts])


def _at(values: Tensor, places: Tensor) -> Tensor:
    """``(places, features)`` of ``(crystals, positions, features)``."""
    return values.flatten(0, 1).index_select(0, places)


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
    check: Callable[[SkeletonNetwork], float] | None = None,
    taught: Taught | None = None,
) -> SkeletonNetwork:
    """Train in place, resuming from ``state`` where it exists.

    Args:
        labels: ``(crystals, properties)`` scaled, NaN where not known, for a network that is asked
            for properties.
        state: file for weights and optimiser, written every ``save_every`` seconds.
        progress: called with the step and the mean loss since the last call, every 100 steps.
        check: what is to be small of a network, on crystals held out; called every ``check_every``
            steps and at the end with the averaged weights.
        taught: networks whose word counts beside that of the crystals.
    """
    devices = [] if settings.device == "cpu" else [torch.device(settings.device)]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        network.to(settings.device)
        batches_from = partial(_ready_batches, data, settings, labels)
        return _fit(network, batches_from, settings, state, progress, check, taught)


class _Kept:
    """Weights that are to be kept: the running average, and the best of them so far."""

    def __init__(
        self,
        network: SkeletonNetwork,
        settings: FitSettings,
        check: Callable[[SkeletonNetwork], float] | None,
    ) -> None:
        self.network, self.settings, self.check = network, settings, check
        self.average = [p.detach().clone() for p in network.parameters()]
        self.best = [p.clone() for p in self.average]
        self.lowest = math.inf

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Take a step into account."""
        weights = [p.detach() for p in self.network.parameters()]
        # The average begins short, so that it forgets the weights of the start.
        share = 1 - min(self.settings.average, (1 + step) / (10 + step))
        if self.settings.average:
            torch._foreach_lerp_(self.average, weights, share)
        else:
            self.average = weights
        every = self.settings.check_every
        if every and self.check is not None and (step + 1) % every == 0:
            self.look()

    @torch.no_grad()
    def look(self) -> None:
        """Try the average on the crystals held out."""
        if self.check is None:
            self.best = [p.clone() for p in self.average]
            return
        own = [p.detach().clone() for p in self.network.parameters()]
        self.put(self.average)
        self.network.eval()
        found = self.check(self.network)
        if found < self.lowest:
            self.lowest, self.best = found, [p.clone() for p in self.average]
        self.put(own)
        self.network.train()

    @torch.no_grad()
    def put(self, weights: Sequence[Tensor]) -> None:
        """Give the network other weights."""
        for parameter, values in zip(self.network.parameters(), weights, strict=True):
            parameter.copy_(values)

    def tensors(self) -> dict[str, Tensor]:
        """For the file of a stopped run."""
        if not self.settings.average and self.check is None:
            return {}
        out = {"lowest": torch.tensor(self.lowest)}
        for index, (mean, best) in enumerate(zip(self.average, self.best, strict=True)):
            out |= {f"average/{index}": mean, f"best/{index}": best}
        return out

    def read(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such a file."""
        if "lowest" in tensors:
            self.lowest = float(tensors["lowest"])
            for index, parameter in enumerate(self.network.parameters()):
                self.average[index] = tensors[f"average/{index}"].to(parameter)
                self.best[index] = tensors[f"best/{index}"].to(parameter)


def _fit(
    network: SkeletonNetwork,
    batches_from: Callable[[int], Iterator[tuple[Batch, int]]],
    settings: FitSettings,
    state: Path | None,
    progress: Callable[[int, float], None] | None,
    check: Callable[[SkeletonNetwork], float] | None,
    taught: Taught | None,
) -> SkeletonNetwork:
    from crystal_diffusion.skeletons.weights import load_state, save_state

    optimiser = _optimiser(network, settings)
    kept = _Kept(network, settings, check)
    step = 0
    if state is not None:
        step, others = load_state(state, network, optimiser)
        kept.average = [p.detach().clone() for p in network.parameters()]
        kept.read(others)
    network.train()
    begun = [p.detach().clone() for p in network.parameters()] if settings.pull else []
    began = saved = time.monotonic()
    total, since = torch.zeros((), device=settings.device), 0
    for batch, number in batches_from(step):
        done = (time.monotonic() - began) / settings.seconds
        if done >= 1:
            break
        for part in optimiser.param_groups:
            part["lr"] = _rate(number, settings, done)
        loss = losses(network, batch, bfloat16=settings.bfloat16, taught=taught).mean
        for now, then in zip(network.parameters(), begun, strict=False):
            loss = loss + 0.5 * settings.pull * (now - then).square().sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        kept.after(number)
        total, since, step = total + loss.detach(), since + 1, number + 1
        if progress and step % 100 == 0:
            progress(step, float(total) / since)
            total, since = torch.zeros_like(total), 0
        if state is not None and time.monotonic() - saved > settings.save_every:
            save_state(state, network, optimiser, step, kept.tensors())
            saved = time.monotonic()
    kept.look()
    if state is not None:
        save_state(state, network, optimiser, max(step, settings.steps), kept.tensors())
    kept.put(kept.best)
    return network.eval()


def _ready_batches(
    data: Skeletons, settings: FitSettings, labels: Tensor | None, first: int
) -> Iterator[tuple[Batch, int]]:
    """Batches on the device with their steps; on a GPU threads make them ahead."""
    quantiles = None if labels is None else even_quantiles(labels)
    on_gpu = torch.device(settings.device).type == "cuda"

    def make(rows: np.ndarray, number: int) -> Batch:
        rng = np.random.default_rng([settings.seed, 1, number])
        batch = make_batch(data, rows, SkeletonReport.drawn(rng, len(rows), settings.composition))
        if labels is not None and quantiles is not None:
            chance = torch.Generator().manual_seed(stream_seed(settings.seed, "asked", number))
            asked = random_conditions(labels[torch.from_numpy(rows)], quantiles, chance)
            batch = replace(batch, asked=replace(batch.asked, properties=asked))
        return batch.pinned() if on_gpu else batch

    if not on_gpu:
        for rows, number in _all_batches(data, settings, first):
            yield make(rows, number).to(settings.device), number
        return
    waiting: deque[tuple[Future[Batch], int]] = deque()
    with ThreadPoolExecutor(_MAKERS) as makers:
        try:
            for rows, number in _all_batches(data, settings, first):
                waiting.append((makers.submit(make, rows, number), number))
                if len(waiting) > 3 * _MAKERS:
                    made, at = waiting.popleft()
                    yield made.result().to(settings.device), at
            for made, at in waiting:
                yield made.result().to(settings.device), at
        finally:
            for made, _ in waiting:
                made.cancel()


def _optimiser(network: SkeletonNetwork, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices: dict[str, Any] = {
        "params": [p for p in network.parameters() if p.ndim > 1],
        "weight_decay": settings.weight_decay,
    }
    vectors: dict[str, Any] = {"params": [p for p in network.parameters() if p.ndim <= 1]}
    fused = torch.device(settings.device).type == "cuda"
    return torch.optim.AdamW(
        [matrices, vectors],
        lr=settings.learning_rate,
        weight_decay=0.0,
        betas=(0.9, 0.98),
        fused=fused,
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


def _rate(step: int, settings: FitSettings, done: float = 0.0) -> float:
    """The learning rate; ``done`` is the share of the time that is over."""
    of_steps = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, of_steps, done))))
    return settings.learning_rate * min(1.0, (step + 1) / settings.warm_up) * fall


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
    device: str = "cpu",
) -> Nats:
    """How likely the crystals are, their composition told or else their elements alone."""
    out = Nats(np.zeros(len(data)), np.zeros(len(data)), np.zeros(len(data)))
    for rows in batches(data, tokens, np.random.default_rng(0)):
        told = SkeletonReport.same(len(rows), composition=composition)
        batch = make_batch(data, rows, told).to(device)
        states = network(batch.asked, batch.inputs)
        out.group[rows] = group_losses(network, batch, states).cpu().numpy()
        for total, (which, found) in (
            (out.letters, letter_losses(network, batch, states)),
            (out.elements, element_losses(network, batch, states)),
        ):
            np.add.at(total, rows[which.cpu().numpy()], found.cpu().numpy())
    return out


def mean_nats(network: SkeletonNetwork, held: Skeletons, *, device: str = "cpu") -> float:
    """Nats of skeleton and contents of a crystal, half of each kind of question."""
    told = nats(network, held, device=device)
    untold = nats(network, held, composition=False, device=device)
    total = (told.group, told.letters, untold.group, untold.letters, untold.elements)
    return float(np.sum([x.mean() for x in total])) / 2
