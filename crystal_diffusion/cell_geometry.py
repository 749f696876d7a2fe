"""Lattice algebra on arrays: what `geometry` does on tensors, with the same conventions.

A lattice is ``(..., 3, 3)`` with rows a, b, c in Å; made of parameters it has c along z and a in
the xz plane (pymatgen's orientation). Fractional coordinates are row vectors, angles in degrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import moyopy

Floats = NDArray[np.float64]

#: Edges that alpha, beta and gamma lie between.
_PAIRS = ((1, 2), (0, 2), (0, 1))
#: Longest edge (Å) of a cell whose symmetry is searched: a shear leaves the long edge of a needle
#: of 30,000 Å as long as it was, within the tolerance, so moyopy finds operations without end.
LONGEST_EDGE_A = 5000.0


def wrap(frac_coords: ArrayLike) -> Floats:
    """Fractional coordinates in [0, 1), also where ``x % 1`` would round up to 1."""
    frac = np.asarray(frac_coords, np.float64)
    wrapped = frac - np.floor(frac)
    return np.where(wrapped >= 1.0, 0.0, wrapped)


def wrap_displacement(displacement: ArrayLike) -> Floats:
    """The nearest periodic image of a fractional displacement, each component in [-0.5, 0.5]."""
    step = np.asarray(displacement, np.float64)
    return np.asarray(step - np.round(step), np.float64)


def edge_lengths(lattice: ArrayLike) -> Floats:
    """``(..., 3)`` a, b, c in Å."""
    rows = np.asarray(lattice, np.float64)
    return np.asarray(np.sqrt((rows * rows).sum(-1)), np.float64)


def cell_angles(lattice: ArrayLike) -> Floats:
    """``(..., 3)`` alpha, beta, gamma in degrees."""
    rows = np.asarray(lattice, np.float64)
    unit = rows / edge_lengths(rows)[..., None]
    cosines = np.stack([(unit[..., i, :] * unit[..., j, :]).sum(-1) for i, j in _PAIRS], -1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))), np.float64)


def lattice_to_parameters(lattice: ArrayLike) -> Floats:
    """``(..., 6)`` a, b, c (Å), alpha, beta, gamma (degrees) of ``(..., 3, 3)`` cells."""
    return np.concatenate([edge_lengths(lattice), cell_angles(lattice)], -1)


def lattice_from_parameters(parameters: ArrayLike) -> Floats:
    """Cells from a, b, c (Å), alpha, beta, gamma (degrees), in pymatgen's orientation.

    Args:
        parameters: ``(..., 6)``.

    Returns:
        ``(..., 3, 3)``, right-handed; NaN where no such cell exists.
    """
    values = np.asarray(parameters, dtype=np.float64)
    a, b, c = values[..., 0], values[..., 1], values[..., 2]
    alpha, beta, gamma = (np.radians(values[..., i]) for i in (3, 4, 5))
    cos_alpha, cos_beta, cos_gamma = np.cos(alpha), np.cos(beta), np.cos(gamma)
    sin_alpha, sin_beta = np.sin(alpha), np.sin(beta)
    with np.errstate(invalid="ignore", divide="ignore"):
        star = (cos_alpha * cos_beta - cos_gamma) / (sin_alpha * sin_beta)
        star = np.where(np.abs(star) <= 1 + 1e-9, np.clip(star, -1, 1), np.nan)
        gamma_star = np.arccos(star)
    cells = np.zeros((*a.shape, 3, 3))
    cells[..., 0, 0], cells[..., 0, 2] = a * sin_beta, a * cos_beta
    cells[..., 1, 0] = -b * sin_alpha * star
    cells[..., 1, 1], cells[..., 1, 2] = b * sin_alpha * np.sin(gamma_star), b * cos_alpha
    cells[..., 2, 2] = c
    return cells


def images_within(
    lattice: Floats, frac_coords: Floats, reach: float, most: int = 12
) -> tuple[Floats, Floats, int]:
    """Vectors from each atom to all atoms in the images of the cell that ``reach`` can touch.

    Each pair is first taken on the near side of each axis, so half a cell less is looked at.

    Args:
        lattice: ``(3, 3)`` rows in Å.
        frac_coords: ``(atoms, 3)``.
        reach: Å.
        most: images looked at to each side of an axis; only needles of cells need as many.

    Returns:
        Vectors ``(atoms, atoms * images, 3)`` in Å, image by image for each neighbour in turn;
        distances ``(atoms, atoms * images)``, infinite to the atom itself; the number of images.
    """
    atoms = len(frac_coords)
    spacings = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    counts = np.minimum(np.floor(reach / spacings + 0.5), most).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in counts))), dtype=float)
    delta = frac_coords[None] - frac_coords[:, None]
    delta -= np.rint(delta)
    vectors = ((delta @ lattice)[:, :, None] + images @ lattice).reshape(atoms, -1, 3)
    distances = np.sqrt(np.einsum("ikc,ikc->ik", vectors, vectors))
    distances[distances < 1e-3] = np.inf
    return vectors, distances, len(images)


def symmetry_search(
    basis: ArrayLike,
    positions: ArrayLike,
    numbers: Sequence[int] | NDArray[np.int64],
    symprec: float,
) -> moyopy.MoyoDataset:
    """What moyopy says of a crystal: group, operations, standard cells and the way to them.

    Args:
        basis: ``(3, 3)`` rows in Å.
        positions: ``(atoms, 3)`` fractional.
        numbers: ``(atoms,)`` atomic numbers, or numbers that stand for kinds of sites.
        symprec: tolerance, Å.

    Raises:
        ValueError: no group is found, such as for atoms on top of each other, or an edge is longer
            than 5,000 Å.
    """
    import moyopy

    rows = np.asarray(basis, np.float64)
    longest = float(edge_lengths(rows).max())
    if not longest <= LONGEST_EDGE_A:
        raise ValueError(f"an edge of {longest:g} Å, at most {LONGEST_EDGE_A:g} Å are searched")
    places = np.asarray(positions, np.float64).reshape(-1, 3).tolist()
    cell = moyopy.Cell(rows.tolist(), places, [int(number) for number in numbers])
    try:
        return moyopy.MoyoDataset(cell, symprec=symprec)
    # One class for each failed step, most of them private.
    except Exception as error:
        raise ValueError(str(error)) from error
