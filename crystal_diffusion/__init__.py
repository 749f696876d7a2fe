"""Learn from crystal structures and make new ones.

The names below are loaded when first used, so ``import crystal_diffusion`` costs nothing.
`lazy_loader` does the same in 0.4 ms with a stub file beside it; here the names that type checkers
read stand in this file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from crystal_diffusion.deprecated import find_moved_modules

if TYPE_CHECKING:
    from crystal_diffusion.crystal import CrystalBatch
    from crystal_diffusion.data.dataset import CrystalStructureDataset
    from crystal_diffusion.data.demo import create_demo_dataset
    from crystal_diffusion.data.sources.fetching import fetch, load_materials_project_data
    from crystal_diffusion.diffusion.conditional import ConditionalDiffusion
    from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
    from crystal_diffusion.diffusion.original import CrystalDiffusionModel
    from crystal_diffusion.diffusion.progressive import progressive_distillation
    from crystal_diffusion.diffusion.sampler import SamplerSettings
    from crystal_diffusion.generation.generator import CrystalGenerator
    from crystal_diffusion.generation.loading import load
    from crystal_diffusion.generation.request import Request
    from crystal_diffusion.generation.settings import GenerationSettings
    from crystal_diffusion.generation.words import read_text
    from crystal_diffusion.networks.embeddings import SinusoidalPositionEmbeddings
    from crystal_diffusion.networks.equivariant import E3EquivariantLayer
    from crystal_diffusion.networks.unet import DenoisingNetwork
    from crystal_diffusion.physics.advanced import AdvancedPhysicsValidator
    from crystal_diffusion.physics.validator import PhysicsValidator
    from crystal_diffusion.prediction.predictor import PropertyPredictor
    from crystal_diffusion.viewer import visualize_crystal
    from crystal_diffusion.workflows.demo import main
    from crystal_diffusion.workflows.distill import distill
    from crystal_diffusion.workflows.predict import predict
    from crystal_diffusion.workflows.train import train
    from crystal_diffusion.workflows.training_settings import (
        DataSettings,
        ModelSettings,
        TrainingSettings,
    )
    from crystal_diffusion.workflows.verbs import check, screen, validate

__version__ = "0.2.0"

find_moved_modules()

_HOMES = {
    "AdvancedPhysicsValidator": "physics.advanced",
    "ConditionalDiffusion": "diffusion.conditional",
    "CrystalBatch": "crystal",
    "CrystalDiffusionModel": "diffusion.original",
    "CrystalGenerator": "generation.generator",
    "CrystalStructureDataset": "data.dataset",
    "DataSettings": "workflows.training_settings",
    "DenoisingNetwork": "networks.unet",
    "E3EquivariantLayer": "networks.equivariant",
    "GenerationSettings": "generation.settings",
    "JointConfig": "diffusion.joint",
    "JointDiffusion": "diffusion.joint",
    "ModelSettings": "workflows.training_settings",
    "PhysicsValidator": "physics.validator",
    "PropertyPredictor": "prediction.predictor",
    "Request": "generation.request",
    "SamplerSettings": "diffusion.sampler",
    "SinusoidalPositionEmbeddings": "networks.embeddings",
    "TrainingSettings": "workflows.training_settings",
    "check": "workflows.verbs",
    "create_demo_dataset": "data.demo",
    "distill": "workflows.distill",
    "fetch": "data.sources.fetching",
    "load": "generation.loading",
    "load_materials_project_data": "data.sources.fetching",
    "main": "workflows.demo",
    "predict": "workflows.predict",
    "progressive_distillation": "diffusion.progressive",
    "read_text": "generation.words",
    "screen": "workflows.verbs",
    "train": "workflows.train",
    "validate": "workflows.verbs",
    "visualize_crystal": "viewer",
}

__all__ = [
    "AdvancedPhysicsValidator",
    "ConditionalDiffusion",
    "CrystalBatch",
    "CrystalDiffusionModel",
    "CrystalGenerator",
    "CrystalStructureDataset",
    "DataSettings",
    "DenoisingNetwork",
    "E3EquivariantLayer",
    "GenerationSettings",
    "JointConfig",
    "JointDiffusion",
    "ModelSettings",
    "PhysicsValidator",
    "PropertyPredictor",
    "Request",
    "SamplerSettings",
    "SinusoidalPositionEmbeddings",
    "TrainingSettings",
    "check",
    "create_demo_dataset",
    "distill",
    "fetch",
    "load",
    "load_materials_project_data",
    "main",
    "predict",
    "progressive_distillation",
    "read_text",
    "screen",
    "train",
    "validate",
    "visualize_crystal",
]


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "data"])


def __getattr__(name: str) -> Any:
    if name == "data":
        return importlib.import_module(f"{__name__}.data")
    if name not in _HOMES:
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, 1, 0.6) if not name.startswith("_") else []
        offer = f"; did you mean {close[0]}?" if close else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{offer}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
