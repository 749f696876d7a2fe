"""Put two crystals of one structure type into one common frame, elements left out of account.

The atoms of a crystal carry a *role* (0, 1, 2, ...) instead of an element. Two crystals are of
one type when a change of basis, an origin shift and a permutation of atoms inside each role bring
all atoms of one close to those of the other, after both were scaled to one volume per atom.

Distances are in units of (V/N)^(1/3), the unit in which pymatgen's StructureMatcher gives its RMS.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """One crystal with roles: ``lattice (3, 3)`` rows in Å, ``coords`` and ``roles`` of atoms."""

    lattice: Floats
    coords: Floats
    roles: Ints

    @property
    def scale(self) -> float:
        """(V/N)^(1/3) in Å."""
        return float((abs(np.linalg.det(self.lattice)) / len(self.coords)) ** (1 / 3))


@dataclass(frozen=True)
class Alignment:
    """A crystal in the frame of another: same atom order, same basis, same origin.

    Attributes:
        rms: normalised RMS distance; ``largest``: the largest single distance, same unit.
    """

    frame: Frame
    rms: float
    largest: float


@cache
def unimodular_matrices() -> Ints:
    """All 3x3 integer matrices with entries in {-1, 0, 1} and determinant ±1, identity first."""
    rows = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    rows = rows[np.abs(rows).sum(1) > 0]
    first, second, third = np.meshgrid(*(np.arange(len(rows)),) * 3, indexing="ij")
    matrices = np.stack([rows[first.ravel()], rows[second.ravel()], rows[third.ravel()]], 1)
    matrices = matrices[np.abs(np.rint(np.linalg.det(matrices))) == 1]
    order = np.argsort(np.abs(matrices - np.eye(3, dtype=int)).sum((1, 2)), kind="stable")
    return matrices[order].astype(np.int64)


def cell_parameters(metrics: Floats) -> tuple[Floats, Floats]:
    """Lengths and angle cosines ``(..., 3)`` of metric tensors ``(..., 3, 3)``."""
    lengths = np.sqrt(np.diagonal(metrics, axis1=-2, axis2=-1))
    outer = metrics / (lengths[..., :, None] * lengths[..., None, :])
    return lengths, np.stack([outer[..., 1, 2], outer[..., 0, 2], outer[..., 0, 1]], -1)


@cache
def _metric_weights() -> Floats:
    """``(matrices * 3, 6)``: squared row lengths from (g11, g22, g33, g23, g13, g12)."""
    m = unimodular_matrices().astype(float)
    squares = [m[..., 0] ** 2, m[..., 1] ** 2, m[..., 2] ** 2]
    mixed = [2 * m[..., 1] * m[..., 2], 2 * m[..., 0] * m[..., 2], 2 * m[..., 0] * m[..., 1]]
    return np.stack(squares + mixed, -1).reshape(-1, 6)


def matching_bases(
    target: Floats, lattice: Floats, ltol: float, angle_tol: float, limit: int = 96
) -> Ints:
    """Integer matrices M with ``M @ lattice`` close to ``target``, the closest first.

    Args:
        target, lattice: ``(3, 3)`` rows, already scaled to one volume.
        ltol: largest relative difference of lengths; angle_tol: of angles, in degrees.
    """
    metric = lattice @ lattice.T
    six = metric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    squared = (_metric_weights() @ six).reshape(-1, 3)
    wanted_lengths, wanted_cosines = cell_parameters(target @ target.T)
    ratio = squared / wanted_lengths**2
    high, low = (1 + ltol) ** 2, (1 + ltol) ** -2
    near = np.flatnonzero(((ratio < high) & (ratio > low)).all(1))
    matrices = unimodular_matrices()[near]
    rows = matrices @ lattice
    lengths, cosines = cell_parameters(rows @ rows.transpose(0, 2, 1))
    off = np.abs(np.log(lengths / wanted_lengths)).max(1, initial=0.0)
    turn = np.abs(_degrees(cosines) - _degrees(wanted_cosines)).max(1, initial=0.0)
    good = np.flatnonzero(turn <= angle_tol)
    order = np.argsort(off[good] / ltol + turn[good] / angle_tol, kind="stable")
    return matrices[good[order[:limit]]]


def _degrees(cosines: Floats) -> Floats:
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))), dtype=float)


def _assign(squared: Floats, other_role: NDArray[np.bool_]) -> Ints | None:
    """For each target atom the atom of the crystal that takes its place, or None."""
    squared = np.where(other_role, 1e6, squared)
    nearest = squared.argmin(1)
    if len(set(nearest.tolist())) == len(nearest):
        return np.asarray(nearest, dtype=np.int64)
    # Not at the top: importing it takes a quarter of a second, and most crystals end above.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(squared)
    if squared[rows, columns].max() > 1e5:
        return None
    return np.asarray(columns, dtype=np.int64)


def align(
    target: Frame,
    crystal: Frame,
    *,
    ltol: float = 0.25,
    angle_tol: float = 10.0,
    largest: float = 0.35,
    identity_only: bool = False,
    enough: float = 1e-3,
) -> Alignment | None:
    """The crystal moved into the frame of ``target``, or None where they are not of one type.

    Args:
        largest: largest distance allowed for any atom, in units of (V/N)^(1/3).
        identity_only: try only the basis as it stands (for cells in one standard setting).
        enough: stop looking for a better fit below this RMS.
    """
    atoms = len(target.coords)
    counts = np.bincount(target.roles)
    if len(crystal.coords) != atoms or not np.array_equal(counts, np.bincount(crystal.roles)):
        return None
    target_lattice = target.lattice / target.scale
    lattice = crystal.lattice / crystal.scale
    if not identity_only:
        bases = matching_bases(target_lattice, lattice, ltol, angle_tol)
    elif _cells_close(target_lattice, lattice, ltol, angle_tol):
        bases = np.eye(3, dtype=np.int64)[None]
    else:
        return None
    anchor = int(np.flatnonzero(crystal.roles == np.where(counts > 0, counts, 999).argmin())[0])
    targets = np.flatnonzero(target.roles == crystal.roles[anchor])
    other_role = target.roles[:, None] != crystal.roles[None, :]
    best: Alignment | None = None
    for start in range(0, len(bases), 8):
        block = bases[start : start + 8].astype(float)
        moved = block @ lattice
        metrics = (target_lattice @ target_lattice.T + moved @ moved.transpose(0, 2, 1)) / 2
        means = np.linalg.cholesky(metrics)
        coords = crystal.coords @ np.linalg.inv(block)  # (bases, atoms, 3)
        shifts = target.coords[targets][None] - coords[:, anchor][:, None]
        if identity_only:
            shifts = np.concatenate([np.zeros((len(block), 1, 3)), shifts], 1)
        # (bases, shifts, target atoms, atoms, 3)
        delta = (
            coords[:, None, None] + shifts[:, :, None, None] - target.coords[None, None, :, None]
        )
        delta -= np.rint(delta)
        steps = delta @ means[:, None, None]
        squared = np.einsum("...i,...i", steps, steps)
        reach = np.where(other_role, 1e6, squared).min(-1).max(-1)
        candidates = np.argwhere(reach <= (1.6 * largest) ** 2)
        values = reach[candidates[:, 0], candidates[:, 1]]
        for which in np.argsort(values, kind="stable"):
            base, shift = candidates[which]
            if best is not None and values[which] > (2 * best.largest) ** 2:
                break
            columns = _assign(squared[base, shift], other_role)
            if columns is None:
                continue
            moves = delta[base, shift][np.arange(atoms), columns]
            moves = moves - moves.mean(0)
            distances = np.sqrt(np.square(moves @ means[base]).sum(-1))
            rms = float(np.sqrt(np.square(distances).mean()))
            if distances.max() < largest and (best is None or rms < best.rms - 1e-9):
                frame = Frame(block[base] @ crystal.lattice, target.coords + moves, target.roles)
                best = Alignment(frame, rms, float(distances.max()))
                if rms < enough:
                    return best
    return best


def _cells_close(target: Floats, lattice: Floats, ltol: float, angle_tol: float) -> bool:
    lengths, cosines = cell_parameters(lattice @ lattice.T)
    wanted, wanted_cosines = cell_parameters(target @ target.T)
    turn = np.abs(_degrees(cosines) - _degrees(wanted_cosines))
    return bool(
        np.abs(np.log(lengths / wanted)).max() <= np.log1p(ltol) and turn.max() <= angle_tol
    )


def neighbour_fingerprint(frame: Frame, neighbours: int = 12) -> Floats:
    """Mean sorted distances ``(roles, neighbours)`` to the nearest atoms, in (V/N)^(1/3).

    Rows are the roles of the central atom; the roles of the neighbours are left out of account.
    """
    lattice = frame.lattice / frame.scale
    delta = frame.coords[None] - frame.coords[:, None]
    delta -= np.rint(delta)
    atoms = len(frame.coords)
    vectors = (delta[:, :, None] + _IMAGES[: 125 if atoms < 6 else 27]) @ lattice
    distances = np.sqrt(np.square(vectors).sum(-1)).reshape(atoms, -1)
    nearest = np.sort(np.partition(distances, neighbours + 1, axis=1)[:, : neighbours + 1])[:, 1:]
    counts = np.bincount(frame.roles).astype(float)
    total = np.zeros((len(counts), neighbours))
    np.add.at(total, frame.roles, nearest)
    return np.asarray(total / counts[:, None], dtype=float)


_IMAGES = np.array(
    sorted(itertools.product(range(-2, 3), repeat=3), key=lambda image: max(map(abs, image))),
    dtype=float,
)
