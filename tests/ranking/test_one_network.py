"""The scoring network is written twice, for training in torch and for use in numpy: one answer."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from crystal_diffusion.proposals.environments import Environments
from crystal_diffusion.ranking.candidates import environments_of
from crystal_diffusion.ranking.learned import default_ranker
from crystal_diffusion.ranking.network import candidate_scores, candidate_vectors
from tests.crystals import copper_sulfate, graphite, perovskite, rutile, shaken

CRYSTALS = [copper_sulfate(), shaken(rutile(), 0.2), perovskite(), graphite()]


@pytest.fixture(scope="module")
def twin() -> ModuleType:
    """The recipe that trains the network."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(Path(__file__).parents[2] / "recipes"))
    yield importlib.import_module("train_ranker_network")
    patch.undo()


def torch_batch(
    crystals: list[Environments], features: np.ndarray
) -> dict[str, torch.Tensor | int]:
    """What the torch network reads, from the definition of each entry."""
    sizes = [len(c.numbers) for c in crystals]
    starts = np.cumsum([0, *sizes[:-1]])
    owner = np.repeat(np.arange(len(crystals)), sizes)
    return {
        "numbers": torch.tensor(np.concatenate([c.numbers for c in crystals])),
        "share": torch.tensor(np.concatenate([c.share for c in crystals])),
        "distance": torch.tensor(np.concatenate([c.distance for c in crystals])),
        "neighbour": torch.tensor(
            np.concatenate([c.neighbour + s for c, s in zip(crystals, starts, strict=True)])
        ),
        "candidate": torch.tensor(owner),
        "candidates": len(crystals),
        "features": torch.tensor(features, dtype=torch.float32),
        "list": torch.zeros(len(crystals), dtype=torch.int64),
        "lists": 1,
    }


def test_numpy_and_torch_give_the_same_energies_and_scores(twin: ModuleType) -> None:
    rng = np.random.default_rng(0)
    width = 21
    torch.manual_seed(3)
    network = twin.ScoringNetwork(rng.normal(size=width), 0.5 + rng.random(width), 16, 2)
    with torch.no_grad():
        network.eel.copy_(torch.randn(network.eel.shape))
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    crystals = [environments_of(structure) for structure in CRYSTALS]
    features = rng.normal(size=(4, width))
    batch = torch_batch(crystals, features)
    with torch.no_grad():
        pooled, energies = network.vectors(batch)
        scores = network(batch).numpy()
    vectors, own = candidate_vectors(weights, crystals)
    np.testing.assert_allclose(vectors, pooled.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own, energies.numpy(), rtol=1e-4, atol=1e-5)
    known = np.ones(4, dtype=bool)
    found = candidate_scores(weights, vectors, own - own.min(), features.astype(np.float32), known)
    np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-4)
    assert np.ptp(scores) > 1e-2


def test_the_shipped_weights_are_those_of_the_torch_network(twin: ModuleType) -> None:
    weights = default_ranker().networks[0]
    width, hidden = len(weights["fm"]), weights["inp.weight"].shape[0]
    layers = sum(name.startswith("wi.") and name.endswith(".weight") for name in weights)
    network = twin.ScoringNetwork(np.zeros(width), np.ones(width), hidden, layers)
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    crystals = [environments_of(structure) for structure in CRYSTALS]
    batch = torch_batch(crystals, np.zeros((4, width)))
    with torch.no_grad():
        _, energies = network.vectors(batch)
        scores = network(batch).numpy()
    vectors, own = candidate_vectors(weights, crystals)
    np.testing.assert_allclose(own, energies.numpy(), rtol=1e-3, atol=1e-3)
    zeros = np.zeros((4, width), np.float32)
    found = candidate_scores(weights, vectors, own - own.min(), zeros, np.ones(4, dtype=bool))
    np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-3)
