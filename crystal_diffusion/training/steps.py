"""What a step is made of: noise levels, noise, augmentations, and what it minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.distillation import LongStep, long_levels, two_short_steps
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, LossTerms, exchange_noise
from crystal_diffusion.diffusion.penalty import training_penalty
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.seeding import stream_seed
from crystal_diffusion.shapes import Float
from crystal_diffusion.symmetry.cells import niggli_change
from crystal_diffusion.symmetry.orbits import OrbitProjection, SymmetryTable
from crystal_diffusion.training.batches import draw_levels
from crystal_diffusion.training.config import TrainingConfig


@dataclass(frozen=True, eq=False)
class StepInputs:
    """Everything random of one step.

    Attributes:
        batch: clean crystals, moved and described as this step wants them.
        levels: noise levels; the noises are those of :meth:`JointDiffusion.loss`.
        subspace: what symmetric crystals have left free; None where all are free.
        target_level: ``(crystals,)`` where a long step ends, -1 for crystals that learn the
            velocity; None where all do.
        conditions: what the network is told of properties; None for nothing.
    """

    batch: CrystalBatch
    levels: Levels
    coord_noise: Float[Tensor, "crystals atoms 3"]
    lattice_noise: Float[Tensor, "crystals 6"]
    mask_noise: Float[Tensor, "crystals atoms"]
    subspace: OrbitProjection | None = None
    target_level: Float[Tensor, " crystals"] | None = None
    conditions: Conditions | None = None

    def part(self, rows: slice | Tensor, device: torch.device) -> StepInputs:
        """Some of the crystals, on a device."""
        batch = self.batch[rows]
        width = batch.atomic_numbers.shape[1]
        levels = Levels(
            self.levels.coords[rows, :width].to(device),
            self.levels.lattice[rows].to(device),
            self.levels.elements[rows].to(device),
        )
        return StepInputs(
            batch.to(device),
            levels,
            self.coord_noise[rows, :width].to(device),
            self.lattice_noise[rows].to(device),
            self.mask_noise[rows, :width].to(device),
            None if self.subspace is None else self.subspace.part(rows, width, device),
            None if self.target_level is None else self.target_level[rows].to(device),
            None if self.conditions is None else self.conditions.part(rows, device),
        )


def random_translation(
    batch: CrystalBatch, config: TrainingConfig, generator: torch.Generator
) -> CrystalBatch:
    """Each crystal moved as a whole, where the settings want it."""
    if not config.translate:
        return batch
    shift = torch.rand(len(batch), 1, 3, generator=generator)
    moved = geometry.wrap(batch.frac_coords + shift) * batch.mask.unsqueeze(-1)
    return CrystalBatch(moved, batch.lattice, batch.atomic_numbers)


#: Other descriptions of the same crystals, applied one after the other in each step.
AUGMENTATIONS: tuple[
    Callable[[CrystalBatch, TrainingConfig, torch.Generator], CrystalBatch], ...
] = (random_translation,)


def prepare_step(
    model: JointDiffusion,
    data: CrystalBatch,
    rows: np.ndarray,
    config: TrainingConfig,
    step: int,
    symmetry: SymmetryTable | None = None,
) -> StepInputs:
    """Everything random of one step, on the CPU, from (seed, step) alone.

    Args:
        symmetry: of all crystals in ``data``; without it every crystal gets free noise.
    """
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "step", step))
    batch = data[torch.from_numpy(rows)]
    crystals, atoms = batch.atomic_numbers.shape
    levels = draw_levels(batch, config.tasks, generator)
    target_level = None
    if config.long_steps:
        levels, target_level = _long_steps(levels, config.long_steps, generator)
    uniform = torch.rand(crystals, atoms, 3, generator=generator)
    coord_noise = model.coordinates.unit_noise(uniform)
    if config.exchange and model.coordinates.exchangeable:
        coord_noise = torch.from_numpy(exchange_noise(batch, coord_noise.numpy()))
    lattice_noise = torch.randn(crystals, 6, generator=generator)
    mask_noise = torch.rand(crystals, atoms, generator=generator)
    for augment in AUGMENTATIONS:
        batch = augment(batch, config, generator)
    inputs = StepInputs(
        batch, levels, coord_noise, lattice_noise, mask_noise, target_level=target_level
    )
    if symmetry is None or not config.symmetric:
        return inputs
    chosen = torch.rand(crystals, generator=generator) < config.symmetric
    # Elements are drawn before a symmetry is; frozen atoms of a host belong to no orbit.
    whole = (levels.coords > 0).eq(batch.mask).all(-1)
    use = (chosen & whole & (levels.elements <= 0)).numpy() & symmetry.symmetric(rows)
    return _symmetric_step(model, inputs, symmetry.batch(rows, use, atoms), uniform, use)


def _long_steps(levels: Levels, share: float, generator: torch.Generator) -> tuple[Levels, Tensor]:
    """A share of the crystals on the grid of long steps, where their elements are given."""
    drawn = torch.rand(3, len(levels.lattice), generator=generator)
    grid, target = long_levels(levels, drawn[0], drawn[1])
    begin = torch.maximum(levels.coords.amax(-1), levels.lattice)
    chosen = (drawn[2] < share) & (levels.elements <= 0) & (begin > 0)
    mixed = Levels(
        torch.where(chosen.unsqueeze(-1), grid.coords, levels.coords),
        torch.where(chosen, grid.lattice, levels.lattice),
        levels.elements,
    )
    return mixed, torch.where(chosen, target, -1.0)


def _symmetric_step(
    model: JointDiffusion,
    inputs: StepInputs,
    subspace: OrbitProjection,
    uniform: Tensor,
    use: np.ndarray,
) -> StepInputs:
    """Noise of the crystals' own groups, in the reduced basis of each noisy cell.

    The sampler projects its states and asks the network in the reduced cell of each; so does
    this: the noisy cell is projected on the metrics that the group allows and reduced, and the
    crystal is described in that basis. The lattice noise that leads to the projected state from
    the clean one stands for the noise drawn, so the loss needs to know nothing of it.
    """
    batch, levels = inputs.batch, inputs.levels
    rows = torch.from_numpy(use)
    spread = model.coordinates.unit_noise(uniform)
    if model.coordinates.exchangeable:
        metric = batch.lattice @ batch.lattice.mT
        spread = subspace.noise(spread, metric)
    else:
        spread = subspace.displacement(spread)
    coord_noise = torch.where(rows[:, None, None], spread, inputs.coord_noise)

    count, level = batch.num_atoms, levels.lattice.unsqueeze(-1)
    clean = _encode(model, batch.lattice, count)
    noisy = model.lattice.noisy(clean, inputs.lattice_noise.double(), level.double())
    cell = subspace.lattice(_decode(model, noisy, count))
    moves = rows & (levels.lattice > 0)
    basis = torch.eye(3, dtype=torch.float64).repeat(len(use), 1, 1)
    for row in torch.nonzero(moves).flatten().tolist():
        basis[row] = torch.from_numpy(niggli_change(cell[row].numpy()))
    back = torch.linalg.inv(basis)
    lattice = basis @ batch.lattice.double()
    alpha, sigma = model.lattice.alpha_sigma(level.double())
    ends = _encode(model, basis @ cell, count) - alpha * _encode(model, lattice, count)
    lattice_noise = torch.where(
        moves.unsqueeze(-1), (ends / sigma.clamp_min(1e-9)).float(), inputs.lattice_noise
    )
    turned = CrystalBatch(
        geometry.wrap((batch.frac_coords.double() @ back).float()) * batch.mask.unsqueeze(-1),
        lattice.float(),
        batch.atomic_numbers,
    )
    return StepInputs(
        turned,
        levels,
        (coord_noise.double() @ back).float(),
        lattice_noise,
        inputs.mask_noise,
        subspace.in_basis(basis),
        inputs.target_level,
        inputs.conditions,
    )


def _encode(model: JointDiffusion, lattice: Tensor, count: Tensor) -> Tensor:
    return model.encode_lattice(lattice.double().to(model.device), count.to(model.device)).cpu()


def _decode(model: JointDiffusion, state: Tensor, count: Tensor) -> Tensor:
    return model.decode_lattice(state.to(model.device), count.to(model.device)).cpu()


def _denoising_terms(
    model: JointDiffusion,
    inputs: StepInputs,
    config: TrainingConfig,
    bfloat16: bool,
    per_crystal: bool = False,
) -> LossTerms:
    """The denoising loss of a batch, or of each crystal, ``(crystals,)`` each."""
    return model.loss(
        inputs.batch,
        inputs.levels,
        inputs.coord_noise,
        inputs.lattice_noise,
        inputs.mask_noise,
        config.lattice_weight,
        config.element_weight,
        per_crystal=per_crystal,
        bfloat16=bfloat16,
        subspace=inputs.subspace,
        conditions=inputs.conditions,
    )


def denoising_objective(
    model: JointDiffusion, inputs: StepInputs, config: TrainingConfig, bfloat16: bool = False
) -> LossTerms:
    """Denoising loss of one prepared batch; with ``bfloat16`` the network computes in it."""
    terms = _denoising_terms(model, inputs, config, bfloat16)
    if config.physics_weight:
        penalty = training_penalty(
            model,
            inputs.batch,
            inputs.levels,
            inputs.coord_noise,
            inputs.lattice_noise,
            bfloat16=bfloat16,
        )
        total = terms.total + config.physics_weight * penalty
        return LossTerms(total, terms.coords, terms.lattice, terms.elements)
    return terms


#: What a step minimises: model, inputs, settings and whether to compute in bfloat16.
Objective = Callable[[JointDiffusion, StepInputs, TrainingConfig, bool], LossTerms]


def distillation_objective(teacher: JointDiffusion) -> Objective:
    """Long steps that end where two shorter ones do, beside the ordinary denoising loss.

    Crystals without a long step learn the velocity as before, so the student keeps what the teacher
    knows (Frans et al. 2024, eq. 5).
    """

    def objective(
        model: JointDiffusion, inputs: StepInputs, config: TrainingConfig, bfloat16: bool
    ) -> LossTerms:
        if inputs.target_level is None:
            return denoising_objective(model, inputs, config, bfloat16)
        crystals, device = len(inputs.target_level), inputs.target_level.device
        found = torch.zeros(3, crystals, device=device)
        short = torch.nonzero(inputs.target_level < 0).flatten()
        long = torch.nonzero(inputs.target_level >= 0).flatten()
        if len(short):
            terms = _denoising_terms(
                model, inputs.part(short, device), config, bfloat16, per_crystal=True
            )
            values = torch.stack([terms.coords, terms.lattice, terms.elements])
            found = found.index_copy(1, short, values)
        if len(long):
            coords, lattice = _long_step_terms(
                teacher, model, inputs.part(long, device), inputs.target_level[long], bfloat16
            )
            values = torch.stack([coords, lattice, torch.zeros_like(coords)])
            found = found.index_copy(1, long, values)
        coords, lattice, elements = found.mean(1)
        total = coords + config.lattice_weight * lattice + config.element_weight * elements
        return LossTerms(total, coords, lattice, elements)

    return objective


def _long_step_terms(
    teacher: JointDiffusion,
    model: JointDiffusion,
    inputs: StepInputs,
    target: Tensor,
    bfloat16: bool,
) -> tuple[Tensor, Tensor]:
    """Squared distance of each long step from where two short ones end, coordinates and lattice.

    Each ``(crystals,)``; ``target`` is where the step of each crystal ends.
    """
    state = model.noisy_state(
        inputs.batch, inputs.levels, inputs.coord_noise, inputs.lattice_noise, inputs.mask_noise
    )
    step = LongStep(state, inputs.levels, target)
    wanted = two_short_steps(teacher, model, step, inputs.subspace, bfloat16=bfloat16)
    answer = model.predict(
        state.frac_coords,
        state.lattice_state,
        state.atomic_numbers,
        inputs.levels,
        bfloat16=bfloat16,
        target_level=target,
    )
    coords, _ = model.coordinate_error(
        inputs.batch, inputs.levels, answer.coords - wanted[0], inputs.subspace
    )
    lattice = (answer.lattice - wanted[1]).square().mean(-1) * (inputs.levels.lattice > 0)
    return coords, lattice
