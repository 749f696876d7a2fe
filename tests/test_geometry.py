"""Lattice algebra against pymatgen, and its own inverses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice
from pymatgen.util.coord import pbc_shortest_vectors

from crystal_diffusion import cell_geometry, geometry
from crystal_diffusion.physics.distances import distance_matrix, reduce_cell
from crystal_diffusion.testing import named_crystals

CRYSTALS = named_crystals()


@pytest.mark.parametrize("name", CRYSTALS)
def test_log_strain_keeps_the_cell_up_to_rotation(name: str) -> None:
    lattice = CRYSTALS[name].lattice.double()
    back = geometry.log_strain_to_lattice(geometry.lattice_to_log_strain(lattice))
    metric = lattice @ lattice.transpose(-1, -2)
    torch.testing.assert_close(back @ back.transpose(-1, -2), metric)
    assert torch.linalg.det(back).item() > 0


def test_rotation_does_not_change_log_strain() -> None:
    lattice = CRYSTALS["triclinic"].lattice.double()
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    torch.testing.assert_close(
        geometry.lattice_to_log_strain(lattice @ rotation), geometry.lattice_to_log_strain(lattice)
    )


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(2, 20)] * 3), st.tuples(*[st.floats(65, 115)] * 3))
def test_parameters_as_in_pymatgen(
    edges: tuple[float, float, float], angles: tuple[float, float, float]
) -> None:
    parameters = torch.tensor([*edges, *angles], dtype=torch.float64)
    lattice = geometry.lattice_from_parameters(parameters)
    torch.testing.assert_close(geometry.lattice_to_parameters(lattice), parameters)
    volume = Lattice.from_parameters(*edges, *angles).volume
    assert geometry.volume(lattice).item() == pytest.approx(volume, rel=1e-9)


@pytest.mark.parametrize("value", [-1e-12, 1.0, -1.0, 0.9999999999, -1e-30])
def test_wrap_stays_below_one(value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        wrapped = geometry.wrap(torch.tensor([value], dtype=dtype))
        assert 0 <= wrapped.item() < 1


@pytest.mark.parametrize("name", ["rock salt", "hexagonal", "triclinic", "very long"])
def test_near_image_distances_are_exact_for_reduced_cells(name: str) -> None:
    batch = CRYSTALS[name]
    structure = batch.to_structures()[0]
    expected = structure.distance_matrix
    lattice = batch.lattice.double()
    found = geometry.near_image_distances(
        geometry.pair_displacements(batch.frac_coords.double()), lattice @ lattice.transpose(1, 2)
    )[0].numpy()
    off = ~np.eye(len(structure), dtype=bool)
    np.testing.assert_allclose(found[off], expected[off], atol=1e-5)


def test_image_shifts_begin_with_zero() -> None:
    shifts = geometry.image_shifts(1, torch.zeros(1))
    assert shifts.shape == (27, 3)
    assert shifts[0].abs().sum() == 0
    vectors = pbc_shortest_vectors(Lattice.cubic(3), [[0, 0, 0]], [[0.9, 0, 0]])
    assert np.linalg.norm(vectors) == pytest.approx(0.3)


EDGES = st.tuples(*[st.floats(2, 20)] * 3)
ANGLES = st.tuples(*[st.floats(50, 118)] * 3).filter(
    lambda a: max(a) < sum(a) - max(a) - 8 and sum(a) < 340
)


@settings(max_examples=60, deadline=None)
@given(EDGES, ANGLES, st.integers(0, 2**32 - 1))
def test_arrays_and_tensors_have_one_geometry(
    edges: tuple[float, float, float], angles: tuple[float, float, float], seed: int
) -> None:
    """Triclinic cells: same cell in the same orientation, same way back, same images."""
    parameters = np.array([*edges, *angles])
    tensor = torch.from_numpy(parameters)
    lattice = cell_geometry.lattice_from_parameters(parameters)
    np.testing.assert_allclose(geometry.lattice_from_parameters(tensor).numpy(), lattice, atol=1e-9)
    np.testing.assert_allclose(lattice, Lattice.from_parameters(*parameters).matrix, atol=1e-8)
    assert np.linalg.det(lattice) > 0
    np.testing.assert_allclose(cell_geometry.lattice_to_parameters(lattice), parameters, rtol=1e-7)
    rng = np.random.default_rng(seed)
    turned = lattice @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(
        cell_geometry.lattice_to_parameters(turned),
        geometry.lattice_to_parameters(torch.from_numpy(turned)).numpy(),
        rtol=1e-9,
    )
    frac = rng.normal(scale=2, size=(5, 3))
    np.testing.assert_array_equal(
        cell_geometry.wrap(frac), geometry.wrap(torch.from_numpy(frac)).numpy()
    )
    step = cell_geometry.wrap_displacement(frac)
    np.testing.assert_array_equal(step, geometry.wrap_displacement(torch.from_numpy(frac)).numpy())
    # In a reduced cell the near images of the network are the true distances of the validator.
    cell = reduce_cell(lattice).rows
    wrapped = cell_geometry.wrap_displacement(frac[None] - frac[:, None])
    near = geometry.near_image_distances(
        torch.from_numpy(wrapped)[None], torch.from_numpy(cell @ cell.T)[None]
    )
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(
        near[0].numpy()[off], distance_matrix(frac, cell)[off], rtol=1e-9, atol=1e-9
    )


def test_an_impossible_cell_is_no_number() -> None:
    assert np.isnan(cell_geometry.lattice_from_parameters([4, 4, 4, 20, 30, 120])).any()


def test_many_cells_at_once() -> None:
    rng = np.random.default_rng(2)
    cells = rng.normal(size=(3, 2, 3, 3)) * 3 + 5 * np.eye(3)
    whole = cell_geometry.lattice_to_parameters(cells)
    assert whole.shape == (3, 2, 6)
    np.testing.assert_allclose(whole[1, 1], Lattice(cells[1, 1]).parameters)


def test_vectors_run_from_the_atom_to_its_neighbours() -> None:
    lattice = np.array([[3.0, 0.2, 0.0], [0.5, 4.0, 0.1], [-0.3, 0.4, 5.0]])
    coords = np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.45]])
    vectors, distances, images = cell_geometry.images_within(lattice, coords, 3.0)
    nearest = int(distances[0, images:].argmin()) + images
    assert vectors[0, nearest] == pytest.approx((coords[1] - coords[0]) @ lattice)


@pytest.mark.parametrize("edge", [30_000.0, 100_000.0, float("inf"), float("nan")])
def test_symmetry_is_not_searched_in_needles(edge: float) -> None:
    """moyopy finds operations without end there, until the memory is full."""
    needle = [[4.0, 0.0, 0.0], [-1.0, 5.0, 0.8], [0.0, 0.0, edge]]
    with pytest.raises(ValueError, match="an edge of"):
        cell_geometry.symmetry_search(needle, [[0.0, 0.0, 0.0]], [3], symprec=0.1)


def test_symmetry_is_searched_in_long_cells() -> None:
    long = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 900.0]]
    found = cell_geometry.symmetry_search(long, [[0.0, 0.0, 0.0]], [3], symprec=0.1)
    assert found.number == 123
    with pytest.raises(ValueError):
        cell_geometry.symmetry_search(long, [[0.0, 0.0, 0.0]] * 2, [3, 3], symprec=0.1)
