"""The crystals a model was trained on, kept beside its weights: novelty needs them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.files import atomic_write

TRAINING_SET_FILE = "training_set.npz"


def save_training_set(path: Path, arrays: CrystalArrays) -> None:
    """Write plain arrays atomically; coordinates in float32.

    Raises:
        InputError: when the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=np.array(arrays.ids, dtype=np.str_),
        lattice=arrays.lattice.astype(np.float32),
        frac_coords=arrays.frac_coords.astype(np.float32),
        atomic_numbers=arrays.atomic_numbers.astype(np.uint8),
        offsets=arrays.offsets,
    )
    with atomic_write(path) as part:
        part.write_bytes(buffer.getvalue())


def load_training_set(path: Path) -> CrystalArrays:
    """Read what :func:`save_training_set` wrote.

    Raises:
        CheckpointError: when the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return CrystalArrays(
                tuple(str(name) for name in stored["ids"]),
                stored["lattice"].astype(np.float64),
                stored["frac_coords"].astype(np.float64),
                stored["atomic_numbers"].astype(np.int64),
                stored["offsets"].astype(np.int64),
                {},
            )
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{path}: missing or damaged ({error}); copy the whole model folder again."
        ) from error
