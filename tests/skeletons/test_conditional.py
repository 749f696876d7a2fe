"""Skeletons told of properties: without a wish nothing changes, with one they follow it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.skeletons.conditional import GuidedSkeletonNetwork
from crystal_diffusion.skeletons.distribution import SkeletonModel, SkeletonWish
from crystal_diffusion.skeletons.fitting import FitSettings, Skeletons, fit
from crystal_diffusion.skeletons.network import Question, SkeletonConfig, SkeletonNetwork
from crystal_diffusion.symmetry.assignments import parse_wyckoff

INF = float("inf")
SMALL = {"dim": 32, "layers": 1, "heads": 2, "dropout": 0.0}


def network(properties: int, seed: int = 3) -> SkeletonNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SkeletonNetwork(SkeletonConfig(**SMALL, properties=properties))  # type: ignore[arg-type]


def above(low: float) -> Conditions:
    return Conditions(
        torch.tensor([[float(low)]]), torch.tensor([[INF]]), torch.ones(1, 1, dtype=torch.bool)
    )


def fitted() -> tuple[SkeletonNetwork, SkeletonNetwork]:
    """Rock salt with label -1 and perovskite with label 1, learned with and without labels."""
    salt = parse_wyckoff("Na:4a,Cl:4b", 225)
    perovskite = parse_wyckoff("Ti:1a,Sr:1b,O:3c", 221)
    data = Skeletons.from_assignments([salt, perovskite] * 24)
    labels = torch.tensor([[-1.0], [1.0]] * 24)
    settings = FitSettings(
        steps=150, tokens=400, learning_rate=1e-2, warm_up=10, composition=0.0, weight_decay=0.0
    )
    plain = fit(network(0), data, settings)
    return plain, fit(network(1), data, settings, labels=labels)


@pytest.fixture(scope="module")
def pair() -> tuple[SkeletonNetwork, SkeletonNetwork]:
    return fitted()


def shares(model: SkeletonModel, n: int = 60) -> float:
    """Share of perovskite among draws."""
    rngs = [np.random.default_rng([1, i]) for i in range(n)]
    drawn = model.draw(SkeletonWish(num_atoms=(1, 8)), rngs)
    return float(np.mean([d.skeleton.space_group == 221 for d in drawn]))


def test_what_is_asked_changes_what_is_drawn(
    pair: tuple[SkeletonNetwork, SkeletonNetwork],
) -> None:
    plain, told = pair
    assert 0.25 < shares(SkeletonModel(plain)) < 0.75
    for weight in (1.0, 2.0):
        asked = GuidedSkeletonNetwork(told, above(0.5), weight)
        assert shares(SkeletonModel(plain, guided=asked)) > 0.85
        pushed = GuidedSkeletonNetwork(told, above(0.5), weight, plain)
        assert shares(SkeletonModel(plain, guided=pushed)) > 0.75


def test_asking_for_nothing_leaves_an_adapted_network_alone(
    pair: tuple[SkeletonNetwork, SkeletonNetwork],
) -> None:
    plain, told = pair
    nothing = Conditions(above(0).low, above(0).high, torch.zeros(1, 1, dtype=torch.bool))
    guided = SkeletonModel(plain, guided=GuidedSkeletonNetwork(told, nothing, 3.0, plain))
    counts = {11: 1, 17: 1}
    found, wanted = guided.likeliest(counts, 5), SkeletonModel(plain).likeliest(counts, 5)
    assert [d.skeleton for d in found] == [d.skeleton for d in wanted]
    assert [d.log_probability for d in found] == pytest.approx(
        [d.log_probability for d in wanted], abs=1e-9
    )


def test_misuse_is_refused(pair: tuple[SkeletonNetwork, SkeletonNetwork]) -> None:
    plain, told = pair
    with pytest.raises(InputError, match="guidance scale is 0"):
        GuidedSkeletonNetwork(told, above(0), 0)
    larger = SkeletonNetwork(SkeletonConfig(dim=16, layers=1, heads=2, properties=1))
    with pytest.raises(InputError, match="of size"):
        GuidedSkeletonNetwork(larger, above(0), 1, plain)
    with pytest.raises(ValueError, match="without properties"):
        GuidedSkeletonNetwork(plain, above(0), 1).read_question(_question())


def _question() -> Question:
    from crystal_diffusion.skeletons.distribution import _question

    return _question(SkeletonWish.of({11: 1, 17: 1}))
