"""Formation energies, hulls and doubts against numbers worked out by hand."""

from __future__ import annotations

import pytest

from crystal_diffusion.energy.hull import HullBuilder, doubt, hull_row
from crystal_diffusion.energy.reference_energies import ReferenceEnergies, ReferenceEntry
from tests.crystals import small_rock_salt as rock_salt


def references(*more: tuple[str, dict[str, float], float]) -> ReferenceEnergies:
    """Na at -1, Cl at -2 (another form at -1.5), NaCl at -4 eV/atom, and more."""
    listed = [
        ("Na-a", {"Na": 1.0}, -1.0),
        ("Cl-a", {"Cl": 2.0}, -2.0),
        ("Cl-b", {"Cl": 4.0}, -1.5),
        ("salt", {"Na": 4.0, "Cl": 4.0}, -4.0),
        ("salt-b", {"Na": 1.0, "Cl": 1.0}, -3.0),
        *more,
    ]
    entries = {
        name: ReferenceEntry(name, counts, energy, True, f"2025-0{place}-01")
        for place, (name, counts, energy) in enumerate(listed, 1)
    }
    return ReferenceEnergies("p", "1", entries)


def test_formation_energy_counts_shares_of_atoms() -> None:
    place = HullBuilder(references()).place({"Na": 2, "Cl": 6}, -3.0)
    # a quarter Na at -1, three quarters Cl at -2: the elements alone are at -1.75
    assert place.formation_energy == pytest.approx(-3.0 + 1.75)
    # half of the atoms as NaCl at -4, half as Cl at -2
    assert place.energy_above_hull == pytest.approx(-3.0 + 3.0)
    assert place.decomposition == pytest.approx({"NaCl": 0.5, "Cl": 0.5})
    assert place.n_competing == 1 and place.reference_date == "2025-04-01"


def test_above_is_positive_and_below_negative() -> None:
    hull = HullBuilder(references())
    assert hull.place({"Na": 1, "Cl": 1}, -3.9).energy_above_hull == pytest.approx(0.1)
    assert hull.place({"Na": 1, "Cl": 1}, -4.2).energy_above_hull == pytest.approx(-0.2)
    assert hull.mixture({"Na": 3, "Cl": 1})[0] == pytest.approx(-2.5)
    assert [e.id for e in hull.near_hull(frozenset({"Na", "Cl"}), 0.01)] == ["Na-a", "Cl-a", "salt"]


def test_a_known_crystal_lies_on_the_hull_not_below() -> None:
    crystal = rock_salt("Na", "Cl")
    hull = HullBuilder(references())
    told = {
        known: hull_row(crystal, -4.05, hull, {}, {}, known=known).energy_above_hull_eV_atom
        for known in (True, False)
    }
    assert told == pytest.approx({True: 0.0, False: -0.05})
    above = hull_row(crystal, -3.95, hull, {}, {}, known=True)
    assert above.energy_above_hull_eV_atom == pytest.approx(0.05)


def test_spread_is_that_of_formation_energies() -> None:
    first, second = HullBuilder(references()), HullBuilder(references())
    said = {"other": {"energy_per_atom_eV": -3.7, "problem": ""}}
    row = hull_row(rock_salt("Na", "Cl"), -4.0, first, {"other": second}, said)
    assert row.formation_energy_eV_atom == pytest.approx(-2.5)
    assert row.spread_eV_atom == pytest.approx(0.3)
    assert row.problem == ""


def test_doubts() -> None:
    assert doubt(2, 3, None) == "" and doubt(2, 3, 0.3) == "" and doubt(2, 3, -0.09) == ""
    assert "no competing compound" in doubt(2, 0, 0.0)
    assert doubt(1, 0, 0.0) == ""
    assert "more than 0.1 eV/atom below" in doubt(2, 3, -0.11)
