"""Patterns: a space group with the Wyckoff letters of each element, elements unnamed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.symmetry.groups import Floats, Integers, primitive_multiplicities

#: One pattern: group number and the letters of each role, roles sorted by (atoms, letters).
Pattern = tuple[int, tuple[str, ...]]

#: Decay of the likeness of two elements with their distance on Pettifor's scale.
LIKENESS_RANGE = 3.0
#: Ways to give elements to roles that are looked at for one pattern.
MOST_PERMUTATIONS = 720


@dataclass(frozen=True, eq=False)
class PatternTable:
    """How many crystals have each pattern and which elements are on its roles.

    Attributes:
        patterns: each pattern once.
        frequencies: ``(patterns,)`` crystals that have it.
        sizes: ``(roles,)`` different elements on each role, all roles of all patterns in a row.
        kinds: their atomic numbers, role by role.
        times: ``(kinds,)`` crystals with that element on that role.
    """

    patterns: list[Pattern]
    frequencies: Floats
    sizes: Integers
    kinds: Integers
    times: Floats

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, Mapping[int, str]]]) -> PatternTable:
        """From (space group number, {atomic number: letters of its orbits}) of each crystal.

        Raises:
            InputError: without any crystal.
        """
        frequencies: Counter[Pattern] = Counter()
        elements: dict[Pattern, list[Counter[int]]] = {}
        for number, letters in rows:
            words = [("".join(sorted(word)), z) for z, word in letters.items()]
            roles = sorted((letters_to_atoms(number, word), word, z) for word, z in words)
            pattern = (number, tuple(word for _, word, _ in roles))
            frequencies[pattern] += 1
            held = elements.setdefault(pattern, [Counter() for _ in roles])
            for role, (_, _, z) in zip(held, roles, strict=True):
                role[z] += 1
        if not frequencies:
            raise InputError("no crystal to learn Wyckoff frequencies from; give at least one.")
        order = sorted(frequencies)
        counted = [role for pattern in order for role in elements[pattern]]
        return cls(
            order,
            np.array([frequencies[pattern] for pattern in order], np.float64),
            np.array([len(role) for role in counted], np.int64),
            np.array([z for role in counted for z in sorted(role)], np.int64),
            np.array([role[z] for role in counted for z in sorted(role)], np.float64),
        )

    @classmethod
    def read(cls, path: Path) -> PatternTable:
        """From a file that :meth:`write` wrote.

        Raises:
            InputError: when it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = stored["patterns"].tobytes().decode().split("\n")
                arrays = [stored[k] for k in ("frequencies", "sizes", "kinds", "times")]
            split = [name.partition(":") for name in names]
            patterns = [(int(number), tuple(words.split("|"))) for number, _, words in split]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path.name} is no table of Wyckoff frequencies ({error}); write one with "
                "WyckoffPrior.save."
            ) from error
        frequencies, sizes, kinds, times = arrays
        return cls(
            patterns,
            frequencies.astype(np.float64),
            sizes.astype(np.int64),
            kinds.astype(np.int64),
            times.astype(np.float64),
        )

    def write(self, path: Path) -> None:
        """One compressed npz without pickled objects, put in place at once."""
        names = [f"{number}:{'|'.join(words)}" for number, words in self.patterns]
        with atomic_write(path) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                patterns=np.frombuffer("\n".join(names).encode(), np.uint8),
                frequencies=self.frequencies.astype(np.int32),
                sizes=self.sizes.astype(np.uint8),
                kinds=self.kinds.astype(np.uint8),
                times=self.times.astype(np.int32),
            )


def role_counts(pattern: Pattern) -> tuple[int, ...]:
    """Atoms of each role in the primitive cell."""
    return tuple(letters_to_atoms(pattern[0], word) for word in pattern[1])


@lru_cache(maxsize=20_000)
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
