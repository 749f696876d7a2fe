"""Reduction describes the same crystal by its primitive Niggli cell and moves nothing."""

from __future__ import annotations

import moyopy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.data.reduction import reduce_arrays, reduce_cell
from crystal_diffusion.errors import InputError

DEMO = [Structure(e["lattice"], e["atom_types"], e["positions"]) for e in create_demo_dataset()]


def assert_same_crystal(small: Structure, large: Structure, atol: float = 1e-6) -> None:
    """Every atom of the large cell lies on one of the small crystal, in the same place."""
    change = large.lattice.matrix @ np.linalg.inv(small.lattice.matrix)
    assert np.allclose(change, np.round(change), atol=1e-6)
    coords = large.cart_coords @ np.linalg.inv(small.lattice.matrix)
    for coord, number in zip(coords, large.atomic_numbers, strict=True):
        delta = small.frac_coords - coord
        delta -= np.round(delta)
        distance = np.linalg.norm(delta @ small.lattice.matrix, axis=-1)
        assert distance.min() < atol
        assert small.atomic_numbers[int(distance.argmin())] == number


@pytest.mark.parametrize("index", range(0, len(DEMO), 3))
@pytest.mark.parametrize(
    "scaling", [[[1, 1, 0], [0, 1, 0], [0, 0, 2]], [[2, 1, 0], [0, 2, 1], [1, 0, 1]]]
)
def test_supercells_come_back(index: int, scaling: list[list[int]]) -> None:
    structure = DEMO[index]
    large = structure.make_supercell(np.array(scaling), in_place=False)
    small = reduce_cell(large)
    assert len(small) == len(structure)
    assert moyopy.is_niggli_reduced(small.lattice.matrix.tolist())
    assert small.lattice.volume > 0 and np.linalg.det(small.lattice.matrix) > 0
    assert_same_crystal(small, large)


def test_conventional_cells_become_primitive() -> None:
    fcc = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    salt = Structure(
        Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, [*fcc, *((np.array(fcc) + 0.5) % 1).tolist()]
    )
    small = reduce_cell(salt)
    assert (len(salt), len(small)) == (8, 2)
    assert StructureMatcher(scale=False).fit(salt, small)


def test_edges_agree_with_pymatgens_niggli_cell() -> None:
    lattice = Lattice.from_parameters(4, 9, 6, 100, 35, 70)
    small = reduce_cell(Structure(lattice, ["Si"], [[0.1, 0.2, 0.3]]))
    expected = lattice.get_niggli_reduced_lattice()
    assert sorted(small.lattice.abc) == pytest.approx(sorted(expected.abc), abs=1e-6)


def test_atoms_that_differ_by_more_than_the_tolerance_stay_apart() -> None:
    doubled = DEMO[0] * [2, 1, 1]
    doubled.translate_sites([0], [0.002, 0, 0], frac_coords=False)
    assert len(reduce_cell(doubled)) == 2
    assert len(reduce_cell(doubled, tolerance=0.01)) == 1


def test_two_elements_are_no_translation() -> None:
    structure = Structure(np.diag([3.0, 3.0, 6.0]), ["Cu", "Au"], [[0, 0, 0], [0, 0, 0.5]])
    assert len(reduce_cell(structure)) == 2


def test_left_handed_cells_become_right_handed() -> None:
    structure = Structure(
        np.eye(3)[[1, 0, 2]] * [3, 4, 5], ["Si", "O"], [[0, 0, 0], [0.3, 0.2, 0.1]]
    )
    small = reduce_cell(structure)
    assert np.linalg.det(small.lattice.matrix) > 0
    assert_same_crystal(small, structure)


@settings(max_examples=40, deadline=None)
@given(
    entries=st.lists(st.integers(-2, 2), min_size=9, max_size=9),
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    index=st.sampled_from([0, 8, 9, 20, 31, 32]),
)
def test_any_cell_of_a_crystal_reduces_to_its_primitive_cell(
    entries: list[int], shift: tuple[float, float, float], index: int
) -> None:
    scaling = np.array(entries).reshape(3, 3)
    size = abs(round(np.linalg.det(scaling)))
    if size == 0 or size > 12:
        return
    structure = DEMO[index].copy()
    structure.translate_sites(range(len(structure)), shift)
    large = structure.make_supercell(scaling, in_place=False)
    lattice, coords, numbers = reduce_arrays(
        large.lattice.matrix, large.frac_coords, np.array(large.atomic_numbers)
    )
    assert len(numbers) == len(structure)
    assert_same_crystal(Structure(lattice, numbers, coords), large)


def test_disordered_and_flat_structures_are_refused() -> None:
    with pytest.raises(InputError, match="partial occupancy"):
        reduce_cell(Structure(np.eye(3) * 3, [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]))
    with pytest.raises(InputError, match="cannot be reduced"):
        reduce_arrays(np.zeros((3, 3)), np.zeros((1, 3)), np.array([6]))
