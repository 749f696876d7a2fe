"""From plans to crystals: batches of equal size through the sampler and back, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import chemistry, geometry
from crystal_diffusion.crystal import MAX_ATOMIC_NUMBER, CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import Start, sample
from crystal_diffusion.generation.neutral import neutral_decoder
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.contacts import pair_limits
from crystal_diffusion.physics.limits import Limits
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.seeding import CrystalStreams

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.symmetric import TemplateProjection
    from crystal_diffusion.generation.told import ToldDenoiser

#: Tokens per network call: large enough for full matrix products, small enough for the caches.
TOKENS_PER_CALL = 1024


def batches(plans: Sequence[Plan], workers: int = 1) -> list[list[Plan]]:
    """Plans of equal number of atoms and kind of start together, work for all ``workers``."""
    total = sum(len(plan.atomic_numbers) + 1 for plan in plans)
    tokens = min(TOKENS_PER_CALL, -(-total // workers))
    out: list[list[Plan]] = []
    key = None

    def key_of(plan: Plan) -> tuple[int, bool, bool, tuple[int, ...]]:
        prototype = plan.kind == "prototype"
        return len(plan.atomic_numbers), prototype, plan.template is not None, plan.allowed

    for plan in sorted(plans, key=lambda p: (key_of(p), p.index)):
        size = tokens // (len(plan.atomic_numbers) + 1)
        if key_of(plan) != key or len(out[-1]) >= max(1, size):
            out.append([])
            key = key_of(plan)
        out[-1].append(plan)
    return out


#: Kept above the error-level limit of the validator, so that rounding cannot undo it.
_MARGIN = 1.05
#: Shortest distance of the repulsion, as a share of the sum of covalent radii; below every pair in
#: ordinary crystals, so a valid crystal feels nothing.
_RADII_SHARE = 0.72


@dataclass(frozen=True)
class Guards:
    """What the sampler keeps a crystal away from, from the limits it will be judged by."""

    limits: Limits = field(default_factory=Limits)

    def smallest_distances(self, atomic_numbers: Tensor) -> Tensor:
        """``(crystals, atoms, atoms)`` Å: a share of the covalent radii, at least 0.75 Å.

        Never below what the validator's ``pair_distance`` demands.
        """
        limits = self.limits
        table = _distance_table(_RADII_SHARE, limits.pair_error, limits.min_distance)
        z = atomic_numbers.clamp(0, len(table) - 1).cpu()
        return table[z.unsqueeze(-1), z.unsqueeze(-2)].to(atomic_numbers.device)

    def volume_limits(self, atomic_numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest volume per atom in Å3, ``(crystals,)`` each.

        The low end of the tables, where the validator's error begins, and a multiple of their mean,
        where its warning does.
        """
        low, high = [], []
        for row in atomic_numbers.cpu().numpy():
            mean, least, _ = chemistry.expected_volume(row[row > 0])
            low.append(_MARGIN * self.limits.volume_low_error * least)
            high.append(self.limits.volume_high_warning * mean)
        device = atomic_numbers.device
        return torch.tensor(low, device=device), torch.tensor(high, device=device)


@cache
def _distance_table(share: float, pair_error: float, min_distance: float) -> Tensor:
    """``(104, 104)`` Å by atomic numbers."""
    numbers = np.arange(1, chemistry.LAST_ELEMENT + 1)
    radii = chemistry.covalent_radii(numbers)
    table = np.full((len(numbers) + 1, len(numbers) + 1), 0.75)
    table[1:, 1:] = np.maximum(
        share * (radii[:, None] + radii[None]),
        _MARGIN * pair_limits(numbers, pair_error, min_distance),
    ).clip(0.75)
    return torch.as_tensor(table, dtype=torch.float32)


def sample_plans(
    model: JointDiffusion,
    plans: Sequence[Plan],
    settings: GenerationSettings,
    told: ToldDenoiser | None = None,
) -> list[Structure]:
    """One structure for each plan; all of one request, of the same kind and size.

    Args:
        told: asked instead of the model, where properties are asked for.
    """
    one = plans[0]
    prototype = one.kind == "prototype"
    if prototype and settings.prototype_level <= 0:
        return [plan.start for plan in plans if plan.start is not None]
    start = _start(plans, settings.prototype_level)
    projection = _projection(plans)
    guards = Guards((settings.validator or PhysicsValidator()).limits)
    drawn = settings.sampler.calls(composition_given=one.composition_given)
    steps = settings.prototype_steps if prototype else drawn
    batch = sample(
        model,
        start,
        CrystalStreams([plan.seed for plan in plans], [len(one.atomic_numbers)] * len(plans)),
        replace(settings.sampler, steps=steps),
        smallest=guards.smallest_distances,
        volumes=guards.volume_limits,
        projection=projection,
        decode_elements=neutral_decoder(one.allowed, one.given) if one.charge_neutral else None,
        denoise=None if told is None else told.guided(len(plans)),
    )
    if projection is not None:
        return projection.structures(batch, [plan.cell for plan in plans])
    structures = batch.to_structures()
    if one.lattice is not None:
        return [_exact_cell(s, one.lattice) for s in structures]
    return [_exact_host(s, plan) for s, plan in zip(structures, plans, strict=True)]


def _start(plans: Sequence[Plan], prototype_level: float) -> Start:
    """Where the sampler begins, and what is given."""
    one = plans[0]
    numbers = torch.tensor([plan.atomic_numbers for plan in plans], dtype=torch.int64)
    crystals = len(plans)
    start = Start.noise(numbers)
    if one.lattice is not None:
        cell = geometry.lattice_from_parameters(torch.tensor(one.lattice, dtype=torch.float64))
        start = replace(
            start,
            lattice=cell.float().expand(crystals, 3, 3).clone(),
            lattice_given=torch.ones(crystals, dtype=torch.bool),
        )
    if one.kind == "prototype":
        known = CrystalBatch.from_structures([plan.start for plan in plans])
        start = replace(
            start,
            level=torch.full((crystals,), prototype_level),
            frac_coords=known.frac_coords,
            lattice=known.lattice,
            renoise=False,
            atomic_numbers=known.atomic_numbers,
        )
    if one.kind == "host":
        start = _with_host(start, plans)
    allowed = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.bool)
    allowed[[z - 1 for z in one.allowed or range(1, MAX_ATOMIC_NUMBER + 1)]] = True
    return replace(start, allowed=allowed.expand(crystals, -1))


def _projection(plans: Sequence[Plan]) -> TemplateProjection | None:
    templates = [plan.template for plan in plans if plan.template is not None]
    if not templates:
        return None
    from crystal_diffusion.generation.symmetric import TemplateProjection

    return TemplateProjection(templates)


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
    return replace(start, frac_coords=coords, frozen=frozen, lattice=lattice, lattice_given=given)


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
