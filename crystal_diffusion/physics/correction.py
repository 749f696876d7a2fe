"""Moving atoms apart until none is too close, or saying that they do not fit.

Pushing every close pair apart by a fixed step oscillates: atoms that are squeezed between others
jump from side to side. Here the overlap energy sum over pairs of (limit - distance)² is minimised
instead (L-BFGS, Nocedal 1980), which comes to rest; where it rests with overlap left, the atoms
are shaken with growing strength and it starts again, and at last they start from an even spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import (
    Floats,
    distance_matrix,
    nearest_image_distances,
    neighbour_pairs,
    reduce_cell,
    shortest_lattice_vector,
)

Outcome = Literal["unchanged", "corrected", "impossible", "not found"]

#: Atoms are pushed this much beyond their limit, so that rounding to float32 cannot undo it.
_MARGIN = 1e-4
#: A pair is good when its distance is at least the limit less this, Å.
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class CorrectionResult:
    """Where the atoms are after correction, and whether that is valid.

    Attributes:
        frac_coords: ``(atoms, 3)`` in [0, 1): the best arrangement that was found.
        valid: whether every pair keeps its limit.
        outcome: ``unchanged`` (was valid), ``corrected``, ``impossible`` (no arrangement can fit,
            by proof), ``not found`` (none was found in the rounds allowed).
        reason: one sentence.
        rounds: how many minimisations were run.
        moved: largest distance that an atom was moved, Å, by its nearest image.
        worst: smallest ratio of a distance to its limit.
    """

    frac_coords: Floats
    valid: bool
    outcome: Outcome
    reason: str
    rounds: int
    moved: float
    worst: float


def separate_atoms(
    frac_coords: ArrayLike,
    lattice: ArrayLike,
    limits: ArrayLike,
    *,
    fixed: ArrayLike | None = None,
    max_rounds: int = 10,
    rng: np.random.Generator | int = 0,
) -> CorrectionResult:
    """Atoms moved as little as it takes for every pair to keep its limit.

    Args:
        frac_coords: ``(atoms, 3)``.
        lattice: ``(3, 3)`` rows in Å; it is not changed.
        limits: smallest distance in Å: one number or ``(atoms, atoms)``, symmetric; the diagonal
            limits the distance of an atom to its own images.
        fixed: ``(atoms,)`` true for atoms that must stay where they are.
        max_rounds: minimisations before giving up, at least 1.
        rng: source of the shaking, or an integer seed.

    Returns:
        A result with ``valid`` true, or false with the reason.

    Raises:
        InputError: for shapes that do not fit, values that are not finite, a flat cell.
    """
    frac = wrap(frac_coords)
    cell = np.asarray(lattice, np.float64)
    if frac.ndim != 2 or frac.shape[1] != 3 or not np.all(np.isfinite(frac)):
        raise InputError(
            f"frac_coords of shape {frac.shape} are not finite (atoms, 3) numbers; "
            "give fractional coordinates."
        )
    if max_rounds < 1:
        raise InputError(f"max_rounds is {max_rounds}; at least one round is needed.")
    atoms = len(frac)
    needed = _limit_matrix(limits, atoms)
    still = np.zeros(atoms, bool) if fixed is None else np.asarray(fixed, bool)
    if still.shape != (atoms,):
        raise InputError(f"fixed has shape {still.shape}; give one flag for each of {atoms} atoms.")
    if atoms == 0:
        return CorrectionResult(frac, True, "unchanged", "there are no atoms.", 0, 0.0, np.inf)
    worst = _worst_ratio(frac, cell, needed)
    if worst >= 1:
        return CorrectionResult(
            frac, True, "unchanged", "all pairs keep their limits.", 0, 0.0, worst
        )
    proof = _impossible(frac, cell, needed, still)
    if proof is not None:
        return CorrectionResult(frac, False, "impossible", proof, 0, 0.0, worst)
    generator = np.random.default_rng(rng)
    best, best_ratio = frac, worst
    for round_number in range(max_rounds):
        start = _start(frac, best, cell, needed, still, round_number, max_rounds, generator)
        found = wrap(_minimise(start, cell, needed * (1 + _MARGIN), still))
        ratio = _worst_ratio(found, cell, needed)
        if ratio > best_ratio:
            best, best_ratio = found, ratio
        if ratio >= 1:
            moved = _largest_move(frac, found, cell)
            return CorrectionResult(
                found,
                True,
                "corrected",
                f"all pairs keep their limits after {round_number + 1} rounds; "
                f"the largest move was {moved:.3f} Å.",
                round_number + 1,
                moved,
                ratio,
            )
    return CorrectionResult(
        best,
        False,
        "not found",
        f"no arrangement of the {atoms} atoms that keeps all limits was found in {max_rounds} "
        f"rounds; the best has a pair at {best_ratio:.2f} of its limit.",
        max_rounds,
        _largest_move(frac, best, cell),
        best_ratio,
    )


def _limit_matrix(limits: ArrayLike, atoms: int) -> Floats:
    values = np.asarray(limits, np.float64)
    if values.ndim == 0:
        values = np.full((atoms, atoms), float(values))
    if values.shape != (atoms, atoms) or not np.all(np.isfinite(values)) or values.min() < 0:
        raise InputError(
            f"limits of shape {values.shape} do not fit {atoms} atoms; "
            "give one distance in Å or a matrix (atoms, atoms), none negative."
        )
    if not np.allclose(values, values.T):
        raise InputError("limits are not symmetric; the limit of i with j is that of j with i.")
    return values


def _worst_ratio(frac: Floats, cell: Floats, limits: Floats) -> float:
    """Smallest distance / limit; at least 1 when all is well (limits of 0 never bind)."""
    if limits.max() <= 0:
        return float("inf")
    if len(frac) <= 64:
        distances = distance_matrix(frac, cell)
        wanted = limits
    else:
        pairs = neighbour_pairs(frac, cell, float(limits.max()))
        distances, wanted = pairs.distance, limits[pairs.first, pairs.second]
    binding = wanted > 0
    if not binding.any():
        return float("inf")
    ratio = (distances[binding] + _TOLERANCE) / wanted[binding]
    return float(ratio.min())


def _impossible(frac: Floats, cell: Floats, limits: Floats, fixed: NDArray[np.bool_]) -> str | None:
    """A proof that no arrangement can fit, in words, or nothing."""
    shortest = shortest_lattice_vector(cell)
    own = np.diagonal(limits)
    if shortest + _TOLERANCE < own.max():
        return (
            f"no valid arrangement fits: the shortest lattice vector is {shortest:.3f} Å, less "
            f"than the {own.max():.3f} Å an atom must keep from its own images; enlarge the cell."
        )
    smallest, atoms = float(limits.min()), len(limits)
    volume = abs(float(np.linalg.det(cell)))
    needed = atoms * smallest**3 / np.sqrt(2.0)
    if needed > volume * (1 + 1e-9):
        return (
            f"no valid arrangement fits: {atoms} atoms at {smallest:.3f} Å from each other need at "
            f"least {needed:.2f} Å3 even in the densest packing of spheres, and the cell has "
            f"{volume:.2f} Å3; enlarge the cell or take fewer atoms."
        )
    where = np.flatnonzero(fixed)
    if len(where) > 1:
        block = np.ix_(where, where)
        if _worst_ratio(frac[where], cell, limits[block]) < 1:
            return "no valid arrangement fits: two atoms that must stay are too close already."
    return None


def _start(
    given: Floats,
    best: Floats,
    cell: Floats,
    limits: Floats,
    fixed: NDArray[np.bool_],
    round_number: int,
    max_rounds: int,
    rng: np.random.Generator,
) -> Floats:
    """Where a round starts: as given, shaken ever more, in the last third an even spread."""
    free = ~fixed[:, None]
    back = np.linalg.inv(cell)
    if round_number == 0:
        # Atoms on top of each other have no direction to part in: a hair's breadth gives one.
        jitter = rng.normal(size=given.shape) * 1e-3 * limits.mean()
        return np.asarray(given + (free * jitter) @ back, np.float64)
    if round_number >= max(2, (2 * max_rounds) // 3):
        return np.where(free, _even_spread(len(given), cell, limits, fixed, given, rng), given)
    strength = 0.35 * round_number * float(limits.mean())
    basis = best if round_number % 2 else given
    shaking = rng.normal(size=given.shape) * strength
    return np.asarray(basis + (free * shaking) @ back, np.float64)


def _even_spread(
    atoms: int,
    cell: Floats,
    limits: Floats,
    fixed: NDArray[np.bool_],
    given: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Points put one after the other where they are farthest from all before them."""
    placed = [int(k) for k in np.flatnonzero(fixed)]
    out = given.copy()
    order = np.argsort(-limits.sum(1) + 1e-6 * rng.random(atoms))
    trials = wrap(rng.random((256, 3)))
    for atom in order:
        if fixed[atom]:
            continue
        if placed:
            near = nearest_image_distances(trials, out[placed], cell)
            wanted = np.maximum(limits[atom, placed], 1e-9)
            out[atom] = trials[int((near / wanted).min(1).argmax())]
        else:
            out[atom] = trials[0]
        placed.append(int(atom))
        trials = wrap(rng.random((256, 3)))
    return out


def _minimise(start: Floats, cell: Floats, limits: Floats, fixed: NDArray[np.bool_]) -> Floats:
    """The nearest resting point of the overlap energy."""
    from scipy.optimize import minimize

    shape = start.shape
    energy = _overlap_energy(cell, limits, fixed)
    answer = minimize(
        energy,
        (start @ cell).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "ftol": 0.0, "gtol": 1e-12, "maxcor": 20},
    )
    return np.asarray(answer.x.reshape(shape) @ np.linalg.inv(cell), np.float64)


def _overlap_energy(
    cell: Floats, limits: Floats, fixed: NDArray[np.bool_]
) -> Callable[[Floats], tuple[float, Floats]]:
    """Energy and gradient in Cartesian coordinates; pairs with all their near images."""
    back = np.linalg.inv(cell)
    reach = float(limits.max())

    def energy(flat: Floats) -> tuple[float, Floats]:
        frac = flat.reshape(-1, 3) @ back
        pairs = neighbour_pairs(frac, cell, reach)
        wanted = limits[pairs.first, pairs.second]
        close = (pairs.distance < wanted) & (pairs.first != pairs.second)
        first, second = pairs.first[close], pairs.second[close]
        distance, overlap = pairs.distance[close], (wanted - pairs.distance)[close]
        step = frac[second] + pairs.image[close] - frac[first]
        unit = (step @ cell) / np.maximum(distance, 1e-9)[:, None]
        gradient = np.zeros((len(frac), 3))
        # Each pair is listed from both ends: half the energy each, the whole gradient of one end.
        np.add.at(gradient, first, 2 * overlap[:, None] * unit)
        gradient[fixed] = 0.0
        return 0.5 * float((overlap * overlap).sum()), gradient.ravel()

    return energy


def _largest_move(before: Floats, after: Floats, cell: Floats) -> float:
    reduced = reduce_cell(cell)
    step = (after - before) @ reduced.inverse
    step -= np.rint(step)
    return float(np.sqrt(((step @ reduced.rows) ** 2).sum(1)).max())
