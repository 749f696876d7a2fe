"""Periodic distances that are right in any cell, own images included.

A lattice is ``(3, 3)`` with rows a, b, c in Å, ``cartesian = frac @ lattice``. Every search is done
in a Minkowski-reduced cell of the same lattice, so no skew can hide a near image, and the range of
images follows from the spacing of the lattice planes instead of a fixed shell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Up to this many atoms all pairs are compared at once; above, a cell list is cheaper: for the
#: one smallest distance, and for the list of neighbours (`benchmarks/distance_crossover.py`).
BRUTE_FORCE_ATOMS = 24
ALL_PAIRS_ATOMS = 1
#: The cell list is never made of boxes smaller than this, Å: many empty boxes cost more than pairs.
_SMALLEST_BOX = 2.0
#: More pairs than this are refused: a squeezed cell would exhaust the memory.
MAX_PAIRS = 20_000_000
_ZERO = 1e-8
#: A cell whose volume over the product of its edges is below this is flat.
FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class NeighbourPairs:
    """All ordered pairs nearer than a cutoff; each bond appears from both of its ends.

    Attributes:
        first: ``(pairs,)`` index of the atom at the origin of the bond.
        second: ``(pairs,)`` index of its neighbour.
        image: ``(pairs, 3)`` cell of the neighbour: the bond runs from ``frac[first]`` to
            ``frac[second] + image``.
        distance: ``(pairs,)`` Å.
    """

    first: Ints
    second: Ints
    image: Ints
    distance: Floats

    def __len__(self) -> int:
        return len(self.distance)

    def vectors(self, frac_coords: ArrayLike, lattice: ArrayLike) -> Floats:
        """``(pairs, 3)`` bond vectors in Å from ``first`` to ``second``."""
        frac = np.asarray(frac_coords, np.float64)
        step = frac[self.second] + self.image - frac[self.first]
        return np.asarray(step @ np.asarray(lattice, np.float64), np.float64)


def _as_coords(frac_coords: ArrayLike) -> Floats:
    frac = np.asarray(frac_coords, np.float64)
    if frac.ndim != 2 or frac.shape[1] != 3 or not np.all(np.isfinite(frac)):
        raise InputError(
            f"frac_coords of shape {frac.shape} are not finite (atoms, 3) numbers; "
            "give fractional coordinates."
        )
    return frac


@dataclass(frozen=True, eq=False)
class ReducedCell:
    """A Minkowski-reduced cell of a lattice, and what a search needs to know of it.

    Attributes:
        rows: ``(3, 3)`` Å, of growing length.
        transform: ``(3, 3)`` integers, ``rows = transform @ lattice``.
        inverse: inverse of ``transform``: ``frac @ inverse`` are coordinates in the reduced cell.
        spacings: ``(3,)`` distances in Å between the lattice planes that face the rows.
        shortest: length of the shortest lattice vector, Å.
        volume: Å3, positive.
    """

    rows: Floats
    transform: Ints
    inverse: Floats
    spacings: Floats
    shortest: float
    volume: float


def reduce_cell(lattice: ArrayLike) -> ReducedCell:
    """A Minkowski-reduced cell of the same lattice; the last few answers are kept.

    Semaev (2001), "A 3-dimensional lattice reduction algorithm": reduce the longest vector by the
    nearest point of the plane lattice of the two others until nothing becomes shorter.

    Raises:
        InputError: for a cell without volume or with entries that are not finite.
    """
    cell = np.ascontiguousarray(lattice, np.float64)
    if cell.shape != (3, 3):
        raise InputError(
            f"lattice of shape {cell.shape} is no finite 3x3 cell; give rows a, b, c in Å."
        )
    return _reduce(cell.tobytes())


def relative_volume(lattice: Floats) -> float:
    """Volume over the product of the edges, 1 for a right-angled cell; 0 for a flat one."""
    lengths = np.sqrt((lattice * lattice).sum(1))
    if not lengths.min() > 0:
        return 0.0
    return abs(triple_product(lattice / lengths[:, None]))


def triple_product(rows: ArrayLike) -> float:
    """Signed volume of three vectors."""
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rows).tolist()
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


@lru_cache(maxsize=256)
def _reduce(data: bytes) -> ReducedCell:
    cell = np.frombuffer(data, np.float64).reshape(3, 3)
    if not np.all(np.isfinite(cell)):
        raise InputError("the lattice is not finite; give rows a, b, c in Å.")
    if relative_volume(cell) < FLAT:
        raise InputError(
            "the lattice has no volume; give three lattice vectors that are not in one plane."
        )
    rows = [tuple(map(float, row)) for row in cell]
    steps = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    norms = [_dot(row, row) for row in rows]
    for _ in range(1000):
        order = sorted(range(3), key=norms.__getitem__)
        rows, steps = [rows[k] for k in order], [steps[k] for k in order]
        norms = [norms[k] for k in order]
        a, b, c = rows
        ab, ac, bc = _dot(a, b), _dot(a, c), _dot(b, c)
        times = round(ab / norms[0])
        if times and norms[1] - 2 * times * ab + times * times * norms[0] < norms[1] * _SHORTER:
            rows[1] = _minus(b, a, times)
            steps[1] = _minus(steps[1], steps[0], times)
            norms[1] = _dot(rows[1], rows[1])
            continue
        # Nearest point of the plane lattice (a, b) to c: exact solution, then its neighbours.
        determinant = norms[0] * norms[1] - ab * ab
        x0 = round((norms[1] * ac - ab * bc) / determinant)
        y0 = round((norms[0] * bc - ab * ac) / determinant)
        best, squared = (0, 0), norms[2]
        for x in (x0, x0 - 1, x0 + 1):
            for y in (y0, y0 - 1, y0 + 1):
                square = (
                    norms[2]
                    + x * x * norms[0]
                    + y * y * norms[1]
                    + 2 * (x * y * ab - x * ac - y * bc)
                )
                if square < squared * _SHORTER:
                    best, squared = (x, y), square
        if best == (0, 0):
            return _reduced_of(cell, np.array(steps, np.int64))
        for k, times in enumerate(best):
            rows[2] = _minus(rows[2], rows[k], times)
            steps[2] = _minus(steps[2], steps[k], times)
        norms[2] = _dot(rows[2], rows[2])
    raise InputError("the lattice could not be reduced; its vectors are almost in one plane.")


def _reduced_of(cell: Floats, transform: Ints) -> ReducedCell:
    rows = transform @ cell
    inverse = np.rint(np.linalg.inv(transform))
    spacings = plane_spacings(rows)
    for array in (rows, transform, inverse, spacings):
        array.setflags(write=False)
    return ReducedCell(
        rows,
        transform,
        inverse,
        spacings,
        math.sqrt(_dot(rows[0], rows[0])),
        abs(triple_product(rows)),
    )


_SHORTER = 1 - 1e-10
_Vector = tuple[float, ...]


def _dot(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _minus(a: Any, b: Any, times: int) -> Any:
    return (a[0] - times * b[0], a[1] - times * b[1], a[2] - times * b[2])


def plane_spacings(lattice: ArrayLike) -> Floats:
    """``(3,)`` distances in Å between the lattice planes that face a, b and c."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(np.asarray(lattice)), axis=0), np.float64)


def shortest_lattice_vector(lattice: ArrayLike) -> float:
    """Distance of an atom to its own nearest image, Å."""
    return reduce_cell(lattice).shortest


def _image_range(cell: ReducedCell, cutoff: float) -> Ints:
    """``(images, 3)`` cells that can hold a point within ``cutoff`` of a wrapped difference."""
    reach = np.floor(cutoff / cell.spacings + 0.5).astype(np.int64)
    axes = [np.arange(-n, n + 1) for n in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


#: In a Minkowski-reduced cell the nearest image of a wrapped difference is one of these: its
#: Voronoi-relevant vectors have coefficients -1, 0 and 1 (Tammela 1973; Nguyen and Stehlé 2009).
_NEAR_IMAGES = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)


def nearest_image_distances(points: ArrayLike, targets: ArrayLike, lattice: ArrayLike) -> Floats:
    """``(points, targets)`` distance in Å to the nearest image, 0 for coinciding points."""
    cell = reduce_cell(lattice)
    step = (_as_coords(targets)[None] - _as_coords(points)[:, None]) @ cell.inverse
    step -= np.rint(step)
    squares = np.full(step.shape[:2], np.inf)
    for shift in _NEAR_IMAGES:
        vectors = (step + shift) @ cell.rows
        np.minimum(squares, (vectors * vectors).sum(-1), out=squares)
    return np.sqrt(squares)


def distance_matrix(frac_coords: ArrayLike, lattice: ArrayLike) -> Floats:
    """``(atoms, atoms)`` distance to the nearest image in Å; own images on the diagonal."""
    distances = nearest_image_distances(frac_coords, frac_coords, lattice)
    np.fill_diagonal(distances, shortest_lattice_vector(lattice))
    return distances


def minimum_distance(frac_coords: ArrayLike, lattice: ArrayLike) -> float:
    """Smallest distance between any two atoms of the infinite crystal, Å.

    Own images count: the answer is never larger than the shortest lattice vector. No packing of
    equal spheres is denser than the face-centred one, so the smallest distance is at most
    (sqrt(2) V / N)^(1/3), which bounds the search.

    Returns:
        Å; infinite for no atoms at all.
    """
    frac = _as_coords(frac_coords)
    if len(frac) == 0:
        return float("inf")
    cell = reduce_cell(lattice)
    if len(frac) == 1:
        return cell.shortest
    local = wrap(frac @ cell.inverse)
    packed = (math.sqrt(2.0) * cell.volume / len(frac)) ** (1 / 3)
    bound = min(cell.shortest, packed) * (1 + 1e-6)
    if len(frac) <= BRUTE_FORCE_ATOMS:
        i, j = _upper_pairs(len(frac))
        step = local[j] - local[i]
        step -= np.rint(step)
        vectors = (step[:, None] + _image_range(cell, bound)) @ cell.rows
        found = float(np.sqrt((vectors * vectors).sum(-1).min()))
    else:
        found = float(_cell_list(local, cell, bound).distance.min(initial=np.inf))
    return min(found, cell.shortest)


_PAIRS: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}


def _upper_pairs(atoms: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if atoms not in _PAIRS:
        _PAIRS[atoms] = np.triu_indices(atoms, 1)
    return _PAIRS[atoms]


def neighbour_pairs(
    frac_coords: ArrayLike, lattice: ArrayLike, cutoff: float, method: str = "auto"
) -> NeighbourPairs:
    """All ordered pairs of atoms with a distance up to ``cutoff``, own images included.

    Args:
        frac_coords: ``(atoms, 3)``, wrapped or not.
        lattice: ``(3, 3)`` rows in Å, any skew, either hand.
        cutoff: Å, positive.
        method: ``"all pairs"`` (cost N²), ``"cell list"`` (cost N) or ``"auto"``, the cheaper one.

    Raises:
        InputError: for a cutoff that would give more than ``MAX_PAIRS`` pairs, and for a bad
            cell, coordinates, cutoff or method.
    """
    if method not in ("auto", "all pairs", "cell list"):
        raise InputError(f"method {method!r} is unknown; use 'auto', 'all pairs' or 'cell list'.")
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"cutoff is {cutoff}; give a positive distance in Å.")
    frac = _as_coords(frac_coords)
    cell = reduce_cell(lattice)
    raw = frac @ cell.inverse
    local = wrap(raw)
    found = _search(local, cell, cutoff, method)
    # An image in the reduced, wrapped description, told in the caller's coordinates.
    moved = np.rint(raw - local).astype(np.int64)
    image = (found.image - moved[found.second] + moved[found.first]) @ cell.transform
    return NeighbourPairs(found.first, found.second, image, found.distance)


def _search(local: Floats, cell: ReducedCell, cutoff: float, method: str) -> NeighbourPairs:
    """Pairs in a reduced cell with wrapped coordinates."""
    atoms = len(local)
    images = float(np.prod(2 * cutoff / cell.spacings + 1))
    expected = atoms * min(atoms * images, atoms * 4.19 * cutoff**3 / cell.volume + images)
    if expected > MAX_PAIRS:
        raise InputError(
            f"a cutoff of {cutoff:g} Å in a cell of {cell.volume:.3g} Å3 with {atoms} atoms gives "
            f"about {expected:.1e} pairs; use a smaller cutoff or a cell that is not squeezed."
        )
    if method == "all pairs" or (method == "auto" and atoms <= ALL_PAIRS_ATOMS):
        return _all_pairs(local, cell, cutoff)
    return _cell_list(local, cell, cutoff)


def _all_pairs(local: Floats, cell: ReducedCell, cutoff: float) -> NeighbourPairs:
    step = local[None] - local[:, None]
    whole = np.rint(step)
    shifts = _image_range(cell, cutoff)
    vectors = ((step - whole)[:, :, None] + shifts) @ cell.rows
    distances = np.sqrt((vectors * vectors).sum(-1))
    own = np.arange(len(local))
    here = int(np.flatnonzero((shifts == 0).all(1))[0])
    distances[own, own, here] = np.inf
    first, second, which = np.nonzero(distances <= cutoff)
    image = shifts[which] - whole[first, second].astype(np.int64)
    return NeighbourPairs(first, second, image, distances[first, second, which])


def _cell_list(local: Floats, cell: ReducedCell, cutoff: float) -> NeighbourPairs:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cartesian = np.ascontiguousarray(local @ cell.rows)
    found: tuple[Any, ...] = find_points_in_spheres(
        cartesian,
        cartesian,
        r=max(cutoff, _SMALLEST_BOX) if len(local) > BRUTE_FORCE_ATOMS else cutoff,
        pbc=np.ones(3, np.int64),
        lattice=cell.rows,
        tol=_ZERO,
    )
    first, second, image, distance = found
    own = (first == second) & (np.abs(image).sum(1) == 0)
    keep = ~own & (distance <= cutoff)
    return NeighbourPairs(
        first[keep].astype(np.int64),
        second[keep].astype(np.int64),
        np.rint(image[keep]).astype(np.int64),
        np.asarray(distance[keep], np.float64),
    )
