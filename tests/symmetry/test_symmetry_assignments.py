"""Assignments: parse, count against enumeration, refuse in time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.symmetry.assignments import (
    Site,
    count_assignments,
    enumerate_assignments,
    make_assignment,
    parse_wyckoff,
    possible_totals,
    refuse_impossible,
)
from crystal_diffusion.symmetry.groups import SpaceGroup


def test_perovskite_has_four_assignments() -> None:
    found = [str(a) for a in enumerate_assignments("Pm-3m", {22: 1, 38: 1, 8: 3})]
    assert sorted(found) == [
        "O:3c,Ti:1a,Sr:1b",
        "O:3c,Ti:1b,Sr:1a",
        "O:3d,Ti:1a,Sr:1b",
        "O:3d,Ti:1b,Sr:1a",
    ]


@pytest.mark.parametrize(
    ("group", "counts", "cell"),
    [
        (47, {22: 1, 8: 2}, "primitive"),
        (2, {3: 3, 8: 4}, "primitive"),
        (225, {11: 4, 17: 4}, "conventional"),
        (166, {3: 2, 8: 4}, "primitive"),
        (12, {3: 2, 8: 4, 14: 2}, "conventional"),
        (227, {12: 2, 13: 4, 8: 8}, "primitive"),
        (1, {3: 2, 8: 3}, "primitive"),
    ],
)
def test_count_is_the_number_of_enumerated(group: int, counts: dict[int, int], cell: str) -> None:
    found = list(enumerate_assignments(group, counts, cell))
    assert len(set(found)) == len(found) == count_assignments(group, counts, cell)
    for assignment in found:
        assert assignment.counts(cell) == counts
        fixed = [
            s.letter for s in assignment.sites if not assignment.group.position(s.letter).freedom
        ]
        assert len(set(fixed)) == len(fixed)


def test_huge_counts_are_counted_and_cut() -> None:
    counts = {22: 24, 38: 24, 8: 72}
    started = time.perf_counter()
    assert count_assignments(47, counts) > 10**20
    assert len(list(enumerate_assignments(47, counts, limit=5))) == 5
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("group", "counts"),
    [
        (225, {22: 3, 8: 5}),
        (221, {22: 1, 38: 1, 8: 2}),
        (230, {3: 7, 14: 1, 8: 12}),
        (227, {14: 3}),
        (47, dict.fromkeys(range(1, 10), 1)),
    ],
)
def test_impossible_requests_are_refused_at_once_with_what_is_possible(
    group: int, counts: dict[int, int]
) -> None:
    started = time.perf_counter()
    with pytest.raises(RequestError) as caught:
        refuse_impossible(group, counts)
    assert time.perf_counter() - started < 2
    message = str(caught.value)
    total = sum(counts.values())
    assert message.startswith(
        f"{total} atoms are impossible in {SpaceGroup.from_any(group).symbol}"
    )
    for near in possible_totals(group, counts):
        assert str(near) in message
        factor = near / total
        scaled = {z: round(n * factor) for z, n in counts.items()}
        assert count_assignments(group, scaled) > 0


def test_a_possible_request_is_not_refused() -> None:
    refuse_impossible(225, {11: 1, 17: 1})


def test_refused_counts() -> None:
    for counts in ({}, {3: 0}, {3: -1}):
        with pytest.raises(InputError):
            count_assignments(225, counts)
    with pytest.raises(InputError, match="primitive or conventional"):
        count_assignments(225, {3: 1}, "niggli")


def test_parse() -> None:
    assignment = parse_wyckoff("Ti:1a, Sr:1b,O:3c", 221)
    assert assignment.counts() == {22: 1, 38: 1, 8: 3}
    assert parse_wyckoff("O:8d+4c,Ca:c,Ti:4b", 62).counts() == {8: 12, 20: 4, 22: 4}
    assert parse_wyckoff("Na:4a,Cl:4b", 225).counts() == {11: 1, 17: 1}
    assert parse_wyckoff("Na:4a,Cl:4b", 225).counts("conventional") == {11: 4, 17: 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("Ti", "does not parse"),
        ("Ti:1z", "no Wyckoff position"),
        ("Ti:2a", "write Ti:1a"),
        ("Ti:1a,Sr:1a", "atoms would coincide"),
        ("Ti:1a;;O:3c+", "does not parse"),
        ("Xx:1a", "Xx"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_wyckoff(text, 221)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 230),
    st.lists(st.tuples(st.integers(1, 94), st.integers(0, 26)), min_size=1, max_size=6),
)
def test_text_round_trip(number: int, picks: list[tuple[int, int]]) -> None:
    group = SpaceGroup.from_number(number)
    sites, taken = [], set()
    for element, index in picks:
        position = group.positions[index % len(group.positions)]
        if position.freedom or position.letter not in taken:
            taken.add(position.letter)
            sites.append(Site(element, position.letter))
    assignment = make_assignment(group, sites)
    assert parse_wyckoff(str(assignment), number) == assignment
    assert count_assignments(number, assignment.counts()) >= 1


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="TiOSr:,;+ 0123abcxyz-", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        assignment = parse_wyckoff(text, 221)
    except InputError as error:
        assert len(str(error)) > 10
    else:
        assert assignment.sites


def test_possible_totals_are_the_nearest() -> None:
    counts = {22: 1, 38: 1, 8: 2}
    found = possible_totals(221, counts)
    every = [4 * k for k in range(1, 20) if count_assignments(221, {22: k, 38: k, 8: 2 * k})]
    assert found == sorted(sorted(every, key=lambda n: (abs(n - 4), n))[:3])
