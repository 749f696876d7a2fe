"""The sampler's physics terms: what overlaps moves, what is valid feels nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.penalty import (
    fit_cell,
    pair_overlap,
    push_apart,
    separate,
    stretch_cell,
)
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.physics.limits import PROFILES

ROCK_SALT = Structure.from_spacegroup(
    225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
RUTILE = Structure.from_spacegroup(
    136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
CAESIUM = Structure.from_spacegroup(229, Lattice.cubic(6.14), ["Cs"], [[0, 0, 0]])


def same(step: torch.Tensor) -> torch.Tensor:
    return step


@given(
    st.lists(st.floats(-1, 1), min_size=9, max_size=9),
    st.lists(st.integers(-3, 3), min_size=3, max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_reduction_keeps_the_lattice_and_shortens_edges(
    noise: list[float], shears: list[int]
) -> None:
    cell = 4 * torch.eye(3, dtype=torch.float64) + torch.tensor(noise).reshape(3, 3).double()
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1], shear[0, 2], shear[1, 2] = (float(s) for s in shears)
    skewed = shear @ cell
    change = geometry.reduction(skewed[None])[0]
    assert torch.equal(change, change.round())
    assert torch.linalg.det(change).item() == pytest.approx(1.0)
    before = skewed.square().sum()
    assert (change @ skewed).square().sum() <= before + 1e-9


def test_images_of_a_skewed_cell_are_seen() -> None:
    # In this setting of a cubic cell the near image of the second atom is five cells away.
    cell = torch.tensor([[[4.0, 0, 0], [20.0, 4, 0], [0, 0, 4.0]]])
    reduced = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.45, 0.0]]])
    cartesian = reduced @ (4 * torch.eye(3))
    frac = cartesian @ torch.linalg.inv(cell)
    mask = torch.ones(1, 2, dtype=torch.bool)
    smallest = torch.full((1, 2, 2), 2.2)
    moved = separate(frac, cell, mask, smallest, 60, same)
    difference = ((moved[0, 1] - moved[0, 0]) @ cell[0]).numpy()
    away = difference - 4 * np.round(difference / 4)
    assert np.linalg.norm((cartesian[0, 1] - cartesian[0, 0]).numpy()) < 2.0
    assert np.linalg.norm(away) >= 2.2 - 1e-2


def test_the_push_is_the_gradient_of_the_overlap() -> None:
    generator = torch.Generator().manual_seed(3)
    frac = torch.rand(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    cell = (3.2 * torch.eye(3, dtype=torch.float64)).expand(2, 3, 3)
    mask = torch.tensor([[True] * 4, [True, True, True, False]])
    smallest = torch.full((2, 4, 4), 1.6, dtype=torch.float64)
    (slope,) = torch.autograd.grad(pair_overlap(frac, cell, mask, smallest).sum(), frac)
    cartesian = slope @ torch.linalg.inv(cell).transpose(-1, -2)
    length = torch.linalg.vector_norm(cartesian, dim=-1, keepdim=True)
    assert (length > 0.1).sum() >= 5
    wanted = -0.5 * cartesian / length.clamp_min(1e-12) * length.clamp(max=1.0)
    step = push_apart(frac.detach(), cell, mask, smallest, 1.0) @ cell
    assert torch.allclose(step, wanted, atol=1e-6)


@pytest.mark.parametrize("structure", [ROCK_SALT, RUTILE, CAESIUM])
def test_real_crystals_feel_nothing(structure: Structure) -> None:
    batch = CrystalBatch.from_structures([structure])
    smallest = Guards().smallest_distances(batch.atomic_numbers)
    push = push_apart(batch.frac_coords, batch.lattice, batch.mask, smallest, 1.0)
    assert not push.any()
    assert torch.equal(
        separate(batch.frac_coords, batch.lattice, batch.mask, smallest, 30, same),
        batch.frac_coords,
    )
    volume = torch.full((1,), 1e9)
    args = (batch.frac_coords, batch.lattice, batch.mask, smallest, volume, 30, same)
    assert torch.equal(stretch_cell(*args), batch.lattice)
    own = smallest.diagonal(dim1=-2, dim2=-1).amax(-1)
    limits = Guards().volume_limits(batch.atomic_numbers)
    assert torch.equal(fit_cell(batch.lattice, batch.num_atoms, limits, own), batch.lattice)


@pytest.mark.parametrize("scale", [0.5, 0.7, 2.5])
def test_cells_come_back_inside_their_volume_limits(scale: float) -> None:
    batch = CrystalBatch.from_structures([ROCK_SALT])
    low, high = Guards().volume_limits(batch.atomic_numbers)
    own = Guards().smallest_distances(batch.atomic_numbers).diagonal(dim1=-2, dim2=-1).amax(-1)
    fitted = fit_cell(scale * batch.lattice, batch.num_atoms, (low, high), own)
    per_atom = float(geometry.volume(fitted)) / 8
    wanted = float(low if scale < 1 else high)
    assert per_atom == pytest.approx(wanted, rel=1e-4)
    half = fit_cell(scale * batch.lattice, batch.num_atoms, (low, high), own, 0.5)
    assert min(scale**3, per_atom / 22.4) < float(geometry.volume(half)) / 8 / 22.4
    assert float(geometry.volume(half)) != pytest.approx(float(geometry.volume(fitted)), rel=1e-2)


@given(st.lists(st.floats(1.5, 6.0), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_cell_is_stretched_where_positions_cannot_move(edges: list[float]) -> None:
    frac = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]], dtype=torch.float64)
    cell = torch.diag(torch.tensor(edges, dtype=torch.float64))[None]
    mask = torch.ones(1, 2, dtype=torch.bool)
    smallest = torch.full((1, 2, 2), 2.4, dtype=torch.float64)
    wide = torch.full((1,), 1e6, dtype=torch.float64)
    room = stretch_cell(frac, cell, mask, smallest, wide, 60, same)
    crystal = Structure(Lattice(room[0].numpy()), ["Fe", "Fe"], frac[0].numpy())
    nearest = min(n.nn_distance for n in crystal.get_all_neighbors(20)[0])
    assert nearest >= 2.4 - 2e-3
    assert float(geometry.volume(room)) >= float(geometry.volume(cell)) - 1e-9
    narrow = torch.full((1,), 12.0, dtype=torch.float64)
    capped = stretch_cell(frac, cell, mask, smallest, narrow, 60, same)
    assert torch.equal(capped, cell) or float(geometry.volume(capped)) <= 12.0 + 1e-6


def test_a_short_edge_is_stretched_along_itself() -> None:
    cell = torch.tensor([[[1.0, 0.2, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 7.0]]])
    wide = (torch.zeros(1), torch.full((1,), 1e6))
    fitted = fit_cell(cell, torch.tensor([2]), wide, torch.tensor([2.5]))
    lengths = torch.linalg.vector_norm(fitted, dim=-1)[0].tolist()
    assert lengths[0] == pytest.approx(2.5, abs=1e-3)
    assert lengths[2] == pytest.approx(7.0, abs=1e-3)


def test_frozen_atoms_stay_and_the_others_make_room() -> None:
    frac = torch.tensor([[[0.5, 0.5, 0.5], [0.52, 0.5, 0.5], [0.5, 0.53, 0.5]]])
    cell = 6 * torch.eye(3)[None]
    mask = torch.ones(1, 3, dtype=torch.bool)
    frozen = torch.tensor([[[True], [False], [False]]])
    moved = separate(
        frac,
        cell,
        mask,
        torch.full((1, 3, 3), 1.5),
        200,
        lambda step: torch.where(frozen, 0.0, step),
    )
    assert torch.equal(moved[0, 0], frac[0, 0])
    distances = torch.cdist(moved[0] * 6, moved[0] * 6) + 10 * torch.eye(3)
    assert distances.min() >= 1.5 - 1e-2


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_limits_are_never_below_those_of_the_validator(profile: str) -> None:
    from crystal_diffusion.physics.contacts import pair_limits

    numbers = np.arange(1, 101)
    limits = PROFILES[profile]
    ours = Guards(limits).smallest_distances(torch.from_numpy(numbers)[None])[0].numpy()
    assert (ours >= pair_limits(numbers, limits.pair_error, limits.min_distance)).all()


def test_physics_can_be_turned_off() -> None:
    plain = SamplerSettings.without_physics(steps=7, eta=0.5)
    assert plain == replace(
        SamplerSettings(steps=7, eta=0.5), repulsion=0.0, cell_limits=0.0, separate=0
    )
