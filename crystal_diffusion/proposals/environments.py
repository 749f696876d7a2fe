"""What each atom sees: its nearest neighbours, atoms that see the same taken together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.cell_geometry import images_within

#: Neighbours of each atom that are looked at, and how far, in units of (V/N)^(1/3).
NEIGHBOURS = 12
REACH = 2.0


@dataclass(frozen=True, eq=False)
class Environments:
    """The different atoms of one crystal.

    Attributes:
        numbers: ``(sites,)`` atomic numbers; share: ``(sites,)`` part of all atoms, sum 1.
        neighbour: ``(sites, NEIGHBOURS)`` which site a neighbour is like.
        distance: ``(sites, NEIGHBOURS)`` Å, ascending; at least the reach where there is none.
    """

    numbers: NDArray[np.int64]
    share: NDArray[np.float32]
    neighbour: NDArray[np.int64]
    distance: NDArray[np.float32]


def environments(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[Any]
) -> Environments:
    """The different atoms of a crystal and their nearest neighbours.

    Args:
        lattice: ``(3, 3)`` rows in Å; frac_coords: ``(atoms, 3)``; numbers: ``(atoms,)``.
    """
    atoms = len(numbers)
    reach = REACH * (abs(float(np.linalg.det(lattice))) / atoms) ** (1 / 3)
    _, distances, images = images_within(lattice, frac_coords, reach)
    if distances.shape[1] < NEIGHBOURS:
        distances = np.pad(
            distances, ((0, 0), (0, NEIGHBOURS - distances.shape[1])), constant_values=np.inf
        )
    nearest = np.argpartition(distances, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    found = np.take_along_axis(distances, nearest, 1)
    neighbour = np.minimum(nearest // images, atoms - 1)
    found = np.where(np.isfinite(found), found, 2 * reach)
    kinds = np.asarray(numbers, dtype=np.int64)
    # neighbours at (almost) the same distance in order of element, so that twins look alike
    order = np.lexsort((kinds[neighbour], np.round(found, 2)), axis=1)
    found = np.take_along_axis(found, order, 1)
    neighbour = np.take_along_axis(neighbour, order, 1)
    seen = np.concatenate(
        [kinds[:, None], np.round(found[:, :10], 1) * 10, kinds[neighbour[:, :10]]], 1
    )
    _, first, site, count = np.unique(
        seen.astype(np.int64), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    site = site.reshape(-1)
    return Environments(
        kinds[first],
        (count / atoms).astype(np.float32),
        site[neighbour[first]],
        found[first].astype(np.float32),
    )
