"""Cells whose metric a point group leaves alone.

For a metric G = L Lᵀ and an operation W (columns, x' = W x) the distance of x and of W x agree when
Wᵀ G W = G. The mean of Wᵀ G W over the group is therefore an exact linear projection. It favours
large eigenvalues, so the nearest cell is taken in the frame of that mean: there the group acts by
orthogonal matrices, the logarithm of the metric is averaged (log-Euclidean mean, Arsigny et al.
2006), and the volume stays exactly what it was.
"""

from __future__ import annotations

import numpy as np

from crystal_diffusion.symmetry.groups import Floats


def _power(matrix: Floats, exponent: float) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    scaled = np.maximum(values, 1e-300) ** exponent
    out: Floats = (vectors * scaled[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return out


def _apply(projection: Floats, metric: Floats) -> Floats:
    flat = np.einsum("...ij,...j->...i", projection, metric.reshape(*metric.shape[:-2], 9))
    out: Floats = flat.reshape(metric.shape)
    return 0.5 * (out + np.swapaxes(out, -1, -2))


def allowed_metric(metric: Floats, projection: Floats) -> Floats:
    """The allowed metric of the same determinant near ``metric``.

    Args:
        metric: ``(..., 3, 3)`` symmetric positive definite, Å2.
        projection: ``(..., 9, 9)`` from :attr:`SpaceGroup.laue_metrics`.
    """
    mean = _apply(projection, metric)
    root, inverse = _power(mean, 0.5), _power(mean, -0.5)
    values, vectors = np.linalg.eigh(inverse @ metric @ inverse)
    logarithm = (vectors * np.log(np.maximum(values, 1e-300))[..., None, :]) @ np.swapaxes(
        vectors, -1, -2
    )
    averaged = inverse @ _apply(projection, root @ logarithm @ root) @ inverse
    values, vectors = np.linalg.eigh(0.5 * (averaged + np.swapaxes(averaged, -1, -2)))
    scale = (vectors * np.exp(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    # Rounding is taken off by the linear projection, which is exact.
    out: Floats = _apply(projection, root @ scale @ root)
    return out


def allowed_lattice(lattice: Floats, projection: Floats) -> Floats:
    """The allowed cell near ``(..., 3, 3)`` rows in Å, with the orientation it had.

    With L = G^(1/2) U the answer is G'^(1/2) U: the rotation U is kept, so the form exp(S)
    (U = 1) stays of that form.
    """
    metric = lattice @ np.swapaxes(lattice, -1, -2)
    rotation = _power(metric, -0.5) @ lattice
    out: Floats = _power(allowed_metric(metric, projection), 0.5) @ rotation
    return out
