"""Training that starts from the weights of another model."""

from __future__ import annotations

from pathlib import Path

import torch

from crystal_diffusion import create_demo_dataset, train
from crystal_diffusion.generation.loading import load


def test_weights_are_taken_over_and_steps_counted(tmp_path: Path) -> None:
    crystals = create_demo_dataset()[:6]
    train(crystals, tmp_path / "base", steps=4, dim=32, layers=1, learning_rate=1e-2)
    fine, _ = train(crystals, tmp_path / "fine", steps=1, start_from=tmp_path / "base", seed=5)
    fresh, _ = train(crystals, tmp_path / "fresh", steps=1, dim=32, layers=1, seed=5)

    def distance(model: torch.nn.Module) -> float:
        weights = load(tmp_path / "base").model.state_dict()
        return sum(float((model.state_dict()[k] - v).abs().sum()) for k, v in weights.items())

    assert 0 < distance(fine.model) < 0.1 * distance(fresh.model)
    assert (fine.header["steps"], fine.header["steps_before"]) == (1, 4)
    assert "steps_before" not in fresh.header
    again, _ = train(crystals, tmp_path / "again", steps=1, start_from=tmp_path / "fine")
    assert again.header["steps_before"] == 5
