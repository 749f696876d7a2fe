"""The reference model told of properties: it separates what it was told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystal_diffusion import ConditionalDiffusion
from crystal_diffusion.errors import InputError

CELL = 5.0 * torch.eye(3).unsqueeze(0)


def trained(steps: int = 900) -> ConditionalDiffusion:
    """Pairs of atoms near 0.2 have gap 0, those near 0.7 a gap of 3 eV."""
    labels = {"bandgap": np.array([0.0, 3.0] * 16)}
    model = ConditionalDiffusion(
        labels, timesteps=40, hidden_dim=32, time_dim=16, learning_rate=2e-3, beta_end=0.2,
        device="cpu",
    )  # fmt: skip
    place = torch.tensor([0.2, 0.7] * 16).view(-1, 1, 1)
    batch = {
        "positions": place.expand(-1, 2, 3),
        "mask": torch.ones(32, 2),
        "labels": {"band_gap": labels["bandgap"]},
    }
    for _ in range(steps):
        model.train_step(batch)
    return model


def test_samples_follow_the_condition() -> None:
    model = trained()
    made = {"batch_size": 16, "max_atoms": 2, "lattice": CELL, "seed": 3}
    wide = model.sample_conditional({"band_gap": (2.5, 3.5)}, guidance_scale=1.5, **made)
    metal = model.sample_conditional({"band_gap": "<0.5"}, guidance_scale=1.5, **made)
    assert wide.shape == (16, 2, 3)
    # A model blind to the condition gives the same samples twice: they share the seed.
    assert float(wide.mean()) - float(metal.mean()) > 0.1


def test_without_guidance_nothing_is_asked() -> None:
    model = trained(20)
    made = {"batch_size": 4, "max_atoms": 2, "lattice": CELL, "seed": 3}
    free = model.sample(**made)
    asked = model.sample_conditional({"bandgap": 2.5}, guidance_scale=0.0, **made)
    torch.testing.assert_close(asked, free)


def test_misuse_is_refused() -> None:
    with pytest.raises(InputError, match="labels is empty"):
        ConditionalDiffusion({})
    model = ConditionalDiffusion({"band_gap": [1.0, 2.0]}, timesteps=5, hidden_dim=8, time_dim=8)
    with pytest.raises(InputError, match="was not among the labels"):
        model.sample_conditional({"density": 3.0}, batch_size=1, max_atoms=1, lattice=CELL)
    with pytest.raises(InputError, match="guidance_scale is -1"):
        model.sample_conditional({"band_gap": 3.0}, -1, batch_size=1, max_atoms=1, lattice=CELL)
    with pytest.raises(InputError, match="not made for"):
        model.loss(
            {"positions": torch.zeros(1, 1, 3), "mask": torch.ones(1, 1), "labels": {"x": [1]}}
        )
