"""CIF texts of structures, with the symmetry that their atoms have exactly.

A structure whose atoms are brought onto each other by symmetry operations to within ``EXACT_A``
is written by one atom of each orbit, the operations, and the group: its name and Hall symbol where
the cell is one of the tables, else the number and the name of the standard setting. Everything
else is written in P 1 with all atoms, and a comment says which group it has nearly.

pymatgen's writer with symmetry takes 94 ms where this takes 1, and turns the crystal into the
standard cell: 24 of 60 came back with another number of atoms (`benchmarks/library_or_own.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gemmi
import numpy as np

from crystal_diffusion.cell_geometry import symmetry_search, wrap_displacement
from crystal_diffusion.files import file_name

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Å; atoms that the operations bring back to within this are written by their symmetry.
EXACT_A = 1e-4
#: Å; a group that holds to within this is named in a comment.
NEARLY_A = 0.01
_OPERATION_TAGS = ("  _space_group_symop_id", "  _space_group_symop_operation_xyz")


@dataclass(frozen=True)
class _Symmetry:
    """Operations of a structure in its own cell, and one atom of each orbit."""

    number: int
    triplets: tuple[str, ...]
    group: gemmi.SpaceGroup | None
    first: tuple[int, ...]
    counts: tuple[int, ...]


def cif_text(structure: Structure, name: str) -> str:
    """A CIF with cell and coordinates to ten digits; readable everywhere.

    Args:
        structure: an ordered structure.
        name: its id, made a block name.
    """
    found = _symmetry(structure)
    lines = [f"data_{file_name(name)}", *_group_lines(structure, found)]
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    lines += [
        f"_cell_length_a     {a:.10f}",
        f"_cell_length_b     {b:.10f}",
        f"_cell_length_c     {c:.10f}",
        f"_cell_angle_alpha  {alpha:.10f}",
        f"_cell_angle_beta   {beta:.10f}",
        f"_cell_angle_gamma  {gamma:.10f}",
        f"_cell_volume       {structure.volume:.8f}",
        f"_chemical_formula_sum '{structure.composition.formula}'",
        "loop_",
        *_OPERATION_TAGS,
    ]
    triplets = found.triplets if found else ("x,y,z",)
    lines += [f"  {place}  '{triplet}'" for place, triplet in enumerate(triplets, 1)]
    lines += [
        "loop_",
        "  _atom_site_label",
        "  _atom_site_type_symbol",
        "  _atom_site_symmetry_multiplicity",
        "  _atom_site_fract_x",
        "  _atom_site_fract_y",
        "  _atom_site_fract_z",
        "  _atom_site_occupancy",
    ]
    rows = found.first if found else tuple(range(len(structure)))
    counts = found.counts if found else (1,) * len(structure)
    for row, count in zip(rows, counts, strict=True):
        symbol = structure[row].specie.symbol
        x, y, z = (float(v) % 1.0 for v in structure[row].frac_coords)
        lines.append(f"  {symbol}{row + 1}  {symbol}  {count}  {x:.10f}  {y:.10f}  {z:.10f}  1")
    return "\n".join(lines) + "\n"


def _group_lines(structure: Structure, found: _Symmetry | None) -> list[str]:
    if found is None:
        nearly = _dataset_number(structure, NEARLY_A)
        lines = ["_space_group_name_H-M_alt  'P 1'", "_space_group_IT_number     1"]
        if nearly > 1:
            group = gemmi.find_spacegroup_by_number(nearly)
            text = f"# all atoms are listed; within {NEARLY_A:g} Å they have the space group"
            lines.insert(0, f"{text} {group.xhm()} ({nearly})")
        return lines
    number = f"_space_group_IT_number     {found.number}"
    if found.group is None:
        standard = gemmi.find_spacegroup_by_number(found.number)
        return [f"_space_group_name_H-M_ref  '{standard.hm}'", number]
    return [
        f"_space_group_name_H-M_alt  '{found.group.xhm()}'",
        f"_space_group_name_Hall     '{found.group.hall}'",
        number,
    ]


def _dataset_number(structure: Structure, symprec: float) -> int:
    """The number of the group within a tolerance; 1 where none is found."""
    dataset = _dataset(structure, symprec)
    return 1 if dataset is None else int(dataset.number)  # type: ignore[attr-defined]


def _dataset(structure: Structure, symprec: float) -> object | None:
    lattice, places = structure.lattice.matrix, structure.frac_coords
    numbers = [site.specie.Z for site in structure]
    try:
        return symmetry_search(lattice, places, numbers, symprec)
    # Raised for crystals in which no group is found, such as atoms on top of each other.
    except ValueError:
        return None


def _symmetry(structure: Structure) -> _Symmetry | None:
    """The exact symmetry; None for P1 and for translations that no table has."""
    dataset = _dataset(structure, EXACT_A)
    number = 1 if dataset is None else int(dataset.number)  # type: ignore[attr-defined]
    if dataset is None or number == 1:
        return None
    found = dataset.operations  # type: ignore[attr-defined]
    rotations = np.array(found.rotations, dtype=np.int64).reshape(-1, 3, 3)
    shifts = np.array(found.translations, dtype=np.float64).reshape(-1, 3) * gemmi.Op.DEN
    whole = np.rint(shifts).astype(np.int64)
    operations = [
        _operation(rotation, shift) for rotation, shift in zip(rotations, whole, strict=True)
    ]
    orbits = _orbits(structure, rotations, whole / gemmi.Op.DEN)
    if orbits is None:
        return None
    first = tuple(dict.fromkeys(orbits.tolist()))
    counts = tuple(int((orbits == row).sum()) for row in first)
    triplets = sorted((o.triplet() for o in operations), key=lambda t: (t != "x,y,z", t))
    group: gemmi.SpaceGroup | None = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    return _Symmetry(number, tuple(triplets), group, first, counts)


def _operation(rotation: np.ndarray, shift: np.ndarray) -> gemmi.Op:
    operation = gemmi.Op("x,y,z")
    operation.rot = (rotation * gemmi.Op.DEN).tolist()
    operation.tran = (shift % gemmi.Op.DEN).tolist()
    return operation


def _orbits(
    structure: Structure, rotations: np.ndarray, translations: np.ndarray
) -> np.ndarray | None:
    """``(atoms,)`` the first atom of each atom's orbit; None unless all images are atoms."""
    coords, lattice = structure.frac_coords, structure.lattice.matrix
    numbers = np.array([site.specie.Z for site in structure])
    first = np.arange(len(coords))
    for rotation, translation in zip(rotations, translations, strict=True):
        step = (coords @ rotation.T + translation)[:, None] - coords[None]
        step = wrap_displacement(step)
        apart = np.linalg.norm(step @ lattice, axis=-1)
        target = apart.argmin(1)
        if apart.min(1).max() > EXACT_A or (numbers[target] != numbers).any():
            return None
        first = np.minimum(first, target)
    return np.asarray(first)
