"""Coverage of a reference set by made crystals, and the other way round (COV-R, COV-P).

As CDVAE (Xie et al. 2022) defines them, but with the fingerprints of this library in place of
CrystalNN's and Magpie's, so the figures are not those of the papers: a reference counts as
covered when the nearest made crystal by geometry and the nearest by composition are both within
their cutoffs. The cutoffs are the 99 % quantiles of the nearest distance between two random
halves of the MP-20 validation split (`benchmarks/matching_speed.py --coverage` prints them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.evaluation.metrics import MetricResult, ratio
from crystal_diffusion.matching.radial import (
    COMPOSITION_BINS,
    LENGTH,
    composition_fingerprint,
    fingerprints,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

GEOMETRY_CUTOFF = 0.20
COMPOSITION_CUTOFF = 0.28
_ROWS_AT_ONCE = 512


def composition_fingerprints(structures: Sequence[Structure]) -> Floats:
    """``(structures, 26)``; NaN for partial occupancy."""
    rows = np.full((len(structures), COMPOSITION_BINS), np.nan)
    for i, structure in enumerate(structures):
        if structure.is_ordered:
            numbers = np.array([site.specie.Z for site in structure], np.int64)
            rows[i] = composition_fingerprint(numbers)
    return rows


def nearest_distances(points: Floats, others: Floats) -> Floats:
    """``(points,)`` root mean square difference to the nearest of ``others``; inf for NaN rows."""
    width = points.shape[1]
    others = others[np.isfinite(others).all(1)].astype(np.float32)
    found = np.full(len(points), np.inf)
    if not len(others):
        return found
    norms = (others**2).sum(1)
    for start in range(0, len(points), _ROWS_AT_ONCE):
        block = points[start : start + _ROWS_AT_ONCE].astype(np.float32)
        squares = norms[None] - 2 * block @ others.T + (block**2).sum(1)[:, None]
        nearest = np.sqrt(np.maximum(squares.min(1), 0) / width)
        found[start : start + len(block)] = np.where(np.isfinite(nearest), nearest, np.inf)
    return found


def coverage(
    made: Sequence[Structure], reference: Sequence[Structure], processes: int = 1, seed: int = 0
) -> tuple[MetricResult, MetricResult]:
    """COV-R and COV-P of made crystals against a reference set.

    Args:
        made, reference: ordered crystals; those without a fingerprint are not covered and cover
            nothing.
        processes: worker processes for the fingerprints.
        seed: of the intervals.
    """
    geometry = fingerprints(made, processes), fingerprints(reference, processes)
    elements = composition_fingerprints(made), composition_fingerprints(reference)

    def covered(one: int, other: int) -> NDArray[np.bool_]:
        near = nearest_distances(geometry[one], geometry[other]) <= GEOMETRY_CUTOFF
        like = nearest_distances(elements[one], elements[other]) <= COMPOSITION_CUTOFF
        return np.asarray(near & like)

    how = (
        f"own fingerprints (geometry, {LENGTH} numbers, cutoff {GEOMETRY_CUTOFF:g}; composition, "
        f"{COMPOSITION_BINS} numbers, cutoff {COMPOSITION_CUTOFF:g}), not those of CDVAE"
    )
    return (
        ratio(
            "COV-R",
            f"share of reference crystals with a made crystal near in both, {how}",
            covered(1, 0),
            seed=seed,
        ),
        ratio(
            "COV-P",
            f"share of made crystals with a reference crystal near in both, {how}",
            covered(0, 1),
            seed=seed,
        ),
    )
