"""Lattice algebra on tensors: wrapping, cell parameters, log-strain, periodic distances.

Conventions: a lattice is ``(..., 3, 3)`` with rows a, b, c in Å; fractional coordinates are row
vectors, so ``cartesian = frac @ lattice``. Angles are in degrees.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from crystal_diffusion.shapes import Float

#: Off-diagonal positions in the order of the last three log-strain components.
_PAIRS = ((1, 2), (0, 2), (0, 1))
#: Places of the six components in a flat 3 × 3 matrix; component at each of its nine places.
_INDEPENDENT = [0, 4, 8, 5, 2, 1]
_SYMMETRIC = [0, 5, 4, 5, 1, 3, 4, 3, 2]


def wrap(frac_coords: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Fractional coordinates in [0, 1); exact also where ``x % 1`` would round up to 1."""
    wrapped = frac_coords - torch.floor(frac_coords)
    return torch.where(wrapped >= 1.0, torch.zeros_like(wrapped), wrapped)


def wrap_displacement(displacement: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The nearest periodic image of a fractional displacement, each component in [-0.5, 0.5]."""
    return displacement - torch.round(displacement)


def lattice_from_parameters(parameters: Float[Tensor, "*shape 6"]) -> Float[Tensor, "*shape 3 3"]:
    """Cells from ``(..., 6)`` a, b, c (Å), alpha, beta, gamma (degrees): c along z, a in xz.

    Returns:
        ``(..., 3, 3)`` row vectors, right-handed; as `cell_geometry.lattice_from_parameters`.
    """
    a, b, c = parameters[..., 0], parameters[..., 1], parameters[..., 2]
    alpha, beta, gamma = (torch.deg2rad(parameters[..., i]) for i in (3, 4, 5))
    cos_a, cos_b, cos_g = torch.cos(alpha), torch.cos(beta), torch.cos(gamma)
    sin_a, sin_b = torch.sin(alpha), torch.sin(beta)
    zero = torch.zeros_like(a)
    star = (cos_a * cos_b - cos_g) / (sin_a * sin_b)
    sin_star = torch.sqrt((1 - star**2).clamp_min(1e-12))
    rows = [
        torch.stack([a * sin_b, zero, a * cos_b], -1),
        torch.stack([-b * sin_a * star, b * sin_a * sin_star, b * cos_a], -1),
        torch.stack([zero, zero, c], -1),
    ]
    return torch.stack(rows, -2)


def lattice_to_parameters(lattice: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 6"]:
    """``(..., 6)`` a, b, c (Å), alpha, beta, gamma (degrees) of ``(..., 3, 3)`` cells."""
    lengths = torch.linalg.vector_norm(lattice, dim=-1)
    cosines = []
    for i, j in _PAIRS:
        dot = (lattice[..., i, :] * lattice[..., j, :]).sum(-1)
        cosines.append((dot / (lengths[..., i] * lengths[..., j])).clamp(-1, 1))
    angles = torch.rad2deg(torch.acos(torch.stack(cosines, -1)))
    return torch.cat([lengths, angles], -1)


def volume(lattice: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape"]:
    """Cell volume in Å3, always positive."""
    return torch.linalg.det(lattice).abs()


def lattice_to_log_strain(lattice: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 6"]:
    """The six independent numbers of S in the polar form L = exp(S)·U, U a rotation.

    S = log(L Lᵀ) / 2 does not change when the crystal is rotated.

    Returns:
        ``(..., 6)``: S11, S22, S33, S23, S13, S12.
    """
    metric = lattice @ lattice.transpose(-1, -2)
    values, vectors = torch.linalg.eigh(metric)
    log_values = 0.5 * torch.log(values.clamp_min(1e-12))
    strain = (vectors * log_values.unsqueeze(-2)) @ vectors.transpose(-1, -2)
    return strain.flatten(-2)[..., _INDEPENDENT]


def log_strain_to_lattice(log_strain: Float[Tensor, "*shape 6"]) -> Float[Tensor, "*shape 3 3"]:
    """The symmetric cell exp(S) of ``(..., 6)`` log-strain: right-handed, volume > 0."""
    matrix = log_strain[..., _SYMMETRIC].unflatten(-1, (3, 3))
    if matrix.requires_grad:
        # The gradient of eigenvectors is infinite where eigenvalues agree, as in a cubic cell.
        return torch.linalg.matrix_exp(matrix)
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * torch.exp(values).unsqueeze(-2)) @ vectors.transpose(-1, -2)


def image_shifts(radius: int, like: Tensor) -> Float[Tensor, "images 3"]:
    """Integer shifts within ``radius`` cells: ``((2 radius + 1)³, 3)``, the zero shift first."""
    cells = sorted(
        itertools.product(range(-radius, radius + 1), repeat=3),
        key=lambda s: sum(abs(x) for x in s),
    )
    return torch.tensor(cells, dtype=like.dtype, device=like.device)


def reduction(
    lattice: Float[Tensor, "crystals 3 3"], sweeps: int = 8
) -> Float[Tensor, "crystals 3 3"]:
    """Integer M ``(crystals, 3, 3)`` for which M @ lattice has short edges, determinant 1.

    Each edge is shortened by the others in turn (Gauss reduction, pair by pair), so that near
    images of near atoms lie within one cell of each other.
    """
    rows = lattice.detach().double().clone()
    change = torch.eye(3, dtype=rows.dtype, device=rows.device).repeat(len(rows), 1, 1)
    for _ in range(sweeps):
        before = rows.square().sum()
        for i, j in itertools.permutations(range(3), 2):
            other = rows[:, j]
            length = other.square().sum(-1, keepdim=True).clamp_min(1e-12)
            times = torch.round((rows[:, i] * other).sum(-1, keepdim=True) / length)
            rows[:, i] = rows[:, i] - times * other
            change[:, i] = change[:, i] - times * change[:, j]
        if not rows.square().sum() < before * (1 - 1e-9):
            break
    return change.to(lattice.dtype)


def pair_displacements(
    frac_coords: Float[Tensor, "*shape atoms 3"],
) -> Float[Tensor, "*shape atoms atoms 3"]:
    """``(..., atoms, atoms, 3)`` wrapped differences f_j - f_i."""
    return wrap_displacement(frac_coords.unsqueeze(-3) - frac_coords.unsqueeze(-2))


def near_image_distances(
    displacement: Float[Tensor, "crystals atoms atoms 3"], metric: Float[Tensor, "crystals 3 3"]
) -> Float[Tensor, "crystals atoms atoms"]:
    """Shortest distance over the eight cells around a wrapped displacement.

    For each component both the displacement and its next image on the other side are tried, which
    is exact for reduced cells and a close upper bound for moderately skewed ones; this is the
    network's feature, never the validator's verdict.

    Args:
        displacement: ``(crystals, atoms, atoms, 3)`` in [-0.5, 0.5].
        metric: ``(crystals, 3, 3)`` L Lᵀ in Å2.

    Returns:
        ``(crystals, atoms, atoms)`` in Å.
    """
    other = displacement - torch.where(displacement >= 0, 1.0, -1.0)
    # The quadratic form of all eight choices from terms of one and of two components.
    x, y, z = torch.stack([displacement, other]).unbind(-1)
    g = metric[:, None, None]
    xy = 2 * g[..., 0, 1] * x[:, None] * y[None]
    xz = 2 * g[..., 0, 2] * x[:, None] * z[None]
    yz = 2 * g[..., 1, 2] * y[:, None] * z[None]
    xx, yy, zz = g[..., 0, 0] * x * x, g[..., 1, 1] * y * y, g[..., 2, 2] * z * z
    plane = xx[:, None] + yy[None] + xy
    squares = plane[:, :, None] + (xz[:, None] + (yz + zz)[None])
    return torch.sqrt(squares.flatten(0, 2).amin(0).clamp_min(1e-8))
