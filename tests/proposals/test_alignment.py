"""Alignment finds the change of basis, the origin shift and the order of atoms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_diffusion.proposals.alignment import (
    Frame,
    align,
    neighbour_fingerprint,
    unimodular_matrices,
)

RUTILE = Frame(
    np.diag([4.594, 4.594, 2.959]),
    np.array(
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0]]
        + [[0.195, 0.805, 0.5], [0.805, 0.195, 0.5]]
    ),
    np.array([0, 0, 1, 1, 1, 1]),
)


def disguised(frame: Frame, seed: int, noise: float = 0.0) -> Frame:
    """The same crystal in another basis, origin, order, size and orientation."""
    rng = np.random.default_rng(seed)
    matrices = unimodular_matrices()
    matrices = matrices[np.abs(np.linalg.inv(matrices)).max((1, 2)) < 1.5]
    basis = matrices[rng.integers(len(matrices))]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    coords = (frame.coords + noise * rng.normal(size=frame.coords.shape)) @ np.linalg.inv(basis)
    order = rng.permutation(len(coords))
    return Frame(
        1.1 * basis @ frame.lattice @ turn,
        (coords + rng.random(3))[order] % 1.0,
        frame.roles[order],
    )


def test_the_identity_is_first_among_the_matrices() -> None:
    matrices = unimodular_matrices()
    assert np.array_equal(matrices[0], np.eye(3))
    assert set(np.rint(np.linalg.det(matrices)).astype(int)) == {-1, 1}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_disguised_crystal_is_brought_back(seed: int) -> None:
    found = align(RUTILE, disguised(RUTILE, seed))
    assert found is not None
    assert found.rms < 1e-6
    delta = found.frame.coords - RUTILE.coords
    assert np.abs(delta - delta.mean(0)).max() < 1e-6
    metric = found.frame.lattice @ found.frame.lattice.T
    assert np.allclose(np.sqrt(np.diag(metric)), 1.1 * np.array([4.594, 4.594, 2.959]))


def test_a_disturbed_crystal_keeps_its_atom_order() -> None:
    found = align(RUTILE, disguised(RUTILE, 3, noise=0.01))
    assert found is not None
    assert 0.0 < found.rms < 0.1
    assert found.largest >= found.rms
    assert np.array_equal(found.frame.roles, RUTILE.roles)


def test_other_types_are_refused() -> None:
    moved = RUTILE.coords.copy()
    moved[2:] = [[0.5, 0, 0], [0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    assert align(RUTILE, Frame(RUTILE.lattice, moved, RUTILE.roles)) is None
    fewer = Frame(RUTILE.lattice, RUTILE.coords[:5], RUTILE.roles[:5])
    assert align(RUTILE, fewer) is None
    flat = Frame(np.diag([9.0, 9.0, 1.0]), RUTILE.coords, RUTILE.roles)
    assert align(RUTILE, flat) is None


def test_identity_only_does_not_search_other_bases() -> None:
    turned = Frame(RUTILE.lattice[[2, 0, 1]], RUTILE.coords[:, [2, 0, 1]], RUTILE.roles)
    assert align(RUTILE, turned, identity_only=True) is None
    assert align(RUTILE, turned) is not None
    assert align(RUTILE, RUTILE, identity_only=True) is not None


@pytest.mark.parametrize("seed", range(4))
def test_the_fingerprint_does_not_see_the_disguise(seed: int) -> None:
    basis = disguised(RUTILE, 0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(6)
    other = Frame(basis.lattice * 2, basis.coords[order] + rng.random(3), basis.roles[order])
    assert np.allclose(neighbour_fingerprint(basis), neighbour_fingerprint(other), atol=1e-8)
