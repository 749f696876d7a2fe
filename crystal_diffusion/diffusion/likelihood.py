"""The exact likelihood of a crystal under the flow, given its composition.

Along the probability-flow ODE dx/dt = v(x, t) from the crystal (t = 0) to noise (t = 1),

    log p_0(x_0) = log p_1(x_1) + ∫ div v dt,

with the divergence by Hutchinson's estimator E[εᵀ (∂v/∂x) ε] (Grathwohl et al. 2019, "FFJORD",
eq. 8; Song et al. 2021, section 4.3). Coordinates end uniform on the torus, where log p_1 is 0, and
the standardised log-strain ends as a unit normal. It ranks
candidates badly: see docs/evaluation.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, remove_translation
from crystal_diffusion.diffusion.processes import TorusFlow
from crystal_diffusion.errors import InputError
from crystal_diffusion.shapes import Bool, Float, Int

#: Scale of the predicted velocity of coordinates.
_UNIFORM_SCALE = math.sqrt(12.0)


def log_likelihood(
    model: JointDiffusion, batch: CrystalBatch, *, steps: int = 32, probes: int = 2, seed: int = 0
) -> Float[Tensor, " crystals"]:
    """``(crystals,)`` log density in nats, per crystal, of coordinates and cell.

    Coordinates count in fractions, the cell in standardised log-strain; values compare crystals of
    one composition.

    Args:
        model: with the flow for coordinates and lattice.
        batch: clean crystals of equal size.
        steps: of the midpoint rule.
        probes: random directions of the estimator at each step.
        seed: of the directions.

    Raises:
        InputError: for another process, of which this is not the likelihood.
    """
    if not isinstance(model.coordinates, TorusFlow) or model.config.lattice != "flow":
        raise InputError(
            "the likelihood is that of the flow; this model's coordinates or lattice have another "
            "process. Train one with the default processes."
        )
    if steps < 1 or probes < 1:
        raise InputError(f"steps {steps} and probes {probes} must be at least 1.")
    noise = torch.Generator().manual_seed(seed)
    coords = batch.frac_coords.clone()
    state = model.encode_lattice(batch.lattice, batch.num_atoms)
    mask = batch.mask
    total = torch.zeros(len(coords))
    for step in range(steps):
        level = (step + 0.5) / steps
        velocity, strain, divergence = _flow(
            model, coords, state, batch.atomic_numbers, mask, level, probes, noise
        )
        coords = geometry.wrap(coords + velocity / steps)
        state = state + strain / steps
        total += divergence / steps
    normal = -0.5 * (state.square() + math.log(2 * math.pi)).sum(-1)
    return total + normal


def _flow(
    model: JointDiffusion,
    coords: Float[Tensor, "crystals atoms 3"],
    state: Float[Tensor, "crystals 6"],
    numbers: Int[Tensor, "crystals atoms"],
    mask: Bool[Tensor, "crystals atoms"],
    level: float,
    probes: int,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Velocity of coordinates and log-strain, and the estimate of their divergence."""
    coords = coords.detach().requires_grad_(True)
    state = state.detach().requires_grad_(True)
    crystals = len(coords)
    levels = Levels(
        torch.full(coords.shape[:2], level) * mask,
        torch.full((crystals,), level),
        torch.zeros(crystals),
    )
    answer = model.predict(coords, state, numbers, levels)
    velocity = answer.coords / _UNIFORM_SCALE * mask.unsqueeze(-1)
    strain = answer.lattice
    divergence = torch.zeros(crystals)
    for _ in range(probes):
        one = torch.randn(coords.shape, generator=noise) * mask.unsqueeze(-1)
        one = remove_translation(one, mask, levels.coords)
        other = torch.randn(state.shape, generator=noise)
        pull = torch.autograd.grad(
            (velocity * one).sum() + (strain * other).sum(), (coords, state), retain_graph=True
        )
        divergence += (pull[0] * one).sum((-1, -2)) + (pull[1] * other).sum(-1)
    return velocity.detach(), strain.detach(), divergence / probes
