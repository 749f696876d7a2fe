"""Differentiable physics: pairs that are too close, cells that are too small, flat or long.

Used inside the sampler at low noise, and optionally in the training loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels
from crystal_diffusion.shapes import Bool, Float, Shaped


def pair_overlap(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    smallest: Float[Tensor, "crystals atoms atoms"],
    radius: int = 1,
) -> Float[Tensor, " crystals"]:
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


def push_apart(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    smallest: Float[Tensor, "crystals atoms atoms"],
    strength: float,
) -> Float[Tensor, "crystals atoms 3"]:
    """Fractional step that moves pairs apart that are closer than their limit, zero for others.

    The step follows the gradient of :func:`pair_overlap` in cartesian coordinates, 1 Å at most; at
    strength 0.5 a lone pair lands on its limit. Images are those of a reduced cell.
    """
    basis = geometry.reduction(lattice)
    start = geometry.wrap(frac_coords @ torch.linalg.inv(basis))
    return _push(start, basis @ lattice, mask, smallest, strength) @ torch.linalg.inv(lattice)


def _push(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    cell: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    smallest: Float[Tensor, "crystals atoms atoms"],
    strength: float,
) -> Float[Tensor, "crystals atoms 3"]:
    """Cartesian step of :func:`push_apart` in a reduced cell, from the gradient in closed form."""
    shifts = geometry.image_shifts(1, frac_coords)
    vectors = geometry.pair_displacements(frac_coords).unsqueeze(-2) + shifts
    vectors = vectors @ cell[:, None, None]
    distance = torch.linalg.vector_norm(vectors, dim=-1)
    pair = (mask.unsqueeze(-1) & mask.unsqueeze(-2)).unsqueeze(-1)
    # An atom's distance to its own images does not depend on where it is.
    pair = pair & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)[None, :, :, None]
    overlap = (smallest.unsqueeze(-1) - distance).clamp_min(0) * pair
    slope = 2 * (vectors * (overlap / distance.clamp_min(1e-4)).unsqueeze(-1)).sum((-2, -3))
    length = torch.linalg.vector_norm(slope, dim=-1, keepdim=True).clamp_min(1e-9)
    return -0.5 * strength * slope * (length.clamp(max=1.0) / length)


def separate(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    smallest: Float[Tensor, "crystals atoms atoms"],
    rounds: int,
    project: Callable[[Tensor], Tensor],
) -> Float[Tensor, "crystals atoms 3"]:
    """Descent on the overlap until no pair is closer than its limit, ``rounds`` steps at most.

    Args:
        frac_coords: ``(crystals, atoms, 3)``.
        rounds: steps; a crystal without overlap is not moved at all.
        project: puts a step where it may go: on the symmetric subspace, zero for frozen atoms.
    """
    basis = geometry.reduction(lattice)
    cell, back = basis @ lattice, torch.linalg.inv(basis)
    inverse = torch.linalg.inv(lattice)
    for _ in range(rounds):
        step = _push(geometry.wrap(frac_coords @ back), cell, mask, smallest, 0.6)
        step = project(step @ inverse)
        moving = step.abs().amax((-1, -2), keepdim=True) > 1e-6
        if not bool(moving.any()):
            break
        frac_coords = torch.where(moving, geometry.wrap(frac_coords + step), frac_coords)
    return frac_coords


#: Distance that a stretched cell aims at, as a multiple of the smallest allowed one.
_ROOM = 1.2


def stretch_cell(
    frac_coords: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    mask: Bool[Tensor, "crystals atoms"],
    smallest: Float[Tensor, "crystals atoms atoms"],
    largest: Float[Tensor, " crystals"],
    rounds: int,
    project: Callable[[Tensor], Tensor],
) -> Float[Tensor, "crystals 3 3"]:
    """Cells stretched along the pairs that are too close, for those that positions cannot part.

    On positions without freedom only the cell can make room, within the volume it may have. Each
    round strains the cell along its overlapping pairs, weighted by overlap, as far as the worst one
    needs if all point the same way; a stretch beyond ``largest`` is scaled back.

    Args:
        frac_coords: ``(crystals, atoms, 3)``.
        lattice: ``(crystals, 3, 3)`` Å.
        smallest: ``(crystals, atoms, atoms)`` limits in Å.
        largest: ``(crystals,)`` Å3, highest volume of the cell.
        rounds: at most; a crystal without overlap keeps its cell bit for bit.
        project: puts a lattice where it may go: on the symmetric subspace.
    """
    one = torch.eye(3, dtype=lattice.dtype, device=lattice.device)
    pair = (mask.unsqueeze(-1) & mask.unsqueeze(-2)).unsqueeze(-1)
    shifts = geometry.image_shifts(1, frac_coords)
    own = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)[None, :, :, None]
    pair = pair & ~(own & (shifts.abs().sum(-1) == 0))
    wanted = smallest.unsqueeze(-1)
    for turn in range(rounds):
        basis = geometry.reduction(lattice)
        inside = geometry.wrap(frac_coords @ torch.linalg.inv(basis))
        vectors = geometry.pair_displacements(inside).unsqueeze(-2) + shifts
        vectors = vectors @ (basis @ lattice)[:, None, None]
        distance = torch.linalg.vector_norm(vectors, dim=-1).clamp_min(1e-4)
        overlap = (wanted - distance).clamp_min(0) * pair
        tight = overlap.amax((-1, -2, -3)) > 1e-3
        if turn == 0:
            # A cell with all pairs just at their limits would still be too dense as a whole.
            first = tight
            overlap = ((wanted := _ROOM * wanted) - distance).clamp_min(0) * pair
        tight = tight & first
        if not bool(tight.any()):
            break
        along = (vectors / distance.unsqueeze(-1)).flatten(1, 3)
        weight = overlap.flatten(1)
        strain = torch.einsum("cp,cpx,cpy->cxy", weight, along, along)
        strain = strain / weight.sum(-1).clamp_min(1e-9)[:, None, None]
        worst = (overlap / distance).amax((-1, -2, -3)).clamp(max=0.5)
        stretched = project(lattice @ (one + worst[:, None, None] * strain))
        scale = (largest / geometry.volume(stretched).clamp_min(1e-9)).clamp(max=1.0).pow(1 / 3)
        lattice = torch.where(tight[:, None, None], stretched * scale[:, None, None], lattice)
    return lattice


def fit_cell(
    lattice: Float[Tensor, "crystals 3 3"],
    num_atoms: Shaped[Tensor, " crystals"],
    volumes: tuple[Tensor, Tensor],
    shortest: Float[Tensor, " crystals"],
    strength: float = 1.0,
) -> Float[Tensor, "crystals 3 3"]:
    """Cells moved towards their limits of volume per atom and of the shortest edge.

    Volume: an equal scaling of all edges, which is the gradient of (log V - log limit)² in
    log-strain. Edge: the stretch along the edge alone, the smallest strain that lengthens it.

    Args:
        lattice: ``(crystals, 3, 3)`` Å.
        num_atoms: ``(crystals,)``.
        volumes: lowest and highest volume per atom, ``(crystals,)`` Å3 each.
        shortest: ``(crystals,)`` Å, smallest distance of an atom to its own images.
        strength: 1 goes all the way, 0 leaves the cell.

    Returns:
        ``(crystals, 3, 3)``; a cell inside its limits comes back as it was.
    """
    per_atom = geometry.volume(lattice) / num_atoms.clamp_min(1)
    wanted = torch.minimum(torch.maximum(per_atom, volumes[0]), volumes[1])
    scale = (wanted / per_atom.clamp_min(1e-9)).pow(strength / 3)
    lattice = lattice * scale.clamp(0.2, 5.0)[:, None, None]
    basis = geometry.reduction(lattice)
    one = torch.eye(3, dtype=lattice.dtype, device=lattice.device)
    for row in range(3):
        edge = (basis @ lattice)[:, row]
        length = torch.linalg.vector_norm(edge, dim=-1).clamp_min(1e-9)
        longer = (shortest / length).clamp(1.0, 5.0).pow(strength) - 1
        along = edge / length.unsqueeze(-1)
        stretch = one + longer[:, None, None] * along.unsqueeze(-1) * along.unsqueeze(-2)
        lattice = torch.where((longer > 0)[:, None, None], lattice @ stretch, lattice)
    return lattice


def training_penalty(
    model: JointDiffusion,
    batch: CrystalBatch,
    levels: Levels,
    coord_noise: Float[Tensor, "crystals atoms 3"],
    lattice_noise: Float[Tensor, "crystals 6"],
    smallest: float = 1.0,
    bfloat16: bool = False,
) -> Tensor:
    """Mean overlap (Å2) of the crystals the network predicts behind noisy ones at levels < 0.5."""
    level = levels.coords.unsqueeze(-1)
    state = geometry.wrap(
        batch.frac_coords + model.coordinates.displacement(coord_noise, level) * (level > 0)
    )
    clean_lattice = model.encode_lattice(batch.lattice, batch.num_atoms)
    lattice_level = levels.lattice.unsqueeze(-1)
    lattice_state = model.lattice.noisy(clean_lattice, lattice_noise, lattice_level)
    answer = model.predict(state, lattice_state, batch.atomic_numbers, levels, bfloat16=bfloat16)
    coords = model.coordinates.clean(state, answer.coords, level)
    cell, _ = model.lattice.split(lattice_state, answer.lattice, lattice_level)
    lattice = model.decode_lattice(cell.clamp(-6, 6), batch.num_atoms)
    atoms = batch.atomic_numbers.shape[1]
    limit = torch.full((len(batch), atoms, atoms), smallest, device=coords.device)
    overlap = pair_overlap(coords, lattice, batch.mask, limit)
    used = (levels.coords.amax(-1) < 0.5) & (levels.elements == 0)
    return (overlap * used).sum() / used.sum().clamp_min(1)
