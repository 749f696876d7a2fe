"""``load``: from a model folder to a generator; alone decides what the model knows."""

from __future__ import annotations

import logging
from pathlib import Path

from crystal_diffusion.data.training_set import TRAINING_SET_FILE, load_training_set
from crystal_diffusion.device import resolve_device
from crystal_diffusion.errors import CheckpointError, RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.knowledge import own_knowledge, pretrained_knowledge
from crystal_diffusion.training.checkpoint import MODEL_FILE, file_hash, load_model

log = logging.getLogger(__name__)

#: What stands for the shipped model where a model is named.
PRETRAINED = "pretrained"


def load(model: str | Path | None = None, device: str = "auto") -> CrystalGenerator:
    """A model folder or file that ``train`` wrote; without argument, or as "pretrained", the one
    that is shipped.

    This alone decides what a model knows beside its weights, see :class:`Knowledge`.

    Raises:
        CheckpointError: when it is missing, damaged or of another version.
    """
    if model is None or (str(model) == PRETRAINED and not Path(model).exists()):
        from crystal_diffusion.pretrained import model_path

        path = model_path()
        network, header = load_model(path, resolve_device(device))
        knowledge = pretrained_knowledge(network)
        return CrystalGenerator(network, header, None, path, knowledge, PRETRAINED)
    path = Path(model)
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such model; give the folder that `crystal-diffusion train` wrote."
        )
    network, header = load_model(path, resolve_device(device))
    folder = path if path.is_dir() else path.parent
    stored = folder / TRAINING_SET_FILE
    training = load_training_set(stored) if stored.is_file() else None
    if training is None:
        log.warning(
            "%s: no %s beside the weights, so nearest training crystals are unknown",
            folder,
            TRAINING_SET_FILE,
        )
    knowledge = own_knowledge(network, training)
    return CrystalGenerator(network, header, training, folder, knowledge, str(path.resolve()))


def model_hash(generator: CrystalGenerator) -> str:
    """sha256 of the weights file."""
    if generator.path is None:
        raise RequestError("the model was not loaded from a file, so it has no hash.")
    path = generator.path / MODEL_FILE if generator.path.is_dir() else generator.path
    return file_hash(path)
