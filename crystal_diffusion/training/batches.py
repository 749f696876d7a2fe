"""Which crystals go into which step, and at which noise levels. All from (seed, step) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import Levels

T = TypeVar("T")

#: Smallest level of a noised field; below it the state is the clean one within rounding.
MIN_LEVEL = 0.002


def bucketed_batches(
    num_atoms: np.ndarray, tokens: int, seed: int, epoch: int, largest: int = 512
) -> list[np.ndarray]:
    """One epoch of batches of nearly equal size, shuffled; every crystal exactly once.

    Args:
        num_atoms: ``(crystals,)``.
        tokens: budget of a batch: (atoms + 1) of its largest crystal times its crystals.

    Returns:
        Index arrays, a new order for each epoch.
    """
    rng = np.random.default_rng((seed, 101, epoch))
    order = np.lexsort((rng.random(len(num_atoms)), num_atoms))
    batches: list[np.ndarray] = []
    # From the largest down, so that the budget is that of the first crystal taken.
    position = len(order)
    while position > 0:
        width = int(num_atoms[order[position - 1]]) + 1
        size = int(np.clip(tokens // width, 1, largest))
        batches.append(order[max(0, position - size) : position])
        position -= size
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchPlan:
    """Batch of any step without stepping through the ones before it."""

    def __init__(self, num_atoms: np.ndarray, tokens: int, seed: int) -> None:
        self._num_atoms = num_atoms
        self._tokens = tokens
        self._seed = seed
        self._epoch = -1
        self._batches: list[np.ndarray] = []
        self.per_epoch = len(bucketed_batches(num_atoms, tokens, seed, 0))

    def batch(self, step: int) -> np.ndarray:
        """Indices of the crystals of a step."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = bucketed_batches(self._num_atoms, self._tokens, self._seed, epoch)
        return self._batches[position]


def draw_levels(
    batch: CrystalBatch, tasks: Mapping[str, float], generator: torch.Generator
) -> Levels:
    """Draw a question for each crystal, and its noise levels.

    composition: coordinates and lattice noised together, elements given; nothing: all three
    together; lattice: only coordinates; independent: each field its own level; host: as
    composition, but some atoms and the lattice given; decoration: only elements.
    """
    crystals, atoms = batch.atomic_numbers.shape
    names = list(tasks)
    shares = torch.tensor([tasks[name] for name in names])
    pick = torch.multinomial(shares, crystals, replacement=True, generator=generator)
    # Stratified levels: the batch covers [0, 1] evenly, which lowers the variance of the loss.
    offsets = torch.randperm(crystals, generator=generator)
    level = (offsets + torch.rand(crystals, generator=generator)) / crystals
    level = MIN_LEVEL + (1 - MIN_LEVEL) * level
    other = torch.rand(2, crystals, generator=generator).clamp_min(MIN_LEVEL)
    share = torch.rand(crystals, 1, generator=generator)
    frozen = torch.rand(crystals, atoms, generator=generator) < share

    def chosen(*wanted: str) -> torch.Tensor:
        result = torch.zeros(crystals, dtype=torch.bool)
        for name in wanted:
            if name in names:
                result |= pick == names.index(name)
        return result

    zero = torch.zeros(crystals)
    coords = torch.where(chosen("decoration"), zero, level)
    lattice = torch.where(chosen("decoration", "lattice", "host"), zero, level)
    lattice = torch.where(chosen("independent"), other[0], lattice)
    elements = torch.where(chosen("nothing", "decoration"), level, zero)
    elements = torch.where(chosen("independent"), other[1], elements)
    per_atom = coords.unsqueeze(-1).expand(crystals, atoms).clone()
    per_atom[chosen("host").unsqueeze(-1) & frozen] = 0.0
    return Levels(per_atom * batch.mask, lattice, elements)


class Upcoming(Generic[T]):
    """What steps need, made while the ones before them compute; in order, by one thread.

    Args:
        make: called with the number of a step, once each.
        start, end: first step, and the one after the last.
        ahead: how many are made beforehand; 0 makes each when it is asked for.
    """

    def __init__(self, make: Callable[[int], T], start: int, end: int, ahead: int) -> None:
        self._make, self._next, self._end = make, start, end
        self._pool = ThreadPoolExecutor(1) if ahead else None
        self._waiting: deque[Future[T]] = deque()
        for _ in range(ahead):
            self._submit()

    def __call__(self, step: int) -> T:
        """What step ``step`` needs; steps are asked for one after the other."""
        if self._pool is None:
            return self._make(step)
        self._submit()
        return self._waiting.popleft().result()

    def _submit(self) -> None:
        if self._pool is not None and self._next < self._end:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
