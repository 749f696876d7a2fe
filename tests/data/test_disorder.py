"""Ordering keeps the composition, fills no two sites that exclude each other, and spreads out."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.readers import iter_crystals

FCC = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def order(structure: Structure) -> tuple[Structure, str]:
    (record,) = iter_crystals([structure], disorder="order")
    assert record.structure is not None, record.problem
    return record.structure, " ".join(record.notes)


def test_ordered_structures_are_left_alone() -> None:
    structure = Structure(np.eye(3) * 3, ["Cu"], [[0, 0, 0]])
    assert order(structure) == (structure, "")


def test_whole_counts_need_no_supercell() -> None:
    alloy = Structure(Lattice.cubic(3.75), [{"Cu": 0.75, "Au": 0.25}] * 4, FCC)
    ordered, note = order(alloy)
    assert ordered.composition.reduced_formula == "Cu3Au"
    assert len(ordered) == 4 and "1x1x1" in note


def test_a_supercell_is_made_where_the_composition_needs_one() -> None:
    alloy = Structure(Lattice.cubic(3.0), [{"Fe": 0.5, "Al": 0.5}], [[0, 0, 0]])
    ordered, note = order(alloy)
    assert ordered.composition.reduced_formula == "AlFe"
    assert len(ordered) == 2 and "off by 0.000" in note
    third = Structure(Lattice.cubic(3.0), [{"Fe": 1 / 3, "Al": 2 / 3}], [[0, 0, 0]])
    assert order(third)[0].composition.reduced_formula == "Al2Fe"


def test_printed_thirds_sum_to_one() -> None:
    mixed = Structure(Lattice.cubic(3.0), [{"Fe": 0.333, "Al": 0.333, "Ni": 0.333}], [[0, 0, 0]])
    ordered, _ = order(mixed)
    assert sorted(ordered.atomic_numbers) == [13, 26, 28]


def test_a_composition_that_does_not_fit_says_by_how_much() -> None:
    doped = Structure(Lattice.cubic(3.0), [{"Fe": 0.9, "Al": 0.1}], [[0, 0, 0]])
    ordered, note = order(doped)
    assert set(ordered.atomic_numbers) == {26}
    assert "off by 0.100" in note


def test_split_sites_are_filled_once() -> None:
    split = Structure(
        Lattice.cubic(4.0), [{"Li": 0.5}, {"Li": 0.5}, "O"], [[0, 0, 0], [0.1, 0, 0], [0.5] * 3]
    )
    ordered, _ = order(split)
    assert sorted(ordered.atomic_numbers) == [3, 8]
    wide = Structure(
        Lattice.cubic(6.0),
        [{"Li": 0.5}] * 4,
        [[0, 0, 0], [0.1, 0, 0], [0.5, 0.5, 0.5], [0.6, 0.5, 0.5]],
    )
    ordered, _ = order(wide)
    assert len(ordered) == 2 and ordered.distance_matrix[0, 1] > 4


def test_equal_species_are_spread_out() -> None:
    chain = Structure(
        Lattice.orthorhombic(8, 8, 8), [{"Li": 0.5}] * 4, [[i / 4, 0, 0] for i in range(4)]
    )
    ordered, _ = order(chain)
    first, second = sorted(ordered.frac_coords[:, 0])
    assert second - first == pytest.approx(0.5)


def test_the_answer_is_always_the_same() -> None:
    chloride = Structure(
        Lattice.cubic(5.5),
        [{"Na": 0.75, "K": 0.25}] * 4 + ["Cl"] * 4,
        [*FCC, *((np.array(FCC) + 0.5) % 1).tolist()],
    )
    doubled = chloride * [2, 1, 1]
    one, two = order(doubled)[0], order(doubled)[0]
    assert np.array_equal(one.frac_coords, two.frac_coords)
    assert one.composition.as_dict() == {"Na": 6, "K": 2, "Cl": 8}


def test_occupancies_that_leave_nothing() -> None:
    empty = Structure(Lattice.cubic(3.0), [{"Fe": 0.05}], [[0, 0, 0]])
    (record,) = iter_crystals([empty], disorder="order")
    assert record.problem is not None and "leaves no atom" in record.problem
