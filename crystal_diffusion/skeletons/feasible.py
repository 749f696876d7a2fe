"""What still fits: which groups, elements, counts and letters leave a way to finish a skeleton.

Counts are those of the primitive cell. A position without freedom is taken at most once in a
crystal, so what matters of the past is which of them are taken; positions with freedom repeat.
Every question is answered exactly by dynamic programming and remembered, so decoding never runs
into a dead end and never rejects.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from crystal_diffusion.symmetry.groups import SpaceGroup

#: Most atoms of a primitive cell that are reckoned with.
LARGEST = 400


@dataclass(frozen=True)
class Fixed:
    """Elements still to be placed, by their counts in any order."""

    counts: tuple[int, ...]


@dataclass(frozen=True)
class Open:
    """Elements still to be placed where counts are free.

    Attributes:
        low: fewest and
        high: most atoms they may have together.
        elements: how many elements at least.
        most: how many at most.
    """

    low: int
    high: int
    elements: int
    most: int


Rest = Fixed | Open


class Shelf:
    """The Wyckoff positions of a group as the counting sees them.

    Args:
        number: of the space group.
    """

    def __init__(self, number: int) -> None:
        group = SpaceGroup.from_number(number)
        self.number = number
        self.sizes = tuple(p.multiplicity // group.centring_size for p in group.positions)
        self.once = tuple(p.freedom == 0 for p in group.positions)
        #: Different multiplicities of the positions that are taken at most once.
        self.classes = tuple(sorted({s for s, f in zip(self.sizes, self.once, strict=True) if f}))
        self._fixed = tuple(
            (1 << i, i, self.classes.index(size))
            for i, (size, once) in enumerate(zip(self.sizes, self.once, strict=True))
            if once
        )
        self.left = lru_cache(maxsize=200_000)(self._work_out_left)
        self._completes = lru_cache(maxsize=200_000)(self._work_out_completes)
        self._fits = lru_cache(maxsize=200_000)(self._work_out_fits)
        self._reach = lru_cache(maxsize=64)(self._work_out_reach)

    def __len__(self) -> int:
        return len(self.sizes)

    def _work_out_left(self, used: int, low: int = 0) -> tuple[int, ...]:
        """Positions of each class from letter ``low`` on that are not in the bit mask ``used``."""
        free = [0] * len(self.classes)
        for bit, i, kind in self._fixed:
            if i >= low and not used & bit:
                free[kind] += 1
        return tuple(free)

    def letters(self, low: int, used: int, count: int, rest: Rest) -> int:
        """Bit mask of the letters that the current element may take next.

        Args:
            low: the letters of an element do not go down; this is its last one.
            used: bit mask of the fixed positions taken so far.
            count: atoms of the element still to be placed, at least 1.
            rest: the elements after it.
        """
        out = 0
        for i in range(low, len(self.sizes)):
            if self.sizes[i] > count or (self.once[i] and used >> i & 1):
                continue
            after = used | 1 << i if self.once[i] else used
            if self._completes(i, after, count - self.sizes[i], rest):
                out |= 1 << i
        return out

    def fits(self, used: int, rest: Rest) -> bool:
        """Whether all elements that are left can be placed."""
        return self._fits(self.left(used), rest)

    def counts(self, used: int, rest_of: RestOf, most: int) -> list[int]:
        """Numbers of atoms that the next element may have, where counts are free."""
        return [n for n in range(1, most + 1) if self._completes(0, used, n, rest_of(n))]

    def _work_out_completes(self, low: int, used: int, count: int, rest: Rest) -> bool:
        """Whether ``count`` atoms fit on letters from ``low`` on, and the rest after them."""
        everything = self.left(used)
        for taken, atoms in _subsets(self.left(used, low), self.classes, count):
            if self._reach(low) >> (count - atoms) & 1:
                after = tuple(n - k for n, k in zip(everything, taken, strict=True))
                if self._fits(after, rest):
                    return True
        return False

    def _work_out_fits(self, left: tuple[int, ...], rest: Rest) -> bool:
        if isinstance(rest, Open):
            return self._open_fits(left, rest)
        if not rest.counts or self._free_for_all:
            return True
        count, others = rest.counts[0], Fixed(rest.counts[1:])
        for taken, atoms in _subsets(left, self.classes, count):
            if self._reach(0) >> (count - atoms) & 1:
                after = tuple(n - k for n, k in zip(left, taken, strict=True))
                if self._fits(after, others):
                    return True
        return False

    def _open_fits(self, left: tuple[int, ...], rest: Open) -> bool:
        if rest.low <= 0 and rest.elements <= 0:
            return rest.high >= 0
        if rest.most < max(1, rest.elements):
            return False
        # Any orbits make as many elements as wanted, as long as there are that many orbits.
        for total in range(max(rest.low, 1), rest.high + 1):
            if self._most_orbits(left, total) >= max(1, rest.elements):
                return True
        return False

    def _most_orbits(self, left: tuple[int, ...], total: int) -> int:
        """The largest number of orbits of exactly ``total`` atoms; -1 where there are none."""
        most = -1
        for taken, atoms in _subsets(left, self.classes, total):
            free = self._free_orbits[total - atoms]
            if free >= 0:
                most = max(most, free + sum(taken))
        return most

    @cached_property
    def _free_for_all(self) -> bool:
        """Whether some position holds one atom and can repeat."""
        return any(s == 1 and not f for s, f in zip(self.sizes, self.once, strict=True))

    @cached_property
    def _free_orbits(self) -> list[int]:
        """For each total the largest number of orbits with freedom, -1 where impossible."""
        sizes = {s for s, once in zip(self.sizes, self.once, strict=True) if not once}
        out = [0] + [-1] * LARGEST
        for total in range(1, LARGEST + 1):
            best = [out[total - s] for s in sizes if s <= total and out[total - s] >= 0]
            out[total] = 1 + max(best) if best else -1
        return out

    def _work_out_reach(self, low: int) -> int:
        """Which totals positions with freedom from letter ``low`` on can make, as a bit mask."""
        sizes = {s for s, once in zip(self.sizes[low:], self.once[low:], strict=True) if not once}
        totals = (1 << LARGEST + 1) - 1
        out = 1
        for step in sizes:
            # One, two, four ... more of this size: any number of them.
            while step <= LARGEST:
                out |= out << step & totals
                step *= 2
        return out


class RestOf:
    """What is left for the elements after the next one, as a function of its atoms.

    Args:
        rest: before the next element is placed.
    """

    def __init__(self, rest: Open) -> None:
        self.rest = rest

    def __call__(self, atoms: int) -> Open:
        """After an element of ``atoms`` atoms."""
        rest = self.rest
        return Open(
            max(0, rest.low - atoms),
            rest.high - atoms,
            max(0, rest.elements - 1),
            rest.most - 1,
        )


@lru_cache(maxsize=230)
def shelf(number: int) -> Shelf:
    """The shelf of a group."""
    return Shelf(number)


@lru_cache(maxsize=50_000)
def groups_that_fit(rest: Rest) -> int:
    """Bit mask of the groups, bit ``number - 1``, that can hold these elements."""
    out = 0
    for number in range(1, 231):
        if shelf(number).fits(0, rest):
            out |= 1 << number - 1
    return out


def _subsets(
    left: tuple[int, ...], sizes: tuple[int, ...], most: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """How many positions of each class to take, with their atoms, at most ``most`` of them."""
    ranges = [range(min(n, most // s) + 1) for n, s in zip(left, sizes, strict=True)]
    for taken in itertools.product(*ranges):
        atoms = sum(k * s for k, s in zip(taken, sizes, strict=True))
        if atoms <= most:
            yield taken, atoms
