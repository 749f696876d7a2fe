"""What still fits, compared with the counting and the enumeration of whole assignments."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.skeletons.feasible import Fixed, Open, groups_that_fit, shelf
from crystal_diffusion.symmetry.assignments import count_assignments, enumerate_assignments
from crystal_diffusion.symmetry.equivalents import letter_index


@pytest.mark.parametrize("counts", [(1,), (1, 1, 3), (2, 2, 7), (4, 4, 4, 16), (5,), (3, 3)])
def test_groups_are_those_that_have_an_assignment(counts: tuple[int, ...]) -> None:
    mask = groups_that_fit(Fixed(tuple(sorted(counts))))
    composition = {z + 1: n for z, n in enumerate(counts)}
    for number in range(1, 231):
        assert bool(mask >> (number - 1) & 1) == bool(count_assignments(number, composition))


@pytest.mark.parametrize("number", [2, 47, 123, 194, 221, 225, 227, 230])
def test_letters_are_those_of_some_assignment(number: int) -> None:
    counts = {11: 2, 17: 4}
    if not count_assignments(number, counts):
        assert not groups_that_fit(Fixed((2, 4))) >> (number - 1) & 1
        return
    own = shelf(number)
    first, after = set(), {}
    for assignment in enumerate_assignments(number, counts):
        letters = sorted(letter_index(s.letter) for s in assignment.sites if s.number == 11)
        first.add(letters[0])
        if len(letters) > 1:
            after.setdefault(letters[0], set()).add(letters[1])
    mask = own.letters(0, 0, 2, Fixed((4,)))
    assert {i for i in range(27) if mask >> i & 1} == first
    for letter, following in after.items():
        used = 1 << letter if own.once[letter] else 0
        mask = own.letters(letter, used, 2 - own.sizes[letter], Fixed((4,)))
        assert {i for i in range(27) if mask >> i & 1} == following


@pytest.mark.parametrize("number", [1, 2, 62, 194, 225, 227])
def test_open_contents_agree_with_trying_all_counts(number: int) -> None:
    def splits(total: int, parts: int) -> list[tuple[int, ...]]:
        if parts == 1:
            return [(total,)]
        return [
            (n, *rest) for n in range(1, total - parts + 2) for rest in splits(total - n, parts - 1)
        ]

    for total in range(1, 9):
        for elements in (1, 2, 3):
            if elements > total:
                continue
            possible = any(
                count_assignments(number, {z + 1: n for z, n in enumerate(split)})
                for split in splits(total, elements)
            )
            asked = Open(total, total, elements, elements)
            assert shelf(number).fits(0, asked) == possible, (total, elements)


def test_counts_leave_room_for_what_follows() -> None:
    """Fm-3m with exactly 2 atoms: one on a, one on b."""
    from crystal_diffusion.skeletons.feasible import RestOf

    own = shelf(225)
    assert own.counts(0, RestOf(Open(2, 2, 2, 2)), 2) == [1]
    assert own.counts(0, RestOf(Open(2, 2, 1, 5)), 2) == [1, 2]
    assert own.counts(0b11, RestOf(Open(1, 1, 1, 1)), 1) == []


def test_random_walks_never_end_in_a_dead_end() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = [int(n) for n in rng.integers(1, 9, rng.integers(1, 4))]
        mask = groups_that_fit(Fixed(tuple(sorted(counts))))
        number = int(rng.choice([n for n in range(1, 231) if mask >> (n - 1) & 1]))
        own, used = shelf(number), 0
        for place, count in enumerate(counts):
            rest, left, low = Fixed(tuple(sorted(counts[place + 1 :]))), count, 0
            while left:
                letters = own.letters(low, used, left, rest)
                assert letters, (number, counts, place, left)
                low = int(rng.choice([i for i in range(27) if letters >> i & 1]))
                left -= own.sizes[low]
                used |= 1 << low if own.once[low] else 0
