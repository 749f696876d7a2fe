"""Which crystals go into which step, and at which noise levels. All from (seed, step) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import Levels

T = TypeVar("T")

#: Smallest level of a noised field; below it the state is the clean one within rounding.
MIN_LEVEL = 0.002


def bucketed_batches(num_atoms: np.ndarray, tokens: int, seed: int, epoch: int) -> list[np.ndarray]:
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
    largest = max(512, tokens // 6)
    while position > 0:
        width = int(num_atoms[order[position - 1]]) + 1
        size = int(np.clip(tokens // width, 1, largest))
        batches.append(order[max(0, position - size) : position])
        position -= size
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchPlan:
    """Batch of any step without stepping through the ones before it.

    Args:
        num_atoms: ``(crystals,)``.
        tokens: see :func:`bucketed_batches`.
        seed: of the order.
        weights: ``(crystals,)`` share of the epochs in which each crystal takes part, in (0, 1];
            all of them in all epochs when not given.
    """

    def __init__(
        self, num_atoms: np.ndarray, tokens: int, seed: int, weights: np.ndarray | None = None
    ) -> None:
        self._num_atoms = num_atoms
        self._tokens = tokens
        self._seed = seed
        self._weights = weights
        self._phase = np.random.default_rng((seed, 103)).random(len(num_atoms))
        self._epoch = -1
        self._batches: list[np.ndarray] = []
        self._begins = [0]
        self.per_epoch = len(self._of_epoch(0))

    def _of_epoch(self, epoch: int) -> list[np.ndarray]:
        rows = np.arange(len(self._num_atoms))
        if self._weights is not None:
            # Each crystal at even distances: after 1/w epochs it has been there once.
            before = np.floor(epoch * self._weights + self._phase)
            rows = rows[np.floor((epoch + 1) * self._weights + self._phase) > before]
            if not len(rows):
                rows = np.arange(len(self._num_atoms))
        found = bucketed_batches(self._num_atoms[rows], self._tokens, self._seed, epoch)
        return [rows[batch] for batch in found]

    def batch(self, step: int) -> np.ndarray:
        """Indices of the crystals of a step."""
        while step >= self._begins[-1]:
            self._begins.append(self._begins[-1] + len(self._of_epoch(len(self._begins) - 1)))
        epoch = int(np.searchsorted(self._begins, step, side="right")) - 1
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._of_epoch(epoch)
        return self._batches[step - self._begins[epoch]]


def size_weights(num_atoms: np.ndarray, power: float, full: int = 20) -> np.ndarray | None:
    """Weights (full/N)^power of crystals with more than ``full`` atoms, 1 for the others.

    A step over large crystals costs as N² and a small one teaches almost as much of chemistry.
    """
    if power <= 0 or not len(num_atoms) or int(num_atoms.max()) <= full:
        return None
    weights: np.ndarray = np.minimum(1.0, (full / num_atoms) ** power)
    return weights


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


class _Steps(Dataset[T]):
    """Steps by number, as PyTorch's loader wants them."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> T:
        return self._make(step)


def made_by_processes(
    make: Callable[[int], T], start: int, end: int, processes: int
) -> Callable[[int], T]:
    """What steps need, made in order by forked processes while the ones before them compute.

    Args:
        make: called with the number of a step, once each; it must not touch a GPU.
        start, end: first step, and the one after the last.
        processes: how many; each is two steps ahead.

    Returns:
        A function of the step; steps are asked for one after the other.
    """
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=range(start, end),
        num_workers=processes,
        multiprocessing_context="fork",
        prefetch_factor=2,
    )
    made = iter(loader)
    return lambda step: next(made)


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
