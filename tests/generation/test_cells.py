"""How many formula units a cell holds: known types, the given cell, and what the output says."""

from __future__ import annotations

import math

import pytest

from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.cells import cells_of, expected_volume
from crystal_diffusion.generation.request import Request
from crystal_diffusion.proposals.prototypes import PrototypeProposer


@pytest.fixture(scope="module")
def proposer() -> PrototypeProposer:
    return PrototypeProposer()


def test_known_types_say_how_many_formula_units(proposer: PrototypeProposer) -> None:
    olivine = cells_of(Request(formula="LiMnPO4"), 20, proposer)
    assert math.gcd(*olivine.drawn[0].values()) == 4, "28 atoms, beyond the 20 of training"
    assert olivine.units == (1, 2, 3, 4, 5, 6, 7)
    bixbyite = cells_of(Request(formula="In2O3"), 52, proposer)
    assert 8 in {math.gcd(*content.values()) for content in bixbyite.drawn}
    assert len(bixbyite.drawn) == 4


def test_without_a_library_the_smallest_cells_are_tried() -> None:
    assert cells_of(Request(formula="LiMnPO4"), 20, None).drawn == (
        {3: 1, 25: 1, 15: 1, 8: 4},
        {3: 2, 25: 2, 15: 2, 8: 8},
    )
    assert cells_of(Request(elements=("Li", "O")), 20, None).units == ()


def test_what_is_asked_for_is_kept(proposer: PrototypeProposer) -> None:
    assert cells_of(Request(formula="NaCl", z=(2, 3)), 20, proposer).units == (2, 3)
    assert cells_of(Request(formula="NaCl", num_atoms=(4, 4)), 20, proposer).units == (2,)
    assert cells_of(Request(formula="Na4Cl4"), 20, proposer).units == (4,)


def test_a_given_cell_holds_what_it_has_room_for(proposer: PrototypeProposer) -> None:
    conventional = Request(formula="NaCl", lattice=(5.64, 5.64, 5.64, 90, 90, 90))
    cells = cells_of(conventional, 20, proposer)
    assert 4 in cells.units and 1 not in cells.units and 8 not in cells.units
    primitive = Request(formula="SrTiO3", lattice=(3.9, 3.9, 3.9, 90, 90, 90))
    assert cells_of(primitive, 20, proposer).units == (1,)
    assert expected_volume({38: 1, 22: 1, 8: 3}) == pytest.approx(60, abs=12)


@pytest.mark.parametrize(
    ("request_", "offer"),
    [
        (Request(formula="SrTiO3", lattice=(3.9, 3.9, 3.9, 90, 90, 90), z=(4, 4)), "Give --z 1"),
        (Request(formula="NaCl", lattice=(5.64,) * 3 + (90,) * 3, num_atoms=(2, 2)), "Give --z 4"),
        (Request(formula="LiFePO4", lattice=(3, 3, 3, 90, 90, 90)), "too small for one"),
    ],
)
def test_a_cell_for_another_number_of_units_is_refused_with_an_offer(
    request_: Request, offer: str, proposer: PrototypeProposer
) -> None:
    with pytest.raises(RequestError, match=offer):
        cells_of(request_, 20, proposer)
