"""The demo crystals are what they say they are."""

from __future__ import annotations

import gemmi
import moyopy
import pytest
from pymatgen.core import Composition, Structure

from crystal_diffusion.data.demo import build_crystal, create_demo_dataset
from crystal_diffusion.data.demo_table import DEMO_CRYSTALS, DemoCrystal

#: g/cm³ from handbooks (CRC Handbook of Chemistry and Physics; Handbook of Mineralogy).
DENSITIES = {
    "copper": 8.96,
    "tungsten": 19.3,
    "diamond": 3.51,
    "silicon": 2.33,
    "graphite": 2.26,
    "black phosphorus": 2.69,
    "grey arsenic": 5.78,
    "halite": 2.17,
    "galena": 7.6,
    "caesium chloride": 3.99,
    "tenorite": 6.5,
    "herzenbergite": 5.2,
    "rutile": 4.25,
    "anatase": 3.89,
    "pyrite": 5.01,
    "marcasite": 4.89,
    "baddeleyite": 5.82,
    "diphosphorus tetraiodide": 4.2,
    "cuprite": 6.1,
    "corundum": 3.98,
    "strontium titanate": 5.12,
    "perovskite": 4.03,
    "lithium niobate": 4.63,
    "ilmenite": 4.78,
    "chalcopyrite": 4.19,
    "calcite": 2.71,
    "aragonite": 2.93,
    "spinel": 3.58,
}
#: Å, shortest distances known from the literature on each crystal.
BONDS = {
    "diamond": 1.545,
    "graphite": 1.42,
    "black phosphorus": 2.22,
    "pyrite": 2.16,
    "baddeleyite": 2.05,
    "diphosphorus tetraiodide": 2.21,
    "calcite": 1.28,
    "perovskite": 1.95,
    "lithium cobaltate": 1.92,
}


def structure_of(crystal: DemoCrystal) -> Structure:
    entry = build_crystal(crystal)
    return Structure(entry["lattice"], entry["atom_types"], entry["positions"])


@pytest.mark.parametrize("crystal", DEMO_CRYSTALS, ids=lambda c: c.name)
def test_each_crystal(crystal: DemoCrystal) -> None:
    structure = structure_of(crystal)
    found = moyopy.MoyoDataset(
        moyopy.Cell(
            structure.lattice.matrix.tolist(),
            structure.frac_coords.tolist(),
            list(structure.atomic_numbers),
        ),
        symprec=1e-3,
    )
    assert found.number == gemmi.SpaceGroup(crystal.space_group).number
    assert structure.reduced_formula == Composition(crystal.formula).reduced_formula
    assert len(found.prim_std_cell.numbers) == len(structure) <= 20
    assert moyopy.is_niggli_reduced(structure.lattice.matrix.tolist())
    shortest = min(n.nn_distance for site in structure for n in structure.get_neighbors(site, 4))
    assert 1.2 < shortest < 4.0
    if crystal.name in BONDS:
        assert shortest == pytest.approx(BONDS[crystal.name], abs=0.015)
    if crystal.name in DENSITIES:
        assert structure.density == pytest.approx(DENSITIES[crystal.name], rel=0.015)
    assert crystal.source and any(letter.isdigit() for letter in crystal.source)


def test_the_set_is_varied() -> None:
    numbers = [gemmi.SpaceGroup(crystal.space_group).number for crystal in DEMO_CRYSTALS]
    assert len(DEMO_CRYSTALS) >= 24
    assert len({crystal.name for crystal in DEMO_CRYSTALS}) == len(DEMO_CRYSTALS)
    limits = {"triclinic": (1, 2), "monoclinic": (3, 15), "orthorhombic": (16, 74)}
    limits |= {"tetragonal": (75, 142), "trigonal": (143, 167)}
    limits |= {"hexagonal": (168, 194), "cubic": (195, 230)}
    for system, (low, high) in limits.items():
        assert any(low <= number <= high for number in numbers), system
    prototypes = {crystal.prototype for crystal in DEMO_CRYSTALS}
    named = "rock salt, zinc blende, wurtzite, fluorite, rutile, perovskite, spinel, Heusler"
    assert set(named.split(", ")) <= prototypes


def test_the_list_of_dicts() -> None:
    entries = create_demo_dataset()
    assert len(entries) == len(DEMO_CRYSTALS)
    for entry in entries:
        assert entry["positions"].shape == (len(entry["atom_types"]), 3)
        assert entry["lattice"].shape == (3, 3)
        assert (entry["positions"] >= 0).all() and (entry["positions"] < 1).all()
        assert {"name", "formula", "prototype", "source"} <= set(entry)


def test_no_two_are_the_same_crystal() -> None:
    from crystal_diffusion.data.check import check_source

    table = check_source(create_demo_dataset())
    assert table.clean, [(row.id, row.findings) for row in table.rows if row.findings]
