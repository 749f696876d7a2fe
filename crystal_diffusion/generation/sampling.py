"""From plans to crystals: batches of equal size through the sampler and back, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import chemistry, geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.request import Request
from crystal_diffusion.physics.contacts import pair_limits
from crystal_diffusion.physics.limits import Limits
from crystal_diffusion.seeding import CrystalStreams

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Tokens per network call: large enough for full matrix products, small enough for the caches.
TOKENS_PER_CALL = 1024


def batches(plans: Sequence[Plan], workers: int = 1) -> list[list[Plan]]:
    """Plans of equal number of atoms and kind of start together, work for all ``workers``."""
    total = sum(len(plan.atomic_numbers) + 1 for plan in plans)
    tokens = min(TOKENS_PER_CALL, -(-total // workers))
    out: list[list[Plan]] = []
    key = None

    def key_of(plan: Plan) -> tuple[int, bool, bool]:
        return len(plan.atomic_numbers), plan.kind == "prototype", plan.template is not None

    for plan in sorted(plans, key=lambda p: (key_of(p), p.index)):
        size = tokens // (len(plan.atomic_numbers) + 1)
        if key_of(plan) != key or len(out[-1]) >= max(1, size):
            out.append([])
            key = key_of(plan)
        out[-1].append(plan)
    return out


#: Kept above the error-level limit of the validator, so that rounding cannot undo it.
_MARGIN = 1.05


@cache
def _distance_table(share: float) -> Tensor:
    """``(104, 104)`` Å by atomic numbers."""
    numbers = np.arange(1, chemistry.LAST_ELEMENT + 1)
    radii = chemistry.covalent_radii(numbers)
    limits = Limits()
    table = np.full((len(numbers) + 1, len(numbers) + 1), 0.75)
    table[1:, 1:] = np.maximum(
        share * (radii[:, None] + radii[None]),
        _MARGIN * pair_limits(numbers, limits.pair_error, limits.min_distance),
    ).clip(0.75)
    return torch.as_tensor(table, dtype=torch.float32)


def smallest_distances(atomic_numbers: Tensor, share: float = 0.72) -> Tensor:
    """``(crystals, atoms, atoms)`` Å: a share of the sum of covalent radii, at least 0.75 Å.

    Never below what the validator's ``pair_distance`` demands. The share is below every pair in
    ordinary crystals, so a valid crystal feels nothing.
    """
    table = _distance_table(share)
    z = atomic_numbers.clamp(0, len(table) - 1).cpu()
    return table[z.unsqueeze(-1), z.unsqueeze(-2)].to(atomic_numbers.device)


def volume_limits(atomic_numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest volume per atom in Å3, ``(crystals,)`` each.

    The low end of the tables, where the validator's error begins, and twice their mean, where its
    warning does.
    """
    limits = Limits()
    low, high = [], []
    for row in atomic_numbers.cpu().numpy():
        mean, least, _ = chemistry.expected_volume(row[row > 0])
        low.append(_MARGIN * limits.volume_low_error * least)
        high.append(limits.volume_high_warning * mean)
    device = atomic_numbers.device
    return torch.tensor(low, device=device), torch.tensor(high, device=device)


def sample_plans(
    model: JointDiffusion,
    plans: Sequence[Plan],
    request: Request,
    settings: SamplerSettings,
    prototype_settings: SamplerSettings,
    prototype_level: float,
    allowed: np.ndarray,
    decode: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Structure]:
    """One structure for each plan, all plans of the same kind and size."""
    numbers = torch.tensor([plan.atomic_numbers for plan in plans], dtype=torch.int64)
    crystals, atoms = numbers.shape
    streams = CrystalStreams([plan.seed for plan in plans], [atoms] * crystals)
    start = Start.noise(numbers)
    used = settings
    if request.lattice is not None:
        cell = geometry.lattice_from_parameters(torch.tensor(request.lattice, dtype=torch.float64))
        start = _with(
            start,
            lattice=cell.float().expand(crystals, 3, 3).clone(),
            lattice_given=torch.ones(crystals, dtype=torch.bool),
        )
    if plans[0].kind == "prototype":
        known = CrystalBatch.from_structures([plan.start for plan in plans])
        if prototype_level <= 0:
            return [plan.start for plan in plans if plan.start is not None]
        used = prototype_settings
        start = _with(
            start,
            level=torch.full((crystals,), prototype_level),
            frac_coords=known.frac_coords,
            lattice=known.lattice,
            renoise=False,
        )
        start = _with(start, atomic_numbers=known.atomic_numbers)
    if plans[0].kind == "host":
        start = _with_host(start, plans)
    projection = None
    if plans[0].template is not None:
        from crystal_diffusion.generation.symmetric import TemplateProjection

        projection = TemplateProjection([plan.template for plan in plans])
    start = _with(start, allowed=torch.from_numpy(allowed).expand(crystals, -1))
    batch = sample(
        model,
        start,
        streams,
        used,
        smallest=smallest_distances,
        volumes=volume_limits,
        projection=projection,
        decode_elements=decode,
    )
    structures = batch.to_structures()
    if projection is not None:
        return projection.structures(batch, request)
    if request.lattice is not None:
        return [_exact_cell(s, request.lattice) for s in structures]
    return [_exact_host(s, plan) for s, plan in zip(structures, plans, strict=True)]


def _with(start: Start, **changes: object) -> Start:
    from dataclasses import replace

    return replace(start, **changes)  # type: ignore[arg-type]


def _with_host(start: Start, plans: Sequence[Plan]) -> Start:
    coords, frozen = start.frac_coords.clone(), start.frozen.clone()
    lattice = start.lattice.clone()
    for row, plan in enumerate(plans):
        if plan.start is None:
            continue
        kept = plan.frozen
        coords[row, :kept] = torch.as_tensor(plan.start.frac_coords % 1.0, dtype=torch.float32)
        frozen[row, :kept] = True
        lattice[row] = torch.as_tensor(plan.start.lattice.matrix.copy(), dtype=torch.float32)
    given = torch.ones(len(plans), dtype=torch.bool)
    return _with(start, frac_coords=coords, frozen=frozen, lattice=lattice, lattice_given=given)


def _exact_cell(structure: Structure, parameters: tuple[float, ...]) -> Structure:
    """The same fractional coordinates in the given cell, in double precision."""
    from pymatgen.core import Lattice, Structure

    lattice = Lattice.from_parameters(*parameters)
    return Structure(lattice, structure.species, structure.frac_coords)


def _exact_host(structure: Structure, plan: Plan) -> Structure:
    """Host atoms and cell bit for bit as they were given."""
    if plan.kind != "host" or plan.start is None:
        return structure
    from pymatgen.core import Structure

    coords = structure.frac_coords.copy()
    coords[: plan.frozen] = plan.start.frac_coords
    return Structure(plan.start.lattice, structure.species, coords)
