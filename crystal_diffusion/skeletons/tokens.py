"""A skeleton as a sequence: group, then each element with its count and the letters it takes.

A crystal of k elements and o orbits has 2 + k + o positions. At each of them the network sees the
last choice and what is left of the current element, and predicts one thing: the group, the next
element with its count (or the end), or the next letter. Elements come in the order of their
electronegativity, letters of an element do not go down, and of all equal descriptions the one with
the earliest letters is used, so that each crystal is one sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons.feasible import Fixed, groups_that_fit, shelf
from crystal_diffusion.symmetry.assignments import Assignment, Site
from crystal_diffusion.symmetry.equivalents import canonical, letter_index, letter_of
from crystal_diffusion.symmetry.groups import SpaceGroup

#: Kinds of position, by the choice that was made last.
START, GROUP, ELEMENT, LETTER = range(4)
#: Atomic numbers the network knows are below this; 0 stands for the end.
ELEMENTS = 104
#: Counts above this look alike to the network.
LARGEST_COUNT = 64
#: Most positions a letter is chosen from: those of Pmmm.
LETTERS = 27


@dataclass(frozen=True, eq=False)
class Sequence:
    """One skeleton as numbers, one row a position.

    Attributes:
        inputs: ``(positions, 5)`` kind, atomic number, atoms left, index of the Wyckoff position
            among those of all groups (from 1, 0 for none), space group number.
        targets: ``(positions, 2)`` the group, the letter's index, or the next element and its
            count (0, 0 at the end).
        allowed: ``(positions,)`` bit mask of the letters that fit the counts.
        groups: bit mask of the groups that fit the counts.
    """

    inputs: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    groups: int

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def composition(self) -> list[tuple[int, int]]:
        """Elements and their counts in order."""
        rows = self.inputs[self.inputs[:, 0] == ELEMENT]
        return [(int(z), int(n)) for z, n in rows[:, 1:3]]


@lru_cache(maxsize=1)
def element_order() -> tuple[int, ...]:
    """Rank of each atomic number: least electronegative first, 0 for none."""
    values = np.nan_to_num(np.asarray(chemistry.ELECTRONEGATIVITY, float))
    values = np.resize(values, ELEMENTS)
    order = sorted(range(1, ELEMENTS), key=lambda z: (float(values[z]), z))
    place = [0] * ELEMENTS
    for index, z in enumerate(order):
        place[z] = index + 1
    return tuple(place)


def in_order(numbers: Iterable[int]) -> list[int]:
    """Atomic numbers in the order they are placed."""
    place = element_order()
    return sorted(numbers, key=lambda z: place[z])


@lru_cache(maxsize=1)
def position_starts() -> tuple[int, ...]:
    """Index before the first Wyckoff position of each group among those of all, by number."""
    out, total = [0], 0
    for number in range(1, 231):
        out.append(total)
        total += len(SpaceGroup.from_number(number).positions)
    return (*out, total)


def canonical_skeleton(assignment: Assignment) -> Assignment:
    """The one of all equal descriptions that the model speaks of."""
    numbers = {site.number for site in assignment.sites}
    return canonical(assignment, tuple(in_order(numbers)))


def to_sequence(assignment: Assignment) -> Sequence:
    """A skeleton as the network reads it, in its canonical description.

    Raises:
        InputError: for an element beyond the table.
    """
    skeleton = canonical_skeleton(assignment)
    words: dict[int, list[int]] = {}
    for site in skeleton.sites:
        if not 0 < site.number < ELEMENTS:
            raise InputError(f"element {site.number} is not in the table of elements.")
        words.setdefault(site.number, []).append(letter_index(site.letter))
    number = skeleton.space_group
    own, start = shelf(number), position_starts()[number]
    elements = in_order(words)
    counts = [sum(own.sizes[i] for i in words[z]) for z in elements]
    inputs = [(START, 0, 0, 0, 0), (GROUP, 0, 0, 0, number)]
    targets = [(number, 0), (elements[0], counts[0])]
    allowed = [0, 0]
    used = 0
    for place, z in enumerate(elements):
        left, low = counts[place], 0
        rest = Fixed(tuple(sorted(counts[place + 1 :])))
        inputs.append((ELEMENT, z, left, 0, number))
        for letter in sorted(words[z]):
            targets.append((letter, 0))
            allowed.append(own.letters(low, used, left, rest))
            left, low = left - own.sizes[letter], letter
            used |= 1 << letter if own.once[letter] else 0
            inputs.append((LETTER, z, left, start + letter + 1, number))
        following = place + 1 < len(elements)
        targets.append((elements[place + 1], counts[place + 1]) if following else (0, 0))
        allowed.append(0)
    return Sequence(
        np.array(inputs, np.int64),
        np.array(targets, np.int64),
        np.array(allowed, np.int64),
        groups_that_fit(Fixed(tuple(sorted(counts)))),
    )


def from_letters(number: int, words: Mapping[int, Iterable[int]]) -> Assignment:
    """The skeleton of a group and the letters (by index) of each element."""
    sites = [Site(z, letter_of(i)) for z, letters in words.items() for i in letters]
    return canonical_skeleton(Assignment(number, tuple(sorted(sites))))


def skeleton_of(crystal: object, symprec: float = 0.1) -> Assignment:
    """The skeleton of a crystal, detected with moyopy.

    Args:
        crystal: pymatgen ``Structure``, ASE ``Atoms`` or a symmetry ``Cell``.
        symprec: tolerance in Å.

    Raises:
        InputError: when no group is found.
    """
    from crystal_diffusion.symmetry.detection import wyckoff_letters

    number, words = wyckoff_letters(crystal, symprec)
    return from_letters(number, {z: map(letter_index, word) for z, word in words.items()})


def composition_of(assignment: Assignment) -> dict[int, int]:
    """Atoms of each element in the primitive cell."""
    own = shelf(assignment.space_group)
    out: Counter[int] = Counter()
    for site in assignment.sites:
        out[site.number] += own.sizes[letter_index(site.letter)]
    return dict(out)
