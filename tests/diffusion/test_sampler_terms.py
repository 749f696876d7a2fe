"""Each term of the sampler against its formula, seen through the questions the network is asked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.penalty import push_apart, separate, stretch_cell
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.networks.protocol import NoisyCrystals
from crystal_diffusion.seeding import CrystalStreams
from tests.crystals import TRICLINIC, distance
from tests.models import Scripted, tiny_model

PAIR = torch.tensor([[[0.30, 0.40, 0.50], [0.45, 0.33, 0.61]]])
NUMBERS = torch.tensor([[22, 8]])


def asked(model: JointDiffusion) -> list[NoisyCrystals]:
    assert isinstance(model.network, Scripted)
    return model.network.asked


def as_given(level: float, frac: Tensor = PAIR, lattice: Tensor = TRICLINIC) -> Start:
    """A start that is taken as it is, without noise of its level."""
    return replace(
        Start.noise(NUMBERS),
        level=torch.full((1,), level),
        frac_coords=frac,
        lattice=lattice[None],
        renoise=False,
    )


def still(coords: Tensor | None = None) -> JointDiffusion:
    """A model that wants the same velocity everywhere, none by default, and leaves the cell."""
    model = tiny_model()
    model.network = Scripted(None if coords is None else lambda noisy: coords)
    return model


def streams() -> CrystalStreams:
    return CrystalStreams([5], [2])


@pytest.mark.parametrize("speedup", [0.0, 3.0, 50.0])
def test_velocities_grow_towards_the_end_but_never_past_it(speedup: float) -> None:
    """Steps are v·Δt·(1 + speedup·(1 - t)), at most the way that is left."""
    velocity = torch.tensor([[[0.2, -0.1, 0.05], [-0.2, 0.1, -0.05]]])
    model = still(velocity)
    steps = 8
    settings = SamplerSettings.without_physics(steps=steps, speedup=speedup)
    made = sample(model, as_given(0.8), streams(), settings)
    states = [noisy.frac_coords for noisy in asked(model)] + [made.frac_coords]
    torch.testing.assert_close(states[0], PAIR)
    for k, (before, after) in enumerate(zip(states[:-1], states[1:], strict=True)):
        level = 0.8 * (1 - k / steps)
        factor = min(1 + speedup * (1 - level), steps - k)
        expected = -velocity / math.sqrt(12) * 0.8 / steps * factor
        moved = geometry.wrap_displacement(after - before)
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-4)


def test_the_repulsion_acts_at_low_noise_only_and_pushes_apart() -> None:
    model = still()
    settings = replace(
        SamplerSettings.without_physics(steps=10, speedup=0.0), repulsion=0.5, repulsion_below=0.45
    )
    limit = distance(PAIR[0], TRICLINIC) + 0.3
    made = sample(
        model, as_given(1.0 - 1e-6), streams(), settings,
        smallest=lambda numbers: torch.full((1, 2, 2), limit),
    )  # fmt: skip
    seen = [noisy.frac_coords for noisy in asked(model)]
    levels = [float(noisy.lattice_level) for noisy in asked(model)]
    apart = [distance(frac[0], TRICLINIC) for frac in [*seen, made.frac_coords]]
    for level, before, after in zip(levels, apart[:-1], apart[1:], strict=True):
        if level >= 0.45:
            assert after == pytest.approx(before, abs=1e-5)
    first = next(k for k, level in enumerate(levels) if level < 0.45)
    assert apart[first + 1] == pytest.approx(limit, abs=2e-2)
    assert apart[-1] == pytest.approx(limit, abs=2e-2)


def test_the_limits_of_the_cell_act_at_low_noise_only() -> None:
    model = still()
    settings = replace(
        SamplerSettings.without_physics(steps=10), cell_limits=1.0, repulsion_below=0.45
    )
    small = 0.7 * TRICLINIC
    before = float(geometry.volume(small)) / 2
    sample(
        model, as_given(1.0 - 1e-6, lattice=small), streams(), settings,
        smallest=lambda numbers: torch.full((1, 2, 2), 0.8),
        volumes=lambda numbers: (torch.tensor([1.5 * before]), torch.tensor([9.0 * before])),
    )  # fmt: skip
    for previous, noisy in zip(asked(model)[:-1], asked(model)[1:], strict=True):
        per_atom = float(torch.linalg.det(noisy.metric).sqrt()) / 2
        expected = before if float(previous.lattice_level) >= 0.45 else 1.5 * before
        assert per_atom == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("gap", [0.05, 0.3, 0.45])
def test_a_lone_pair_lands_on_its_limit_at_half_strength(gap: float) -> None:
    """Both atoms take half the way, along the line between them; others feel nothing."""
    frac = torch.cat([PAIR, torch.tensor([[[0.9, 0.9, 0.0]]])], 1)
    cell, mask = TRICLINIC[None], torch.ones(1, 3, dtype=torch.bool)
    before = distance(PAIR[0], TRICLINIC)
    limits = torch.zeros(1, 3, 3)
    limits[0, 0, 1] = limits[0, 1, 0] = before + gap
    step = push_apart(frac, cell, mask, limits, 0.5)
    assert distance((frac + step)[0, :2], TRICLINIC) == pytest.approx(before + gap, abs=1e-4)
    assert not step[0, 2].any()
    cartesian = (step @ cell)[0]
    torch.testing.assert_close(cartesian[0], -cartesian[1], atol=1e-5, rtol=1e-4)
    line = ((PAIR[0, 1] - PAIR[0, 0]) @ TRICLINIC) / before
    assert float(cartesian[1] @ line) == pytest.approx(gap / 2, abs=1e-4)
    padded = push_apart(frac, cell, torch.tensor([[True, False, True]]), limits, 0.5)
    assert not padded.any()


def test_a_push_is_one_angstrom_at_most() -> None:
    cell, mask = 3 * TRICLINIC[None], torch.ones(1, 2, dtype=torch.bool)
    limits = torch.full((1, 2, 2), 9.0)
    for strength in (0.5, 1.0, 2.0):
        step = push_apart(PAIR, cell, mask, limits, strength) @ cell
        length = torch.linalg.vector_norm(step, dim=-1)
        torch.testing.assert_close(length, torch.full((1, 2), 0.5 * strength), atol=1e-4, rtol=0)


def test_separation_ends_at_the_limit_and_keeps_to_what_may_move() -> None:
    cell, mask = TRICLINIC[None], torch.ones(1, 2, dtype=torch.bool)
    limits = torch.full((1, 2, 2), 2.6)
    apart = separate(PAIR, cell, mask, limits, 60, lambda step: step)
    # The last step goes a fifth too far at most.
    assert 2.6 - 1e-2 <= distance(apart[0], TRICLINIC) <= 2.75
    only = torch.tensor([[[0.0], [1.0]]])
    held = separate(PAIR, cell, mask, limits, 60, lambda step: step * only)
    torch.testing.assert_close(held[:, 0], PAIR[:, 0])
    assert 2.6 - 1e-2 <= distance(held[0], TRICLINIC) <= 2.75
    assert torch.equal(separate(PAIR, cell, mask, limits, 0, lambda step: step), PAIR)


def test_a_cell_is_stretched_along_the_pair_that_is_too_close() -> None:
    """Along a only: the other edges keep their lengths, and the pair gets its room."""
    frac = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]])
    cell = torch.diag(torch.tensor([3.2, 7.0, 9.0]))[None]
    mask = torch.ones(1, 2, dtype=torch.bool)
    limits = torch.full((1, 2, 2), 2.0)
    roomy = stretch_cell(
        frac, cell, mask, limits, torch.full((1,), 1e6), 30, lambda lattice: lattice
    )
    lengths = torch.linalg.vector_norm(roomy[0], dim=-1)
    assert lengths[0] / 2 >= 2.0 - 1e-3
    assert lengths[0] / 2 <= 2.5
    torch.testing.assert_close(lengths[1:], torch.tensor([7.0, 9.0]), atol=1e-3, rtol=0)


def test_the_network_is_told_what_is_given() -> None:
    model = still()
    start = replace(
        as_given(0.6),
        lattice_given=torch.tensor([True]),
        frozen=torch.tensor([[True, False]]),
    )
    sample(model, start, streams(), SamplerSettings.without_physics(steps=3))
    for step, noisy in enumerate(asked(model)):
        level = 0.6 * (1 - step / 3)
        torch.testing.assert_close(noisy.coord_level, torch.tensor([[0.0, level]]))
        assert float(noisy.lattice_level) == 0.0
        assert float(noisy.element_level) == 0.0


def test_a_start_below_level_one_gets_noise_of_that_level() -> None:
    """x = x_0 + t·v with uniform v, its mean over atoms removed; cell (1 - t)·s + t·ε."""
    crystals, level = 3000, 0.5
    model = still()
    start = Start(
        atomic_numbers=NUMBERS.expand(crystals, 2),
        level=torch.full((crystals,), level),
        frac_coords=PAIR.expand(crystals, 2, 3),
        lattice=TRICLINIC.expand(crystals, 3, 3),
        lattice_given=torch.zeros(crystals, dtype=torch.bool),
        frozen=torch.zeros(crystals, 2, dtype=torch.bool),
    )
    settings = SamplerSettings.without_physics(steps=1)
    sample(model, start, CrystalStreams(list(range(crystals)), [2] * crystals), settings)
    (noisy,) = asked(model)
    away = geometry.wrap_displacement(noisy.frac_coords - PAIR)
    assert away.mean(1).abs().max() < 1e-5
    # Of two atoms each keeps half the difference: the variance is halved.
    assert away.std().item() == pytest.approx(level / math.sqrt(24), rel=0.03)
    encoded = model.encode_lattice(TRICLINIC[None], torch.tensor([2]))
    state = noisy.lattice_state
    torch.testing.assert_close(state.mean(0), (1 - level) * encoded[0], atol=0.05, rtol=0)
    assert state.std(0).numpy() == pytest.approx(np.full(6, level), rel=0.06)


def test_churned_noise_does_not_move_the_crystal_as_a_whole() -> None:
    model = still()
    settings = SamplerSettings.without_physics(steps=4, eta=0.8)
    made = sample(model, as_given(0.5), streams(), settings)
    states = [noisy.frac_coords for noisy in asked(model)] + [made.frac_coords]
    for before, after in zip(states[:-2], states[1:-1], strict=True):
        moved = geometry.wrap_displacement(after - before)
        assert moved.abs().max() > 1e-3
        assert moved.mean(1).abs().max() < 1e-5
