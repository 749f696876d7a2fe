"""Draws follow reference frequencies, exactly where that can be worked out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.symmetry.assignments import enumerate_assignments, parse_wyckoff
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.compositions import draw_composition
from crystal_diffusion.symmetry.groups import SpaceGroup, groups_of
from crystal_diffusion.symmetry.letters import LetterSampler
from crystal_diffusion.symmetry.prior import WyckoffPrior, draw_assignment
from crystal_diffusion.symmetry.template import SymmetricTemplate


@pytest.fixture(scope="module")
def shipped() -> WyckoffPrior:
    return WyckoffPrior.load()


@pytest.mark.parametrize(
    ("group", "counts"),
    [(47, {22: 1, 8: 2}), (2, {3: 1, 8: 3}), (156, {3: 2, 8: 2}), (166, {3: 1, 8: 4})],
)
def test_letter_sampler_is_exact(group: int, counts: dict[int, int]) -> None:
    weights = {
        p.letter: 0.1 + 0.37 * i for i, p in enumerate(SpaceGroup.from_number(group).positions)
    }
    sampler = LetterSampler(SpaceGroup.from_number(group), weights, counts)
    every = list(enumerate_assignments(group, counts))
    chances = [math.exp(sampler.log_probability(a)) for a in every]
    assert sum(chances) == pytest.approx(1, rel=1e-9)
    # By hand: product of weight^k / k! over sites.
    direct = []
    for assignment in every:
        value = 1.0
        for site, k in Counter(assignment.sites).items():
            value *= weights[site.letter] ** k / math.factorial(k)
        direct.append(value)
    assert chances == pytest.approx([v / sum(direct) for v in direct], rel=1e-9)
    rng = np.random.default_rng(0)
    drawn = Counter(sampler.draw(rng) for _ in range(1500))
    assert set(drawn) <= set(every)
    for assignment, chance in zip(every, chances, strict=True):
        spread = math.sqrt(1500 * chance * (1 - chance)) + 1
        assert abs(drawn[assignment] - 1500 * chance) < 5 * spread


def test_letter_sampler_bears_many_atoms() -> None:
    group = SpaceGroup.from_number(2)
    weights = {p.letter: 0.3 for p in group.positions}
    sampler = LetterSampler(group, weights, {3: 201, 8: 199})
    assert 0 < sampler.total < math.inf
    assert sampler.draw(np.random.default_rng(0)).counts() == {3: 201, 8: 199}
    with pytest.raises(RequestError, match="at most 600"):
        LetterSampler(group, weights, {3: 700})


@pytest.mark.parametrize(
    ("group", "counts", "share", "expected"),
    [
        (221, {22: 1, 38: 1, 8: 3}, 0.9, {"O:3c,Ti:1b,Sr:1a", "O:3d,Ti:1a,Sr:1b"}),
        (225, {11: 1, 17: 1}, 0.9, {"Na:4a,Cl:4b", "Na:4b,Cl:4a"}),
        (227, {14: 2}, 0.9, {"Si:8a", "Si:8b"}),
        (136, {22: 2, 8: 4}, 0.6, {"O:4f,Ti:2a", "O:4g,Ti:2b"}),
    ],
)
def test_known_structures_are_drawn_most(
    shipped: WyckoffPrior, group: int, counts: dict[int, int], share: float, expected: set[str]
) -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(str(shipped.draw_assignment(group, counts, rng)) for _ in range(100))
    assert sum(drawn[name] for name in expected) >= 100 * share


@pytest.mark.parametrize("cell", ["primitive", "conventional"])
def test_draws_meet_the_composition(shipped: WyckoffPrior, cell: str) -> None:
    rng = np.random.default_rng(1)
    for group, counts in ((62, {20: 4, 22: 4, 8: 12}), (168, {3: 6, 8: 6}), (12, {26: 4, 8: 8})):
        for _ in range(20):
            assignment = shipped.draw_assignment(group, counts, rng, cell)
            assert assignment.counts(cell) == counts
            assert assignment.space_group == group


def test_log_probability_adds_up_to_one(shipped: WyckoffPrior) -> None:
    for group, counts in ((221, {22: 1, 38: 1, 8: 3}), (139, {26: 2, 38: 1, 33: 2})):
        every = list(enumerate_assignments(group, counts))
        total = sum(math.exp(shipped.log_probability(a)) for a in every)
        assert total == pytest.approx(1, rel=1e-6)


def test_draw_is_never_uniform_and_seeded(shipped: WyckoffPrior) -> None:
    first = [str(draw_assignment(62, {20: 4, 22: 4, 8: 12}, None, seed)) for seed in range(10)]
    again = [str(draw_assignment(62, {20: 4, 22: 4, 8: 12}, shipped, seed)) for seed in range(10)]
    assert first == again
    assert Counter(first).most_common(1)[0][1] >= 4


def test_groups_are_drawn_as_in_the_reference(shipped: WyckoffPrior) -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(shipped.draw_group({22: 1, 38: 1, 8: 3}, rng).number for _ in range(50))
    assert drawn.most_common(1)[0][0] == 221
    cubic = shipped.draw_group({11: 1, 17: 1}, rng, groups_of("cubic"))
    assert cubic.crystal_system == "cubic"
    assert shipped.group_weights({11: 1, 17: 1}).min() > 0
    with pytest.raises(RequestError, match="8 atoms are impossible in Fm-3m"):
        shipped.draw_group({22: 3, 8: 5}, rng, [225])
    with pytest.raises(RequestError, match="none of the 2 space groups"):
        shipped.draw_group({22: 3, 8: 5}, rng, [225, 227])


def test_impossible_composition_is_refused(shipped: WyckoffPrior) -> None:
    with pytest.raises(RequestError, match="atoms are impossible in Fm-3m"):
        shipped.draw_assignment(225, {22: 3, 8: 5}, np.random.default_rng(0))


def test_composition_free_draws(shipped: WyckoffPrior) -> None:
    rng = np.random.default_rng(4)
    for group in (225, 168, 230):
        for _ in range(5):
            assignment = draw_composition(shipped, [group], rng, num_atoms=(4, 24))
            assert 4 <= sum(assignment.counts().values()) <= 24
            assert assignment.space_group == group
    for _ in range(10):
        assignment = draw_composition(
            shipped, groups_of("hexagonal"), rng, num_atoms=(2, 8), allowed=[3, 8, 26], required=[3]
        )
        assert 3 in assignment.counts() and set(assignment.counts()) <= {3, 8, 26}
    with pytest.raises(RequestError, match="8, 12, 16"):
        draw_composition(shipped, [230], rng, num_atoms=(2, 7))
    with pytest.raises(RequestError, match="required and not allowed"):
        draw_composition(shipped, [225], rng, allowed=[8], required=[3])


def perovskite(a: int, b: int) -> Cell:
    template = SymmetricTemplate.from_assignment(parse_wyckoff("Ti:1b,Sr:1a,O:3c", 221))
    cell = template.rebuild(template.random_coords(np.random.default_rng(0)), np.eye(3) * 3.9)
    swap = np.arange(100)
    swap[38], swap[22] = a, b
    return Cell(cell.lattice, cell.frac_coords, swap[cell.numbers])


def test_prior_from_structures_and_files(tmp_path: Path) -> None:
    clash = Cell(np.eye(3) * 4, np.zeros((2, 3)), np.array([3, 3]))
    crystals = [perovskite(38, 22), perovskite(56, 22), perovskite(20, 40), clash]
    prior, problems = WyckoffPrior.from_structures(crystals)
    assert list(problems) == [3] and "no space group" in problems[3]
    assert prior.frequencies.sum() == 3
    drawn = prior.draw_assignment(221, {38: 1, 22: 1, 8: 3}, np.random.default_rng(0))
    assert drawn.counts() == {38: 1, 22: 1, 8: 3}
    prior.save(tmp_path / "prior.npz")
    again = WyckoffPrior.load(tmp_path / "prior.npz")
    assert again.patterns == prior.patterns and again.elements == prior.elements
    (tmp_path / "bad.npz").write_text("no table")
    with pytest.raises(InputError, match="bad.npz"):
        WyckoffPrior.load(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="no crystal"):
        WyckoffPrior.from_rows([])
