"""Equal descriptions of one crystal: the shipped renamings of Wyckoff letters."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.symmetry.assignments import Assignment, Site
from crystal_diffusion.symmetry.equivalents import (
    canonical,
    find_renamings,
    letter_index,
    letter_of,
    renamings,
)
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.template import SymmetricTemplate


@pytest.mark.parametrize("number", [2, 14, 62, 99, 123, 166, 194, 216, 225])
def test_the_shipped_table_is_what_the_operations_give(number: int) -> None:
    found = find_renamings(SpaceGroup.from_number(number))
    assert {tuple(row) for row in found} == {tuple(row) for row in renamings(number)}


@pytest.mark.parametrize("number", range(1, 231))
def test_renamings_make_a_group_and_keep_what_a_position_is(number: int) -> None:
    found = renamings(number)
    rows = {tuple(row) for row in found.tolist()}
    positions = SpaceGroup.from_number(number).positions
    assert tuple(range(len(positions))) in rows
    assert all(tuple(sorted(row)) == tuple(range(len(positions))) for row in rows)
    for row in found[:40]:
        for other in found[:40]:
            assert tuple(row[other]) in rows
        for here, there in enumerate(row):
            assert positions[here].multiplicity == positions[there].multiplicity
            assert positions[here].freedom == positions[there].freedom


@pytest.mark.parametrize(
    ("number", "here", "there"),
    [
        # International Tables A, chapter 15: origins shifted by half a diagonal and the like.
        (221, "abcdefghijklmn", "badcefghjilkmn"[:14]),
        (225, "ab", "ba"),
        (227, "abcd", "badc"),
        (216, "abcd", "bacd"),
    ],
)
def test_known_renamings(number: int, here: str, there: str) -> None:
    wanted = [letter_index(x) for x in there]
    mine = [letter_index(x) for x in here]
    if number == 221:  # only the first four are compared
        wanted, mine = wanted[:4], mine[:4]
    assert any(row[mine].tolist() == wanted for row in renamings(number))


def test_perovskite_has_one_canonical_description() -> None:
    first = Assignment(221, (Site(8, "c"), Site(22, "b"), Site(38, "a")))
    second = Assignment(221, (Site(8, "d"), Site(22, "a"), Site(38, "b")))
    other = Assignment(221, (Site(8, "d"), Site(22, "b"), Site(38, "a")))
    assert canonical(first) == canonical(second)
    assert canonical(first) != canonical(other)
    assert canonical(canonical(first)) == canonical(first)


def test_order_decides_which_element_gets_the_first_letters() -> None:
    rock_salt = Assignment(225, (Site(3, "b"), Site(9, "a")))
    assert str(canonical(rock_salt, (3, 9))) == "Li:4a,F:4b"
    assert str(canonical(rock_salt, (9, 3))) == "Li:4b,F:4a"


@pytest.mark.parametrize("number", [2, 10, 12, 47, 62, 123, 139, 166, 194, 221, 227])
def test_renamed_crystals_are_the_same_crystal(number: int) -> None:
    """Fixed positions: distances between the atoms do not change with the description."""
    group = SpaceGroup.from_number(number)
    fixed = [p.letter for p in group.positions if p.freedom == 0][:2]
    rng = np.random.default_rng(number)
    before = Assignment(number, tuple(Site(z, x) for z, x in zip((3, 9), fixed, strict=False)))
    rows = renamings(number)
    row = rows[int(rng.integers(len(rows)))]
    renamed = tuple(Site(s.number, letter_of(row[letter_index(s.letter)])) for s in before.sites)
    after = Assignment(number, tuple(sorted(renamed)))
    assert canonical(before) == canonical(after)
    assert before.counts() == after.counts()
    if number >= 195:  # one metric only: the distances can be compared

        def distances(assignment: Assignment) -> np.ndarray:
            template = SymmetricTemplate.from_assignment(assignment)
            coords = template.coords_from_uniform(np.zeros((len(template), 3)))
            cell = template.rebuild(coords, np.eye(3) * 4).to_structure()
            return np.sort(cell.distance_matrix.ravel())

        assert np.allclose(distances(before), distances(after), atol=1e-6)
