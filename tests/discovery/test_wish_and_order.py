"""What is looked for, what it may cost, and in which order candidates are tried."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.discovery.ordering import Described, acceptance, diverse, expected
from crystal_diffusion.discovery.wish import Budget, Wish
from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.radial import COMPOSITION_BINS, composition_fingerprint


def described(guess: list[float], numbers: list[list[int]]) -> Described:
    curves = np.array([composition_fingerprint(np.array(n)) for n in numbers])
    curves = curves.reshape(len(guess), COMPOSITION_BINS)
    count = len(guess)
    return Described(np.array(guess), np.full(count, 0.2), curves, np.full(count, ""))


def test_a_wish_says_which_compositions_it_allows() -> None:
    wish = Wish(("Na", "Sb", "S"), family="AB2C4")
    assert wish.allows({"Na": 2, "Sb": 4, "S": 8}) and wish.allows({"S": 1, "Na": 2, "Sb": 4})
    assert not wish.allows({"Na": 1, "S": 1}) and not wish.allows({"K": 1, "Sb": 2, "S": 4})
    assert not Wish(exclude=("Pb",)).allows({"Pb": 1, "O": 1})
    assert not Wish().allows({"Si": 2})
    assert Wish().words == "anything" and "AB2C4" in wish.words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"elements": ("Na", "Xx")}, "'Xx' is no element"),
        ({"elements": ("Na",)}, "one given"),
        ({"elements": ("Na", "S"), "exclude": ("S",)}, "S both wished and excluded"),
        ({"family": "abx3"}, "'abx3' cannot be read"),
        ({"family": "ABA2"}, "names a letter twice"),
        ({"most_atoms": 1}, "most_atoms: 1"),
    ],
)
def test_wishes_that_cannot_be_met(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Wish(**arguments)  # type: ignore[arg-type]


def test_a_budget_ends_with_the_first_that_is_spent() -> None:
    both = Budget(100, 10.0)
    assert both.left(0, 0) == 1 and both.left(50, 60) == 0.5 and both.left(10, 540) < 0.11
    assert both.left(100, 0) == 0 and both.left(0, 601) == 0
    for wrong in ((None, None), (0, None), (None, -1.0)):
        with pytest.raises(InputError, match="budget"):
            Budget(*wrong)


def test_what_was_relaxed_moves_the_guess_of_its_likes_and_little_else() -> None:
    salts, alloy = [[11, 17], [19, 35]], [[26, 28, 28]]
    candidates = described([0.05, 0.05], [salts[1], alloy[0]])
    none = described([], [])
    before, unsure = expected(candidates, none, np.zeros(0))
    assert before.tolist() == [0.05, 0.05]
    done = described([0.05] * 4, [salts[0]] * 4)
    after, surer = expected(candidates, done, np.full(4, 0.45))
    assert after[0] > after[1] > 0.05
    assert surer[0] < surer[1] < unsure[1]
    exact, small = expected(done, done, np.full(4, 0.45))
    assert (exact > after[0]).all() and (exact < 0.45).all() and (small < unsure[0]).all()


def test_the_chance_of_acceptance_is_the_normal_one_and_doubtful_ones_have_none() -> None:
    chance = acceptance(np.array([0.1, 0.0, 0.2]), np.array([0.1, 0.05, 0.1]), 0.1)
    assert chance == pytest.approx([0.4772, 0.9545, 0.1573], abs=1e-4)


def test_no_formula_type_or_kind_of_matter_fills_a_round() -> None:
    formulas = ["AB"] * 5 + ["AC", "AD", "AE", "AF", "AG"]
    kinds = ["x", "z", "z", "v", "w"] + ["y"] * 3 + ["", ""]
    metals = [False] * 5 + [True] * 4 + [False]
    twice = diverse([0, 1, 2], ["AB"] * 3, ["x", "x", "z"], [False] * 3, 3)
    assert twice == [0, 2]  # AB in x relaxes to one crystal
    chosen = diverse(range(10), formulas, kinds, metals, 10)
    assert chosen == [0, 1, 5, 6, 8, 9]  # two AB, two y, then what has no type
    few = diverse(range(10), formulas, kinds, metals, 10, most_metallic=0.1)
    assert few == [0, 1, 5, 9]
    assert diverse(range(10), formulas, kinds, metals, 3) == [0, 1, 5]
