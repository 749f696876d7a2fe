"""Atoms on top of each other: pairs nearer than any two atoms can be."""

from __future__ import annotations

import numpy as np

from crystal_diffusion.data.bounds import TooMuch

#: Å; no two atoms are nearer than this (the shortest bond, H-H, has 0.74 Å).
IMPOSSIBLE_A = 0.4
#: Above this many atoms, pairs are looked for with a tree instead of a table.
TREE_FROM = 400
#: Mean number of atoms so near to one, above which the cell is no crystal.
MOST_NEIGHBORS = 100


def close_pairs(lattice: np.ndarray, frac_coords: np.ndarray, reach: float) -> np.ndarray:
    """Pairs of different atoms nearer than ``reach``, periodic images included.

    Exact where the lattice planes are at least ``2 * reach`` apart, as in every crystal; images
    of an atom itself are not looked at.

    Args:
        lattice: ``(3, 3)`` rows in Å.
        frac_coords: ``(atoms, 3)``.
        reach: Å, small against the cell.

    Returns:
        ``(pairs, 2)`` with first < second.

    Raises:
        TooMuch: for a large cell whose atoms have more neighbours than atoms can have.
    """
    count = len(frac_coords)
    if count < 2:
        return np.zeros((0, 2), np.int64)
    # |d_i| = |d . column i of the inverse| <= reach * length of that column.
    inverse = np.linalg.inv(lattice)
    window = reach * np.sqrt((inverse * inverse).sum(0))
    if count > TREE_FROM:
        from scipy.spatial import cKDTree

        boxed = frac_coords - np.floor(frac_coords)
        tree = cKDTree(np.where(boxed >= 1.0, 0.0, boxed), boxsize=np.ones(3))
        radius = min(float(window.max()), 0.5)
        # Many atoms on one spot would be a list of all their pairs.
        if tree.count_neighbors(tree, radius, p=np.inf) > MOST_NEIGHBORS * count:
            raise TooMuch(f"most of its {count} atoms are on top of each other")
        pairs = tree.query_pairs(radius, p=np.inf, output_type="ndarray")
    else:
        columns = frac_coords.T
        delta = columns[:, :, None] - columns[:, None, :]
        delta -= np.rint(delta)
        inside = np.abs(delta) < window[:, None, None]
        near = inside[0] & inside[1] & inside[2]
        if np.count_nonzero(near) == count:
            return np.zeros((0, 2), np.int64)
        pairs = np.argwhere(np.triu(near, 1))
    delta = frac_coords[pairs[:, 0]] - frac_coords[pairs[:, 1]]
    delta -= np.round(delta)
    close = np.linalg.norm(delta @ lattice, axis=-1) < reach
    return np.asarray(np.sort(pairs[close], axis=-1))
