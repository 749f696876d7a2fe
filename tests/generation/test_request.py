"""Requests: what is allowed, what is refused and in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.generation.request import (
    Request,
    cell_volume,
    formula_as_taken,
    parse_formula,
    parse_lattice,
    parse_range,
)


def test_formula_units() -> None:
    assert Request(formula="SrTiO3").compositions(20) == [
        {"Sr": z, "Ti": z, "O": 3 * z} for z in (1, 2, 3, 4)
    ]
    assert Request(formula="SrTiO3", z=(2, 2)).compositions(20) == [{"Sr": 2, "Ti": 2, "O": 6}]
    # Not reduced: exactly what was written.
    assert Request(formula="Si2O4").compositions(20) == [{"Si": 2, "O": 4}]
    assert Request(formula="Li10Ge2P24S7").compositions(20) == [
        {"Li": 10, "Ge": 2, "P": 24, "S": 7}
    ]
    assert Request(formula="NaCl", num_atoms=(8, 8)).compositions(20) == [{"Na": 4, "Cl": 4}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formula": "Xx2"}, "formula 'Xx2'"),
        ({"formula": "Li0.123O"}, "Li has amount 0.123, and no whole multiple"),
        ({"formula": ""}, "formula is empty"),
        ({"spacegroup": " "}, "spacegroup is empty"),
        ({"formula": "Li O;"}, "is a list"),
        ({"formula": "LiO", "exclude": ("O",)}, "excluded element O"),
        ({"formula": "LiO", "elements": ("Li",)}, "exclude each other"),
        ({"num_atoms": (9, 3)}, "not a range"),
        ({"num_atoms": (1, 1000)}, "above 400 atoms"),
        ({"elements": ("Li", "O", "P"), "num_atoms": (1, 2)}, "3 elements do not fit in 2 atoms"),
        ({"lattice": (3.0, 3, 3, 10, 100, 170)}, "no volume"),
        ({"lattice": (3.0, 3, float("nan"), 90, 90, 90)}, "six finite numbers"),
        ({"lattice": (3.0, -3, 3, 90, 90, 90)}, "positive edges"),
        ({"cell": "big"}, "primitive, conventional or niggli"),
        ({"add": "Li"}, "needs a host"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Request(**arguments)


def test_number_of_atoms_that_does_not_fit_names_the_possible_ones() -> None:
    with pytest.raises(RequestError, match="5, 10, 15, 20"):
        Request(formula="SrTiO3", num_atoms=(7, 8)).compositions(20)


def test_a_thousand_atoms_in_a_small_cell_are_refused() -> None:
    request = Request(lattice=(3.0, 3, 3, 90, 90, 90))
    with pytest.raises(RequestError, match="at most 9"):
        request.check_room(1000)


def test_parsers() -> None:
    assert parse_range("8-16", "--natoms") == (8, 16)
    assert parse_range("8", "--natoms") == (8, 8)
    assert parse_lattice("5,5,5,90,90,90") == (5, 5, 5, 90, 90, 90)
    assert cell_volume((2, 3, 4, 90, 90, 90)) == pytest.approx(24)
    with pytest.raises(InputError, match="--natoms 'eight'"):
        parse_range("eight", "--natoms")
    with pytest.raises(InputError, match="not six numbers"):
        parse_lattice("5,5,x,90,90,90")


@given(st.text(max_size=12))
def test_any_text_is_a_formula_or_one_clear_error(text: str) -> None:
    try:
        counts = parse_formula(text)
    except InputError as error:
        assert "formula" in str(error)
    else:
        assert counts and all(n >= 1 for n in counts.values())


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("LiNi0.5Mn0.5O2", "Li2NiMnO4"),
        ("Li1.2Mn0.4Ni0.4O2", "Li6Mn2Ni2O10"),
        ("LiNi0.333Mn0.333Co0.333O2", "Li3NiMnCoO6"),
        ("La0.67Sr0.33MnO3", "La2SrMn3O9"),
        ("CuSO4.5H2O", "CuSO9H10"),
        ("CuSO4\u00b75H2O", "CuSO9H10"),
        ("CaSO4.0.5H2O", "Ca2S2O9H2"),
        ("Na2CO3 * 10 H2O", "Na2CO13H20"),
        ("SrTiO3", "SrTiO3"),
    ],
)
def test_fractions_and_hydrates_are_whole_formulas(text: str, taken: str) -> None:
    assert formula_as_taken(text) == taken
