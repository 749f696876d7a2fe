"""The reduced form of a crystal in which structures are compared, worked out once per crystal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import reduce_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Å; pymatgen's default in ``get_primitive_structure``.
_PRIMITIVE_TOLERANCE = 0.25
#: Pairs of lattice vectors; the longest cells of Materials Project up to 52 sites reach 2e5.
_LARGEST_SEARCH = 1e7
#: Formula units in a cell up to which all smaller cells are looked at before pymatgen does so.
_MOST_UNITS = 8


@dataclass(frozen=True, eq=False)
class ReducedCrystal:
    """Primitive Niggli cell as pymatgen's ``StructureMatcher`` makes it.

    Attributes:
        matrix: ``(3, 3)`` rows a, b, c in Å.
        frac_coords: ``(atoms, 3)``.
        numbers: ``(atoms,)`` atomic numbers.
        elements: reduced composition, pairs of atomic number and count.
        volume: Å3.
        minima: ``(3,)`` lengths of a, b, c in ascending order over the cube root of the volume.
    """

    matrix: Floats
    frac_coords: Floats
    numbers: Ints
    elements: tuple[tuple[int, int], ...]
    volume: float
    minima: Floats

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def counts(self) -> tuple[int, ...]:
        """Counts of the reduced formula in ascending order: the anonymous formula."""
        return tuple(sorted(count for _, count in self.elements))

    @property
    def key(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Number of atoms and composition: only crystals with equal keys can match."""
        return len(self.numbers), self.elements

    def relabelled(self, mapping: dict[int, int]) -> ReducedCrystal:
        """The same crystal with other elements on its sites."""
        numbers = np.array([mapping[int(z)] for z in self.numbers], np.int64)
        return ReducedCrystal(
            self.matrix,
            self.frac_coords,
            numbers,
            reduced_composition(numbers),
            self.volume,
            self.minima,
        )


def reduced_composition(numbers: Ints) -> tuple[tuple[int, int], ...]:
    """Pairs of atomic number and count, counts divided by their common divisor."""
    kinds, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return tuple(zip(kinds.tolist(), counts.tolist(), strict=True))


def is_plain(structure: Structure) -> bool:
    """Whether every site holds one whole element without a charge."""
    from pymatgen.core import Element

    for site in structure:
        species = site.species
        if len(species) != 1:
            return False
        (kind, amount), *_ = species.items()
        if type(kind) is not Element or abs(amount - 1.0) > 1e-8:
            return False
    return True


def reduce_crystal(structure: Structure) -> ReducedCrystal:
    """The primitive Niggli cell of a crystal of plain elements.

    pymatgen does the reduction, with its tolerance of 0.25 Å for the primitive cell, so that the
    answer is the one of ``StructureMatcher``. Its search for a smaller cell is left out where no
    translation could exist.

    Raises:
        InputError: for no atoms, a cell without volume, one that cannot be reduced, or one so
            flat or thin that a comparison would exhaust the memory.
    """
    from pymatgen.core import Structure

    matrix = np.asarray(structure.lattice.matrix)
    if not len(structure) or not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 1e-6:
        raise InputError(
            f"{structure.formula or 'a structure'} has no atoms or a cell without volume and "
            "cannot be compared; leave it out."
        )
    numbers = np.array([site.specie.Z for site in structure], np.int64)
    coords = np.array([site.frac_coords for site in structure], np.float64)
    if not np.isfinite(coords).all():
        raise InputError(
            f"{structure.formula} has coordinates that are no numbers and cannot be compared; "
            "leave it out."
        )
    # Before pymatgen's reduction: its own search already exhausts the memory on such cells.
    _refuse_thin(structure, np.linalg.norm(reduce_cell(matrix).rows, axis=1), matrix)
    try:
        niggli = structure.lattice.get_niggli_reduced_lattice()
        if niggli != structure.lattice:
            coords = np.mod(niggli.get_fractional_coords(coords @ matrix), 1)
        else:
            niggli = structure.lattice
        if _may_be_smaller(np.asarray(niggli.matrix), coords, numbers):
            small = Structure(niggli, numbers.tolist(), coords).get_primitive_structure()
            niggli, coords = small.lattice, np.array(small.frac_coords).reshape(-1, 3)
            numbers = np.array(small.atomic_numbers, np.int64)
    except (ValueError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"the cell of {structure.formula} cannot be reduced ({error}); leave it out."
        ) from error
    minima = _refuse_thin(structure, np.asarray(niggli.lengths), np.array(niggli.matrix))
    return ReducedCrystal(
        np.array(niggli.matrix),
        coords,
        numbers,
        reduced_composition(numbers),
        float(niggli.volume),
        minima,
    )


def _refuse_thin(structure: Structure, lengths: Floats, matrix: Floats) -> Floats:
    """Edges of a reduced cell over the cube root of its volume, ascending.

    Raises:
        InputError: when a comparison of the cell would exhaust the memory.
    """
    minima: Floats = np.sort(lengths) / abs(float(np.linalg.det(matrix))) ** (1 / 3)
    if _search_size(minima) > _LARGEST_SEARCH:
        raise InputError(
            f"the cell of {structure.formula} is too flat or thin to be compared (reduced edges "
            f"{', '.join(f'{x:.3g}' for x in lengths)} Å); leave it out."
        )
    return minima


def _may_be_smaller(matrix: Floats, coords: Floats, numbers: Ints) -> bool:
    """Whether pymatgen's search for a primitive cell could find anything at all.

    It needs counts with a common divisor and a translation between two atoms of the rarest element
    that brings every atom within twice the tolerance of a like one. Where that is so, the smaller
    cells themselves are looked at, up to a number.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    units = int(np.gcd.reduce(counts))
    if units == 1:
        return False
    tolerance = _PRIMITIVE_TOLERANCE / np.linalg.norm(matrix, axis=1)
    if (tolerance * units >= 0.5).any():
        return True
    groups = sorted((coords[numbers == z] for z in kinds), key=len)
    shifts = groups[0][1:] - groups[0][0]
    for group in groups:
        steps = group[None] - group[:, None]
        delta = steps[None] - shifts[:, None, None]
        delta -= np.round(delta)
        near = (np.abs(delta) <= 2 * tolerance * (1 + 1e-6)).all(-1)
        shifts = shifts[near.any(2).all(1)]
        if not len(shifts):
            return False
    if units > _MOST_UNITS:
        return True
    apart = [_far_in_cell(group, tolerance) for group in groups]
    return any(
        all(_folds(group, far, cell, matrix) for group, far in zip(groups, apart, strict=True))
        for cell in _supercells(units)
    )


def _far_in_cell(group: Floats, tolerance: Floats) -> NDArray[np.bool_]:
    """``(atoms, atoms)`` whether two like atoms are no neighbours, which may not become one."""
    delta = group[None] - group[:, None]
    far = np.asarray((np.abs(delta - np.round(delta)) > 2 * tolerance).any(-1))
    np.fill_diagonal(far, val=True)
    return far


def _folds(group: Floats, far: NDArray[np.bool_], cell: Floats, matrix: Floats) -> bool:
    """Whether like atoms become one by the right number each in a smaller cell, as in pymatgen.

    Args:
        cell: ``(3, 3)`` the whole cell in edges of the smaller one.
    """
    edges = np.linalg.inv(cell) @ matrix
    tolerance = _PRIMITIVE_TOLERANCE / np.sqrt((edges * edges).sum(1))
    within = group @ cell
    delta = within[None] - within[:, None]
    one = (np.abs(delta - np.round(delta)) < tolerance).all(-1) & far
    size = round(float(np.linalg.det(cell)))
    return bool((one.sum(0) == size).all()) and all(one[row][:, row].all() for row in one)


@cache
def _supercells(units: int) -> Floats:
    """``(cells, 3, 3)`` matrices in Hermite normal form of each divisor of ``units`` but 1."""
    return np.array(
        [
            [[a, b, c], [0, e, f], [0, 0, det // a // e]]
            for det in range(2, units + 1)
            if units % det == 0
            for a in range(1, det + 1)
            if det % a == 0
            for e in range(1, det // a + 1)
            if det // a % e == 0
            for b, c, f in product(range(a), range(a), range(e))
        ],
        dtype=np.float64,
    )


def _search_size(minima: Floats) -> float:
    """About how many pairs of lattice vectors a comparison with a like cell looks at."""
    middle = np.prod(1 + 2.6 * minima[1] / minima)
    longest = np.prod(1 + 2.6 * minima[2] / minima)
    return float(middle * longest)
