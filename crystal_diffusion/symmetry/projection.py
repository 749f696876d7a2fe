"""TemplateBatch: the projections of many templates as padded tensors.

Answers have the dtype and device of what is given; inside, everything is double precision where
the device has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion.errors import InputError
from crystal_diffusion.geometry import wrap
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.symmetry.cells import stable_change
from crystal_diffusion.symmetry.orbits import OrbitProjection, _act, lattice_shifts
from crystal_diffusion.symmetry.template import SymmetricTemplate


class TemplateBatch(OrbitProjection):
    """Symmetric subspaces of a batch of crystals, one template each, padded to the longest.

    Args:
        templates: one a crystal.
        device: where the operators are kept.

    Attributes:
        numbers: ``(crystals, atoms)`` int64, 0 on padding.
        mask: ``(crystals, atoms)`` bool.
        first: ``(crystals, atoms)`` int64: the representative of each atom's orbit, for values
            that all atoms of an orbit share, such as elements.
    """

    def __init__(
        self, templates: Sequence[SymmetricTemplate], device: torch.device | str = "cpu"
    ) -> None:
        if not templates:
            raise InputError("templates is empty; give one template for each crystal.")
        self.templates = tuple(templates)
        place = torch.device(device)
        crystals = len(self.templates)
        width = max(len(t) for t in self.templates)
        numbers = np.zeros((crystals, width), np.int64)
        first = np.tile(np.arange(width), (crystals, 1))
        rotations = np.tile(np.eye(3), (crystals, width, 1, 1))
        translations = np.zeros((crystals, width, 3))
        sites = np.zeros((crystals, width, 3, 3))
        orbit = np.zeros((crystals, width), np.int64)
        most = max(len(t.assignment.sites) for t in self.templates)
        starts = np.zeros((crystals, most), np.int64)
        offsets = np.zeros((crystals, most, 3))
        for row, template in enumerate(self.templates):
            n = len(template)
            numbers[row, :n] = template.numbers
            first[row, :n] = template.first
            rotations[row, :n] = template.rotations
            translations[row, :n] = template.translations
            sites[row, :n] = template.site_projections
            orbit[row, :n] = template.orbit
            begin = np.flatnonzero(template.first == np.arange(n))
            starts[row, : len(begin)] = begin
            offsets[row, : len(begin)] = template.site_offsets[begin]
        self.numbers = torch.from_numpy(numbers).to(place)
        laue = np.array([t.group.laue_metrics for t in self.templates])
        super().__init__(
            torch.from_numpy(first).to(place),
            torch.from_numpy(rotations).to(place),
            torch.from_numpy(sites).to(place),
            torch.from_numpy(laue).to(place),
            self.numbers > 0,
        )
        self._orbit = torch.from_numpy(orbit).to(self.device)
        self._starts = torch.from_numpy(starts).to(self.device)
        self._translations = self._keep(translations)
        self._orbit_sites = self._keep(np.take_along_axis(sites, starts[..., None, None], 1))
        self._offsets = self._keep(offsets)
        self._metrics = self._keep(np.array([t.mean_metric for t in self.templates]))
        self._shifts = self._keep(lattice_shifts())

    def _keep(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, self._dtype)

    def coords(self, frac_coords: Tensor) -> Tensor:
        """Symmetric coordinates near ``(crystals, atoms, 3)``, in [0, 1), zero on padding.

        The same as :meth:`SymmetricTemplate.project_coords` for each crystal.
        """
        points = self._take(frac_coords)
        anchor = self._snap(points)
        back = _act(self._back, points - self._translations)
        away = back - anchor
        away = away - torch.round(away)
        moved = anchor + _act(self._sites, self._averages @ away)
        return wrap(self._give(self._spread(moved), frac_coords))

    def operator(self) -> Tensor:
        """:meth:`displacement` as one dense matrix a crystal, ``(crystals, 3·atoms, 3·atoms)``."""
        left = self._rotations @ self._sites
        blocks = torch.einsum("cnij,cnm,cmjk->cnimk", left, self._averages, self._back)
        crystals, width = self.numbers.shape
        return blocks.reshape(crystals, 3 * width, 3 * width)

    def start(self, source: CrystalStreams | Tensor) -> Tensor:
        """Random symmetric coordinates, uniform in the free parameters.

        Args:
            source: one stream a crystal, or ``(crystals, atoms, 3)`` uniform numbers in [0, 1). An
                orbit uses the row of its representative, so a crystal does not depend on its batch.
        """
        uniform = source if isinstance(source, Tensor) else source.uniform_atoms()
        points = self._take(uniform)
        return wrap(self._give(self._spread(self._snap(points)), uniform))

    def basis(self, lattice: Tensor) -> Tensor:
        """Integer M ``(crystals, 3, 3)`` for which M @ lattice is the Niggli cell.

        Rounding that differs between a crystal alone and in a batch does not change it. A cell that
        cannot be reduced (without volume) keeps the identity.
        """
        out = torch.eye(3, dtype=torch.float64).repeat(len(lattice), 1, 1)
        cells = lattice.detach().cpu().double()
        for row, metric in enumerate((cells @ cells.mT).numpy()):
            try:
                out[row] = torch.from_numpy(stable_change(metric))
            except InputError:
                continue
        return out.to(lattice.device, lattice.dtype)

    def _snap(self, points: Tensor) -> Tensor:
        """For each atom, the point of its orbit's subspace nearest to the representative atom."""
        away = _rows(points, self._starts) - self._offsets
        away = away - torch.round(away)
        trial = away.unsqueeze(-2) - self._shifts
        rest = trial - trial @ self._orbit_sites.mT
        distance = (rest @ self._metrics.unsqueeze(1) * rest).sum(-1)
        best = torch.argmin(torch.round(distance, decimals=9), -1)
        nearest = torch.gather(trial, 2, best[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)
        return _rows(self._offsets + _act(self._orbit_sites, nearest), self._orbit)

    def _spread(self, representatives: Tensor) -> Tensor:
        images = _act(self._rotations, representatives) + self._translations
        wrapped = images - torch.floor(images + 1e-9)
        wrapped = torch.where(wrapped.abs() < 1e-9, torch.zeros_like(wrapped), wrapped)
        return wrapped * self.mask.unsqueeze(-1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """``(crystals, rows, 3)`` picked from ``(crystals, any, 3)``."""
    return torch.gather(values, 1, index.unsqueeze(-1).expand(-1, -1, 3))
