"""Atoms that must not move: ASE's constraints and pymatgen's ``selective_dynamics`` as one array.

``frozen`` is ``(atoms, 3)``, true where the coordinate along a, b or c must not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def frozen_of_atoms(atoms: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The frozen coordinates of ASE ``Atoms``, and a note on constraints that are kept otherwise.

    ``FixAtoms`` and ``FixScaled`` are kept as they are. ``FixCartesian``, ``FixedPlane`` and
    ``FixedLine`` are kept where their directions are those of the lattice vectors; else the atoms
    are frozen altogether.
    """
    frozen = np.zeros((len(atoms), 3), bool)
    notes: list[str] = []
    for rule in atoms.constraints:
        kind = type(rule).__name__
        if kind == "FixAtoms":
            frozen[np.asarray(rule.index)] = True
        elif kind == "FixScaled":
            frozen[np.asarray(rule.index)] |= np.asarray(rule.mask, dtype=bool)
        elif kind == "FixCartesian":
            mask = np.asarray(rule.mask, dtype=bool)
            if not mask.all() and not _along_axes(atoms.cell.array):
                notes.append("atoms fixed along x, y or z only are kept fixed in all directions")
                mask = np.ones(3, bool)
            frozen[np.asarray(rule.index)] |= mask
        elif kind in ("FixedPlane", "FixedLine"):
            frozen[np.asarray(rule.index)] = True
            notes.append("atoms kept in a plane or on a line are kept fixed in all directions")
        elif kind != "FixSymmetry":
            notes.append(f"the constraint {kind} is not kept")
    return (frozen if frozen.any() else None), tuple(dict.fromkeys(notes))


def _along_axes(cell: np.ndarray) -> bool:
    """Whether a, b and c lie along x, y and z."""
    return bool(np.allclose(cell, np.diag(np.diag(cell)), atol=1e-9))


def frozen_of_structure(structure: Any) -> np.ndarray | None:
    """The frozen coordinates of a pymatgen ``Structure``; None where all atoms are free.

    Raises:
        ValueError: when ``selective_dynamics`` is not three flags for each site.
    """
    free: Sequence[Any] | None = structure.site_properties.get("selective_dynamics")
    if free is None:
        return None
    rows = [[True] * 3 if row is None else [bool(flag) for flag in row] for row in free]
    table = ~np.array(rows, dtype=bool).reshape(-1, 3)
    return table if table.any() else None


def constrain(atoms: Any, frozen: np.ndarray | None) -> None:
    """Put ASE's constraints on atoms: whole atoms as ``FixAtoms``, single axes as ``FixScaled``."""
    from ase.constraints import FixAtoms, FixScaled

    if frozen is None:
        return
    whole = frozen.all(1)
    rules: list[Any] = [FixAtoms(indices=np.flatnonzero(whole))] if whole.any() else []
    partly = frozen.any(1) & ~whole
    rules += [FixScaled([int(i)], mask=frozen[i]) for i in np.flatnonzero(partly)]
    atoms.set_constraint(rules)
