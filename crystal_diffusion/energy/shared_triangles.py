"""The maps of diep's bonds and triangles, equal ones evaluated once: the same energies, sooner.

diep (released weights, version 2.0.0) draws every bond and every triangle of atoms on a grid in its
plane and passes these maps on as messages. On a processor three quarters of an evaluation go into
them. A crystal repeats itself, and each triangle is met from both of its bonds, so most maps are
there several times: here each is made once, and its derivative with it, by hand instead of by the
tape. What is shared are maps of corners that agree to 0.00002 Å; energies and forces are those of
the package to its own rounding.
"""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

#: The version whose maps are made here; any other is left as it is.
VERSION = "2.0.0"
#: Corners of two maps that are shared agree to this (Å).
_GRAIN_A = 2e-5
#: Maps made at once, so that what is in work stays in the cache of the processor.
_AT_ONCE = 512
#: Odd numbers that mix corners and elements into one number for each map.
_MIX = (
    0x5851F42D4C957F2D, 0x14057B7EF767814F, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85,
    0x27BB2EE687B0B0FD, 0x106689D45497FDB5, 0x3C6EF372FE94F82B, 0x1F123BB5159A55E5,
    0x0CF1BBCDCB7A5643,
)  # fmt: skip


class _Maps(torch.autograd.Function):
    """Maps of figures in a plane, ``(figures, points)``, equal figures made once."""

    @staticmethod
    def forward(
        ctx: Any,
        planar: Tensor,
        charge: Tensor,
        points: Tensor,
        area: float,
        sigma: float,
        softening: float,
    ) -> Tensor:
        """Density times potential of the corners at every point of the grid.

        Args:
            planar: ``(figures, corners, 2)`` Å; charge: ``(figures, corners)``.
            points: ``(points, 2)`` Å; area: of one point, Å².
            sigma: width of the density, Å²; softening: Å.
        """
        which, first = _alike(planar, charge)
        maps, slopes = [], []
        for start in range(0, len(first), _AT_ONCE):
            rows = first[start : start + _AT_ONCE]
            squared = ((planar[rows].unsqueeze(2) - points) ** 2).sum(-1)
            density = torch.exp(-squared / sigma) / (torch.pi * sigma)
            soft = squared + softening**2
            potential = charge[rows].unsqueeze(-1) / soft.sqrt()
            total, field = density.sum(1, keepdim=True), potential.sum(1, keepdim=True)
            maps.append(area * (total * field).squeeze(1))
            slopes.append(-area * (density * (field / sigma) + 0.5 * potential / soft * total))
        ctx.save_for_backward(planar, points, torch.cat(slopes), which)
        return torch.cat(maps)[which]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient with respect to the corners: slopes are by the squared distance to a point."""
        planar, points, slopes, which = ctx.saved_tensors
        sides = torch.cat([torch.ones_like(points[:, :1]), points], 1)
        weighted = (slopes[which] * gradients[0].unsqueeze(1)) @ sides
        found = 2.0 * (planar * weighted[..., :1] - weighted[..., 1:])
        return found, None, None, None, None, None


def _alike(planar: Tensor, charge: Tensor) -> tuple[Tensor, Tensor]:
    """For every figure the place of its map, and for every map the first figure that has it."""
    corners = torch.cat([planar / _GRAIN_A, 1e3 * charge.unsqueeze(-1)], -1).round().long()
    mixed = (corners.flatten(1) * torch.tensor(_MIX[: corners[0].numel()])).sum(1)
    different, which = torch.unique(mixed, return_inverse=True)
    first = torch.empty(len(different), dtype=torch.long)
    order = torch.arange(len(mixed) - 1, -1, -1)
    first[which[order]] = order
    return which, first


class SharedMaps(nn.Module):
    """Stands in for the integrator of a diep model whose maps are canonical grids.

    Args:
        integrator: of the model, whose grid and widths are used.
    """

    def __init__(self, integrator: Any) -> None:
        super().__init__()
        self.integrator = integrator

    @property
    def edge_dim(self) -> int:
        """Points of a map."""
        return int(self.integrator.edge_dim)

    def _maps(self, planar: Tensor, numbers: Tensor) -> Tensor:
        own = self.integrator
        grid = own._grid
        found: Tensor = _Maps.apply(
            planar,
            numbers.sqrt(),
            grid.points,
            float(grid.delta_area),
            float(own.sigma),
            float(own.softening_epsilon),
        )
        return found

    def forward(
        self, data: Any, atomic_numbers: Tensor, compute_triplets: bool = True
    ) -> tuple[Tensor, Tensor]:
        """``(bonds, points)`` and ``(triangles, points)``, as the integrator gives them."""
        from diep.layers._diep_core import _canonicalize_triplets_batch

        source, target = data.edge_index
        if data.bond_vec.device.type != "cpu" or not len(source):
            found: tuple[Tensor, Tensor] = self.integrator(data, atomic_numbers, compute_triplets)
            return found
        self.integrator._ensure_grid(data.bond_vec.device)
        half, zero = data.bond_dist / 2, torch.zeros_like(data.bond_dist)
        ends = torch.stack([torch.stack([-half, zero], 1), torch.stack([half, zero], 1)], 1)
        bonds = self._maps(ends, torch.stack([atomic_numbers[source], atomic_numbers[target]], 1))
        if not compute_triplets or not data.triple_index.shape[1]:
            return bonds, bonds.new_zeros((0, self.edge_dim))
        one, two = data.triple_index
        # As the package places them: where lengths tie, rounding chooses how a triangle is laid.
        center = data.pos[source[one]]
        corners = torch.stack([center + data.bond_vec[one], center, center + data.bond_vec[two]], 1)
        numbers = torch.stack([target[one], source[one], target[two]], 1)
        planar, ordered = _canonicalize_triplets_batch(corners, atomic_numbers[numbers])
        return bonds, self._maps(planar, ordered)


def share_maps(calculator: Any) -> Any:
    """The calculator with shared maps, where it is of the version and kind this was made for."""
    try:
        model = calculator.potential.model
        own = model.diep_integrator
        fits = (
            importlib.metadata.version("diep") == VERSION
            and own.mode == "grid"
            and own.triplet_frame == "canonical"
            and own.channel_centers is None
            and bool(own.use_effective_charge)
            and not calculator.potential.calc_hessian
        )
    except AttributeError:
        fits = False
    if fits:
        model.diep_integrator = SharedMaps(own)
    else:
        log.info("diep of another version or kind: its maps are not shared")
    return calculator
