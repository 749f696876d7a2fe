"""Periodic distances against pymatgen and ASE, in cells that break naive minimum images."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics import distances

CELLS = {
    "triclinic": Lattice.from_parameters(4.1, 5.3, 6.7, 74, 98, 111).matrix,
    "hexagonal": Lattice.hexagonal(3.2, 5.1).matrix,
    "very skewed": np.array([[3.0, 0, 0], [5.0, 3.1, 0], [-2.0, 4.0, 3.3]]),
    "very long": np.diag([2.9, 3.0, 80.0]),
    "flat rhombohedral": Lattice.from_parameters(6, 6, 6, 35, 35, 35).matrix,
    "left-handed": np.array([[0, 4.0, 0], [4.2, 0, 0], [0.3, 0.2, 4.4]]),
}


def random_frac(atoms: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (atoms, 3))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("atoms", [1, 2, 7])
@pytest.mark.parametrize("method", ["all pairs", "cell list", "auto"])
def test_pairs_are_those_of_ase(cell: np.ndarray, atoms: int, method: str) -> None:
    frac = random_frac(atoms)
    found = distances.neighbour_pairs(frac, cell, 3.95, method)
    ase = Atoms("H" * atoms, cell=cell, scaled_positions=frac, pbc=True)
    i, j, expected = neighbor_list("ijd", ase, 3.95)
    order, other = (
        np.lexsort((found.distance, found.second, found.first)),
        np.lexsort((expected, j, i)),
    )
    assert found.first[order].tolist() == i[other].tolist()
    assert found.second[order].tolist() == j[other].tolist()
    assert found.distance[order] == pytest.approx(expected[other])


@pytest.mark.parametrize("method", ["all pairs", "cell list"])
def test_many_atoms_in_a_triclinic_cell(method: str) -> None:
    cell, frac = 3 * CELLS["triclinic"], random_frac(150)
    found = distances.neighbour_pairs(frac, cell, 2.5, method)
    ase = Atoms("H" * 150, cell=cell, scaled_positions=frac, pbc=True)
    assert np.sort(found.distance) == pytest.approx(np.sort(neighbor_list("d", ase, 2.5)))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("method", ["all pairs", "cell list"])
def test_vectors_have_the_length_of_the_distance(cell: np.ndarray, method: str) -> None:
    frac = random_frac(9)
    found = distances.neighbour_pairs(frac, cell, 3.5, method)
    assert np.linalg.norm(found.vectors(frac, cell), axis=1) == pytest.approx(found.distance)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_distance_matrix_is_that_of_pymatgen(cell: np.ndarray) -> None:
    frac = random_frac(8)
    expected = Lattice(cell).get_all_distances(frac, frac)
    found = distances.distance_matrix(frac, cell)
    off = ~np.eye(8, dtype=bool)
    assert found[off] == pytest.approx(expected[off])
    assert np.diagonal(found) == pytest.approx(distances.shortest_lattice_vector(cell))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("atoms", [1, 3, 30])
def test_minimum_distance_counts_own_images(cell: np.ndarray, atoms: int) -> None:
    frac = random_frac(atoms, 3)
    ase = Atoms("H" * atoms, cell=cell, scaled_positions=frac, pbc=True)
    expected = neighbor_list("d", ase, 4.5).min()
    assert distances.minimum_distance(frac, cell) == pytest.approx(expected)


def test_one_atom_sees_its_own_image() -> None:
    assert distances.minimum_distance([[0.3, 0.3, 0.3]], np.diag([2.5, 9, 9])) == 2.5


def test_no_atoms_are_infinitely_far() -> None:
    assert distances.minimum_distance(np.zeros((0, 3)), np.eye(3)) == np.inf


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_a_change_of_cell_changes_nothing(seed: int, atoms: int) -> None:
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 4 + rng.normal(size=(3, 3)) * 0.8
    frac = rng.random((atoms, 3))
    shear = np.eye(3, dtype=int)
    for i, j in ((0, 1), (2, 0), (1, 2)):
        step = np.eye(3, dtype=int)
        step[i, j] = rng.integers(-4, 5)
        shear = step @ shear
    other = shear @ cell
    moved = frac @ np.linalg.inv(shear)
    assert distances.minimum_distance(moved, other) == pytest.approx(
        distances.minimum_distance(frac, cell)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_reduced_cell_is_the_same_lattice(seed: int) -> None:
    cell = np.random.default_rng(seed).normal(size=(3, 3)) * 4
    if distances.relative_volume(cell) < 1e-3:
        return
    reduced = distances.reduce_cell(cell)
    assert reduced.rows == pytest.approx(reduced.transform @ cell)
    assert abs(round(np.linalg.det(reduced.transform))) == 1
    assert reduced.volume == pytest.approx(abs(np.linalg.det(cell)))
    shortest = Lattice(cell).get_niggli_reduced_lattice().abc
    assert reduced.shortest == pytest.approx(min(shortest), rel=1e-4)


def test_wrap_never_gives_one() -> None:
    wrapped = distances.wrap([-1e-20, 1.0, -0.25, 2.5])
    assert wrapped.tolist() == [0.0, 0.0, 0.75, 0.5]


@pytest.mark.parametrize(
    ("lattice", "message"),
    [
        (np.zeros((3, 3)), "no volume"),
        (np.ones((3, 3)), "no volume"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.eye(2), "give rows a, b, c"),
    ],
    ids=["zero", "flat", "nan", "shape"],
)
def test_bad_cells_are_refused(lattice: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distances.minimum_distance([[0, 0, 0], [0.5, 0.5, 0.5]], lattice)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.inf, np.nan])
def test_bad_cutoffs_are_refused(cutoff: float) -> None:
    with pytest.raises(InputError, match="positive distance"):
        distances.neighbour_pairs([[0, 0, 0]], np.eye(3), cutoff)


def test_an_exploding_list_is_refused() -> None:
    with pytest.raises(InputError, match="squeezed"):
        distances.neighbour_pairs(np.random.default_rng(0).random((50, 3)), np.eye(3) * 0.05, 10.0)


def test_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="method 'fast' is unknown"):
        distances.neighbour_pairs([[0, 0, 0]], np.eye(3), 1.0, "fast")
