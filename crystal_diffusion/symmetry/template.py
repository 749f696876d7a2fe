"""SymmetricTemplate: an assignment laid out as the atoms of the primitive cell.

Atom i of an orbit is W_i y + w_i, where y is the orbit's representative point; y lies on the
affine subspace that its site symmetry leaves fixed, y = A u + b, modulo the lattice. Everything is
in the primitive cell of the group's standard setting and in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.cells import Cell, to_conventional, to_niggli
from crystal_diffusion.symmetry.groups import Floats, Integers, SpaceGroup, orbit_maps, wrap
from crystal_diffusion.symmetry.orbits import lattice_shifts

if TYPE_CHECKING:
    from torch import Generator


@dataclass(frozen=True, eq=False)
class SymmetricTemplate:
    """Atoms of a primitive cell with the operations that make them.

    Attributes:
        assignment: elements on Wyckoff positions.
        numbers: ``(atoms,)`` atomic numbers.
        orbit: ``(atoms,)`` index of the orbit in ``assignment.sites``.
        first: ``(atoms,)`` index of the representative atom of the orbit.
        rotations: ``(atoms, 3, 3)`` W_i and
        translations: ``(atoms, 3)`` w_i: atom = W_i · representative + w_i.
        site_projections: ``(atoms, 3, 3)`` mean rotation of the representative's site symmetry.
        site_offsets: ``(atoms, 3)`` b, a point of the representative's subspace.
    """

    assignment: Assignment
    numbers: Integers
    orbit: Integers
    first: Integers
    rotations: Floats
    translations: Floats
    site_projections: Floats
    site_offsets: Floats

    @classmethod
    def from_assignment(cls, assignment: Assignment) -> SymmetricTemplate:
        """Lay out the primitive cell; atoms of one orbit are neighbours, elements in order."""
        group = assignment.group
        rotations, translations = group.primitive_operations
        change = np.linalg.inv(group.to_primitive.T)  # columns: x_p = change @ x_c
        numbers: list[int] = []
        orbit: list[int] = []
        first: list[int] = []
        chosen: list[int] = []
        projections: list[Floats] = []
        offsets: list[Floats] = []
        for index, site in enumerate(assignment.sites):
            position = group.position(site.letter)
            linear, offset = change @ position.linear, change @ position.offset
            _, _, operations = orbit_maps(rotations, translations, linear, offset)
            stabiliser = _stabiliser(rotations, translations, linear, offset)
            start = len(numbers)
            size = len(operations)
            numbers += [site.number] * size
            orbit += [index] * size
            first += [start] * size
            chosen += operations
            projections += [rotations[stabiliser].mean(0)] * size
            offsets += [offset] * size
        return cls(
            assignment,
            np.array(numbers, np.int64),
            np.array(orbit, np.int64),
            np.array(first, np.int64),
            rotations[chosen],
            translations[chosen],
            np.array(projections),
            np.array(offsets),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def group(self) -> SpaceGroup:
        """The space group."""
        return self.assignment.group

    @cached_property
    def mean_metric(self) -> Floats:
        """``(3, 3)`` a metric the group allows, of unit volume: the mean of WᵀW, scaled."""
        metric: Floats = (self.group.laue_metrics @ np.eye(3).ravel()).reshape(3, 3)
        return metric / float(np.cbrt(np.linalg.det(metric)))

    def project_coords(self, frac_coords: Any) -> Floats:
        """Symmetric coordinates near the given ones, ``(atoms, 3)`` in [0, 1).

        The representative goes to the nearest point of its Wyckoff position; the other atoms,
        mapped back by their operations, are averaged around it and the mean is spread again.
        Symmetric input comes back unchanged.

        Raises:
            InputError: for another number of atoms.
        """
        coords = self._check(frac_coords)
        anchor = self._anchor(coords)
        inverse = np.linalg.inv(self.rotations)
        back = np.einsum("nij,nj->ni", inverse, coords - self.translations)
        away = back - anchor[self.orbit]
        away -= np.round(away)
        moved = anchor.copy()
        for orbit, mean in enumerate(self._orbit_means(away)):
            moved[orbit] += self.site_projections[self._starts[orbit]] @ mean
        return self._spread(moved)

    def project_displacement(self, displacement: Any) -> Floats:
        """Linear projection of a fractional vector field ``(atoms, 3)`` on the subspace.

        It is orthogonal in every metric the group allows.
        """
        field = self._check(displacement)
        back = np.einsum("nij,nj->ni", np.linalg.inv(self.rotations), field)
        means = self._orbit_means(back)
        own = np.einsum("nij,nj->ni", self.site_projections, means[self.orbit])
        out: Floats = np.einsum("nij,nj->ni", self.rotations, own)
        return out

    def random_coords(self, generator: Generator | np.random.Generator) -> Floats:
        """Symmetric coordinates, uniform in the free parameters of each orbit."""
        if isinstance(generator, np.random.Generator):
            uniform = generator.random((len(self), 3))
        else:
            import torch

            drawn = torch.rand(len(self), 3, generator=generator, dtype=torch.float64)
            uniform = drawn.numpy()
        return self.coords_from_uniform(uniform)

    def coords_from_uniform(self, uniform: Any) -> Floats:
        """Symmetric coordinates from ``(atoms, 3)`` uniform numbers; orbits use their first row."""
        points = self._check(uniform)[self._starts]
        return self._spread(self._snap(points))

    def rebuild(self, frac_coords: Any, lattice: Any) -> Cell:
        """The crystal in double precision, made anew from representatives and allowed metric.

        Args:
            frac_coords: ``(atoms, 3)`` on the subspace, or close to it.
            lattice: ``(3, 3)`` rows in Å.
        """
        return Cell(
            self.project_lattice(lattice), self.project_coords(frac_coords), self.numbers.copy()
        )

    def structure(self, frac_coords: Any, lattice: Any, cell: str = "primitive") -> Cell:
        """:meth:`rebuild`, in the primitive, conventional or Niggli cell.

        Raises:
            InputError: for an unknown kind of cell.
        """
        primitive = self.rebuild(frac_coords, lattice)
        if cell == "primitive":
            return primitive
        if cell == "conventional":
            return to_conventional(primitive, self.group)
        if cell == "niggli":
            return to_niggli(primitive)
        raise InputError(f"cell {cell!r} is not known; choose primitive, conventional or niggli.")

    def project_lattice(self, lattice: Any) -> Floats:
        """The allowed cell of the same volume near ``lattice``; see :mod:`.metric`."""
        from crystal_diffusion.symmetry.metric import allowed_lattice

        return allowed_lattice(np.asarray(lattice, np.float64), self.group.laue_metrics)

    def random_lattice(
        self, volume_per_atom: float, generator: np.random.Generator, spread: float = 0.15
    ) -> Floats:
        """A random allowed cell of the given volume per atom (Å3).

        Args:
            spread: deviation of the log-strain of the conventional cell.
        """
        strain = generator.normal(0, spread, (3, 3))
        strain = 0.5 * (strain + strain.T)
        values, vectors = np.linalg.eigh(strain)
        factor = self.group.to_primitive @ ((vectors * np.exp(values)) @ vectors.T)
        cell = self.project_lattice(factor)
        volume = abs(float(np.linalg.det(cell)))
        return cell * float(np.cbrt(volume_per_atom * len(self) / volume))

    @cached_property
    def _starts(self) -> Integers:
        """First atom of each orbit."""
        return np.unique(self.first)

    def _check(self, values: Any) -> Floats:
        array = np.asarray(values, np.float64)
        if array.shape != (len(self), 3):
            raise InputError(
                f"expected {(len(self), 3)} numbers for the template of {self.assignment}, got "
                f"{array.shape}; give one row for each atom of the primitive cell."
            )
        return array

    def _orbit_means(self, values: Floats) -> Floats:
        """``(orbits, 3)`` means of rows."""
        total = np.zeros((len(self._starts), 3))
        np.add.at(total, self.orbit, values)
        return total / np.bincount(self.orbit)[:, None]

    def _anchor(self, coords: Floats) -> Floats:
        """``(orbits, 3)`` points of the Wyckoff positions nearest to the first atoms."""
        return self._snap(coords[self._starts])

    def _snap(self, points: Floats) -> Floats:
        """The nearest point of each orbit's subspace, over the sheets it has on the torus."""
        projection = self.site_projections[self._starts]
        away = points - self.site_offsets[self._starts]
        away -= np.round(away)
        trial = away[:, None, :] - lattice_shifts()
        rest = trial - np.einsum("oij,osj->osi", projection, trial)
        distance = np.einsum("osi,ij,osj->os", rest, self.mean_metric, rest)
        rows = np.arange(len(points))
        best = trial[rows, np.argmin(np.round(distance, 9), 1)]
        snapped: Floats = self.site_offsets[self._starts] + np.einsum(
            "oij,oj->oi", projection, best
        )
        return snapped

    def _spread(self, representatives: Floats) -> Floats:
        """All atoms from the representatives, in [0, 1)."""
        images = np.einsum("nij,nj->ni", self.rotations, representatives[self.orbit])
        return wrap(images + self.translations)


def _stabiliser(
    rotations: Floats, translations: Floats, linear: Floats, offset: Floats
) -> Integers:
    """Operations that leave every point of ``linear @ u + offset`` fixed modulo the lattice."""
    same = np.all(np.abs(rotations @ linear - linear) < 1e-9, axis=(1, 2))
    moved = offset @ rotations.transpose(0, 2, 1) + translations - offset
    still = np.all(np.abs(moved - np.round(moved)) < 1e-9, axis=1)
    return np.flatnonzero(same & still)
