"""A model folder trained for a few steps only: what is guaranteed must hold with it too."""

from __future__ import annotations

from pathlib import Path

import pytest

from crystal_diffusion.data.demo import create_demo_dataset
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.workflows.train import train


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train(create_demo_dataset(), folder, steps=12, dim=32, layers=2, patience=0)
    return folder


@pytest.fixture(scope="session")
def generator(model_folder: Path) -> CrystalGenerator:
    from crystal_diffusion import load

    return load(model_folder, "cpu")
