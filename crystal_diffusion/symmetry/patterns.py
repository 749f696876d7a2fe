"""Patterns: a space group with the Wyckoff letters of each element, elements unnamed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.symmetry.groups import Floats, primitive_multiplicities

#: One pattern: group number and the letters of each role, roles sorted by (atoms, letters).
Pattern = tuple[int, tuple[str, ...]]

#: Decay of the likeness of two elements with their distance on Pettifor's scale.
LIKENESS_RANGE = 3.0
#: Ways to give elements to roles that are looked at for one pattern.
MOST_PERMUTATIONS = 720


def role_counts(pattern: Pattern) -> tuple[int, ...]:
    """Atoms of each role in the primitive cell."""
    return tuple(letters_to_atoms(pattern[0], word) for word in pattern[1])


def letters_to_atoms(number: int, letters: str) -> int:
    """Atoms that a word of Wyckoff letters holds in the primitive cell."""
    table = primitive_multiplicities(number)
    return sum(table[letter] for letter in letters)


def role_fillings(
    counts: Sequence[int], words: Sequence[str], by_count: Mapping[int, Sequence[int]]
) -> list[tuple[int, ...]]:
    """Elements for each role, every different filling once."""
    sizes = sorted(by_count)
    choices = [
        list(itertools.islice(itertools.permutations(by_count[size]), MOST_PERMUTATIONS))
        for size in sizes
    ]
    found: dict[frozenset[tuple[str, int, int]], tuple[int, ...]] = {}
    for choice in itertools.islice(itertools.product(*choices), MOST_PERMUTATIONS):
        queues = {size: list(order) for size, order in zip(sizes, choice, strict=True)}
        elements = tuple(queues[count].pop(0) for count in counts)
        key = frozenset((w, c, z) for w, c, z in zip(words, counts, elements, strict=True))
        found.setdefault(key, elements)
    return list(found.values())


@lru_cache(maxsize=1)
def likeness() -> Floats:
    """``(104, 104)`` rows: how much one crystal with an element counts for each element."""
    place = chemistry.MENDELEEV_NUMBERS.astype(float)
    near = np.exp(-np.abs(place[:, None] - place[None, :]) / LIKENESS_RANGE)
    near[0] = near[:, 0] = 0.0
    total = near.sum(1, keepdims=True)
    out: Floats = near / np.where(total > 0, total, 1.0)
    return out
