"""Which letters of a space group mean the same: equal descriptions of one crystal.

A change of origin or axes that maps a space group onto itself (an element of its affine
normaliser) renames Wyckoff letters without touching the crystal: in Pm-3m a and b, and with them c
and d, change places when the origin moves by (1/2, 1/2, 1/2). The renamings of each group are
worked out once from its operations and shipped; one description of each set is the canonical one.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.assignments import Assignment, Site
from crystal_diffusion.symmetry.groups import GRID, Floats, SpaceGroup, WyckoffPosition, wrap

TABLE = Path(__file__).parent.parent / "pretrained" / "wyckoff.equivalents.npz"

#: A generic point of every Wyckoff position: no accidental symmetry.
_GENERIC = np.array([0.1379137, 0.2713731, 0.4138211])


def canonical(assignment: Assignment, order: tuple[int, ...] | None = None) -> Assignment:
    """The description with the earliest letters among all equal ones.

    Args:
        assignment: elements on Wyckoff positions.
        order: atomic numbers in the order in which their letters are compared; by atomic number
            where left out.
    """
    keys = sorted({site.number for site in assignment.sites}) if order is None else list(order)
    place = {number: index for index, number in enumerate(keys)}
    numbers = np.array([place[site.number] for site in assignment.sites])
    letters = np.array([letter_index(site.letter) for site in assignment.sites])
    renamed = renamings(assignment.space_group)[:, letters]
    # Sort the letters of each element in every description, then take the lowest one.
    rows = np.sort(numbers[None] * 32 + renamed, axis=1)
    best = rows[np.lexsort(rows.T[::-1])[0]] if len(rows) > 1 else rows[0]
    sites = [Site(keys[int(row) // 32], letter_of(int(row) % 32)) for row in best]
    return Assignment(assignment.space_group, tuple(sorted(sites)))


def letter_index(letter: str) -> int:
    """0 for "a" to 26 for "A", the 27th position of Pmmm."""
    return 26 if letter == "A" else ord(letter) - ord("a")


def letter_of(index: int) -> str:
    """What :func:`letter_index` reads."""
    return chr(ord("a") + index) if index < 26 else "A"


@lru_cache(maxsize=230)
def renamings(number: int) -> np.ndarray:
    """``(renamings, letters)`` new index of each letter, the identity first.

    Raises:
        InputError: when the shipped table cannot be read.
    """
    arrays = _table()
    low, high = arrays["start"][number - 1 : number + 1]
    letters = len(SpaceGroup.from_number(number).positions)
    out: np.ndarray = arrays["renamings"][low:high].reshape(-1, letters).astype(np.int64)
    return out


@lru_cache(maxsize=1)
def _table() -> dict[str, np.ndarray]:
    try:
        with np.load(TABLE, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{TABLE.name}, the table of equal Wyckoff letters, cannot be read ({error}); "
            "reinstall the package."
        ) from error


def find_renamings(group: SpaceGroup) -> np.ndarray:
    """``(renamings, letters)`` worked out from the operations of the group, the identity first.

    Linear parts are those of the lattice's own symmetry in the conventional cell (for oblique
    cells every change of basis with entries -1, 0, 1); origins are multiples of 1/24, none along
    axes that the group leaves free. All translations that keep the group are combined with one
    element for each linear part, which gives the whole normaliser.
    """
    letters = len(group.positions)
    identity = tuple(range(letters))
    if letters == 1:
        return np.array([identity])
    origins = _origins(group)
    found = {identity}
    shifts = {_renaming(group, np.eye(3), origin) for origin in _allowed(group, np.eye(3), origins)}
    turns = {identity}
    for linear in _linear_parts(group):
        allowed = _allowed(group, linear, origins)
        if len(allowed):
            turns.add(_renaming(group, linear, allowed[0]))
    found = {tuple(a[i] for i in b) for a in shifts for b in turns}
    return np.array([identity, *sorted(found - {identity})])


def _linear_parts(group: SpaceGroup) -> list[Floats]:
    """Changes of axes that can map the group onto itself."""
    system = group.crystal_system
    if system in ("trigonal", "hexagonal"):
        metric = np.array([[1, -0.5, 0], [-0.5, 1, 0], [0, 0, 1.7]])
        trials = _unimodular()
        return [p for p in trials if np.allclose(p.T @ metric @ p, metric)]
    if system == "triclinic":
        # Half-lattice points move alike under matrices that are equal modulo 2.
        chosen: dict[bytes, Floats] = {}
        for part in _unimodular():
            chosen.setdefault((part % 2).tobytes(), part)
        return list(chosen.values())
    if system == "monoclinic":
        keep = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
        return [p for p in _unimodular() if not np.any(p[~keep])]
    return [p for p in _unimodular() if np.array_equal(np.abs(p).sum(0), np.ones(3))]


@lru_cache(maxsize=1)
def _unimodular() -> tuple[Floats, ...]:
    parts = np.array(list(itertools.product((-1, 0, 1), repeat=9)), float).reshape(-1, 3, 3)
    return tuple(parts[np.abs(np.abs(np.linalg.det(parts)) - 1) < 1e-6])


def _origins(group: SpaceGroup) -> Floats:
    """``(origins, 3)`` trial shifts; the axes along which the origin is free stay at 0."""
    free = [bool(np.all(group.rotations[:, :, axis] == np.eye(3)[axis])) for axis in range(3)]
    steps = [np.zeros(1) if f else np.arange(GRID) / GRID for f in free]
    return np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)


def _allowed(group: SpaceGroup, linear: Floats, origins: Floats) -> Floats:
    """The trial origins p for which x' = P x + p maps the group onto itself."""
    rotations, translations = group.rotations, group.translations
    back = np.linalg.inv(linear)
    known: dict[bytes, Floats] = {}
    for rotation in np.unique(rotations, axis=0):
        same = np.all(rotations == rotation, axis=(1, 2))
        known[(rotation + 0.0).tobytes()] = translations[same]
    left = origins
    for rotation, translation in zip(rotations, translations, strict=True):
        turned = np.round(linear @ rotation @ back) + 0.0
        targets = known.get(turned.tobytes())
        if targets is None:
            return left[:0]
        shift = linear @ translation + left - left @ turned.T
        away = shift[:, None] - targets[None]
        away = np.abs(away - np.round(away)).max(-1)
        left = left[(away < 1e-6).any(1)]
    return left


def _renaming(group: SpaceGroup, linear: Floats, origin: Floats) -> tuple[int, ...]:
    """Index of the letter that each letter becomes."""
    points = [p.linear @ _GENERIC + p.offset for p in group.positions]
    return tuple(
        _letter_at(group, wrap(linear @ point + origin), position)
        for point, position in zip(points, group.positions, strict=True)
    )


def _letter_at(group: SpaceGroup, point: Floats, source: WyckoffPosition) -> int:
    for index, position in enumerate(group.positions):
        same = position.multiplicity == source.multiplicity and position.freedom == source.freedom
        if same and _lies_on(point, *_images(group.number, index)):
            return index
    raise InputError(
        f"no position of {group.symbol} holds {point}; the table of groups is damaged."
    )


@lru_cache(maxsize=2000)
def _images(number: int, index: int) -> tuple[Floats, Floats]:
    linear, offset = SpaceGroup.from_number(number).positions[index].images()
    # What is left of a vector outside the directions the position may move in.
    outside = np.eye(3) - linear @ np.linalg.pinv(linear)
    return outside, offset


def _lies_on(point: Floats, outside: Floats, offset: Floats) -> bool:
    grid = np.arange(-2, 3)
    shifts = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    away = (point - offset)[:, None] - shifts[None]
    rest = np.einsum("nij,nsj->nsi", outside, away)
    return bool((np.abs(rest).max(-1) < 1e-6).any())
