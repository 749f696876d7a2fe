"""Checkpoints: safetensors with a JSON header that explains itself; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.files import atomic_write

#: Raised when the meaning of a stored field changes.
FORMAT = 1
MODEL_FILE = "model.safetensors"
#: Entries of the header with the checksums of the tensors and of the other entries.
CHECKSUM, _HEADER_CHECKSUM = "tensors_sha256", "header_sha256"
STATE_FILE = "state.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write atomically: a kill or a full disk leaves the file that was there before."""
    plain = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    whole = json.loads(json.dumps({**header, CHECKSUM: checksum(plain)}, default=str))
    whole[_HEADER_CHECKSUM] = _text_hash(whole)
    metadata = {"crystal_diffusion": json.dumps(whole)}
    try:
        with atomic_write(path, flush=True) as part:
            save_file(plain, part, metadata)
    except (InputError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: could not be written ({error}); the previous file is untouched. Free some "
            "space or choose another folder, then run the same command again to resume."
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file written by :func:`write_tensors`.

    Raises:
        CheckpointError: when the file is missing, truncated, foreign or of another format.
    """
    header = read_header(path)
    try:
        tensors = load_file(path)
    # Damaged headers make the library fail in more ways than it says.
    except Exception as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy it again.") from error
    if header.get(CHECKSUM, checksum(tensors)) != checksum(tensors):
        raise CheckpointError(
            f"{path}: damaged, its numbers are not those that were written; copy it again, or "
            "train again: what is in the other files of the folder is not concerned."
        )
    return tensors, header


def read_kind(path: Path, kind: str, wanted: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that must hold one kind of model.

    Args:
        kind: what its header must say.
        wanted: the rest of the sentence after "holds a model of kind ..., not one of".

    Raises:
        CheckpointError: as :func:`read_tensors`, and for another kind.
    """
    tensors, header = read_tensors(path)
    if header.get("kind") != kind:
        raise CheckpointError(
            f"{path}: holds a model of kind {header.get('kind')!r}, not one of {wanted}"
        )
    return tensors, header


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header alone, without loading any weights."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; give the folder that `crystal-diffusion train` wrote."
        )
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
    # Damaged headers make the library fail in more ways than it says.
    except Exception as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy it again.") from error
    if "crystal_diffusion" not in metadata:
        raise CheckpointError(f"{path}: not written by crystal_diffusion; give a model of ours.")
    try:
        header = json.loads(metadata["crystal_diffusion"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged ({error}); copy it again.") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is damaged (no mapping); copy it again.")
    # Files written before there was such a checksum have none.
    written = header.pop(_HEADER_CHECKSUM, None)
    if written is not None and written != _text_hash(header):
        raise CheckpointError(
            f"{path}: its header is damaged, it is not what was written; copy it again."
        )
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {header.get('format')}, this version reads format {FORMAT}; "
            "install the crystal_diffusion version named in its header or train again."
        )
    return header


def _text_hash(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header).encode()).hexdigest()


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and numbers, so that one flipped bit is noticed."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def sound_config(
    path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> JointConfig:
    """The model configuration of a header, after a look at whether it can be that of the tensors.

    Raises:
        CheckpointError: when entries are missing, of another kind, or announce a network that is
            larger than the file.
    """
    largest = max([len(tensors), *(n for t in tensors.values() for n in t.shape)])
    try:
        config = config_from_header(header)
        sizes = [v for v in config.network_options.values() if isinstance(v, int)]
        numbers = [config.statistics.volume_per_atom, *config.statistics.mean]
        numbers += config.statistics.deviation
        if any(not 0 <= n <= largest for n in sizes):
            raise ValueError("it announces a larger network than the file holds")
        if not all(math.isfinite(x) for x in numbers) or config.statistics.volume_per_atom <= 0:
            raise ValueError("its statistics are no finite numbers")
        if not isinstance(config.max_train_atoms, int) or config.max_train_atoms < 1:
            raise ValueError("its largest cell is no number of atoms")
        if not all(isinstance(z, int) and 1 <= z <= 118 for z in config.elements):
            raise ValueError("its elements are none")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        text = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: its header is damaged ({text}); copy it again, or train again."
        ) from error
    return config


def config_from_header(header: Mapping[str, Any]) -> JointConfig:
    """The model configuration a header holds."""
    raw = dict(header["model"])
    stats = dict(raw.pop("statistics"))
    statistics = LatticeStatistics(
        stats["volume_per_atom"], tuple(stats["mean"]), tuple(stats["deviation"])
    )
    raw["elements"] = tuple(raw.get("elements", ()))
    return JointConfig(statistics=statistics, **raw)


def save_model(
    path: Path, model: JointDiffusion, weights: Mapping[str, Tensor], extra: Mapping[str, Any]
) -> None:
    """Write weights ready for generation, with the configuration and ``extra`` in the header."""
    from crystal_diffusion import __version__

    header = {
        "format": FORMAT,
        "version": __version__,
        "kind": "joint",
        "model": asdict(model.config),
        **extra,
    }
    write_tensors(path, weights, header)


def load_model(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[JointDiffusion, dict[str, Any]]:
    """Model and header from a model file or the folder it is in.

    Half-precision weights are widened to float32.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    tensors, header = read_tensors(file)
    config = sound_config(file, header, tensors)
    wrong = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if wrong:
        raise CheckpointError(
            f"{file}: weight {wrong[0]} holds numbers that are not finite; the model is spoilt, "
            "train again."
        )
    try:
        model = JointDiffusion(config)
    # A network refuses sizes that do not fit each other, each layer in its own way.
    except Exception as error:
        raise CheckpointError(
            f"{file}: its header describes no network ({error}); copy it again, or train again."
        ) from error
    wanted = dict(model.named_parameters())
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{file}: lacks {len(missing)} weights (first: {missing[0]}); it was written by "
            f"version {header.get('version')}, train again with this one."
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if tensors[name].shape != parameter.shape:
                raise CheckpointError(
                    f"{file}: weight {name} has shape {tuple(tensors[name].shape)}, expected "
                    f"{tuple(parameter.shape)}; the file does not fit its own header."
                )
            parameter.copy_(tensors[name].float())
    model.eval().requires_grad_(False)
    return model.to(device), header


def file_hash(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
