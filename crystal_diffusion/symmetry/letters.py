"""Draw an assignment where each orbit counts by how often its position is used.

An element has k orbits on a position with weight w^k / k!, as if orbits fell on positions at random
at the rate w; positions without freedom are taken at most once. A sum over all assignments by
dynamic programming makes the draw exact without enumerating them: over the positions with freedom
for one element, and over which positions without freedom are already taken for all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from crystal_diffusion.errors import RequestError
from crystal_diffusion.symmetry.assignments import (
    Assignment,
    Site,
    cell_share,
    make_assignment,
    slots,
)
from crystal_diffusion.symmetry.groups import SpaceGroup

#: Beyond this number of atoms the sums leave the range of double precision.
LARGEST = 600


class LetterSampler:
    """Exact draws from the product of orbit weights.

    Args:
        group: the space group.
        weights: positive weight of each Wyckoff letter.
        counts: atomic number to number of atoms in the cell.
        cell: "primitive" or "conventional".

    Raises:
        RequestError: for more atoms than can be counted with.
    """

    def __init__(
        self,
        group: SpaceGroup,
        weights: Mapping[str, float],
        counts: Mapping[int, int],
        cell: str = "primitive",
    ) -> None:
        shelf = slots(group.number, cell_share(group, cell))
        if sum(counts.values()) > LARGEST:
            raise RequestError(
                f"{sum(counts.values())} atoms in one {cell} cell are too many to place on Wyckoff "
                f"positions; ask for at most {LARGEST}."
            )
        scale = _scale([(m, weights[x]) for x, m in shelf.free], max(counts.values()))
        self.group = group
        self.elements = sorted(counts.items())
        self._fixed = [(x, m, weights[x] * scale**m) for x, m in shelf.fixed]
        self._free = [(x, m, weights[x] * scale**m) for x, m in shelf.free]
        self._tables = self._free_tables(max(counts.values()))
        self._subsets = self._subset_weights(max(counts.values()))
        self._sum = lru_cache(maxsize=None)(self._sum_from)
        self._options = lru_cache(maxsize=None)(self._find_options)

    @property
    def total(self) -> float:
        """Sum of the weights of all assignments, up to a factor; 0 when there is none."""
        return self._sum(0, 0)

    def draw(self, rng: np.random.Generator) -> Assignment:
        """One assignment; only to be called when :attr:`total` is positive."""
        sites: list[Site] = []
        taken = 0
        for index, (number, count) in enumerate(self.elements):
            options = self._options(index, taken)
            weights = np.array([weight for _, weight in options])
            chosen = options[int(rng.choice(len(options), p=weights / weights.sum()))][0]
            taken |= chosen
            rest = count
            for bit, (letter, size, _) in enumerate(self._fixed):
                if chosen >> bit & 1:
                    sites.append(Site(number, letter))
                    rest -= size
            sites += [Site(number, letter) for letter in self._draw_free(rest, rng)]
        return make_assignment(self.group, sites)

    def log_probability(self, assignment: Assignment) -> float:
        """Natural logarithm of the chance of an assignment of this composition."""
        table = {x: w for x, _, w in self._fixed + self._free}
        weight = sum(math.log(table[site.letter]) for site in assignment.sites)
        weight -= sum(math.lgamma(k + 1) for k in Counter(assignment.sites).values())
        return weight - math.log(self.total)

    def _free_tables(self, largest: int) -> list[list[float]]:
        """tables[j][r]: weight of all ways to put r atoms on the free positions from j on."""
        tables = [[1.0] + [0.0] * largest]
        for _, size, weight in reversed(self._free):
            row = [0.0] * (largest + 1)
            factor = 1.0
            for times in range(largest // size + 1):
                for rest in range(times * size, largest + 1):
                    row[rest] += factor * tables[0][rest - times * size]
                factor *= weight / (times + 1)
            tables.insert(0, row)
        return tables

    def _subset_weights(self, largest: int) -> list[tuple[int, int, float]]:
        """Sets of fixed positions that are not too large: bit mask, atoms, weight."""
        subsets = [(0, 0, 1.0)]
        for bit, (_, size, weight) in enumerate(self._fixed):
            subsets += [
                (mask | 1 << bit, atoms + size, w * weight)
                for mask, atoms, w in subsets
                if atoms + size <= largest
            ]
        return subsets

    def _find_options(self, index: int, taken: int) -> list[tuple[int, float]]:
        """Sets of fixed positions for an element with the weight of all that follows."""
        count = self.elements[index][1]
        out = []
        for mask, atoms, weight in self._subsets:
            if mask & taken or atoms > count or not self._tables[0][count - atoms]:
                continue
            following = self._sum(index + 1, taken | mask)
            if following:
                out.append((mask, weight * self._tables[0][count - atoms] * following))
        return out

    def _sum_from(self, index: int, taken: int) -> float:
        if index == len(self.elements):
            return 1.0
        return sum(weight for _, weight in self._options(index, taken))

    def _draw_free(self, rest: int, rng: np.random.Generator) -> list[str]:
        letters: list[str] = []
        for position, (letter, size, weight) in enumerate(self._free):
            chances, factor = [], 1.0
            for times in range(rest // size + 1):
                chances.append(factor * self._tables[position + 1][rest - times * size])
                factor *= weight / (times + 1)
            share = np.array(chances) / sum(chances)
            chosen = int(rng.choice(len(chances), p=share))
            letters += [letter] * chosen
            rest -= chosen * size
        return letters


def _scale(positions: list[tuple[int, float]], count: int) -> float:
    """The s for which the weights w·s^m make ``count`` atoms the expected number.

    Multiplying a weight by s^multiplicity changes no probability, since the multiplicities of an
    element add up to its count; this s keeps the sums within floating point range.
    """
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        expected = sum(m * w * math.exp(min(m * middle, 600.0)) for m, w in positions)
        low, high = (middle, high) if expected < count else (low, middle)
    return math.exp(low)
