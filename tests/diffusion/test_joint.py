"""The joint model: processes, loss, exact samplers on the torus, what is given stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT, CrystalBatch
from crystal_diffusion.diffusion.joint import (
    JointConfig,
    JointDiffusion,
    LatticeStatistics,
    Levels,
    exchange_noise,
    remove_translation,
)
from crystal_diffusion.diffusion.penalty import pair_overlap, training_penalty
from crystal_diffusion.diffusion.processes import (
    COORDINATE_PROCESSES,
    LATTICE_PROCESSES,
    WrappedGaussian,
    lattice_step,
    mask_elements,
)
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import InputError
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.testing import ExactTorusDenoiser, assert_valid_batch, named_crystals

TINY = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 16, "frequencies": 2}


def tiny_model(**changes: str) -> JointDiffusion:
    torch.manual_seed(0)
    model = JointDiffusion(JointConfig(network_options=TINY, **changes))
    return model.eval().requires_grad_(False)


def streams(count: int, atoms: int, first: int = 0) -> CrystalStreams:
    return CrystalStreams(list(range(first, first + count)), [atoms] * count)


@pytest.mark.parametrize("name", COORDINATE_PROCESSES)
def test_coordinate_prediction_of_the_target_gives_the_clean_crystal(name: str) -> None:
    process = COORDINATE_PROCESSES[name]()
    g = torch.Generator().manual_seed(0)
    clean = torch.rand(4, 5, 3, generator=g)
    for t in (0.01, 0.4, 0.8):
        level = torch.full((4, 1, 1), t)
        noise = 0.3 * process.unit_noise(torch.rand(4, 5, 3, generator=g))
        state = geometry.wrap(clean + process.displacement(noise, level))
        found = process.clean(state, process.target(noise, level), level)
        error = geometry.wrap_displacement(found - clean)
        assert error.abs().max() < 1e-4


def test_wrapped_target_is_the_score_scaled() -> None:
    """For small σ the target is -σ times the gradient of the wrapped log-density."""
    process = WrappedGaussian()
    level = torch.tensor([0.5])
    sigma = process.sigma(level).item()
    noise = torch.linspace(-2, 2, 9)
    x = (sigma * noise).requires_grad_(True)
    images = torch.arange(-5, 6)
    density = torch.logsumexp(-((x[:, None] + images) ** 2) / (2 * sigma**2), -1)
    (score,) = torch.autograd.grad(density.sum(), x)
    torch.testing.assert_close(process.target(noise, level), -sigma * score, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("name", LATTICE_PROCESSES)
def test_lattice_process_splits_what_it_mixed(name: str) -> None:
    process = LATTICE_PROCESSES[name]()
    clean, noise = torch.randn(6, 6), torch.randn(6, 6)
    level = torch.rand(6, 1)
    state = process.noisy(clean, noise, level)
    found, residual = process.split(state, process.target(clean, noise, level), level)
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(residual, noise, atol=1e-4, rtol=1e-3)
    alpha, sigma = process.alpha_sigma(torch.tensor(0.0))
    assert (float(alpha), float(sigma)) == (1.0, 0.0)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", LATTICE_PROCESSES)
def test_lattice_sampler_recovers_a_gaussian(name: str, eta: float) -> None:
    """With the exact posterior mean of N(0.3, 0.2²) the samples have that mean and deviation."""
    process = LATTICE_PROCESSES[name]()
    g = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 1, generator=g)
    steps = 200
    for i in range(steps):
        level = torch.full((4000, 1), 1 - i / steps)
        lower = torch.full((4000, 1), 1 - (i + 1) / steps)
        alpha, sigma = process.alpha_sigma(level)
        gain = alpha * 0.04 / (alpha**2 * 0.04 + sigma**2)
        clean = 0.3 + gain * (x - alpha * 0.3)
        noise = (x - alpha * clean) / sigma
        prediction = process.target(clean, noise, level)
        x = lattice_step(
            process, x, prediction, level, lower, torch.randn(4000, 1, generator=g), eta
        )
    assert x.mean().item() == pytest.approx(0.3, abs=0.02)
    assert x.std().item() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_exact_denoiser_leads_to_its_crystal(eta: float) -> None:
    model = tiny_model(coordinates="flow")
    target = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.1, 0.7]])
    state = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.2, -0.1])
    model.network = ExactTorusDenoiser(target, state)
    numbers = torch.tensor([[11, 17, 8]]).repeat(6, 1)
    made = sample(model, Start.noise(numbers), streams(6, 3), SamplerSettings(steps=40, eta=eta))
    assert_valid_batch(made)
    relative = geometry.wrap_displacement(made.frac_coords - made.frac_coords[:, :1] - target)
    assert relative.abs().max() < 0.02
    torch.testing.assert_close(
        model.encode_lattice(made.lattice, made.num_atoms), state.expand(6, 6), atol=0.05, rtol=0.05
    )


@pytest.mark.parametrize("coordinates", COORDINATE_PROCESSES)
@pytest.mark.parametrize("lattice", LATTICE_PROCESSES)
def test_untrained_networks_give_whole_crystals(coordinates: str, lattice: str) -> None:
    model = tiny_model(coordinates=coordinates, lattice=lattice)
    numbers = torch.tensor([[3, 8, MASK_ELEMENT, 0], [26, MASK_ELEMENT, 8, 8]])
    made = sample(
        model,
        Start.noise(numbers),
        CrystalStreams([1, 2], [3, 4]),
        SamplerSettings(steps=6, eta=0.3),
    )
    assert_valid_batch(made)
    assert made.atomic_numbers[0, :2].tolist() == [3, 8]
    assert (made.atomic_numbers <= 100).all() and made.atomic_numbers[0, 2] > 0


def test_a_crystal_is_the_same_alone_and_in_a_batch() -> None:
    model = tiny_model()
    numbers = torch.tensor([[11, 17, 8, 8]]).repeat(5, 1)
    together = sample(model, Start.noise(numbers), streams(5, 4), SamplerSettings(steps=10))
    alone = sample(model, Start.noise(numbers[:1]), streams(1, 4, 3), SamplerSettings(steps=10))
    difference = geometry.wrap_displacement(together.frac_coords[3] - alone.frac_coords[0])
    assert difference.abs().max() < 1e-4
    torch.testing.assert_close(together.lattice[3], alone.lattice[0], atol=1e-3, rtol=1e-4)


def test_given_fields_are_kept_bit_for_bit() -> None:
    from dataclasses import replace

    model = tiny_model()
    numbers = torch.tensor([[22, 8, 8, 3]])
    start = replace(
        Start.noise(numbers),
        frac_coords=torch.tensor([[[0.1, 0.2, 0.3], [0.6, 0.7, 0.8], [0, 0, 0], [0, 0, 0]]]),
        frozen=torch.tensor([[True, True, False, False]]),
        lattice=torch.tensor([[[4.1, 0, 0], [0.3, 5.2, 0], [0, 0.1, 6.3]]]),
        lattice_given=torch.tensor([True]),
    )
    made = sample(model, start, streams(1, 4), SamplerSettings(steps=8, eta=0.5))
    assert torch.equal(made.lattice, start.lattice)
    assert torch.equal(made.frac_coords[:, :2], start.frac_coords[:, :2])
    assert torch.equal(made.atomic_numbers, numbers)


def test_allowed_elements_only() -> None:
    from dataclasses import replace

    model = tiny_model()
    allowed = torch.zeros(1, 100, dtype=torch.bool)
    allowed[0, [7, 13]] = True
    start = replace(Start.noise(torch.full((1, 6), MASK_ELEMENT)), allowed=allowed)
    made = sample(model, start, streams(1, 6), SamplerSettings(steps=5))
    assert set(made.atomic_numbers.flatten().tolist()) <= {8, 14}


def test_loss_is_zero_for_the_exact_network_and_given_fields_cost_nothing() -> None:
    model = tiny_model()
    batch = named_crystals()["rock salt"]
    levels = Levels(torch.full((1, 2), 0.5), torch.tensor([0.5]), torch.zeros(1))
    target = batch.frac_coords[0] - batch.frac_coords[0, :1]
    state = model.encode_lattice(batch.lattice, batch.num_atoms)[0]
    model.network = ExactTorusDenoiser(target, state)
    noise = torch.tensor([[[0.1, -0.2, 0.05], [-0.1, 0.2, -0.05]]])
    terms = model.loss(batch, levels, noise, torch.randn(1, 6), torch.rand(1, 2))
    assert terms.lattice.item() < 1e-6
    assert terms.coords.item() < 1e-6
    given = Levels(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
    assert model.loss(batch, given, noise, torch.randn(1, 6), torch.rand(1, 2)).total.item() == 0


def test_exchange_shortens_paths_and_keeps_elements() -> None:
    g = np.random.default_rng(0)
    frac = torch.from_numpy(g.random((8, 6, 3), dtype=np.float32))
    numbers = torch.tensor([[8, 8, 8, 26, 26, 3]]).repeat(8, 1)
    batch = CrystalBatch(frac, torch.eye(3).expand(8, 3, 3) * 6, numbers)
    noise = (g.random((8, 6, 3), dtype=np.float32) - 0.5).astype(np.float32)
    swapped = exchange_noise(batch, noise)
    assert (swapped**2).sum() < (noise**2).sum()
    np.testing.assert_allclose(swapped[:, 5], noise[:, 5], atol=1e-6)

    def ends(v: np.ndarray, which: slice) -> np.ndarray:
        points = (frac.numpy()[:, which] + v[:, which]) % 1.0
        return np.sort(points.round(5) % 1.0, axis=1)

    np.testing.assert_allclose(ends(swapped, slice(0, 3)), ends(noise, slice(0, 3)), atol=2e-5)


def test_translation_is_removed_only_where_nothing_is_given() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    levels = torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.5, 0.5]])
    field = torch.ones(2, 3, 3)
    out = remove_translation(field, mask, levels)
    assert out[0].abs().max() == 0
    assert torch.equal(out[1], field[1])


def test_mask_elements_follows_the_level() -> None:
    numbers = torch.full((1, 10_000), 8)
    masked = mask_elements(numbers, torch.rand(1, 10_000), torch.tensor([[0.3]]))
    assert (masked == MASK_ELEMENT).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_overlap_counts_images_and_has_the_right_gradient() -> None:
    frac = torch.tensor([[[0.0, 0, 0], [0.95, 0, 0]]], dtype=torch.float64, requires_grad=True)
    lattice = torch.eye(3, dtype=torch.float64)[None] * 4
    limit = torch.full((1, 2, 2), 1.0, dtype=torch.float64)
    mask = torch.ones(1, 2, dtype=torch.bool)
    energy = pair_overlap(frac, lattice, mask, limit)
    assert energy.item() == pytest.approx((1.0 - 0.2) ** 2)
    assert torch.autograd.gradcheck(lambda f: pair_overlap(f, lattice, mask, limit), (frac,))
    # A single atom in a cell shorter than the limit meets its own images.
    small = torch.eye(3, dtype=torch.float64)[None] * 0.8
    own = pair_overlap(frac[:, :1].detach(), small, mask[:, :1], limit[:, :1, :1])
    assert own.item() == pytest.approx(3 * (1 - 0.8) ** 2, abs=1e-9)


def test_training_penalty_sees_overlap() -> None:
    model = tiny_model()
    batch = named_crystals()["rock salt"]
    close = CrystalBatch(
        torch.tensor([[[0.0, 0, 0], [0.05, 0, 0]]]), batch.lattice, batch.atomic_numbers
    )
    levels = Levels(torch.full((1, 2), 0.01), torch.full((1,), 0.01), torch.zeros(1))
    noise = torch.zeros(1, 2, 3)
    bad = training_penalty(model, close, levels, noise, torch.zeros(1, 6))
    good = training_penalty(model, batch, levels, noise, torch.zeros(1, 6))
    assert bad > 0.1 > good


def test_training_penalty_has_a_gradient_for_cubic_cells() -> None:
    model = tiny_model().requires_grad_(True)
    batch = named_crystals()["rock salt"]
    cubic = CrystalBatch(
        torch.tensor([[[0.0, 0, 0], [0.05, 0, 0]]]), 4 * torch.eye(3)[None], batch.atomic_numbers
    )
    levels = Levels(torch.full((1, 2), 0.01), torch.full((1,), 0.01), torch.zeros(1))
    penalty = training_penalty(model, cubic, levels, torch.zeros(1, 2, 3), torch.zeros(1, 6))
    penalty.backward()
    slopes = [w.grad for w in model.parameters() if w.grad is not None]
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert any(slope.abs().max() > 0 for slope in slopes)


def test_the_cell_is_the_same_with_and_without_gradient() -> None:
    strain = torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = geometry.log_strain_to_lattice(0.3 * strain)
    assert torch.allclose(
        geometry.log_strain_to_lattice((0.3 * strain).requires_grad_()), plain, atol=1e-10
    )


def test_statistics_standardise() -> None:
    crystals = CrystalBatch.concatenate(named_crystals().values())
    statistics = LatticeStatistics.from_batch(crystals)
    model = JointDiffusion(JointConfig(network_options=TINY, statistics=statistics))
    encoded = model.encode_lattice(crystals.lattice, crystals.num_atoms)
    assert encoded.mean(0).abs().max() < 1e-3
    back = model.decode_lattice(encoded, crystals.num_atoms)
    torch.testing.assert_close(
        back @ back.transpose(1, 2),
        crystals.lattice @ crystals.lattice.transpose(1, 2),
        atol=1e-2,
        rtol=1e-3,
    )
    assert math.isfinite(statistics.volume_per_atom)


def test_bad_names_are_refused() -> None:
    with pytest.raises(InputError, match="network 'gnn' is not known"):
        JointConfig(network="gnn")
    with pytest.raises(InputError, match="eta is 2"):
        SamplerSettings(eta=2)
