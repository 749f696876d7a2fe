"""Symmetric noise in a crystal's own cell: what training draws, and the subspaces it lives on."""

from __future__ import annotations

import moyopy
import numpy as np
import pytest
import torch
from random_templates import GROUPS, random_crystal, random_template

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.orbits import OrbitProjection, SymmetryTable, crystal_symmetry
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import prepare_step
from crystal_diffusion.training.symmetry import find_symmetry

#: A change of basis that makes any cell triclinic to look at.
SHEAR = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]])


def sheared(cell: Cell, change: np.ndarray) -> Cell:
    return Cell(change @ cell.lattice, cell.frac_coords @ np.linalg.inv(change) % 1.0, cell.numbers)


def operations(lattice: np.ndarray, coords: np.ndarray, numbers: np.ndarray) -> int:
    cell = moyopy.Cell(lattice.tolist(), coords.tolist(), numbers.tolist())
    return len(moyopy.MoyoDataset(cell, symprec=0.01).operations.rotations)


def projection_of(cells: list[Cell]) -> OrbitProjection:
    table = SymmetryTable([crystal_symmetry(c, 0.01) for c in cells], [len(c) for c in cells])
    rows = np.arange(len(cells))
    return table.batch(rows, np.ones(len(cells), bool), max(len(c) for c in cells))


@pytest.mark.parametrize("number", GROUPS)
def test_projection_is_that_of_the_template(number: int) -> None:
    """The subspace found from a crystal is the one it was made on, in its basis and a sheared."""
    rng = np.random.default_rng(number)
    template = random_template(number, rng)
    cell = random_crystal(template, rng)
    if len(crystal_symmetry(cell, 0.01).point_group if number > 1 else [0]) != len(
        template.group.primitive_operations[0]
    ):
        pytest.skip("the random crystal has a higher group by chance")
    field = rng.normal(size=(1, len(cell), 3))
    expected = template.project_displacement(field[0])
    found = projection_of([cell]).displacement(torch.from_numpy(field))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Displacements are rows: d' = d M^-1.
    turned = torch.from_numpy(field @ np.linalg.inv(SHEAR))
    other = projection_of([sheared(cell, SHEAR)]).displacement(turned)[0].numpy()
    np.testing.assert_allclose(other @ SHEAR, expected, atol=1e-9)
    change = torch.from_numpy(SHEAR.astype(float)).unsqueeze(0)
    moved = projection_of([cell]).in_basis(change).displacement(turned)[0].numpy()
    np.testing.assert_allclose(moved @ SHEAR, expected, atol=1e-9)


@pytest.mark.parametrize("number", [2, 15, 62, 148, 166, 194, 227])
def test_metric_projection_follows_a_change_of_basis(number: int) -> None:
    rng = np.random.default_rng(number)
    cell = random_crystal(random_template(number, rng), rng)
    strained = cell.lattice @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3)))
    change = torch.from_numpy(SHEAR.astype(float)).unsqueeze(0)
    lattice = torch.from_numpy(strained).unsqueeze(0)
    plain = projection_of([cell])
    a = change @ plain.metric(lattice @ lattice.mT) @ change.mT
    turned = change @ lattice
    b = plain.in_basis(change).mean_metric(turned @ turned.mT)
    c = change @ plain.mean_metric(lattice @ lattice.mT) @ change.mT
    torch.testing.assert_close(b, c, atol=1e-8, rtol=1e-8)
    assert torch.linalg.det(a).sqrt() == pytest.approx(abs(np.linalg.det(strained)), rel=1e-6)


def test_end_points_are_uniform_in_the_free_parameters() -> None:
    """Rutile's oxygen at (x, x, 0): x after the noise is uniform on [0, 1)."""
    cell = Cell(
        np.diag([4.6, 4.6, 2.95]),
        np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0], [0.7, 0.7, 0],
                  [0.8, 0.2, 0.5], [0.2, 0.8, 0.5]]),
        np.array([22, 22, 8, 8, 8, 8]),
    )  # fmt: skip
    draws = 4000
    projection = projection_of([cell] * draws)
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(draws, 6, 3, generator=generator) - 0.5
    metric = torch.from_numpy(cell.lattice @ cell.lattice.T).expand(draws, 3, 3)
    noise = projection.noise(uniform, metric)
    assert float(noise[:, :2].abs().max()) == 0.0
    np.testing.assert_allclose(noise[:, 2, 0], noise[:, 2, 1], atol=1e-7)
    assert float(noise[:, 2, 2].abs().max()) == 0.0
    ends = (0.3 + noise[:, 2, 0].double()).remainder(1.0).numpy()
    counts, _ = np.histogram(ends, bins=10, range=(0, 1))
    # Each bin holds 400 ± 19 of 4,000.
    assert np.abs(counts - draws / 10).max() < 5 * 19
    assert float(noise[:, 2, 0].abs().max()) <= 0.5 + 1e-6
    torch.testing.assert_close(projection.displacement(noise), noise, atol=1e-6, rtol=0)
    assert projection.freedom()[0].tolist() == [0, 0, 1, 1, 1, 1]
    # Unit noise u of (u, u, 0) = A u has A = [[1, 1], [1, 1]] / 2: |A u|^2 = a^2 on average.
    spread = float(projection.spread(torch.from_numpy(cell.lattice).unsqueeze(0))[0])
    assert spread == pytest.approx(4 * 4.6**2)


def test_crystals_without_symmetry_are_left_alone() -> None:
    rng = np.random.default_rng(5)
    cell = Cell(
        np.eye(3) * 5 + rng.normal(0, 0.4, (3, 3)), rng.random((4, 3)), np.array([3, 8, 9, 17])
    )
    assert crystal_symmetry(cell, 0.01) is None
    projection = projection_of([cell])
    field = torch.from_numpy(rng.normal(size=(1, 4, 3)))
    torch.testing.assert_close(projection.displacement(field), field)
    lattice = torch.from_numpy(cell.lattice).unsqueeze(0)
    torch.testing.assert_close(projection.lattice(lattice), lattice)


@pytest.mark.parametrize("coordinates", ["flow", "wrapped"])
def test_noisy_states_of_training_keep_the_group(coordinates: str) -> None:
    """Every noisy crystal of a symmetric step has the operations of the clean one."""
    rng = np.random.default_rng(11)
    cells = [
        random_crystal(random_template(n, rng), rng) for n in (5, 14, 62, 88, 148, 166, 194, 216)
    ]
    data = CrystalBatch.from_arrays(
        [c.frac_coords for c in cells],
        np.array([c.lattice for c in cells]),
        [c.numbers for c in cells],
    )
    data, table = find_symmetry(data, 0.01)
    model = JointDiffusion(
        JointConfig(coordinates=coordinates, network_options={"dim": 16, "layers": 1, "heads": 2})
    )
    config = TrainingConfig(symmetric=1.0, tasks={"composition": 1.0})
    inputs = prepare_step(model, data, np.arange(len(cells)), config, 3, table)
    level = inputs.levels.coords.unsqueeze(-1)
    state = geometry.wrap(
        inputs.batch.frac_coords + model.coordinates.displacement(inputs.coord_noise, level)
    )
    count = inputs.batch.num_atoms
    clean = model.encode_lattice(inputs.batch.lattice, count)
    noisy = model.lattice.noisy(clean, inputs.lattice_noise, inputs.levels.lattice.unsqueeze(-1))
    lattice = model.decode_lattice(noisy, count)
    for row, atoms in enumerate(count.tolist()):
        numbers = inputs.batch.atomic_numbers[row, :atoms].numpy()
        found = [
            operations(cell[row].double().numpy(), coords[row, :atoms].double().numpy(), numbers)
            for cell, coords in ((inputs.batch.lattice, inputs.batch.frac_coords), (lattice, state))
        ]
        assert found[1] >= found[0] > 1
    # The clean crystal is the same one in another basis.
    before = geometry.volume(data.lattice)
    torch.testing.assert_close(geometry.volume(inputs.batch.lattice), before, rtol=1e-4, atol=1e-3)
    assert inputs.subspace is not None
    torch.testing.assert_close(
        inputs.subspace.displacement(inputs.coord_noise), inputs.coord_noise, atol=1e-5, rtol=0
    )


def test_loss_counts_the_free_directions_only() -> None:
    """An answer that is wrong across the subspace alone costs nothing."""
    rng = np.random.default_rng(2)
    cell = random_crystal(random_template(62, rng), rng)
    data = CrystalBatch.from_arrays([cell.frac_coords], cell.lattice[None], [cell.numbers])
    data, table = find_symmetry(data, 0.01)
    model = JointDiffusion(JointConfig(network_options={"dim": 16, "layers": 1, "heads": 2}))
    config = TrainingConfig(symmetric=1.0, tasks={"lattice": 1.0}, translate=False)
    inputs = prepare_step(model, data, np.arange(1), config, 1, table)
    assert inputs.subspace is not None
    target = model.coordinates.target(inputs.coord_noise, inputs.levels.coords.unsqueeze(-1))
    wrong = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    across = wrong - inputs.subspace.displacement(wrong)
    across = across - across.mean(1, keepdim=True)

    def loss(added: torch.Tensor) -> float:
        def answer(noisy: object) -> object:
            from crystal_diffusion.networks.protocol import Prediction

            return Prediction(
                target + added, torch.zeros(1, 6), torch.zeros(1, target.shape[1], 100)
            )

        model.network.forward = answer  # type: ignore[method-assign, assignment]
        terms = model.loss(
            inputs.batch, inputs.levels, inputs.coord_noise, inputs.lattice_noise,
            inputs.mask_noise, subspace=inputs.subspace,
        )  # fmt: skip
        return float(terms.coords)

    assert loss(torch.zeros_like(target)) == pytest.approx(0.0, abs=1e-9)
    assert loss(across) == pytest.approx(0.0, abs=1e-9)
    along = inputs.subspace.displacement(wrong)
    assert loss(along - along.mean(1, keepdim=True)) > 0.01
