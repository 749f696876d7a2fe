"""Which space groups a space group contains, without going to a larger cell.

By Hermann's theorem (1929) every subgroup is reached in two steps: first rotations are lost and all
translations kept (translationengleiche), then translations are lost and the rotations kept
(klassengleiche). The second step is taken down to the conventional cell of the group that is
given, so a centred group contains primitive ones; larger cells, in which every group contains
endless others, are not looked at. The subgroups are enumerated by moyopy.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Subgroups of full cubic symmetry with the same conventional cell: moyopy finds these too, but
#: takes half a minute for each (found with moyopy 0.21).
_CUBIC: dict[int, frozenset[int]] = {
    225: frozenset({221, 224}),
    226: frozenset({222, 223}),
    227: frozenset(),
    228: frozenset(),
    229: frozenset({221, 222, 223, 224}),
    230: frozenset(),
}


@cache
def point_group_order(number: int) -> int:
    """Number of rotations, proper and not, of a space group."""
    import moyopy

    return int(moyopy.operations_from_number(number, primitive=True).num_operations)


@cache
def contained_groups(number: int, order: int) -> frozenset[int]:
    """Space groups of a given point group order that a space group contains in its cell.

    Args:
        number: 1 to 230.
        order: number of rotations that is left.
    """
    import moyopy

    operations = moyopy.operations_from_number(number, primitive=True)
    found: set[int] = set()
    if order == point_group_order(number) and number in _CUBIC:
        return _CUBIC[number] | {number}
    classes = moyopy.enumerate_translationengleiche_subgroups(
        operations.rotations, operations.translations
    )
    conventional = _conventional_cell(number)
    for group in classes:
        rest = group.representative.operations
        if rest.num_operations != order:
            continue
        found.add(_number(rest))
        if round(abs(np.linalg.det(conventional))) > 1:
            below = moyopy.enumerate_klassengleiche_subgroups(
                rest.rotations, rest.translations, conventional.tolist()
            )
            found |= {_number(c.representative.operations) for c in below}
    return frozenset(found)


def contains_group(number: int, wanted: int) -> bool:
    """Whether every crystal of one space group also has another, in the same cell or a smaller one.

    Args:
        number: the group that a crystal has, 1 to 230.
        wanted: the group that is asked for, 1 to 230.
    """
    if number == wanted or wanted == 1:
        return True
    order = point_group_order(wanted)
    if point_group_order(number) % order:
        return False
    return wanted in contained_groups(number, order)


def _number(operations: Any) -> int:
    import moyopy

    return int(moyopy.SpaceGroup(operations.rotations, operations.translations).number)


def _conventional_cell(number: int) -> NDArray[np.int64]:
    """Columns: the conventional cell vectors in the primitive basis of moyopy's standard cell."""
    import moyopy

    centring = str(moyopy.SpaceGroupType(number).hm_short)[0]
    whole = np.array(moyopy.operations_from_number(number).translations)
    rotations = np.array(moyopy.operations_from_number(number).rotations)
    pure = whole[(rotations == np.eye(3, dtype=int)).all((1, 2))]
    columns = _PRIMITIVE[centring if len(pure) > 1 else "P"]
    cell = np.rint(np.linalg.inv(columns)).astype(np.int64)
    return cell if np.linalg.det(cell) > 0 else -cell


#: Primitive basis of each centring, as columns in the conventional basis (moyopy's choice).
_PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3,
}
