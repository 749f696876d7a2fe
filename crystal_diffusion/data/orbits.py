"""The atoms that symmetry operations make of the sites of an asymmetric unit.

Special positions are printed with a few digits (0.333 for 1/3), so the images of one site that
should be one lie a little apart. They are told from different atoms by their distance in Å, and
the site is moved onto its special position: with the operations g that bring it back to within
``merge`` of itself, which form its site symmetry group S, the mean of all g x is fixed by S, and
the orbit has exactly (number of operations) / |S| atoms.

gemmi's expansion is four times as fast, but leaves the site where it was printed: of 48 crystals
with three digits 10 lost their group (`benchmarks/library_or_own.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crystal_diffusion.data.overlaps import IMPOSSIBLE_A
from crystal_diffusion.data.space_groups import Operations

#: Å; a site that is on its special position is brought back to itself far better than this.
_FIXED_A = 1e-3
#: Tolerances tried one after the other where the nearest images are those of no group.
_SMALLER = (0.5, 0.25, 0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Orbits:
    """All atoms of a cell.

    Attributes:
        frac_coords: ``(atoms, 3)`` in [0, 1].
        rows: ``(atoms,)`` the site that each is an image of.
        operations: ``(atoms,)`` the operation that made it.
        moved: ``(sites,)`` Å that each site was moved onto its special position.
    """

    frac_coords: np.ndarray
    rows: np.ndarray
    operations: np.ndarray
    moved: np.ndarray


def expand(
    frac_coords: np.ndarray,
    operations: Operations,
    lattice: np.ndarray,
    merge: np.ndarray | float = IMPOSSIBLE_A,
) -> Orbits:
    """All images of the sites under the operations of a group, equal images once.

    Args:
        frac_coords: ``(sites, 3)``.
        operations: a group.
        lattice: ``(3, 3)`` rows in Å.
        merge: Å; images of one site nearer than this are one atom. One value or one for each site.
    """
    sites, count = len(frac_coords), len(operations)
    if count == 1:
        rows = np.arange(sites)
        inside = frac_coords - np.floor(frac_coords)
        return Orbits(inside, rows, np.zeros(sites, np.int64), np.zeros(sites))
    images = _images(frac_coords, operations)
    reach = np.broadcast_to(np.asarray(merge, dtype=np.float64), (sites,))
    keep = np.ones((sites, count), bool)
    moved = np.zeros(sites)
    shift, distance = _from_site(images, frac_coords, lattice)
    near = distance < reach[:, None]
    special = np.flatnonzero(np.count_nonzero(near, axis=1) > 1)
    if len(special):
        stabilizers = near[special]
        target = _projected(frac_coords[special], stabilizers, shift[special])
        again = _images(target, operations)
        apart = _from_site(again, target, lattice)[1]
        for place in np.flatnonzero(((apart < _FIXED_A) != stabilizers).any(1)).tolist():
            site = int(special[place])
            target[place], stabilizers[place] = _shrink(
                frac_coords[site], operations, lattice, float(reach[site])
            )
            again[place] = _images(target[place : place + 1], operations)[0]
        images[special] = again
        moved[special] = np.linalg.norm((target - frac_coords[special]) @ lattice, axis=-1)
        order = np.arange(count)
        for place, site in enumerate(special.tolist()):
            # g and g s make the same image for every s that leaves the site where it is.
            same = operations.products[:, stabilizers[place]]
            keep[site] = same.min(1) >= order
    rows, made_by = np.nonzero(keep)
    return Orbits(images[keep], rows, made_by, moved)


def _images(frac_coords: np.ndarray, operations: Operations) -> np.ndarray:
    """``(sites, operations, 3)`` in [0, 1]."""
    turned = np.einsum("oij,sj->soi", operations.rotations, frac_coords)
    images = turned + operations.translations
    return np.asarray(images - np.floor(images))


def _from_site(
    images: np.ndarray, frac_coords: np.ndarray, lattice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The way from each site to the nearest copy of each image: fractional, and its length."""
    shift = images - frac_coords[:, None]
    shift -= np.round(shift)
    return shift, np.linalg.norm(shift @ lattice, axis=-1)


def _projected(frac_coords: np.ndarray, near: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The sites moved to the mean of their near images."""
    total = (shift * near[..., None]).sum(1) / near.sum(1)[:, None]
    return np.asarray(frac_coords + total)


def _shrink(
    site: np.ndarray, operations: Operations, lattice: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Special position and site symmetry.

    They are those of the largest tolerance whose near images belong to one group.
    """
    images = _images(site[None], operations)
    shift, distance = _from_site(images, site[None], lattice)
    for part in _SMALLER:
        near = distance < part * reach
        target = _projected(site[None], near, shift)
        apart = _from_site(_images(target, operations), target, lattice)[1]
        if not ((apart < _FIXED_A) != near).any():
            return target[0], near[0]
    alone = np.zeros(len(operations), bool)
    alone[0] = True
    return site, alone
