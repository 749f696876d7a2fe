"""The columns of a row and the distributions over many crystals."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.physics.facts import DISTRIBUTIONS, crystal_facts, distributions
from tests.crystals import rock_salt


def test_facts_of_rock_salt() -> None:
    facts = crystal_facts(rock_salt())
    assert facts["formula"] == "NaCl" and facts["num_atoms"] == 8
    assert facts["space_group_0.1"] == facts["space_group_0.01"] == 225
    assert facts["min_distance_A"] == pytest.approx(2.82)
    assert facts["volume_per_atom_A3"] == pytest.approx(5.64**3 / 8, abs=1e-4)
    assert facts["density_g_cm3"] == pytest.approx(2.16, abs=0.01)


def test_what_cannot_be_found_is_none_and_left_out() -> None:
    flat = Structure(Lattice([[3, 0, 0], [0, 3, 0], [3, 3, 1e-12]]), ["Na"], [[0, 0, 0]])
    assert crystal_facts(flat)["min_distance_A"] is None
    found = distributions([rock_salt(), flat, rock_salt(edge=6.0)])
    assert set(found) == set(DISTRIBUTIONS)
    assert found["min_distance_A"] == pytest.approx([2.82, 3.0])
