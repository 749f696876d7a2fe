"""Whole numbers for cells and coordinates, one number for a composition, volumes of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.cell_geometry import cell_angles, edge_lengths

EDGE_STEP_A = 0.001
ANGLE_STEPS_PER_DEGREE = 300
COORD_STEPS = 65536
_CODES = np.random.default_rng(20250212).integers(1, 2**62, 128, dtype=np.int64)


def composition_code(elements: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """One integer for each reduced composition: equal compositions have equal integers.

    Args:
        elements: ``(..., roles)`` atomic numbers, 0 = none; counts: the same shape, atoms of each.
    """
    counts = np.where(np.asarray(elements) > 0, counts, 0).astype(np.int64)
    reduced = counts // np.maximum(np.gcd.reduce(counts, axis=-1), 1)[..., None]
    with np.errstate(over="ignore"):
        total: NDArray[np.int64] = (_CODES[np.asarray(elements, dtype=np.int64)] * reduced).sum(-1)
    return total


def encode_cell(lattice: NDArray[np.float64]) -> list[int]:
    """Quantised cell parameters of ``(3, 3)`` rows in Å."""
    edges, angles = edge_lengths(lattice), cell_angles(lattice)
    coded = np.concatenate([edges / EDGE_STEP_A, angles * ANGLE_STEPS_PER_DEGREE])
    return [int(value) for value in np.clip(np.rint(coded), 1, 65535)]


def cell_volume(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Å3 of ``(..., 6)`` cell parameters."""
    cosines = np.cos(np.radians(parameters[..., 3:]))
    x, y, z = cosines[..., 0], cosines[..., 1], cosines[..., 2]
    inner = np.maximum(1 + 2 * x * y * z - x * x - y * y - z * z, 1e-12)
    return np.asarray(parameters[..., :3].prod(-1) * np.sqrt(inner), dtype=float)
