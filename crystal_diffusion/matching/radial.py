"""A short vector for each crystal: near crystals have near vectors, equal ones equal vectors.

Three radial densities, smoothed and divided by that of a uniform gas, as functions of distance in
units of (V/N)^(1/3): all pairs; pairs of the same element; and pairs weighted with the product of
the deviations of their electronegativities from the mean of the crystal. They do not depend on
the choice of cell, on rotation, translation, or the order of atoms, and change continuously when
atoms move. Own construction, in the spirit of the radial distribution fingerprints of Valle and
Oganov (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.chemistry import ELECTRONEGATIVITY, LAST_ELEMENT, MENDELEEV_NUMBERS
from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.reduced import Floats, Ints

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.data.tables import CrystalArrays

#: Distances in units of (V/N)^(1/3): first and last bin, their number, smoothing.
FIRST_BIN, LAST_BIN, BINS, WIDTH = 0.3, 2.4, 22, 0.1
_CUTOFF = 2.8
#: In units of (V/N)^(1/3); a cell of 3 x 3 x 300 Å reaches 25 times the edge of a cube.
_LONGEST_EDGE = 400.0
#: Length of the vector of a structure, and of the vector of a composition.
LENGTH = 3 * BINS
COMPOSITION_BINS = 26
#: A density is cut softly at about this value, or squeezed crystals would lie infinitely far off.
_SATURATION = 8.0


def fingerprint(structure: Structure) -> Floats:
    """``(66,)`` vector of geometry and ordering; see the top of this file.

    Two vectors are compared by their root mean square difference, :func:`distance`. The elements
    themselves enter only by which atoms are alike and how electronegative they are; see
    :func:`composition_fingerprint` for the rest.

    Raises:
        InputError: for partial occupancy, no atoms, or a cell without volume.
    """
    if not structure.is_ordered:
        raise InputError(
            f"{structure.formula} has partial occupancy and no fingerprint; order it first, for "
            "example with iter_crystals(..., disorder='order')."
        )
    return fingerprint_arrays(
        np.asarray(structure.lattice.matrix),
        np.array([site.frac_coords for site in structure], np.float64).reshape(-1, 3),
        np.array([site.specie.Z for site in structure], np.int64),
    )


def fingerprint_arrays(lattice: Floats, frac_coords: Floats, atomic_numbers: Ints) -> Floats:
    """:func:`fingerprint` of arrays: ``(3, 3)`` rows in Å, ``(atoms, 3)``, ``(atoms,)``."""
    from pymatgen.core import Lattice
    from pymatgen.optimization.neighbors import find_points_in_spheres

    atoms = len(atomic_numbers)
    volume = abs(float(np.linalg.det(lattice)))
    usable = np.isfinite(volume) and bool(np.isfinite(frac_coords).all())
    if not atoms or not usable or volume < 1e-6:
        raise InputError(
            "a structure without atoms, without volume, or with coordinates that are no numbers "
            "has no fingerprint; leave it out."
        )
    reduced = Lattice(np.asarray(lattice) / (volume / atoms) ** (1 / 3))
    cell = np.ascontiguousarray(reduced.lll_matrix)
    steps = np.sqrt((np.linalg.inv(cell) ** 2).sum(0))
    longest = float(np.sqrt((cell**2).sum(1)).max())
    if longest > _LONGEST_EDGE or float(np.prod(2 * _CUTOFF * steps + 2)) * atoms > 2e6:
        raise InputError(
            f"the cell with edges {', '.join(f'{x:.3g}' for x in np.sqrt((lattice**2).sum(1)))} Å "
            "is too flat or thin for a fingerprint; leave it out."
        )
    local = np.mod(np.asarray(frac_coords) @ np.linalg.inv(reduced.lll_mapping), 1)
    positions = np.ascontiguousarray(local @ cell)
    first, second, _, distances = find_points_in_spheres(
        all_coords=positions,
        center_coords=positions,
        r=_CUTOFF,
        pbc=np.ones(3, np.int64),
        lattice=cell,
        tol=1e-8,
    )
    keep = distances > 1e-6
    first, second, distances = first[keep], second[keep], distances[keep]
    numbers = np.asarray(atomic_numbers)
    polarity = np.nan_to_num(ELECTRONEGATIVITY[np.minimum(numbers, LAST_ELEMENT)], nan=3.0)
    polarity = polarity - polarity.mean()
    weights = np.stack(
        [
            np.ones(len(first)),
            (numbers[first] == numbers[second]).astype(np.float64),
            polarity[first] * polarity[second],
        ]
    )
    return _densities(distances, weights, atoms).ravel()


def _densities(distances: Floats, weights: Floats, atoms: int) -> Floats:
    """``(3, bins)`` smoothed densities over that of a gas of one atom per unit volume."""
    bins = np.linspace(FIRST_BIN, LAST_BIN, BINS)
    order = np.exp(-0.5 * ((distances[:, None] - bins) / WIDTH) ** 2)
    order /= WIDTH * np.sqrt(2 * np.pi) * 4 * np.pi * np.maximum(distances, FIRST_BIN)[:, None] ** 2
    found = np.asarray(weights @ order / atoms, np.float64)
    return np.asarray(_SATURATION * np.tanh(found / _SATURATION), np.float64)


@lru_cache(maxsize=1)
def _steps() -> Floats:
    """``(104, bins)`` share of each bin above the place of an element on the Mendeleev scale."""
    places = (MENDELEEV_NUMBERS - 0.5) / MENDELEEV_NUMBERS.max()
    edges = np.linspace(0, 1, COMPOSITION_BINS + 1)
    width = edges[1] - edges[0]
    return np.asarray(np.clip((edges[None, 1:] - places[:, None]) / width, 0, 1), np.float64)


def composition_fingerprint(atomic_numbers: Ints) -> Floats:
    """``(26,)`` how much of the crystal lies up to each place of Pettifor's chemical scale.

    The root mean square difference of two such curves is small when elements are exchanged for
    like ones (Cramér's distance on the scale of Pettifor 1984), times 4 so that one differing
    element weighs about as much as a different structure.
    """
    numbers = np.minimum(np.asarray(atomic_numbers), LAST_ELEMENT)
    return np.asarray(4 * _steps()[numbers].mean(0), np.float64)


def composition_fingerprints(elements: Ints, counts: Ints) -> Floats:
    """:func:`composition_fingerprint` of many compositions.

    Args:
        elements: ``(compositions, roles)`` atomic numbers, 0 = none.
        counts: the same shape, atoms of each.

    Returns:
        ``(compositions, 26)``.
    """
    numbers = np.minimum(np.asarray(elements, np.int64), LAST_ELEMENT)
    weights = np.where(numbers > 0, counts, 0).astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    return np.asarray(4 * np.einsum("ij,ijk->ik", weights, _steps()[numbers]), np.float64)


def distance(first: Floats, second: Floats) -> Floats:
    """Root mean square difference over the last axis; a number for two vectors."""
    return np.asarray(np.sqrt(np.mean((np.asarray(first) - second) ** 2, axis=-1)), np.float64)


def fingerprints(structures: Sequence[Structure], processes: int = 1) -> Floats:
    """``(structures, 66)``; a row of NaN where a structure has no fingerprint."""
    from crystal_diffusion.parallel import map_chunks

    rows = map_chunks(_fingerprint_chunk, structures, processes, parallel_from=3000, chunk=500)
    return np.array(rows, np.float64).reshape(len(structures), LENGTH)


def _fingerprint_chunk(structures: Sequence[Structure]) -> list[Floats]:
    rows = []
    for structure in structures:
        try:
            rows.append(fingerprint(structure))
        except InputError:
            rows.append(np.full(LENGTH, np.nan))
    return rows


def fingerprints_of_arrays(arrays: CrystalArrays, processes: int = 1) -> Floats:
    """:func:`fingerprints` of flat arrays, without making any structure."""
    from crystal_diffusion.parallel import map_chunks

    items = [
        (arrays.lattice[i], arrays.frac_coords[a:b], arrays.atomic_numbers[a:b])
        for i, (a, b) in enumerate(zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True))
    ]
    rows = map_chunks(_array_chunk, items, processes, parallel_from=3000, chunk=500)
    return np.array(rows, np.float64).reshape(len(items), LENGTH)


def _array_chunk(items: Sequence[tuple[Floats, Floats, Ints]]) -> list[Floats]:
    rows = []
    for lattice, frac_coords, numbers in items:
        try:
            rows.append(fingerprint_arrays(lattice, frac_coords, numbers))
        except InputError:
            rows.append(np.full(LENGTH, np.nan))
    return rows
