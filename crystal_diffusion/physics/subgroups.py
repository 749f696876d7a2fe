"""Whether the symmetry operations of a crystal contain a space group.

The operations modulo the translations of the given cell are a finite group. The wanted group is
looked for among its subgroups: first a subgroup of the rotations with the right kinds, then the
translations that stay (of a centred cell, some or none), then a choice of translation part for
each generator. What is found is named by spglib. Subgroups of a larger cell are not looked for.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.chemistry import Floats

Ints = NDArray[np.int64]

#: More operations than this (a supercell of a very symmetric crystal) are not searched.
MOST_OPERATIONS = 192
_TOLERANCE = 1e-2


def contains_group(
    rotations: Ints, translations: Floats, lattice: Floats, number: int
) -> bool | None:
    """Whether operations of a crystal contain a space group of a given number.

    Args:
        rotations: ``(operations, 3, 3)`` on fractional column vectors of the cell.
        translations: ``(operations, 3)``.
        lattice: ``(3, 3)`` rows in Å.
        number: 1 to 230.

    Returns:
        True or false; ``None`` if there are too many operations to decide.
    """
    import spglib

    if number == 1:
        return True
    if len(rotations) > MOST_OPERATIONS:
        return None
    points, which = np.unique(rotations, axis=0, return_inverse=True)
    kinds = [_kind(r) for r in points]
    wanted = _point_kinds(number)
    if any(kinds.count(kind) < count for kind, count in wanted.items()):
        return False
    point_table = _point_table(points)
    table = _operation_table(rotations, translations, np.ravel(which), point_table)
    members = [np.flatnonzero(np.ravel(which) == k) for k in range(len(points))]
    unit = _identity(point_table)
    for group in _point_subgroups(point_table, kinds, wanted, unit):
        generators = _generators(point_table, group, unit)
        for kept in _subgroups(table, members[unit], _identity(table)):
            for choice in itertools.product(*(members[g] for g in generators)):
                rows = _closure(table, [*kept, *map(int, choice)], limit=len(group) * len(kept))
                if rows is None or len(rows) != len(group) * len(kept):
                    continue
                found = spglib.get_spacegroup_type_from_symmetry(
                    rotations[rows].astype(np.intc), translations[rows], lattice, symprec=1e-3
                )
                if found is not None and found.number == number:
                    return True
    return False


def _kind(rotation: Ints) -> int:
    """A number for the kind of a rotation: determinant times (trace of its proper part + 5)."""
    determinant = round(float(np.linalg.det(rotation)))
    return determinant * (determinant * int(np.trace(rotation)) + 5)


def _point_kinds(number: int) -> Counter[int]:
    """How many operations of each kind the point group of a space group has."""
    from pymatgen.symmetry.groups import SpaceGroup

    rotations = [
        np.rint(op.rotation_matrix).astype(np.int64)
        for op in SpaceGroup.from_int_number(number).symmetry_ops
    ]
    return Counter(_kind(r) for r in np.unique(rotations, axis=0))


def _point_table(points: Ints) -> Ints:
    """``table[i, j]`` is the rotation that does j, then i."""
    products = np.einsum("iab,jbc->ijac", points, points)
    same = (products[:, :, None] == points).all((-1, -2))
    return np.asarray(same.argmax(-1), np.int64)


def _operation_table(rotations: Ints, translations: Floats, which: Ints, point_table: Ints) -> Ints:
    """``table[i, j]`` is the operation that does j, then i."""
    size = len(rotations)
    shifts = np.einsum("iab,jb->ija", rotations, translations) + translations[:, None]
    target = point_table[which[:, None], which[None]]
    table = np.zeros((size, size), np.int64)
    for point in range(len(point_table)):
        rows = np.flatnonzero(which == point)
        first, second = np.nonzero(target == point)
        step = shifts[first, second][:, None] - translations[rows]
        near = (np.abs(step - np.rint(step)) < _TOLERANCE).all(-1)
        table[first, second] = rows[near.argmax(1)]
    return table


def _identity(table: Ints) -> int:
    return int(np.flatnonzero((table == np.arange(len(table))).all(1))[0])


def _closure(table: Ints, start: list[int], limit: int) -> list[int] | None:
    """The smallest group that holds some elements; nothing if it exceeds the limit."""
    members = np.unique(np.array(start, np.int64))
    while True:
        grown = np.unique(table[np.ix_(members, members)])
        if len(grown) > limit:
            return None
        if len(grown) == len(members):
            return [int(k) for k in grown]
        members = grown


def _subgroups(table: Ints, allowed: Ints, unit: int) -> Iterator[list[int]]:
    """All subgroups made of some elements, small ones first."""
    seen: set[tuple[int, ...]] = {(unit,)}
    queue: list[tuple[int, ...]] = [(unit,)]
    while queue:
        group = queue.pop(0)
        yield list(group)
        for extra in allowed:
            if extra not in group:
                larger = _closure(table, [*group, int(extra)], limit=len(allowed))
                if larger is not None and tuple(larger) not in seen:
                    seen.add(tuple(larger))
                    queue.append(tuple(larger))


def _point_subgroups(
    table: Ints, kinds: list[int], wanted: Counter[int], unit: int
) -> Iterator[list[int]]:
    """Subgroups of the rotations that have the wanted number of operations of each kind."""
    allowed = [k for k, kind in enumerate(kinds) if kind in wanted]
    order = sum(wanted.values())
    seen: set[tuple[int, ...]] = {(unit,)}
    queue: list[tuple[int, ...]] = [(unit,)]
    while queue:
        group = queue.pop(0)
        here = Counter(kinds[k] for k in group)
        if here == wanted:
            yield list(group)
            continue
        if order % len(group) or any(count > wanted[kind] for kind, count in here.items()):
            continue
        for extra in allowed:
            if extra not in group:
                larger = _closure(table, [*group, extra], limit=order)
                if larger is not None and tuple(larger) not in seen:
                    seen.add(tuple(larger))
                    queue.append(tuple(larger))


def _generators(table: Ints, group: list[int], unit: int) -> list[int]:
    """A few elements that make the whole group."""
    chosen: list[int] = []
    made = [unit]
    # The element that makes the most of what is missing comes first.
    while len(made) < len(group):
        options = [(_closure(table, [*made, g], len(group)), g) for g in group if g not in made]
        best, generator = max(options, key=lambda option: len(option[0] or []))
        made = best or made
        chosen.append(generator)
    return chosen
