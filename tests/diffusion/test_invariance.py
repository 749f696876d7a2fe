"""What must not matter does not: rotation of the crystal, form of its cell, choice of its basis.

All in triclinic cells; in a cubic one a transposed metric or an inverted basis looks right.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice
from pymatgen.util.coord import pbc_shortest_vectors

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import Levels, exchange_noise
from crystal_diffusion.diffusion.penalty import (
    fit_cell,
    pair_overlap,
    push_apart,
    separate,
    stretch_cell,
    training_penalty,
)
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.ranking.residual import denoising_residual
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.projection import TemplateBatch
from crystal_diffusion.symmetry.template import SymmetricTemplate
from tests.crystals import TRICLINIC, rotation, triclinic_batch
from tests.models import opinionated_model, tiny_model

#: An integer change of basis with determinant 1 that is neither symmetric nor its own inverse.
SHEAR = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]])


def turned(batch: CrystalBatch, seed: int = 1) -> CrystalBatch:
    lattice = (batch.lattice.double() @ rotation(seed)).float()
    return CrystalBatch(batch.frac_coords, lattice, batch.atomic_numbers)


def symmetric_form(lattice: torch.Tensor) -> torch.Tensor:
    strain = geometry.lattice_to_log_strain(lattice.double())
    return geometry.log_strain_to_lattice(strain).to(lattice.dtype)


def noises(batch: CrystalBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    crystals, atoms = batch.atomic_numbers.shape
    return (
        torch.rand(crystals, atoms, 3, generator=generator) - 0.5,
        torch.randn(crystals, 6, generator=generator),
        torch.rand(crystals, atoms, generator=generator),
    )


def levels_of(batch: CrystalBatch, level: float, elements: float = 0.0) -> Levels:
    crystals, atoms = batch.atomic_numbers.shape
    return Levels(
        torch.full((crystals, atoms), level),
        torch.full((crystals,), level),
        torch.full((crystals,), elements),
    )


@pytest.mark.parametrize("coordinates", ["flow", "wrapped"])
def test_rotation_leaves_the_loss(coordinates: str) -> None:
    model = opinionated_model(coordinates=coordinates)
    batch = triclinic_batch()
    levels = levels_of(batch, 0.4, 0.3)
    terms = model.loss(batch, levels, *noises(batch), per_crystal=True)
    again = model.loss(turned(batch), levels, *noises(batch), per_crystal=True)
    for name in ("coords", "lattice", "elements", "total"):
        torch.testing.assert_close(getattr(again, name), getattr(terms, name), rtol=1e-3, atol=1e-5)
        assert getattr(terms, name).min() > 0.01


@pytest.mark.parametrize("coordinates", ["flow", "wrapped"])
def test_noise_that_moves_all_atoms_alike_is_no_noise(coordinates: str) -> None:
    model = opinionated_model(coordinates=coordinates)
    batch = triclinic_batch()
    noise, cell_noise, mask_noise = noises(batch)
    shifted = noise + torch.tensor([0.11, -0.07, 0.05])
    plain, again = (
        model.loss(batch, levels_of(batch, 0.3), x, cell_noise, mask_noise, per_crystal=True)
        for x in (noise, shifted)
    )
    torch.testing.assert_close(again.coords, plain.coords, rtol=1e-3, atol=1e-5)


def test_the_coordinate_loss_is_a_distance_in_the_crystals_own_metric() -> None:
    """Against the sum over atoms of squared cartesian errors, written out for each atom."""
    model = tiny_model()
    batch = triclinic_batch(crystals=2, atoms=4)
    noise, cell_noise, mask_noise = noises(batch)
    terms = model.loss(batch, levels_of(batch, 0.5), noise, cell_noise, mask_noise, 0.0, 0.0)
    # The untrained network answers zero: the error is the velocity itself, without its mean.
    expected = []
    for row in range(2):
        cell = batch.lattice[row].double().numpy()
        velocity = noise[row].double().numpy() * np.sqrt(12)
        velocity -= velocity.mean(0)
        squares = [float(((v[0] * cell[0] + v[1] * cell[1] + v[2] * cell[2]) ** 2).sum())
                   for v in velocity]  # fmt: skip
        volume = abs(np.dot(cell[0], np.cross(cell[1], cell[2])))
        expected.append(sum(squares) / volume ** (2 / 3) / (3 * 4))
    assert terms.coords.item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_rotation_leaves_the_residual() -> None:
    model = opinionated_model()
    batch = triclinic_batch(crystals=6, atoms=6)
    plain = denoising_residual(model, batch)
    torch.testing.assert_close(
        denoising_residual(model, turned(batch)), plain, rtol=1e-3, atol=1e-4
    )
    assert plain.std() > 1e-2


def test_one_answer_for_a_cell_its_rotation_and_its_symmetric_form() -> None:
    model = opinionated_model()
    batch = triclinic_batch()
    state = model.encode_lattice(batch.lattice, batch.num_atoms)
    levels = levels_of(batch, 0.3)

    def answer(lattice: torch.Tensor | None) -> torch.Tensor:
        return model.predict(batch.frac_coords, state, batch.atomic_numbers, levels, lattice).coords

    wanted = answer(None)
    assert wanted.abs().max() > 1e-2
    forms = (batch.lattice, turned(batch).lattice, symmetric_form(batch.lattice))
    for lattice in forms:
        torch.testing.assert_close(answer(lattice), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("physics", [False, True])
def test_one_crystal_for_a_given_cell_and_its_symmetric_form(physics: bool) -> None:
    model = opinionated_model()
    batch = triclinic_batch(crystals=2, atoms=6, seed=3)
    settings = SamplerSettings(steps=8, eta=0.3)

    def made(lattice: torch.Tensor) -> torch.Tensor:
        start = replace(
            Start.noise(batch.atomic_numbers),
            lattice=lattice,
            lattice_given=torch.ones(2, dtype=torch.bool),
        )
        limits = (
            {"smallest": Guards().smallest_distances, "volumes": Guards().volume_limits}
            if physics
            else {}
        )
        found = sample(model, start, CrystalStreams([1, 2], [6, 6]), settings, **limits)
        assert torch.equal(found.lattice, lattice)
        return found.frac_coords

    wanted = made(batch.lattice)
    for lattice in (symmetric_form(batch.lattice), turned(batch).lattice):
        assert geometry.wrap_displacement(made(lattice) - wanted).abs().max() < 2e-3


def inversion(atoms: int) -> TemplateBatch:
    """Crystals with a centre of inversion: an operation that is the same in every basis."""
    sites = ",".join(["Ti:2i"] + ["O:2i"] * (atoms // 2 - 1))
    return TemplateBatch([SymmetricTemplate.from_assignment(parse_wyckoff(sites, 2))])


@pytest.mark.parametrize("given", [True, False])
def test_under_a_projection_a_sheared_basis_gives_equal_displacements(given: bool) -> None:
    """The same crystal told in L and in A·L ends as the same crystal: f' = f A⁻¹, L' = A L."""
    model = opinionated_model()
    projection = inversion(6)
    frac = projection.start(torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(8)))
    lattice = (projection.basis(TRICLINIC[None]) @ TRICLINIC)[0]

    def made(change: torch.Tensor) -> CrystalBatch:
        start = replace(
            Start.noise(projection.numbers),
            level=torch.full((1,), 0.3),
            renoise=False,
            frac_coords=geometry.wrap(frac @ torch.linalg.inv(change)),
            lattice=(change @ lattice)[None],
            lattice_given=torch.tensor([given]),
        )
        settings = SamplerSettings.without_physics(steps=3)
        return sample(model, start, CrystalStreams([1], [6]), settings, projection=projection)

    plain, sheared = made(torch.eye(3)), made(SHEAR)
    steps = geometry.wrap_displacement(plain.frac_coords - frac)
    assert steps.abs().max() > 0.01
    back = sheared.frac_coords @ SHEAR
    assert geometry.wrap_displacement(back - plain.frac_coords).abs().max() < 2e-3
    cell, other = SHEAR @ plain.lattice, sheared.lattice
    torch.testing.assert_close(other @ other.mT, cell @ cell.mT, rtol=2e-3, atol=2e-2)


def cartesian_distances(lattice: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    _, squares = pbc_shortest_vectors(Lattice(lattice), first % 1.0, second % 1.0, return_d2=True)
    return squares


def test_noise_is_exchanged_along_the_shortest_way() -> None:
    """Against every permutation of equal atoms, with distances as pymatgen measures them."""
    batch = triclinic_batch(crystals=8, atoms=5, seed=6)
    noise = np.random.default_rng(2).random((8, 5, 3), dtype=np.float32) - 0.5
    exchanged = exchange_noise(batch, noise)
    for row in range(8):
        frac = batch.frac_coords[row].double().numpy()
        numbers = batch.atomic_numbers[row].numpy()
        cell = batch.lattice[row].double().numpy()
        ends = frac + noise[row]
        cost = wrapped_squares(cell, frac, ends)
        best = min(
            sum(cost[i, j] for i, j in enumerate(order))
            for order in itertools.permutations(range(5))
            if (numbers == numbers[list(order)]).all()
        )
        mine = float(((exchanged[row].astype(float) @ cell) ** 2).sum())
        assert mine == pytest.approx(best, rel=1e-4)
        reached = frac + exchanged[row]
        away = reached[:, None] - ends[None]
        assert (np.abs(away - np.round(away)).max(-1) < 1e-5).any(1).all()


def wrapped_squares(cell: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared lengths of the componentwise nearest differences, edge vectors added one by one."""
    away = second[None] - first[:, None]
    away = away - np.round(away)
    vectors = sum(away[..., edge : edge + 1] * cell[edge] for edge in range(3))
    return (np.asarray(vectors) ** 2).sum(-1)


def test_pair_distances_of_the_network_are_those_of_pymatgen() -> None:
    batch = triclinic_batch(crystals=4, atoms=6, seed=9)
    metric = batch.lattice @ batch.lattice.mT
    found = geometry.near_image_distances(geometry.pair_displacements(batch.frac_coords), metric)
    for row in range(4):
        frac = batch.frac_coords[row].double().numpy()
        squares = cartesian_distances(batch.lattice[row].double().numpy(), frac, frac)
        off = ~np.eye(6, dtype=bool)
        np.testing.assert_allclose(found[row].numpy()[off], np.sqrt(squares[off]), atol=1e-3)


def crowded() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions, cells, mask and limits of triclinic crystals in which pairs are too close."""
    batch = triclinic_batch(crystals=3, atoms=6, seed=2)
    lattice = 0.75 * batch.lattice
    return batch.frac_coords, lattice, batch.mask, Guards().smallest_distances(batch.atomic_numbers)


def test_rotation_leaves_the_overlap_and_the_push() -> None:
    frac, lattice, mask, smallest = crowded()
    other = (lattice.double() @ rotation(2)).float()
    overlap = pair_overlap(frac, lattice, mask, smallest)
    assert overlap.min() > 0.1
    torch.testing.assert_close(
        pair_overlap(frac, other, mask, smallest), overlap, rtol=1e-3, atol=1e-3
    )
    push = push_apart(frac, lattice, mask, smallest, 0.5)
    assert push.abs().max() > 0.01
    torch.testing.assert_close(
        push_apart(frac, other, mask, smallest, 0.5), push, rtol=1e-2, atol=1e-4
    )
    torch.testing.assert_close(
        separate(frac, other, mask, smallest, 5, lambda step: step),
        separate(frac, lattice, mask, smallest, 5, lambda step: step),
        rtol=1e-2,
        atol=1e-3,
    )


def test_the_push_is_the_same_in_a_sheared_basis() -> None:
    frac, lattice, mask, smallest = crowded()
    push = push_apart(frac, lattice, mask, smallest, 0.5) @ lattice
    sheared = SHEAR @ lattice
    other = push_apart(frac @ torch.linalg.inv(SHEAR), sheared, mask, smallest, 0.5) @ sheared
    torch.testing.assert_close(other, push, rtol=1e-2, atol=1e-3)


def test_rotation_turns_fitted_and_stretched_cells_with_it() -> None:
    frac, lattice, mask, smallest = crowded()
    turn = rotation(3).float()
    count = mask.sum(-1)
    limits = (torch.full((3,), 18.0), torch.full((3,), 30.0))
    fitted = fit_cell(lattice, count, limits, torch.full((3,), 6.0))
    assert (geometry.volume(fitted) > 1.05 * geometry.volume(lattice)).all()
    torch.testing.assert_close(
        fit_cell(lattice @ turn, count, limits, torch.full((3,), 6.0)), fitted @ turn,
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    largest = torch.full((3,), 1e4)
    room = stretch_cell(frac, lattice, mask, smallest, largest, 4, lambda cell: cell)
    assert (geometry.volume(room) > geometry.volume(lattice)).all()
    other = stretch_cell(frac, lattice @ turn, mask, smallest, largest, 4, lambda cell: cell)
    torch.testing.assert_close(other, room @ turn, rtol=5e-3, atol=5e-3)


def test_rotation_leaves_the_penalty_of_training() -> None:
    model = opinionated_model()
    batch = triclinic_batch(crystals=3, atoms=6, seed=2)
    small = CrystalBatch(batch.frac_coords, 0.6 * batch.lattice, batch.atomic_numbers)
    noise, cell_noise, _ = noises(small)
    levels = levels_of(small, 0.1)
    plain = training_penalty(model, small, levels, 0.1 * noise, 0.1 * cell_noise, 2.0)
    again = training_penalty(model, turned(small), levels, 0.1 * noise, 0.1 * cell_noise, 2.0)
    assert plain > 0.05
    torch.testing.assert_close(again, plain, rtol=1e-2, atol=1e-3)
