"""Correction ends valid, or says that nothing fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.correction import separate_atoms
from crystal_diffusion.physics.distances import minimum_distance
from crystal_diffusion.physics.validator import PhysicsValidator


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.05, 1.4), st.sampled_from([0.7, 1.8]))
def test_it_ends_valid_or_says_no(seed: int, atoms: int, filling: float, limit: float) -> None:
    rng = np.random.default_rng(seed)
    cell = np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3))
    volume = atoms * limit**3 / np.sqrt(2) / filling
    cell *= (volume / abs(np.linalg.det(cell))) ** (1 / 3)
    frac = rng.random((atoms, 3))
    frac[-1] = frac[0]
    result = separate_atoms(frac, cell, limit, max_rounds=4)
    assert result.frac_coords.shape == (atoms, 3)
    assert (result.frac_coords >= 0).all() and (result.frac_coords < 1).all()
    if result.valid:
        assert minimum_distance(result.frac_coords, cell) >= limit - 1e-6
    else:
        assert result.outcome in ("impossible", "not found")
        assert "no" in result.reason
    if filling <= 0.5 and minimum_distance(frac[:1], cell) >= limit:
        assert result.valid, result.reason


def test_the_naive_oscillation_comes_to_rest() -> None:
    # An atom squeezed between two others on a line: fixed steps send it from side to side.
    frac = [[0.1, 0, 0], [0.14, 0, 0], [0.18, 0, 0]]
    result = separate_atoms(frac, np.eye(3) * 10, 0.7)
    assert result.outcome == "corrected"
    assert minimum_distance(result.frac_coords, np.eye(3) * 10) >= 0.7


def test_a_valid_crystal_is_not_moved() -> None:
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    result = separate_atoms(frac, np.eye(3) * 4, 0.7)
    assert (result.outcome, result.moved) == ("unchanged", 0.0)
    assert np.array_equal(result.frac_coords, frac)


def test_own_images_too_close_is_a_proof() -> None:
    result = separate_atoms([[0, 0, 0]], np.diag([0.6, 5, 5]), 0.7)
    assert result.outcome == "impossible"
    assert "shortest lattice vector is 0.600" in result.reason


def test_a_thousand_atoms_in_three_angstrom_is_a_proof() -> None:
    frac = np.random.default_rng(0).random((1000, 3))
    result = separate_atoms(frac, np.eye(3) * 3, 0.7)
    assert result.outcome == "impossible"
    assert "densest packing" in result.reason


def test_fixed_atoms_do_not_move() -> None:
    rng = np.random.default_rng(1)
    frac = rng.random((6, 3)) * 0.2
    frac[0], frac[1] = 0.0, 0.5
    fixed = np.array([True, True, False, False, False, False])
    result = separate_atoms(frac, np.eye(3) * 6, 1.5, fixed=fixed)
    assert result.valid
    assert np.array_equal(result.frac_coords[:2], frac[:2])


def test_two_fixed_atoms_too_close_is_a_proof() -> None:
    result = separate_atoms(
        [[0, 0, 0], [0.01, 0, 0]], np.eye(3) * 6, 1.5, fixed=[True, True], max_rounds=2
    )
    assert result.outcome == "impossible"
    assert "must stay" in result.reason


def test_limits_by_pair_are_kept() -> None:
    validator = PhysicsValidator()
    numbers = np.array([55, 55, 8, 1])
    limits = validator.pair_limits(numbers)
    assert limits[0, 1] > limits[2, 3] >= 0.4
    result = validator.correct(np.full((4, 3), 0.5), np.eye(3) * 8, numbers)
    assert result.valid
    frac = result.frac_coords
    for i in range(4):
        for j in range(i):
            pair = minimum_distance(frac[[i, j]], np.eye(3) * 8)
            assert pair >= limits[i, j] - 1e-6


def test_it_is_the_same_each_time() -> None:
    frac = np.random.default_rng(2).random((8, 3)) * 0.1
    first = separate_atoms(frac, np.eye(3) * 5, 1.4, rng=7)
    second = separate_atoms(frac, np.eye(3) * 5, 1.4, rng=7)
    assert np.array_equal(first.frac_coords, second.frac_coords)


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float64])
@pytest.mark.parametrize("batched", [False, True])
def test_correct_structure_gives_back_the_same_kind(kind: object, batched: bool) -> None:
    frac = np.random.default_rng(0).random((3, 6, 3)) * 0.1
    lattice, mask = np.eye(3) * 5, np.ones((3, 6))
    mask[1, 4:] = 0
    if not batched:
        frac, mask = frac[1], mask[1]
    positions = (
        torch.as_tensor(frac, dtype=kind) if isinstance(kind, torch.dtype) else frac.astype(kind)
    )
    validator = PhysicsValidator(min_distance=0.7)
    assert not validator.check_minimum_distance(positions, lattice, mask)[0]
    out = validator.correct_structure(positions, lattice, mask, max_iterations=10)
    assert type(out) is type(positions) and out.dtype == positions.dtype
    assert tuple(out.shape) == frac.shape
    valid, smallest = validator.check_minimum_distance(out, lattice, mask)
    assert valid and smallest >= 0.7
    padding = np.asarray(out)[..., 4:, :] if not batched else np.asarray(out)[1, 4:]
    given = np.asarray(positions)[..., 4:, :] if not batched else np.asarray(positions)[1, 4:]
    assert np.array_equal(padding, given)


def test_what_cannot_be_corrected_is_said(caplog: pytest.LogCaptureFixture) -> None:
    frac = np.random.default_rng(0).random((2, 4, 3))
    lattice = np.stack([np.eye(3) * 5, np.eye(3) * 0.5])
    out = PhysicsValidator().correct_structure(frac, lattice)
    assert out.shape == frac.shape
    assert "crystal 1 was not corrected: no valid arrangement fits" in caplog.text
    assert "crystal 0" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frac_coords": [[0, np.nan, 0]]}, "not finite"),
        ({"limits": [[1.0, 2.0]]}, "do not fit"),
        ({"limits": -1.0}, "none negative"),
        ({"max_rounds": 0}, "at least one round"),
        ({"fixed": [True, False]}, "one flag for each"),
    ],
    ids=["nan", "limit shape", "negative", "rounds", "fixed"],
)
def test_bad_arguments(changes: dict[str, object], message: str) -> None:
    arguments = {"frac_coords": [[0.0, 0, 0]], "lattice": np.eye(3) * 3, "limits": 1.0} | changes
    with pytest.raises(InputError, match=message):
        separate_atoms(**arguments)  # type: ignore[arg-type]


def test_limits_must_be_symmetric() -> None:
    with pytest.raises(InputError, match="not symmetric"):
        separate_atoms(np.zeros((2, 3)), np.eye(3), [[0.0, 1.0], [0.5, 0.0]])
