"""The crystals a model was trained on, kept beside its weights: novelty needs them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from crystal_diffusion.data.bounds import EXPANDED_FREE, EXPANDED_TIMES
from crystal_diffusion.data.records import shorten
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.files import atomic_write

TRAINING_SET_FILE = "training_set.npz"
#: Bytes; a million crystals take some 300 MB.
LARGEST = 4 * 2**30


def save_training_set(path: Path, arrays: CrystalArrays) -> None:
    """Write plain arrays atomically; coordinates in float32, labels as they are.

    Raises:
        InputError: when the file cannot be written.
    """
    buffer, names = io.BytesIO(), sorted(arrays.properties)
    labels = [np.asarray(arrays.properties[name], dtype=np.float64) for name in names]
    np.savez_compressed(
        buffer,
        ids=np.array(arrays.ids, dtype=np.str_),
        lattice=arrays.lattice.astype(np.float32),
        frac_coords=arrays.frac_coords.astype(np.float32),
        atomic_numbers=arrays.atomic_numbers.astype(np.uint8),
        offsets=arrays.offsets,
        label_names=np.array(names, dtype=np.str_),
        labels=np.array(labels).reshape(len(names), len(arrays.ids)),
    )
    with atomic_write(path) as part:
        part.write_bytes(buffer.getvalue())


def load_training_set(path: Path) -> CrystalArrays:
    """Read what :func:`save_training_set` wrote.

    Raises:
        CheckpointError: when the file is missing or damaged.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than any training set")
        with zipfile.ZipFile(path) as archive:
            announced = sum(part.file_size for part in archive.infolist())
        if announced > EXPANDED_FREE + EXPANDED_TIMES * path.stat().st_size:
            raise ValueError(f"it announces {announced} bytes")
        with np.load(path, allow_pickle=False) as stored:
            return _sound(
                CrystalArrays(
                    tuple(str(name) for name in stored["ids"]),
                    stored["lattice"].astype(np.float64),
                    stored["frac_coords"].astype(np.float64),
                    stored["atomic_numbers"].astype(np.int64),
                    stored["offsets"].astype(np.int64),
                    _labels(stored),
                )
            )
    # Damaged archives make numpy and zlib fail in every way there is.
    except Exception as error:
        raise CheckpointError(
            f"{path}: missing or damaged ({shorten(error)}); copy the whole model folder again. "
            "Without this file the model works, but knows no training crystals."
        ) from error


def _labels(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels by name; none in files of earlier versions.

    Raises:
        ValueError: names and columns do not fit.
    """
    if "label_names" not in stored:
        return {}
    names, labels = stored["label_names"], stored["labels"].astype(np.float64)
    if labels.shape != (len(names), len(stored["ids"])) or len(set(names.tolist())) < len(names):
        raise ValueError("its labels do not fit its crystals")
    return {str(name): column for name, column in zip(names, labels, strict=True)}


def _sound(arrays: CrystalArrays) -> CrystalArrays:
    """The arrays where they fit each other.

    Raises:
        ValueError: says what does not.
    """
    crystals, atoms = len(arrays.ids), len(arrays.atomic_numbers)
    offsets = arrays.offsets
    if offsets.shape != (crystals + 1,) or offsets[0] != 0 or offsets[-1] != atoms:
        raise ValueError("its crystals do not fit its atoms")
    if (np.diff(offsets) < 1).any() or len(set(arrays.ids)) < crystals:
        raise ValueError("it has crystals without atoms, or ids twice")
    if arrays.lattice.shape != (crystals, 3, 3) or arrays.frac_coords.shape != (atoms, 3):
        raise ValueError("its arrays have other shapes")
    if not (np.isfinite(arrays.lattice).all() and np.isfinite(arrays.frac_coords).all()):
        raise ValueError("it has numbers that are not finite")
    if np.abs(np.linalg.det(arrays.lattice)).min(initial=1.0) < 1e-3:
        raise ValueError("it has cells without volume")
    if arrays.atomic_numbers.min(initial=1) < 1 or arrays.atomic_numbers.max(initial=1) > 118:
        raise ValueError("it has atomic numbers of no element")
    return arrays
