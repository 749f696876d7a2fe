"""The search of pymatgen's ``StructureMatcher`` on arrays: same answer, less time per pair.

Ong et al. (2013), "Python Materials Genomics". For two reduced crystals scaled to one volume, all
bases of the first lattice near the cell of the second are tried, and for each all translations
that put a rarest atom of one on a like atom of the other; atoms are then assigned by the least sum
of squared distances in the mean cell. What costs time in the original is making lattice objects,
so cells are worked out for all bases at once here; distances, assignment and lattice reduction
come from the same routines as in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import (
    cell_angles,
    edge_lengths,
    lattice_from_parameters,
    lattice_to_parameters,
)
from crystal_diffusion.matching.reduced import Floats, Ints, ReducedCrystal

#: Below this the original stops looking for a better assignment.
_PERFECT = 1e-5
#: Slack on necessary conditions, far above rounding and the tolerance of the Niggli reduction.
_SLACK = 1e-3
_DELTA = 0.75


@dataclass(frozen=True)
class Tolerances:
    """Tolerances of ``StructureMatcher``.

    Attributes:
        ltol: fractional tolerance of cell edges.
        stol: tolerance of positions, in units of (V/N)^(1/3).
        angle_tol: degrees.
    """

    ltol: float
    stol: float
    angle_tol: float


class MeanCell:
    """The mean of two cells, with its LLL-reduced form, as the distance routine wants it."""

    pbc = (True, True, True)

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix
        self.lll_matrix: Floats
        self._inverse: Floats
        if _is_lll_reduced(matrix):
            self.lll_matrix, self._inverse = matrix, np.eye(3)
        else:
            from pymatgen.core import Lattice

            lattice = Lattice(matrix)
            self.lll_matrix = np.ascontiguousarray(lattice.lll_matrix, dtype=np.float64)
            self._inverse = np.asarray(np.linalg.inv(lattice.lll_mapping), np.float64)

    def get_lll_frac_coords(self, frac_coords: Floats) -> Floats:
        """Coordinates in the LLL-reduced cell."""
        return np.asarray(np.dot(frac_coords, self._inverse), np.float64)


def _is_lll_reduced(matrix: Floats) -> bool:
    """Whether LLL would leave the cell as it is, clear of any rounding."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = matrix.tolist()
    aa = ax * ax + ay * ay + az * az
    u10 = (ax * bx + ay * by + az * bz) / aa
    if abs(u10) > 0.5 - 1e-9:
        return False
    px, py, pz = bx - u10 * ax, by - u10 * ay, bz - u10 * az
    bb = px * px + py * py + pz * pz
    if bb < (_DELTA - u10 * u10 + 1e-9) * aa:
        return False
    u20 = (ax * cx + ay * cy + az * cz) / aa
    u21 = (px * cx + py * cy + pz * cz) / bb
    if abs(u20) > 0.5 - 1e-9 or abs(u21) > 0.5 - 1e-9:
        return False
    qx, qy, qz = (
        cx - u20 * ax - u21 * px,
        cy - u20 * ay - u21 * py,
        cz - u20 * az - u21 * pz,
    )
    return bool(qx * qx + qy * qy + qz * qz >= (_DELTA - u21 * u21 + 1e-9) * bb)


def cannot_match(first: ReducedCrystal, second: ReducedCrystal, tolerances: Tolerances) -> bool:
    """Whether a match is ruled out by theorem, before any search.

    The composition and the number of atoms must agree. A match maps the cell of ``second`` on three
    independent vectors of ``first``, each at most (1 + ltol) times as long, so the successive
    minima of ``first`` (the edges of its Niggli cell) cannot exceed (1 + ltol) times those of
    ``second``.
    """
    if first.key != second.key:
        return True
    limit = (1 + tolerances.ltol) * (1 + _SLACK)
    return bool((first.minima > limit * second.minima).any())


def best_match(
    first: ReducedCrystal, second: ReducedCrystal, tolerances: Tolerances, use_rms: bool
) -> float | None:
    """Least normalised displacement of all ways to lay one crystal on the other.

    Args:
        first, second: crystals in reduced form; the answer depends slightly on their order, as in
            pymatgen.
        tolerances: when two crystals count as alike.
        use_rms: root mean square over atoms, all ways tried; otherwise the largest over atoms,
            and the search ends with the first way within ``stol``.

    Returns:
        The displacement in units of (V/N)^(1/3), or ``None`` where there is no match.
    """
    if cannot_match(first, second, tolerances):
        return None
    ratio = (second.volume / first.volume) ** (1 / 6)
    cell_one, cell_two = first.matrix * ratio, second.matrix / ratio
    bases = near_bases(cell_one, cell_two, tolerances)
    if not len(bases):
        return None
    atoms = len(first)
    mask = np.ascontiguousarray(second.numbers[:, None] != first.numbers[None], np.int64)
    anchor = int(np.argmax(mask.sum(-1)))
    targets = np.flatnonzero(mask[anchor] == 0)
    cells, volumes = _mean_cells(bases, cell_two)
    normal = (atoms / volumes) ** (1 / 3)
    tolerance = _inverse_spacings(cells) * (tolerances.stol / (np.pi * normal))[:, None]
    positions = first.frac_coords @ cell_one
    inverses = np.linalg.inv(bases)
    best: float | None = None
    for index in range(len(bases)):
        frac_one = positions @ inverses[index]
        frac_one -= np.floor(frac_one)
        found = _best_translation(
            frac_one,
            second.frac_coords,
            mask,
            (anchor, targets),
            cells[index],
            float(normal[index]),
            tolerance[index],
            tolerances.stol,
            use_rms,
            best,
        )
        best, done = found
        if done:
            return best
    return best if best is not None and best < tolerances.stol else None


def _assign(squares: Floats) -> tuple[Ints, Ints]:
    """The one-to-one assignment of least sum: of each row to its minimum where that is one."""
    rows, columns = np.nonzero(squares == squares.min(1, keepdims=True))
    if len(rows) == len(squares) == len(set(columns.tolist())):
        return rows, columns
    return _linear_sum_assignment()(squares)


@cache
def _linear_sum_assignment() -> Callable[[Floats], tuple[Ints, Ints]]:
    """SciPy's function, from its compiled module alone where that can be loaded.

    All of ``scipy.optimize`` takes a third of a second to import, more than all the matching of a
    short command.
    """
    import scipy

    found = PathFinder.find_spec("_lsap", [str(Path(scipy.__file__).parent / "optimize")])
    try:
        if found is not None and found.loader is not None:
            module = module_from_spec(found)
            found.loader.exec_module(module)
            function: Callable[[Floats], tuple[Ints, Ints]] = module.linear_sum_assignment
            return function
    except (ImportError, AttributeError):
        pass  # another version of SciPy, which keeps it elsewhere
    from scipy.optimize import linear_sum_assignment

    whole: Callable[[Floats], tuple[Ints, Ints]] = linear_sum_assignment
    return whole


def _best_translation(
    frac_one: Floats,
    frac_two: Floats,
    mask: Ints,
    anchors: tuple[int, Ints],
    cell: Floats,
    normal: float,
    tolerance: Floats,
    stol: float,
    use_rms: bool,
    best: float | None,
) -> tuple[float | None, bool]:
    """The best value over all translations in one basis, and whether the search may end."""
    from pymatgen.util.coord_cython import is_coord_subset_pbc, pbc_shortest_vectors

    anchor, targets = anchors
    mean: MeanCell | None = None
    reach: Any = None
    for target in targets:
        moved = frac_two + (frac_one[target] - frac_two[anchor])
        if not is_coord_subset_pbc(moved, frac_one, tolerance, mask):
            continue
        if mean is None:
            mean = MeanCell(cell)
            reach = _inverse_spacings(mean.lll_matrix) * (stol / (np.pi * normal))
        vectors, squares = pbc_shortest_vectors(mean, moved, frac_one, mask, True, reach)
        rows, columns = _assign(squares)
        steps = vectors[rows, columns]
        steps -= steps.sum(0) / len(steps)
        rest = np.sqrt((steps * steps).sum(-1)) * normal
        value = float(np.sqrt(np.dot(rest, rest)) / len(rest) ** 0.5 if use_rms else rest.max())
        if best is None or value < best:
            best = value
            if (not use_rms or value < _PERFECT) and value < stol:
                return best, True
    return best, False


def near_bases(cell_one: Floats, cell_two: Floats, tolerances: Tolerances) -> Floats:
    """All bases of one lattice whose edges and angles are near those of another cell.

    Returns:
        ``(bases, 3, 3)`` rows a, b, c in Å, each spanning one primitive cell.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    lengths, angles = edge_lengths(cell_two), cell_angles(cell_two)
    origin = np.zeros((1, 3))
    _, _, images, distances = find_points_in_spheres(
        all_coords=origin,
        center_coords=origin,
        r=float(lengths.max() * (1 + tolerances.ltol)),
        pbc=np.ones(3, np.int64),
        lattice=np.ascontiguousarray(cell_one),
        tol=1e-8,
    )
    relative = distances[None] / lengths[:, None]
    inside = (relative < 1 + tolerances.ltol) & (relative > 1 / (1 + tolerances.ltol))
    whole = [np.asarray(images[rows]) for rows in inside]
    vectors = [rows @ cell_one for rows in whole]
    long = [edge_lengths(rows) for rows in vectors]

    def close(j: int, k: int, angle: float) -> Any:
        cosines = vectors[j] @ vectors[k].T / long[j][:, None] / long[k]
        found = np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))
        return np.abs(found - angle) <= tolerances.angle_tol

    alpha, beta, gamma = close(1, 2, angles[0]), close(0, 2, angles[1]), close(0, 1, angles[2])
    a, b = np.nonzero(gamma)
    pair, c = np.nonzero(alpha[b] & beta[a])
    a, b = a[pair], b[pair]
    spans = np.stack([whole[0][a], whole[1][b], whole[2][c]], 1)
    volumes = np.abs(_triple(spans))
    one = np.abs(volumes - 1) <= 0.5
    return np.stack([vectors[0][a[one]], vectors[1][b[one]], vectors[2][c[one]]], 1)


def _triple(rows: Floats) -> Floats:
    return np.asarray((np.cross(rows[..., 0, :], rows[..., 1, :]) * rows[..., 2, :]).sum(-1))


def _mean_cells(bases: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Cells with the mean edges and angles of each basis and ``cell``, and their volumes."""
    means = (lattice_to_parameters(bases) + lattice_to_parameters(cell)) / 2
    cells = np.ascontiguousarray(lattice_from_parameters(means))
    return cells, np.abs(_triple(cells))


def _inverse_spacings(cells: Floats) -> Floats:
    """Lengths of the reciprocal basis, 2 pi over the spacing of lattice planes, 1/Å."""
    return edge_lengths(np.swapaxes(np.linalg.inv(cells), -1, -2) * 2 * np.pi)
