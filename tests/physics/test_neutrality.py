"""Oxidation states by dynamic programming, and neutral decoding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.physics.neutrality import (
    is_neutral_possible,
    neutral_assignment,
    neutral_decode,
)


@pytest.mark.parametrize(
    ("composition", "charges"),
    [
        ({"Na": 1, "Cl": 1}, {"Na": 1, "Cl": -1}),
        ({"Sr": 1, "Ti": 1, "O": 3}, {"Sr": 2, "Ti": 4, "O": -2}),
        ({"Ca": 1, "C": 1, "O": 3}, {"Ca": 2, "C": 4, "O": -2}),
        ({"Mg": 2, "Si": 1}, {"Mg": 2, "Si": -4}),
        ({"Li": 1, "Fe": 1, "P": 1, "O": 4}, {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ({"H": 2, "O": 1}, {"H": 1, "O": -2}),
    ],
    ids=["NaCl", "SrTiO3", "CaCO3", "Mg2Si", "LiFePO4", "water"],
)
def test_textbook_states(composition: dict[str, int], charges: dict[str, int]) -> None:
    found = neutral_assignment(composition)
    assert found.kind == "ionic" and found.cost == 0
    expected = {chemistry.NUMBERS[s]: float(q) for s, q in charges.items()}
    assert found.mean_charges == expected


def test_magnetite_is_of_mixed_valence() -> None:
    found = neutral_assignment({"Fe": 3, "O": 4})
    assert found.states[26] == ((2, 1), (3, 2))
    assert found.mean_charges[26] == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    ("composition", "kind"),
    [({"Cu": 3, "Au": 1}, "metallic"), ({"Si": 2}, "element"), ({"Na": 1, "Cl": 2}, "none")],
)
def test_verdicts(composition: dict[str, int], kind: str) -> None:
    found = neutral_assignment(composition)
    assert found.kind == kind
    assert found.neutral == (kind != "none") == is_neutral_possible(composition)


def test_boride_without_states_is_covalent() -> None:
    assert neutral_assignment({"Al": 1, "B": 12}).kind in ("covalent", "ionic")
    assert neutral_assignment({"Li": 5, "B": 4}).neutral


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 83), min_size=2, max_size=9))
def test_what_is_called_ionic_sums_to_zero(numbers: list[int]) -> None:
    found = neutral_assignment(numbers)
    if found.kind == "ionic":
        total = sum(q * n for parts in found.states.values() for q, n in parts)
        counts = {z: sum(n for _, n in parts) for z, parts in found.states.items()}
        assert total == 0
        assert counts == {z: numbers.count(z) for z in set(numbers)}


def test_single_states_agree_with_trying_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        kinds = rng.choice([3, 8, 9, 12, 16, 13, 20, 22, 30], 3, replace=False)
        counts = {int(z): int(n) for z, n in zip(kinds, rng.integers(1, 5, 3), strict=True)}
        options = [chemistry.OXIDATION_STATES[z] for z in counts]
        possible = any(
            sum(q * n for q, n in zip(states, counts.values(), strict=True)) == 0
            for states in itertools.product(*options)
        )
        found = neutral_assignment(counts)
        if possible and found.kind not in ("metallic", "element"):
            assert found.kind == "ionic", counts


@pytest.mark.parametrize("composition", [{}, {"Na": 0}, []])
def test_empty_compositions(composition: object) -> None:
    with pytest.raises(InputError, match="empty"):
        neutral_assignment(composition)  # type: ignore[arg-type]


def test_broken_counts_and_unknown_elements() -> None:
    with pytest.raises(InputError, match="whole numbers"):
        neutral_assignment({"Na": 0.5, "Cl": 1})
    with pytest.raises(InputError, match="no element symbol"):
        neutral_assignment({"Xx": 1})


def certain(numbers: list[int]) -> np.ndarray:
    table = np.full((len(numbers), 100), -30.0)
    table[np.arange(len(numbers)), np.array(numbers) - 1] = 0.0
    return table


@pytest.mark.parametrize("mixed", [False, True])
def test_a_neutral_choice_is_kept(mixed: bool) -> None:
    numbers = [38, 22, 8, 8, 8]
    assert neutral_decode(certain(numbers), mixed=mixed).tolist() == numbers


def test_a_charged_choice_is_repaired_by_the_cheapest_change() -> None:
    # Na Cl Cl is charged; Na O Cl is a hypochlorite and costs 1.5, Na O Na would cost 2.5.
    table = certain([11, 17, 17])
    table[2, 11 - 1] = -1.0
    table[1, 8 - 1] = -1.5
    decoded = neutral_decode(table, metallic_ok=False)
    assert decoded.tolist() == [11, 8, 17]


def test_best_neutral_choice_agrees_with_trying_all() -> None:
    rng = np.random.default_rng(3)
    pool = [3, 8, 9, 12, 13, 17]
    for _ in range(10):
        table = np.full((4, 20), -np.inf)
        table[:, np.array(pool) - 1] = rng.normal(size=(4, len(pool))) * 3
        best = max(
            (sum(table[k, z - 1] for k, z in enumerate(choice)), choice)
            for choice in itertools.product(pool, repeat=4)
            if any(
                sum(states) == 0
                for states in itertools.product(
                    *(chemistry.COMMON_OXIDATION_STATES[z] for z in choice)
                )
            )
        )
        decoded = neutral_decode(table, metallic_ok=False, mixed=True)
        assert sum(table[k, z - 1] for k, z in enumerate(decoded)) == pytest.approx(best[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.booleans(), st.booleans())
def test_every_draw_is_neutral(seed: int, atoms: int, mixed: bool, metallic_ok: bool) -> None:
    table = np.random.default_rng(seed).normal(size=(atoms, 100)) * 3
    decoded = neutral_decode(table, metallic_ok=metallic_ok, rng=seed, mixed=mixed)
    numbers = np.unique(decoded)
    if metallic_ok and (len(numbers) == 1 or chemistry.is_all_metal(numbers)):
        return
    reach = {0}
    for z in decoded:
        reach = {r + q for r in reach for q in chemistry.COMMON_OXIDATION_STATES[z]}
    assert 0 in reach
    if not mixed:
        assert is_neutral_possible(decoded.tolist())


def test_metals_pass_where_allowed() -> None:
    table = certain([29, 79, 29])
    assert neutral_decode(table).tolist() == [29, 79, 29]
    assert neutral_decode(table, metallic_ok=False).tolist() != [29, 79, 29]


def test_allowed_elements_and_given_atoms() -> None:
    table = np.zeros((5, 100))
    table[0] = -np.inf
    table[0, 38 - 1] = 0.0
    decoded = neutral_decode(table, allowed=[22, 8], metallic_ok=False, rng=1)
    assert decoded[0] == 38 and set(decoded[1:]) <= {22, 8}
    assert neutral_assignment(decoded.tolist()).kind == "ionic"


def test_draws_follow_the_probabilities() -> None:
    # Li/Na with F only: four neutral worlds of two atoms, weights known.
    table = np.full((2, 20), -np.inf)
    table[0, [2, 10]] = np.log([0.8, 0.2])
    table[1, 8] = 0.0
    rng = np.random.default_rng(0)
    drawn = [int(neutral_decode(table, metallic_ok=False, rng=rng)[0]) for _ in range(300)]
    assert drawn.count(3) / 300 == pytest.approx(0.8, abs=0.07)


def test_impossible_and_bad_tables() -> None:
    only_oxygen = np.full((2, 100), -np.inf)
    only_oxygen[:, 7] = 0.0
    with pytest.raises(RequestError, match="allow more elements"):
        neutral_decode(only_oxygen, metallic_ok=False)
    with pytest.raises(InputError, match="no possible element"):
        neutral_decode(np.full((1, 5), -np.inf))
    with pytest.raises(InputError, match="NaN"):
        neutral_decode(np.full((1, 5), np.nan))
    with pytest.raises(InputError, match="shape"):
        neutral_decode(np.zeros(5))


@pytest.mark.parametrize(
    ("composition", "usual"),
    [
        ({"Na": 1, "Cl": 1}, True),
        ({"Fe": 3, "Al": 1}, True),
        ({"W": 2}, True),
        ({"Fe": 3, "O": 4}, False),  # mixed valence
        ({"Mn": 4, "N": 1}, False),
        ({"Al": 1, "B": 2}, False),
        ({"Na": 1, "O": 5}, False),
    ],
)
def test_which_charges_are_usual(composition: dict[str, int], usual: bool) -> None:
    assert neutral_assignment(composition).usual is usual
