"""The atoms that symmetry operations make of the sites of an asymmetric unit.

Special positions are printed with a few digits (0.333 for 1/3), so the images of one site that
should be one lie a little apart. They are told from different atoms by their distance in Å, and
the site is moved onto its special position: with the operations g that bring it back to within
``merge`` of itself, which form its site symmetry group S, the mean of all g x is fixed by S, and
the orbit has exactly (number of operations) / |S| atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crystal_diffusion.data.overlaps import IMPOSSIBLE_A

#: Fractional; images of a site that is exactly on its special position agree far better.
_SAME = 1e-5
#: Tolerances tried one after the other where the nearest images are those of no group.
_SMALLER = (0.5, 0.25, 0.1, 0.03, 0.01)
#: Pairs of images compared at once.
_TABLE = 200_000


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
    rotations: np.ndarray,
    translations: np.ndarray,
    lattice: np.ndarray,
    merge: np.ndarray | float = IMPOSSIBLE_A,
) -> Orbits:
    """All images of the sites under the operations of a group, equal images once.

    Args:
        frac_coords: ``(sites, 3)``.
        rotations: ``(operations, 3, 3)``; the operations form a group, the first is the identity.
        translations: ``(operations, 3)``.
        lattice: ``(3, 3)`` rows in Å.
        merge: Å; images of one site nearer than this are one atom. One value or one for each site.
    """
    sites, count = len(frac_coords), len(rotations)
    images = _images(frac_coords, rotations, translations)
    if count == 1:
        rows = np.arange(sites)
        return Orbits(images[:, 0], rows, np.zeros(sites, np.int64), np.zeros(sites))
    reach = np.broadcast_to(np.asarray(merge, dtype=np.float64), (sites,))
    keep = np.ones((sites, count), bool)
    moved = np.zeros(sites)
    shift, distance = _from_site(images, frac_coords, lattice)
    near = distance < reach[:, None]
    special = np.flatnonzero(near.sum(1) > 1)
    if len(special):
        target = _projected(frac_coords[special], near[special], shift[special])
        again = _images(target, rotations, translations)
        apart = _from_site(again, target, lattice)[1]
        for place in np.flatnonzero(((apart < 1e-3) != near[special]).any(1)):
            site = special[place]
            target[place] = _shrink(
                frac_coords[site], rotations, translations, lattice, float(reach[site])
            )
            again[place] = _images(target[place : place + 1], rotations, translations)[0]
        images[special] = again
        step = target - frac_coords[special]
        moved[special] = np.linalg.norm(step @ lattice, axis=-1)
        step_size = max(1, _TABLE // count**2)
        for start in range(0, len(special), step_size):
            part = special[start : start + step_size]
            keep[part] = _first_images(images[part])
    rows, operations = np.nonzero(keep)
    return Orbits(images[keep], rows, operations, moved)


def _images(frac_coords: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """``(sites, operations, 3)`` in [0, 1]."""
    images = np.einsum("oij,sj->soi", rotations, frac_coords) + translations
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
    site: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    lattice: np.ndarray,
    reach: float,
) -> np.ndarray:
    """The special position for the largest tolerance whose near images belong to one group."""
    for part in _SMALLER:
        images = _images(site[None], rotations, translations)
        shift, distance = _from_site(images, site[None], lattice)
        near = distance < part * reach
        target = _projected(site[None], near, shift)
        images = _images(target, rotations, translations)
        if not ((_from_site(images, target, lattice)[1] < 1e-3) != near).any():
            return np.asarray(target[0])
    return site


def _first_images(images: np.ndarray) -> np.ndarray:
    """``(sites, operations)``: which images equal no earlier one."""
    count = images.shape[1]
    delta = images[:, :, None] - images[:, None]
    delta -= np.round(delta)
    same = (np.abs(delta) < _SAME).all(-1) & np.tril(np.ones((count, count), bool), -1)
    return np.asarray(~same.any(-1))
