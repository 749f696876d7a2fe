"""Guidance wraps the model: weight 0 asks for nothing, 1 is the condition, 2 goes further."""

from __future__ import annotations

import pytest
import torch

from crystal_diffusion.diffusion.guidance import Guided
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, Levels
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Conditions, Prediction
from crystal_diffusion.seeding import CrystalStreams

INF = float("inf")


def model() -> JointDiffusion:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"dim": 16, "layers": 1, "heads": 2, "pair_dim": 8, "properties": 2}
        found = JointDiffusion(JointConfig(network_options=options))
        for parameter in found.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
    return found.eval()


def conditions(count: int = 3) -> Conditions:
    return Conditions(
        torch.tensor([[1.0, -INF]]).expand(count, 2),
        torch.tensor([[2.0, 0.5]]).expand(count, 2),
        torch.tensor([[True, True]]).expand(count, 2),
    )


def ask(denoise: object, told: Conditions | None = None) -> Prediction:
    g = torch.Generator().manual_seed(1)
    frac = torch.rand(3, 4, 3, generator=g)
    state = torch.randn(3, 6, generator=g)
    numbers = torch.full((3, 4), 101)
    levels = Levels(torch.full((3, 4), 0.6), torch.full((3,), 0.6), torch.full((3,), 0.6))
    with torch.no_grad():
        if told is None:
            return denoise(frac, state, numbers, levels)  # type: ignore[operator]
        return denoise(frac, state, numbers, levels, conditions=told)  # type: ignore[operator]


def test_the_weight_goes_from_anything_to_the_condition_and_beyond() -> None:
    network = model()
    anything = ask(network.predict)
    asked = ask(network.predict, conditions())
    assert float((asked.coords - anything.coords).abs().max()) > 1e-3
    for weight in (0.0, 1.0, 2.5):
        found = ask(Guided(network, conditions(), weight, weight))
        for name in ("coords", "lattice"):
            a, b = getattr(anything, name), getattr(asked, name)
            torch.testing.assert_close(
                getattr(found, name), a + weight * (b - a), atol=1e-5, rtol=1e-5
            )
        a, b = (torch.log_softmax(x.element_logits, -1) for x in (anything, asked))
        torch.testing.assert_close(found.element_logits, a + weight * (b - a), atol=1e-5, rtol=1e-5)


def test_a_property_that_is_not_asked_for_changes_nothing() -> None:
    network = model()
    told = conditions()
    one = Conditions(told.low, told.high, told.asked & torch.tensor([True, False]))
    other = Conditions(
        told.low + torch.tensor([0.0, 7.0]), told.high * torch.tensor([1.0, 3.0]), one.asked
    )
    torch.testing.assert_close(ask(network.predict, one).coords, ask(network.predict, other).coords)
    torch.testing.assert_close(
        ask(network.predict, told.none_asked()).coords, ask(network.predict).coords
    )


def test_the_sampler_takes_it_for_the_model() -> None:
    network = model()
    start = Start.noise(torch.full((3, 4), 101))
    settings = SamplerSettings.without_physics(steps=4)

    def drawn(denoise: Guided | None) -> torch.Tensor:
        streams = CrystalStreams([1, 2, 3], [4] * 3)
        return sample(network, start, streams, settings, denoise=denoise).frac_coords

    plain = drawn(None)
    ignored = drawn(Guided(network, conditions(), 0.0, 0.0))
    torch.testing.assert_close(plain, ignored, atol=1e-4, rtol=0)
    assert float((plain - drawn(Guided(network, conditions(), 3.0))).abs().max()) > 1e-3


def test_misuse_is_refused() -> None:
    with pytest.raises(InputError, match="0 or more"):
        Guided(model(), conditions(), -1.0)
    plain = JointDiffusion(JointConfig(network_options={"dim": 16, "layers": 1, "heads": 2}))
    with pytest.raises(ValueError, match="without properties"):
        ask(Guided(plain, conditions()))
