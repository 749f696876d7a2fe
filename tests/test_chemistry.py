"""Element tables: against pymatgen, ASE and known values."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError


def test_symbols_and_masses_are_those_of_ase() -> None:
    from ase.data import atomic_masses, chemical_symbols, covalent_radii

    assert list(chemistry.SYMBOLS[1:]) == chemical_symbols[1:104]
    # ASE keeps other values for short-lived elements, so the stable ones are compared.
    stable = np.array([z for z in range(1, 84) if z not in (43, 61)])
    assert chemistry.ATOMIC_MASSES[stable] == pytest.approx(atomic_masses[stable], rel=2e-3)
    known = np.arange(1, 97)
    assert chemistry.COVALENT_RADII[known] == pytest.approx(covalent_radii[known])


def test_known_values() -> None:
    assert chemistry.ELECTRONEGATIVITY[9] == pytest.approx(3.98)
    assert np.isnan(chemistry.ELECTRONEGATIVITY[2])
    assert chemistry.OXIDATION_STATES[11] == (1,)
    assert set(chemistry.COMMON_OXIDATION_STATES[26]) == {2, 3}
    metals = [chemistry.SYMBOLS[z] for z in (11, 14, 26, 32, 83) if chemistry.IS_METAL[z]]
    assert metals == ["Na", "Fe", "Bi"]


def test_common_states_are_known_states() -> None:
    for z in range(1, 104):
        common, known = chemistry.COMMON_OXIDATION_STATES[z], chemistry.OXIDATION_STATES[z]
        assert set(common) <= set(known), chemistry.SYMBOLS[z]


def test_symbol_and_number_are_inverse() -> None:
    assert [chemistry.atomic_number(chemistry.symbol(z)) for z in range(1, 104)] == list(
        range(1, 104)
    )
    assert chemistry.as_numbers(["Na", 17]).tolist() == [11, 17]


@pytest.mark.parametrize("number", [0, 104, -1])
def test_symbol_of_unknown_number(number: int) -> None:
    with pytest.raises(InputError, match="use 1 \\(H\\) to 103"):
        chemistry.symbol(number)


def test_number_of_unknown_symbol() -> None:
    with pytest.raises(InputError, match="'na' is no element symbol"):
        chemistry.atomic_number("na")


@pytest.mark.parametrize(
    ("numbers", "volume"),
    [([26], 11.8), ([13], 16.6), ([11, 17], 22.4), ([12, 8], 9.4), ([22, 8, 8], 10.4)],
    ids=["iron", "aluminium", "rock salt", "periclase", "rutile"],
)
def test_expected_volume_is_near_the_measured(numbers: list[int], volume: float) -> None:
    mean, low, high = chemistry.expected_volume(np.array(numbers))
    assert low < volume < high
    assert mean == pytest.approx(volume, rel=0.2)


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        chemistry.ATOMIC_MASSES[1] = 2.0


def test_formula_is_in_order_of_electronegativity() -> None:
    assert chemistry.formula(np.array([8, 22, 8, 38, 8])) == "SrTiO3"
