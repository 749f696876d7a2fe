"""Differentiable physics: pairs that are too close, cells that are too small, flat or long.

Used inside the sampler at low noise, and optionally in the training loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels


def pair_overlap(
    frac_coords: Tensor, lattice: Tensor, mask: Tensor, smallest: Tensor, radius: int = 1
) -> Tensor:
    """Squared overlap of every pair closer than its limit, summed over images and pairs.

    Args:
        frac_coords: ``(crystals, atoms, 3)``.
        lattice: ``(crystals, 3, 3)`` Å, reduced enough that ``radius`` shells hold all near pairs.
        mask: ``(crystals, atoms)``.
        smallest: ``(crystals, atoms, atoms)`` limits in Å.
        radius: shells of images.

    Returns:
        ``(crystals,)`` in Å2; zero where no pair is too close, with gradients in both inputs.
    """
    shifts = geometry.image_shifts(radius, frac_coords)
    displacement = geometry.pair_displacements(frac_coords)
    vectors = displacement.unsqueeze(-2) + shifts
    cartesian = vectors @ lattice[:, None, None]
    squared = cartesian.square().sum(-1)
    atoms = mask.shape[1]
    same = torch.eye(atoms, dtype=torch.bool, device=mask.device)
    own = same[None, :, :, None] & (shifts.abs().sum(-1) == 0)
    squared = torch.where(own, torch.full_like(squared, 1e6), squared)
    distance = torch.sqrt(squared.clamp_min(1e-8))
    overlap = (smallest.unsqueeze(-1) - distance).clamp_min(0)
    pair = mask.unsqueeze(-1) & mask.unsqueeze(-2)
    return (overlap.square() * pair.unsqueeze(-1)).sum((-1, -2, -3)) / 2


def cell_strain(lattice: Tensor, num_atoms: Tensor, smallest_volume: float = 3.0) -> Tensor:
    """How far a cell is below a volume per atom (Å3), squared in log volume, ``(crystals,)``."""
    per_atom = geometry.volume(lattice) / num_atoms.clamp_min(1)
    short = (torch.log(torch.as_tensor(smallest_volume)) - torch.log(per_atom)).clamp_min(0)
    return short.square()


def training_penalty(
    model: JointDiffusion,
    batch: CrystalBatch,
    levels: Levels,
    coord_noise: Tensor,
    lattice_noise: Tensor,
    smallest: float = 1.0,
) -> Tensor:
    """Mean overlap (Å2) of the crystals the network predicts behind noisy ones at levels < 0.5."""
    level = levels.coords.unsqueeze(-1)
    state = geometry.wrap(
        batch.frac_coords + model.coordinates.displacement(coord_noise, level) * (level > 0)
    )
    clean_lattice = model.encode_lattice(batch.lattice, batch.num_atoms)
    lattice_level = levels.lattice.unsqueeze(-1)
    lattice_state = model.lattice.noisy(clean_lattice, lattice_noise, lattice_level)
    answer = model.predict(state, lattice_state, batch.atomic_numbers, levels)
    coords = model.coordinates.clean(state, answer.coords, level)
    cell, _ = model.lattice.split(lattice_state, answer.lattice, lattice_level)
    lattice = model.decode_lattice(cell.clamp(-6, 6), batch.num_atoms)
    atoms = batch.atomic_numbers.shape[1]
    limit = torch.full((len(batch), atoms, atoms), smallest, device=coords.device)
    overlap = pair_overlap(coords, lattice, batch.mask, limit)
    used = (levels.coords.amax(-1) < 0.5) & (levels.elements == 0)
    return (overlap * used).sum() / used.sum().clamp_min(1)
