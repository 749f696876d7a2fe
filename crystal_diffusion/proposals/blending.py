"""Geometry of a structure type for new elements: weighted mean and local regression over members.

All members of a type lie in one frame, so cell metrics and coordinates can be averaged; averages
of symmetric members are symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.quantisation import cell_volume
from crystal_diffusion.proposals.similarity import ElementTables, Floats, Ints

#: At most so many members are averaged.
MAX_SOURCES = 64


@dataclass(frozen=True)
class Blend:
    """Geometry for one candidate.

    Attributes:
        parameters: ``(6,)`` a, b, c in Å, angles in degrees; frac_coords: ``(atoms, 3)``.
        volume_per_atom: Å3; spread: weighted standard deviation of log volume misfit of members.
    """

    parameters: Floats
    frac_coords: Floats
    volume_per_atom: float
    spread: float


@dataclass(frozen=True)
class BlendSettings:
    """How members are averaged.

    Attributes:
        sharpness: the exponent of the kernel is multiplied by this (larger = fewer sources).
        slope_penalty: ridge penalty of the local linear model; ``inf`` for a plain mean.
    """

    sharpness: float = 1.0
    slope_penalty: float = 0.03


def blend(
    library: CrystalLibrary,
    tables: ElementTables,
    kind: int,
    wanted: Ints,
    entries: Ints,
    distances: Floats,
    settings: BlendSettings,
) -> Blend:
    """Predict cell and coordinates of a type for wanted elements.

    Args:
        wanted: ``(roles,)`` indices into the tables' vectors; entries: members of the type to use;
        distances: ``(entries,)`` kernel exponents of those members.
    """
    counts = library.type_counts[kind][: len(wanted)].astype(np.int64)
    order = np.argsort(distances, kind="stable")[:MAX_SOURCES]
    entries, distances = entries[order], distances[order]
    weights = np.exp(-settings.sharpness * (distances - distances[0])) + 1e-6
    weights /= weights.sum()
    parameters = library.parameters(entries)
    coords = library.frac_coords(kind, entries)
    known = tables.indices(library.elements[entries][:, : len(wanted)])
    atoms = int(counts.sum())
    expected = tables.expected_volume(known, counts)
    volumes = cell_volume(parameters) / atoms
    misfit = np.log(volumes / expected)
    delta = coords - coords[0]
    delta -= np.rint(delta)
    logs = np.concatenate(
        [np.log(parameters[:, :3]) - np.log(volumes)[:, None] / 3, parameters[:, 3:] / 60.0], 1
    )
    targets = np.concatenate([misfit[:, None], logs, delta.reshape(len(entries), -1)], 1)
    predicted = local_prediction(
        _features(tables, known, counts),
        _features(tables, wanted[None], counts)[0],
        targets,
        weights,
        settings.slope_penalty,
    )
    spread = float(np.sqrt(weights @ np.square(misfit - weights @ misfit)))
    volume = float(np.exp(predicted[0]) * tables.expected_volume(wanted, counts))
    cell = np.concatenate([np.exp(predicted[1:4]), predicted[4:7] * 60.0])
    cell[3:] = np.clip(cell[3:], 20.0, 160.0)
    if cell_volume(cell) < 1e-3:
        cell = np.concatenate([np.exp(logs[0, :3]), parameters[0, 3:]])
    cell[:3] *= (volume * atoms / cell_volume(cell)) ** (1 / 3)
    frac = (coords[0] + predicted[7:].reshape(-1, 3)) % 1.0
    return Blend(cell, frac, volume, spread)


def _features(tables: ElementTables, indices: Ints, counts: Ints) -> Floats:
    """``(rows, features)`` element vectors of all roles side by side."""
    flat = tables.vectors.reshape(-1, tables.vectors.shape[-1])
    weights = np.sqrt(tables.role_weights(counts.tolist()))
    return np.asarray((flat[indices] * weights[:, None]).reshape(len(indices), -1), dtype=float)


def local_prediction(
    known: Floats, wanted: Floats, targets: Floats, weights: Floats, penalty: float
) -> Floats:
    """Weighted ridge regression around the wanted point, in its dual (kernel) form.

    Args:
        known: ``(m, f)``; wanted: ``(f,)``; targets: ``(m, t)``; weights: ``(m,)``, sum 1.

    Returns:
        ``(t,)`` prediction at ``wanted``; the weighted mean where the penalty is infinite.
    """
    mean = weights @ targets
    if not np.isfinite(penalty) or len(known) < 3:
        return np.asarray(mean, dtype=float)
    centre = weights @ known
    root = np.sqrt(weights)[:, None]
    x = (known - centre) * root
    y = (targets - mean) * root
    gram = x @ x.T
    scale = penalty * float(np.trace(gram)) + 1e-9
    dual = np.linalg.solve(gram + scale * np.eye(len(known)), y)
    return np.asarray(mean + (wanted - centre) @ (x.T @ dual), dtype=float)
