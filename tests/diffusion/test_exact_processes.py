"""Samplers with the exact answer of a known distribution give that distribution back.

For every process and every eta: mean and deviation of a Gaussian, shares of elements,
and the one step that textbooks write down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT
from crystal_diffusion.diffusion.processes import (
    COORDINATE_PROCESSES,
    LATTICE_PROCESSES,
    TorusFlow,
    WrappedGaussian,
    lattice_step,
)
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.networks.protocol import NoisyCrystals
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.testing import ExactTorusDenoiser
from tests.models import Scripted, tiny_model

ETAS = [0.0, 0.3, 0.7, 1.0]
SAMPLES = 4000
MEAN, DEVIATION = 0.4, 0.06


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def below(x: Tensor) -> Tensor:
    """The standard normal distribution function."""
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def exact_flow_velocity(state: Tensor, level: float) -> Tensor:
    """E[v | x_t] for x_0 ~ N(MEAN, DEVIATION²) on the torus, v uniform: normals cut to a window."""
    nearest = geometry.wrap_displacement(state - MEAN)
    x = nearest.unsqueeze(-1) + torch.arange(-1, 2, dtype=state.dtype)
    low, high = (x - level / 2) / DEVIATION, (x + level / 2) / DEVIATION
    weight = below(high) - below(low)
    moment = DEVIATION * (density(low) - density(high))
    total = weight.sum(-1)
    velocity = (weight * x - moment).sum(-1) / total.clamp_min(1e-300) / level
    # Where the density does not reach, the window ends at its own edge.
    return torch.where(total > 1e-12, velocity, 0.5 * nearest.sign())


def score_of_wrapped(state: Tensor, sigma: float) -> Tensor:
    """-σ² times the gradient of the log-density of N(MEAN, DEVIATION² + σ²) on the torus."""
    total = DEVIATION**2 + sigma**2
    images = torch.arange(-6, 7, dtype=state.dtype)
    away = geometry.wrap_displacement(state - MEAN).unsqueeze(-1) + images
    share = torch.softmax(-0.5 * away**2 / total, -1)
    return (share * away).sum(-1) * sigma**2 / total


def run_coordinates(
    process: TorusFlow | WrappedGaussian,
    predict: Callable[[Tensor, float], Tensor],
    eta: float,
    steps: int,
) -> Tensor:
    g = generator()
    x = torch.rand(SAMPLES, 1, generator=g, dtype=torch.float64)
    for i in range(steps):
        high, low = 1 - i / steps, 1 - (i + 1) / steps
        noise = process.unit_noise(torch.rand(SAMPLES, 1, generator=g, dtype=torch.float64))
        level, lower = torch.full_like(x, high), torch.full_like(x, low)
        x = geometry.wrap(process.step(x, predict(x, high), level, lower, noise, eta))
    return geometry.wrap_displacement(x - MEAN)


@pytest.mark.parametrize("eta", ETAS)
def test_wrapped_gaussian_recovers_mean_and_deviation(eta: float) -> None:
    process = WrappedGaussian()

    def predict(x: Tensor, level: float) -> Tensor:
        t = torch.tensor([[level]], dtype=torch.float64)
        sigma = float(process.sigma(t))
        # What a residual of one is in the units of the network.
        unit = (
            float(process.target(torch.full((1, 1), 1e-3 / sigma, dtype=torch.float64), t)) / 1e-3
        )
        return score_of_wrapped(x, sigma) * unit

    away = run_coordinates(process, predict, eta, 100)
    assert away.mean().item() == pytest.approx(0.0, abs=0.004)
    assert away.std().item() == pytest.approx(DEVIATION, rel=0.05)


def test_torus_flow_recovers_mean_and_deviation() -> None:
    away = run_coordinates(
        TorusFlow(), lambda x, level: exact_flow_velocity(x, level) * math.sqrt(12), 0.0, 200
    )
    assert away.mean().item() == pytest.approx(0.0, abs=0.004)
    assert away.std().item() == pytest.approx(DEVIATION, rel=0.05)


@pytest.mark.parametrize("eta", ETAS)
def test_fresh_noise_on_the_torus_replaces_what_it_takes_away(eta: float) -> None:
    """Around one known crystal the state at level s has the variance s²/12, whatever eta."""
    process, g = TorusFlow(), generator()
    # From 0.6 on: above, a sum of two velocities may reach around the torus.
    x = MEAN + 0.6 * process.unit_noise(torch.rand(20_000, 1, generator=g))
    for i in range(6):
        high, low = 0.6 - i / 10, 0.5 - i / 10
        velocity = geometry.wrap_displacement(x - MEAN) / high
        noise = process.unit_noise(torch.rand(20_000, 1, generator=g))
        level, lower = torch.full_like(x, high), torch.full_like(x, low)
        x = process.step(x, process.target(velocity, level), level, lower, noise, eta)
        away = geometry.wrap_displacement(x - MEAN)
        assert away.std().item() == pytest.approx(low / math.sqrt(12), rel=0.02, abs=1e-6)
        assert away.mean().abs().item() < 0.005


@pytest.mark.parametrize("name", COORDINATE_PROCESSES)
@pytest.mark.parametrize("eta", ETAS)
def test_a_step_to_level_zero_is_the_clean_crystal(name: str, eta: float) -> None:
    process, g = COORDINATE_PROCESSES[name](), generator()
    clean = torch.rand(3, 4, 3, generator=g)
    level, zero = torch.full((3, 1, 1), 0.3), torch.zeros(3, 1, 1)
    noise = process.unit_noise(torch.rand(3, 4, 3, generator=g))
    state = clean + process.displacement(noise, level)
    fresh = process.unit_noise(torch.rand(3, 4, 3, generator=g))
    end = process.step(state, process.target(noise, level), level, zero, fresh, eta)
    assert geometry.wrap_displacement(end - clean).abs().max() < 1e-4


def test_the_variance_exploding_step_is_the_textbook_posterior() -> None:
    """q(x_s | x_t, x_0) has mean x_0 + (σ_s/σ_t)² (x_t - x_0), variance σ_s² (1 - σ_s²/σ_t²)."""
    process = WrappedGaussian()
    level, lower = torch.full((1, 1), 0.5), torch.full((1, 1), 0.42)
    high, low = float(process.sigma(level)), float(process.sigma(lower))
    assert high == pytest.approx(0.005 * 100**0.5) and low == pytest.approx(0.005 * 100**0.42)
    residual = torch.tensor([[0.07]])
    prediction = process.target(residual / high, level)
    state = MEAN + residual
    for noise in (-1.0, 0.0, 1.7):
        end = process.step(state, prediction, level, lower, torch.full((1, 1), noise), 1.0)
        mean = MEAN + low**2 / high**2 * 0.07
        deviation = low * math.sqrt(1 - low**2 / high**2)
        assert end.item() == pytest.approx(mean + deviation * noise, abs=1e-5)
    end = process.step(state, prediction, level, lower, torch.ones(1, 1), 0.0)
    assert end.item() == pytest.approx(MEAN + low / high * 0.07, abs=1e-5)


@pytest.mark.parametrize("name", LATTICE_PROCESSES)
def test_the_lattice_step_is_the_textbook_posterior(name: str) -> None:
    """Mean and variance of q(x_s | x_t, x_0) from α and σ alone (Kingma et al. 2021, eq. 4)."""
    process = LATTICE_PROCESSES[name]()
    level, lower = torch.full((1, 1), 0.7), torch.full((1, 1), 0.6)
    a_t, s_t = (float(x) for x in process.alpha_sigma(level))
    a_s, s_s = (float(x) for x in process.alpha_sigma(lower))
    clean, noise = torch.tensor([[0.8]]), torch.tensor([[-1.1]])
    state = process.noisy(clean, noise, level)
    assert state.item() == pytest.approx(a_t * 0.8 - s_t * 1.1, abs=1e-6)
    prediction = process.target(clean, noise, level)
    ratio = a_t / a_s
    between = s_t**2 - ratio**2 * s_s**2
    mean = ratio * s_s**2 / s_t**2 * state.item() + a_s * between / s_t**2 * 0.8
    deviation = math.sqrt(between) * s_s / s_t
    for fresh in (-0.6, 0.0, 1.3):
        end = lattice_step(process, state, prediction, level, lower, torch.full((1, 1), fresh), 1.0)
        assert end.item() == pytest.approx(mean + deviation * fresh, abs=1e-4)
    end = lattice_step(process, state, prediction, level, lower, torch.ones(1, 1), 0.0)
    assert end.item() == pytest.approx(a_s * 0.8 - s_s * 1.1, abs=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("name", LATTICE_PROCESSES)
def test_the_sampler_recovers_the_distribution_of_cells(name: str, eta: float) -> None:
    """Standardised log-strain from N(m, d²), each component with its own, through `sample`."""
    model = tiny_model(lattice=name)
    process = model.lattice
    mean = torch.tensor([0.5, -0.4, 0.2, 0.0, -0.8, 0.3])
    deviation = torch.tensor([0.5, 0.4, 0.8, 0.3, 0.6, 0.35])

    def exact(noisy: NoisyCrystals) -> Tensor:
        level = noisy.lattice_level.unsqueeze(-1)
        alpha, sigma = process.alpha_sigma(level)
        gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        clean = mean + gain * (noisy.lattice_state - alpha * mean)
        residual = (noisy.lattice_state - alpha * clean) / sigma
        return process.target(clean, residual, level)

    model.network = Scripted(lattice=exact)
    # The linear schedule spends few of its steps where the noise is small.
    crystals, steps = (400, 200) if name == "linear" else (800, 40)
    start = Start.noise(torch.full((crystals, 1), 26))
    settings = SamplerSettings.without_physics(steps=steps, eta=eta)
    made = sample(model, start, CrystalStreams(list(range(crystals)), [1] * crystals), settings)
    found = model.encode_lattice(made.lattice, made.num_atoms)
    torch.testing.assert_close(found.mean(0), mean, atol=0.09, rtol=0)
    torch.testing.assert_close(found.std(0), deviation, atol=0.01, rtol=0.12)


@pytest.mark.parametrize("coordinates", COORDINATE_PROCESSES)
@pytest.mark.parametrize("eta", ETAS)
def test_every_eta_leads_to_the_one_crystal_there_is(coordinates: str, eta: float) -> None:
    model = tiny_model(coordinates=coordinates)
    target = torch.tensor([[0.0, 0, 0], [0.5, 0.4, 0.55], [0.25, 0.1, 0.7]])
    state = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.2, -0.1])
    exact = ExactTorusDenoiser(target, state)

    def coords(noisy: NoisyCrystals) -> Tensor:
        level = noisy.coord_level.unsqueeze(-1)
        residual = exact(noisy).coords * level / math.sqrt(12)
        # In the units of the process: what it calls the target of that displacement.
        unit = model.coordinates.displacement(torch.ones_like(level), level)
        return model.coordinates.target(residual / unit, level)

    model.network = Scripted(coords, lambda noisy: exact(noisy).lattice)
    settings = SamplerSettings.without_physics(steps=40, eta=eta, speedup=0.0)
    start = Start.noise(torch.tensor([[11, 17, 8]]).repeat(6, 1))
    made = sample(model, start, CrystalStreams(list(range(6)), [3] * 6), settings)
    relative = geometry.wrap_displacement(made.frac_coords - made.frac_coords[:, :1] - target)
    assert relative.abs().max() < 0.03
    found = model.encode_lattice(made.lattice, made.num_atoms)
    torch.testing.assert_close(found, state.expand(6, 6), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("first", [1.0, 0.6])
def test_the_share_still_masked_is_the_level(first: float) -> None:
    """At every question the network sees a share t of unknown elements, with t the level told."""
    model = tiny_model()
    model.network = Scripted()
    steps, crystals, atoms = 10, 20, 200
    start = Start.noise(torch.full((crystals, atoms), MASK_ELEMENT))
    start = replace(start, level=torch.full((crystals,), first))
    streams = CrystalStreams(list(range(crystals)), [atoms] * crystals)
    settings = SamplerSettings.without_physics(steps=steps)
    made = sample(model, start, streams, settings)
    assert len(model.network.asked) == steps
    for step, noisy in enumerate(model.network.asked):
        level = first * (1 - step / steps)
        torch.testing.assert_close(noisy.element_level, torch.full((crystals,), level))
        torch.testing.assert_close(noisy.coord_level, torch.full((crystals, atoms), level))
        torch.testing.assert_close(noisy.lattice_level, torch.full((crystals,), level))
        masked = (noisy.atomic_numbers == MASK_ELEMENT).float().mean().item()
        assert masked == pytest.approx(level / first, abs=0.03)
    assert ((made.atomic_numbers >= 1) & (made.atomic_numbers <= 100)).all()


def test_the_sampler_recovers_shares_of_elements() -> None:
    model = tiny_model()
    shares = {8: 0.5, 22: 0.3, 38: 0.2}
    logits = torch.full((100,), -30.0)
    for element, share in shares.items():
        logits[element - 1] = math.log(share)
    model.network = Scripted(elements=lambda noisy: logits.expand(*noisy.atomic_numbers.shape, 100))
    start = Start.noise(torch.full((50, 100), MASK_ELEMENT))
    settings = SamplerSettings.without_physics(steps=5)
    made = sample(model, start, CrystalStreams(list(range(50)), [100] * 50), settings)
    for element, share in shares.items():
        assert (made.atomic_numbers == element).float().mean().item() == pytest.approx(
            share, abs=0.03
        )
    cold = replace(settings, element_temperature=0.0)
    again = sample(model, start, CrystalStreams(list(range(50)), [100] * 50), cold)
    assert (again.atomic_numbers == 8).all()


def test_the_sampler_recovers_compositions() -> None:
    """Exact conditional answers give the joint distribution: Ti1 O2 in any order, nothing else."""
    model = tiny_model()

    def conditional(noisy: NoisyCrystals) -> Tensor:
        numbers = noisy.atomic_numbers
        unknown = (numbers == MASK_ELEMENT).sum(-1, keepdim=True).clamp_min(1)
        titanium = 1.0 - (numbers == 22).sum(-1, keepdim=True)
        logits = torch.full((*numbers.shape, 100), -30.0)
        share = (titanium / unknown).clamp(1e-12, 1 - 1e-12).expand(numbers.shape)
        logits[..., 21], logits[..., 7] = torch.log(share), torch.log1p(-share)
        return logits

    model.network = Scripted(elements=conditional)
    start = Start.noise(torch.full((400, 3), MASK_ELEMENT))
    settings = SamplerSettings.without_physics(steps=100)
    made = sample(model, start, CrystalStreams(list(range(400)), [3] * 400), settings)
    assert ((made.atomic_numbers == 22) | (made.atomic_numbers == 8)).all()
    right = ((made.atomic_numbers == 22).sum(-1) == 1).float().mean().item()
    assert right > 0.95
    first = (made.atomic_numbers[:, 0] == 22).float().mean().item()
    assert first == pytest.approx(1 / 3, abs=0.08)
