"""The likelihood of the flow against closed forms."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.diffusion.likelihood import log_likelihood
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Prediction
from tests.crystals import triclinic_batch


def model(**options: str) -> JointDiffusion:
    small = {"dim": 16, "layers": 1, "heads": 2, "pair_dim": 8, "frequencies": 2}
    return JointDiffusion(JointConfig(network_options=small, **options))


def batch() -> CrystalBatch:
    return triclinic_batch(3, 4)


def normal(state: torch.Tensor) -> torch.Tensor:
    return -0.5 * (state.square() + math.log(2 * math.pi)).sum(-1)


def test_a_network_that_says_nothing_gives_the_density_of_noise() -> None:
    crystals, still = batch(), model()
    state = still.encode_lattice(crystals.lattice, crystals.num_atoms)
    got = log_likelihood(still, crystals, steps=3, probes=1)
    torch.testing.assert_close(got, normal(state), atol=1e-4, rtol=1e-5)


def test_a_linear_field_gives_its_trace_and_its_end() -> None:
    crystals, flow = batch(), model()
    rate = 0.3

    def predict(coords: torch.Tensor, state: torch.Tensor, *_: object) -> Prediction:
        return Prediction(0.0 * coords, rate * state, torch.zeros(*coords.shape[:2], 100))

    with mock.patch.object(flow, "predict", predict):
        got = log_likelihood(flow, crystals, steps=400, probes=40)
    state = flow.encode_lattice(crystals.lattice, crystals.num_atoms) * math.exp(rate)
    torch.testing.assert_close(got, normal(state) + 6 * rate, atol=0.15, rtol=1e-2)


def test_other_processes_are_refused() -> None:
    with pytest.raises(InputError, match="process"):
        log_likelihood(model(coordinates="wrapped"), batch())
