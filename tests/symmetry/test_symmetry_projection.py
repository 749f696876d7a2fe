"""The padded batch does what each template does, in float32, float64 and in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_templates import orbit_error, random_template, torus_distance

from crystal_diffusion.errors import InputError
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.projection import TemplateBatch
from crystal_diffusion.symmetry.template import SymmetricTemplate


@pytest.fixture(scope="module")
def templates() -> list[SymmetricTemplate]:
    rng = np.random.default_rng(11)
    drawn = [
        random_template(n, rng, 2, general=n < 100)
        for n in (2, 14, 62, 76, 144, 178, 136, 148, 167, 194)
    ]
    named = [("Ti:1a,Sr:1b,O:3c", 221), ("Si:8a", 227), ("Mg:8a,Al:16d,O:32e", 227)]
    return drawn + [SymmetricTemplate.from_assignment(parse_wyckoff(w, g)) for w, g in named]


def test_batch_equals_single(templates: list[SymmetricTemplate]) -> None:
    batch = TemplateBatch(templates)
    shape = (*batch.numbers.shape, 3)
    generator = torch.Generator().manual_seed(0)
    points = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    coords, field = batch.coords(points), batch.displacement(points)
    started = batch.start(points - torch.floor(points))
    cells = torch.eye(3, dtype=torch.float64) * 5 + torch.randn(
        len(batch), 3, 3, generator=generator, dtype=torch.float64
    )
    lattice = batch.lattice(cells)
    for row, template in enumerate(templates):
        n = len(template)
        mine = points[row, :n].numpy()
        assert torus_distance(coords[row, :n].numpy(), template.project_coords(mine)) < 1e-9
        expected = template.project_displacement(mine)
        assert np.abs(field[row, :n].numpy() - expected).max() < 1e-9
        wrapped = mine - np.floor(mine)
        assert (
            torus_distance(started[row, :n].numpy(), template.coords_from_uniform(wrapped)) < 1e-9
        )
        assert (
            np.abs(lattice[row].numpy() - template.project_lattice(cells[row].numpy())).max() < 1e-8
        )
        assert not coords[row, n:].any() and not field[row, n:].any()
        assert batch.numbers[row, :n].tolist() == template.numbers.tolist()


def test_dense_operator_is_the_displacement_and_idempotent(
    templates: list[SymmetricTemplate],
) -> None:
    batch = TemplateBatch(templates)
    operator = batch.operator()
    assert torch.allclose(operator @ operator, operator, atol=1e-12)
    field = torch.randn(*batch.numbers.shape, 3, dtype=torch.float64)
    flat = (operator @ field.reshape(len(batch), -1, 1)).reshape(field.shape)
    assert torch.allclose(flat, batch.displacement(field), atol=1e-12)


def test_float32_stays_close_and_in_range(templates: list[SymmetricTemplate]) -> None:
    batch = TemplateBatch(templates)
    points = torch.rand(*batch.numbers.shape, 3)
    coords = batch.coords(points)
    assert coords.dtype == torch.float32
    assert coords.min() >= 0 and coords.max() < 1
    again = batch.coords(coords) - coords
    assert (again - again.round()).abs().max() < 1e-6
    for row, template in enumerate(templates):
        assert orbit_error(template, coords[row, : len(template)].double().numpy()) < 1e-6


def test_a_crystal_does_not_depend_on_its_batch(templates: list[SymmetricTemplate]) -> None:
    seeds = list(range(len(templates)))
    sizes = [len(t) for t in templates]
    together = TemplateBatch(templates).start(CrystalStreams(seeds, sizes))
    for row, template in enumerate(templates):
        alone = TemplateBatch([template]).start(CrystalStreams([seeds[row]], [sizes[row]]))
        assert torch.equal(alone[0], together[row, : len(template)])


def test_many_noisy_steps_stay_exact(templates: list[SymmetricTemplate]) -> None:
    """A stand-in for an untrained network: any answer, projected, keeps the group."""
    batch = TemplateBatch(templates)
    generator = torch.Generator().manual_seed(1)
    shape = (*batch.numbers.shape, 3)
    frac = batch.start(torch.rand(shape, generator=generator))
    lattice = torch.eye(3).repeat(len(batch), 1, 1) * 5
    for _ in range(30):
        noise = torch.randn(shape, generator=generator)
        frac = batch.coords(frac + 0.2 * batch.displacement(noise))
        strain = 0.1 * torch.randn(len(batch), 3, 3, generator=generator)
        lattice = batch.lattice(torch.linalg.matrix_exp(strain + strain.mT) @ lattice)
    for row, template in enumerate(templates):
        n = len(template)
        assert orbit_error(template, frac[row, :n].double().numpy()) < 1e-6
        cell = template.rebuild(frac[row, :n].numpy(), lattice[row].numpy())
        assert torus_distance(cell.frac_coords, frac[row, :n].numpy()) < 1e-6
        assert orbit_error(template, cell.frac_coords) < 1e-12


def test_metric_projections(templates: list[SymmetricTemplate]) -> None:
    batch = TemplateBatch(templates)
    root = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(
        len(batch), 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    metric = root @ root.mT
    mean = batch.mean_metric(metric)
    assert torch.allclose(batch.mean_metric(mean), mean, atol=1e-12)
    assert (torch.linalg.eigvalsh(mean) > 0).all()
    allowed = batch.metric(metric)
    assert torch.allclose(torch.linalg.det(allowed), torch.linalg.det(metric), rtol=1e-9)
    assert torch.allclose(batch.metric(allowed), allowed, atol=1e-9)


def test_basis_reduces_and_share_averages(templates: list[SymmetricTemplate]) -> None:
    batch = TemplateBatch(templates)
    skew = torch.tensor([[1.0, 0, 0], [3, 1, 0], [-2, 4, 1]])
    cells = (skew @ (torch.eye(3) * 4)).repeat(len(batch), 1, 1)
    change = batch.basis(cells)
    assert torch.equal(change, change.round())
    assert torch.allclose(torch.linalg.det(change), torch.ones(len(batch)), atol=1e-5)
    lengths = torch.linalg.vector_norm(change @ cells, dim=-1)
    assert torch.allclose(lengths, torch.full_like(lengths, 4.0), atol=1e-4)
    flat = torch.zeros(len(batch), 3, 3)
    assert torch.equal(batch.basis(flat)[0], torch.eye(3))
    values = torch.rand(*batch.numbers.shape, 4)
    shared = batch.share(values)
    picked = torch.gather(shared, 1, batch.first.unsqueeze(-1).expand_as(shared))
    assert torch.allclose(picked, shared)


def test_wrong_shapes_are_refused(templates: list[SymmetricTemplate]) -> None:
    with pytest.raises(InputError, match="empty"):
        TemplateBatch([])
    with pytest.raises(InputError, match="pad all crystals"):
        TemplateBatch(templates).coords(torch.zeros(1, 2, 3))
