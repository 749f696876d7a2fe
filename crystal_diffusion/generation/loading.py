"""``load``: from a model folder to a generator; alone decides what the model knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import TRAINING_SET_FILE, load_training_set
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.knowledge import (
    Knowledge,
    joined_knowledge,
    own_knowledge,
    pretrained_knowledge,
)
from crystal_diffusion.generation.symmetric import FREE_SHARE
from crystal_diffusion.ranking.own import OwnEvidence
from crystal_diffusion.ranking.own_confidence import load_calibration
from crystal_diffusion.skeletons.weights import SKELETONS_FILE
from crystal_diffusion.training.checkpoint import (
    MODEL_FILE,
    config_from_header,
    file_hash,
    load_model,
    read_header,
)

if TYPE_CHECKING:
    from crystal_diffusion.generation.asking import PropertyJudge

log = logging.getLogger(__name__)

#: What stands for the shipped model where a model is named: its name, and the one in the box.
PRETRAINED = "pretrained"
_SHIPPED = (PRETRAINED, "box")


def load(
    model: str | Path | None = None, device: str = "auto", library: str | None = None
) -> CrystalGenerator:
    """A model folder or file that ``train`` wrote; without argument the pretrained model.

    "pretrained" means the same as no argument. This alone decides what a model knows beside its
    weights, see :class:`Knowledge`.

    Args:
        library: which crystals prototypes are made from: "both" the shipped ones and the user's,
            "own" or "shipped"; what the model was trained for when left out.

    Raises:
        CheckpointError: when it is missing, damaged or of another version.
        InputError: for a library that the model does not have.
    """
    if model is None or (str(model) in _SHIPPED and not Path(model).exists()):
        if library == "own":
            raise InputError(
                "the pretrained model holds no crystals of yours; train one on them first, or "
                "leave --library out."
            )
        from crystal_diffusion.pretrained import model_path, student_path

        path, place = model_path(), resolve_device(device)
        network, header = load_model(path, place)
        knowledge = replace(
            _with_properties(pretrained_knowledge(network), None),
            open_student=lambda: load_model(student_path(), place)[0],
        )
        return CrystalGenerator(network, header, None, path, knowledge, PRETRAINED, library)
    path = Path(model)
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such model; give the folder that `crystal-diffusion train` wrote, or "
            f"{PRETRAINED} for the one that is shipped."
        )
    network, header = load_adapted(path, device)
    folder = path if path.is_dir() else path.parent
    stored = folder / TRAINING_SET_FILE
    training = load_training_set(stored) if stored.is_file() else None
    if training is None:
        log.warning(
            "%s: no %s beside the weights, so nearest training crystals are unknown",
            folder,
            TRAINING_SET_FILE,
        )
    knowledge = _with_properties(_knowledge(network, header, training, library), folder)
    # A library other than the one trained for makes other candidates than those it was fitted on.
    if library is None:
        knowledge = replace(knowledge, calibration=load_calibration(folder))
    own_skeletons = folder / SKELETONS_FILE
    if own_skeletons.is_file():
        share = 1.0 - FREE_SHARE
        knowledge = replace(knowledge, symmetric=share, skeletons_file=own_skeletons)
    address = str(path.resolve())
    return CrystalGenerator(network, header, training, folder, knowledge, address, library)


def _with_properties(knowledge: Knowledge, folder: Path | None) -> Knowledge:
    """What predicts properties: the shipped network, and what the folder has of the user's own."""

    def judge() -> PropertyJudge:
        from crystal_diffusion.prediction.model import load_properties

        return load_properties(folder)

    return replace(knowledge, open_properties=judge)


def _knowledge(
    network: JointDiffusion,
    header: Mapping[str, Any],
    training: CrystalArrays | None,
    library: str | None,
) -> Knowledge:
    """A model with a base knows what the base knows and its own crystals; others the latter."""
    use = library or ("both" if "base" in header else "own")
    if use != "shipped" and training is None:
        if library is not None:
            raise InputError(
                f"library {library!r} needs the crystals of the model, and {TRAINING_SET_FILE} is "
                "not beside its weights; copy the whole folder, or ask for --library shipped."
            )
        return pretrained_knowledge(network) if "base" in header else own_knowledge(network, None)
    if training is None:
        return pretrained_knowledge(network)
    if library is None and "base" not in header:
        return own_knowledge(network, training)
    evidence = _evidence(header)
    return joined_knowledge(network, training, evidence, use)


def _evidence(header: Mapping[str, Any]) -> OwnEvidence:
    try:
        found = {name: float(value) for name, value in dict(header.get("evidence", {})).items()}
        return OwnEvidence(**found)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{MODEL_FILE}: what it says of your crystals is damaged ({error}); copy it again, or "
            "train again."
        ) from error


def base_header(holds_weights: bool) -> dict[str, Any]:
    """How a model file names the pretrained model it was adapted from.

    Args:
        holds_weights: whether the file has weights of its own, or takes those of the base.
    """
    from crystal_diffusion import __version__
    from crystal_diffusion.pretrained import model_path

    return {
        "name": PRETRAINED,
        "sha256": file_hash(model_path()),
        "version": __version__,
        "holds_weights": holds_weights,
    }


def load_adapted(path: Path, device: str = "auto") -> tuple[JointDiffusion, dict[str, Any]]:
    """Model and header; a model that changed no weight of its base takes those of the base.

    Raises:
        CheckpointError: when the base has other weights than those it was trained with.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    header = read_header(file)
    base = header.get("base")
    if base is None:
        return load_model(path, resolve_device(device))
    from crystal_diffusion.pretrained import model_path

    texts = isinstance(base, dict) and all(
        isinstance(base.get(name), str) for name in ("sha256", "version")
    )
    if not texts or not isinstance(base.get("holds_weights"), bool):
        raise CheckpointError(
            f"{file}: what it says of the model it was trained from is damaged; copy it again, or "
            "train again."
        )
    same = file_hash(model_path()) == base["sha256"]
    if base["holds_weights"]:
        if not same:
            log.warning(
                "%s was trained from the pretrained model of version %s, this version ships "
                "another one: its own weights are used with the library and ranker of this one",
                file,
                base["version"],
            )
        return load_model(path, resolve_device(device))
    if not same:
        raise CheckpointError(
            f"{file}: holds your crystals and no weights of its own, because the pretrained model "
            f"of version {base['version']} answered best; this version ships other weights. Run "
            "the same train command again, or install that version."
        )
    source, _ = load_model(model_path(), resolve_device(device))
    try:
        model = JointDiffusion(config_from_header(header)).to(source.device)
        model.load_state_dict(source.state_dict())
    # What a header describes may be any network, or none; each layer refuses in its own way.
    except Exception as error:
        raise CheckpointError(
            f"{file}: its header describes another network than the one it was trained from "
            f"({error}); copy it again, or train again."
        ) from error
    return model.eval().requires_grad_(False), header


def model_hash(generator: CrystalGenerator) -> str:
    """sha256 of the weights file."""
    if generator.path is None:
        raise RequestError("the model was not loaded from a file, so it has no hash.")
    path = generator.path / MODEL_FILE if generator.path.is_dir() else generator.path
    return file_hash(path)
