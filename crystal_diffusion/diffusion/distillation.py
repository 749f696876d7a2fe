"""Few-step students: one network learns steps of any length from its own shorter ones.

Progressive distillation (Salimans and Ho 2022, algorithm 2) makes a student cover two steps of its
teacher; with the length of the step as an input one network is student and teacher of all lengths
at once (Frans et al. 2024, shortcut models). The shortest steps, of length 1/8, are those of the
teacher: the network before distillation with the sampler's own velocity factor. Elements stay
masked as they are; only their logits are learned on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, NoisyState, Subspace
from crystal_diffusion.errors import InputError
from crystal_diffusion.shapes import Float

#: Lengths of the steps that are learned: 4, 2 and 1 steps from noise to crystal.
LENGTHS = (0.25, 0.5, 1.0)


def student_of(teacher: JointDiffusion) -> JointDiffusion:
    """A copy that can be told the length of a step; until it is trained it answers as the teacher.

    Raises:
        InputError: for a network without that input, or processes other than the flows.
    """
    config = teacher.config
    if config.network != "transformer" or (config.coordinates, config.lattice) != ("flow", "flow"):
        raise InputError(
            f"a model of network {config.network!r} with {config.coordinates} coordinates and "
            f"{config.lattice} lattice cannot be distilled; train a transformer with both flows."
        )
    options = {**config.network_options, "long_steps": True}
    student = JointDiffusion(replace(config, network_options=options)).to(teacher.device)
    state = student.state_dict()
    state.update(teacher.state_dict())
    student.load_state_dict(state)
    return student


@dataclass(frozen=True, eq=False)
class LongStep:
    """One step of each crystal: from its level down by its length.

    Attributes:
        state: where it begins.
        levels: there.
        target: ``(crystals,)`` level where it ends.
    """

    state: NoisyState
    levels: Levels
    target: Float[Tensor, " crystals"]


@torch.no_grad()
def two_short_steps(
    teacher: JointDiffusion,
    student: JointDiffusion,
    step: LongStep,
    subspace: Subspace | None = None,
    speedup: float = 4.0,
    bfloat16: bool = False,
) -> tuple[Float[Tensor, "crystals atoms 3"], Float[Tensor, "crystals 6"]]:
    """The velocities (coordinates, lattice) of one step that ends where two half steps do.

    Half steps of at least 1/4 are the student's own, shorter ones the teacher's with its velocity
    factor. Both flows move in straight lines, so the velocity of the whole is the mean of the two.

    Returns:
        ``(crystals, atoms, 3)`` and ``(crystals, 6)``, in the units of :class:`Prediction`.
    """
    level = torch.maximum(step.levels.coords.amax(-1), step.levels.lattice)
    half = 0.5 * (level - step.target)
    own = half >= LENGTHS[0] - 1e-6
    frac, cell = step.state.frac_coords, step.state.lattice_state
    numbers = step.state.atomic_numbers
    coords, lattice = torch.zeros_like(frac), torch.zeros_like(cell)
    for _ in range(2):
        low = level - half
        levels = at_level(step.levels, level)
        velocity, strain = torch.zeros_like(frac), torch.zeros_like(cell)
        for model, rows in ((student, own), (teacher, ~own)):
            which = torch.nonzero(rows).flatten()
            if not len(which):
                continue
            here = Levels(*(values[which] for values in vars(levels).values()))
            answer = model.predict(
                frac[which],
                cell[which],
                numbers[which],
                here,
                bfloat16=bfloat16,
                target_level=low[which] if model is student else None,
            )
            # Never past the end that the teacher sees from here, as in its own sampler.
            faster = (1 + speedup * (1 - level)).minimum(level / half.clamp_min(1e-9))
            factor = torch.ones_like(level) if model is student else faster
            velocity[which] = answer.coords * factor[which, None, None]
            strain[which] = answer.lattice
        if subspace is not None:
            velocity = subspace.displacement(velocity)
        below = at_level(levels, low)
        frac = geometry.wrap(
            teacher.coordinates.step(
                frac, velocity, levels.coords.unsqueeze(-1), below.coords.unsqueeze(-1),
                torch.zeros_like(frac), 0.0,
            )
        )  # fmt: skip
        cell = cell - (levels.lattice - below.lattice).unsqueeze(-1) * strain
        coords, lattice = coords + 0.5 * velocity, lattice + 0.5 * strain
        level = low
    return coords, lattice


def at_level(levels: Levels, level: Float[Tensor, " crystals"]) -> Levels:
    """The same fields given; coordinates and lattice of the others at ``(crystals,)`` level."""
    return Levels(
        torch.where(levels.coords > 0, level.unsqueeze(-1), 0.0),
        torch.where(levels.lattice > 0, level, 0.0),
        levels.elements,
    )


def long_levels(
    levels: Levels, which: Float[Tensor, " crystals"], where: Float[Tensor, " crystals"]
) -> tuple[Levels, Tensor]:
    """Levels on the grid of a drawn step length, and where the step ends.

    Args:
        levels: drawn for ordinary training; which fields are given is kept.
        which: ``(crystals,)`` in [0, 1), decides the length; where: likewise, the place.
    """
    pick = (which * len(LENGTHS)).long().clamp(max=len(LENGTHS) - 1)
    length = torch.tensor(LENGTHS, dtype=which.dtype)[pick]
    steps = torch.round(1 / length)
    begin = (torch.floor(where * steps) + 1).clamp(max=steps) * length
    return at_level(levels, begin), begin - length
