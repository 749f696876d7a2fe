"""A small message-passing network that scores candidates, evaluated in numpy.

Each different atom (see ``environments.py``) starts as a learned vector of its element; two rounds
of gated messages over its nearest neighbours, whose distances are seen in Å and in units of
learned radii, update it. The mean over atoms gives a formation energy; mean, energy above the
lowest of the list and a few named numbers of the candidate go through two hidden layers to one
score. Trained in PyTorch, first on formation energies of known crystals, then with a softmax over
the candidates of one composition (``recipes/train_ranker.py``); the weights are plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.proposals.environments import Environments

Floats32 = NDArray[np.float32]

#: Centres and widths of the radial functions: of d / (r_i + r_j), and of d in Å.
RATIO_CENTRES = np.linspace(0.5, 1.8, 14, dtype=np.float32)
RATIO_WIDTH = 0.12
DISTANCE_CENTRES = np.linspace(1.2, 5.4, 8, dtype=np.float32)
DISTANCE_WIDTH = 0.6
#: Messages fade where d / (r_i + r_j) passes the first number, with the second as steepness.
FADE_AT, FADE_STEEPNESS = 1.6, 6.0
#: Sums over neighbours are divided by this, clipped standardised features cut at that.
MESSAGE_SCALE, FEATURE_LIMIT = 3.0, 5.0
#: Energies above the lowest of a list (eV/atom) are multiplied by this and cut at FEATURE_LIMIT.
ENERGY_SCALE = 5.0


def _sigmoid(x: Floats32) -> Floats32:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float32)


def _silu(x: Floats32) -> Floats32:
    return x * _sigmoid(x)


def _linear(weights: Mapping[str, Floats32], name: str, x: Floats32) -> Floats32:
    y = x @ weights[f"{name}.weight"].T
    bias = weights.get(f"{name}.bias")
    return y if bias is None else y + bias


def candidate_vectors(
    weights: Mapping[str, Floats32], crystals: Sequence[Environments]
) -> tuple[Floats32, Floats32]:
    """``(crystals, hidden)`` what the network makes of each; ``(crystals,)`` energies, eV/atom."""
    sizes = np.array([len(crystal.numbers) for crystal in crystals])
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    numbers = np.concatenate([crystal.numbers for crystal in crystals])
    share = np.concatenate([crystal.share for crystal in crystals])
    distance = np.concatenate([crystal.distance for crystal in crystals])
    neighbour = np.concatenate(
        [crystal.neighbour + offset for crystal, offset in zip(crystals, offsets, strict=True)]
    )
    radii = weights["rad"][numbers]
    ratio = distance / np.maximum(radii[:, None] + radii[neighbour], 0.5)
    radial = np.concatenate(
        [
            np.exp(-np.square((ratio[..., None] - RATIO_CENTRES) / RATIO_WIDTH)),
            np.exp(-np.square((distance[..., None] - DISTANCE_CENTRES) / DISTANCE_WIDTH)),
        ],
        -1,
    ).astype(np.float32)
    fade = _sigmoid((FADE_AT - ratio) * FADE_STEEPNESS)[..., None]
    state = _linear(weights, "inp", weights["emb"][numbers])
    hidden = state.shape[1]
    layer = 0
    while f"wi.{layer}.weight" in weights:
        message = (
            _linear(weights, f"wi.{layer}", state)[:, None]
            + _linear(weights, f"wj.{layer}", state)[neighbour]
            + _linear(weights, f"we.{layer}", radial)
        )
        gated = (_sigmoid(message[..., :hidden]) * _silu(message[..., hidden:]) * fade).sum(1)
        state = state + _silu(_linear(weights, f"wo.{layer}", gated / MESSAGE_SCALE))
        layer += 1
    read = _silu(_linear(weights, "read", state)) * share[:, None]
    vectors = np.add.reduceat(read, offsets, axis=0)
    elements = np.add.reduceat(weights["eel"][numbers] * share, offsets)
    energies = _linear(weights, "en", vectors)[:, 0] + elements
    return vectors.astype(np.float32), energies.astype(np.float32)


def candidate_scores(
    weights: Mapping[str, Floats32],
    vectors: Floats32,
    above: Floats32,
    features: Floats32,
    known: NDArray[np.bool_],
) -> Floats32:
    """``(crystals,)`` scores of one list; higher is better.

    Args:
        vectors: of :func:`candidate_vectors`; features: ``(crystals, features)``.
        above: ``(crystals,)`` energies above the lowest of what they are judged against, eV/atom.
        known: ``(crystals,)`` false where a candidate has no features (it came from noise).
    """
    scaled = np.clip((features - weights["fm"]) / weights["fs"], -FEATURE_LIMIT, FEATURE_LIMIT)
    raised = np.clip(above * ENERGY_SCALE, 0.0, FEATURE_LIMIT)
    parts = [np.where(known[:, None], scaled, 0.0), vectors, raised[:, None]]
    x = np.concatenate(parts, 1).astype(np.float32)
    for name in ("head.0", "head.2"):
        x = _silu(_linear(weights, name, x))
    return np.asarray(_linear(weights, "head.4", x)[:, 0], dtype=np.float32)
