"""One sampling loop for every question: what is given stays, everything else is denoised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT, CrystalBatch
from crystal_diffusion.deprecated import renamed
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, remove_translation
from crystal_diffusion.diffusion.penalty import fit_cell, push_apart, separate, stretch_cell
from crystal_diffusion.diffusion.processes import lattice_step
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Prediction
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.shapes import Bool, Float, Int, Shaped


class Projection(Protocol):
    """Puts a batch on a symmetric subspace; the identity where nothing is asked for."""

    def coords(
        self, frac_coords: Float[Tensor, "crystals atoms 3"]
    ) -> Float[Tensor, "crystals atoms 3"]:
        """Nearest symmetric coordinates, ``(crystals, atoms, 3)``."""
        ...

    def displacement(
        self, displacement: Float[Tensor, "crystals atoms 3"]
    ) -> Float[Tensor, "crystals atoms 3"]:
        """Linear projection of a fractional vector field."""
        ...

    def lattice(self, lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals 3 3"]:
        """Nearest cells whose metric the group leaves alone, ``(crystals, 3, 3)``."""
        ...

    def start(self, streams: CrystalStreams) -> Tensor:
        """Random symmetric coordinates, uniform in the free parameters."""
        ...

    def basis(self, lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals 3 3"]:
        """Integer matrices M, ``(crystals, 3, 3)``, for which M·L is a reduced cell."""
        ...


class Denoise(Protocol):
    """What the sampler asks at each step: the model itself, or something wrapped around it."""

    def __call__(
        self,
        frac_coords: Float[Tensor, "crystals atoms 3"],
        lattice_state: Float[Tensor, "crystals 6"],
        atomic_numbers: Int[Tensor, "crystals atoms"],
        levels: Levels,
        lattice: Float[Tensor, "crystals 3 3"] | None = None,
        *,
        target_level: Float[Tensor, " crystals"] | None = None,
    ) -> Prediction:
        """The prediction of :meth:`JointDiffusion.predict`."""
        ...


#: Up to this many steps a network that learned long ones is told where each of them leads.
LONG_STEPS = 4
#: Steps where all elements are given, as good as twenty by measurement, and where they are not.
STEPS_GIVEN = 8
STEPS_OPEN = 20


@renamed(churn="eta")
@dataclass(frozen=True)
class SamplerSettings:
    """How to sample.

    Attributes:
        steps: network calls; None for :data:`STEPS_GIVEN` where the composition is given and
            :data:`STEPS_OPEN` where it is not.
        eta: 0 deterministic (DDIM) to 1 ancestral (DDPM); how much noise is put back.
        repulsion: strength of the pair repulsion at low noise; 0 turns it off.
        cell_limits: strength of the limits of volume per atom and shortest edge at low noise, 1
            goes all the way in each step; 0 turns them off.
        repulsion_below: noise level below which both act.
        separate: steps at the end that move overlapping atoms apart; 0 turns them off.
        speedup: velocity factor 1 + speedup·(1-t), up to the predicted end of the path
            (Miller et al. 2024, FlowMM, anneal the velocity in this way).
        element_temperature: 0 takes the likeliest element, 1 draws as predicted.
    """

    steps: int | None = None
    eta: float = 0.0
    repulsion: float = 1.0
    cell_limits: float = 1.0
    repulsion_below: float = 0.4
    separate: int = 30
    speedup: float = 4.0
    element_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps is {self.steps}; give at least 1.")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta is {self.eta}; give a number between 0 and 1.")

    def calls(self, *, composition_given: bool) -> int:
        """Network calls of a crystal, chosen where ``steps`` leaves them open."""
        if self.steps is not None:
            return self.steps
        return STEPS_GIVEN if composition_given else STEPS_OPEN

    @classmethod
    def of(
        cls, sampling_steps: int | None = None, eta: float = 0.0, repulsion: float = 1.0
    ) -> SamplerSettings:
        """From the words of the command line; without repulsion all physics terms are off."""
        if not repulsion:
            return cls.without_physics(steps=sampling_steps, eta=eta)
        return cls(steps=sampling_steps, eta=eta, repulsion=repulsion)

    @classmethod
    def without_physics(cls, **settings: Any) -> SamplerSettings:
        """The same sampler, its physics terms turned off."""
        return cls(**{**settings, "repulsion": 0.0, "cell_limits": 0.0, "separate": 0})


@dataclass(frozen=True, eq=False)
class Start:
    """Where sampling begins and what is given.

    Attributes:
        atomic_numbers: ``(crystals, atoms)``; 101 where the element is to be found.
        level: ``(crystals,)`` starting noise level, 1 = pure noise.
        frac_coords: ``(crystals, atoms, 3)``; used for frozen atoms and for levels below 1.
        lattice: ``(crystals, 3, 3)``; used where given and for levels below 1.
        lattice_given: ``(crystals,)`` bool.
        frozen: ``(crystals, atoms)`` bool; these atoms do not move at all.
        renoise: whether starts below level 1 get noise of that level, or are taken as they are.
        allowed: ``(crystals, 100)`` bool; elements that masked atoms may become.
    """

    atomic_numbers: Int[Tensor, "crystals atoms"]
    level: Float[Tensor, " crystals"]
    frac_coords: Float[Tensor, "crystals atoms 3"]
    lattice: Float[Tensor, "crystals 3 3"]
    lattice_given: Bool[Tensor, " crystals"]
    frozen: Bool[Tensor, "crystals atoms"]
    renoise: bool = True
    allowed: Tensor | None = None

    @classmethod
    def noise(cls, atomic_numbers: Int[Tensor, "crystals atoms"]) -> Start:
        """Everything but the atomic numbers from pure noise."""
        crystals, atoms = atomic_numbers.shape
        return cls(
            atomic_numbers=atomic_numbers,
            level=torch.ones(crystals),
            frac_coords=torch.zeros(crystals, atoms, 3),
            lattice=torch.eye(3).expand(crystals, 3, 3).clone(),
            lattice_given=torch.zeros(crystals, dtype=torch.bool),
            frozen=torch.zeros(crystals, atoms, dtype=torch.bool),
        )


def sample(
    model: JointDiffusion,
    start: Start,
    streams: CrystalStreams,
    settings: SamplerSettings | None = None,
    *,
    smallest: Callable[[Tensor], Tensor] | None = None,
    volumes: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    projection: Projection | None = None,
    decode_elements: Callable[[Tensor, Tensor], Tensor] | None = None,
    denoise: Denoise | None = None,
) -> CrystalBatch:
    """Draw crystals: Euler steps of the flow, or DDIM/DDPM steps of the other processes.

    Args:
        model: the joint model.
        start: what is given and where to begin, see :class:`Start`.
        streams: one random stream per crystal.
        settings: steps and strengths.
        smallest: limits ``(crystals, atoms, atoms)`` in Å for the repulsion, from atomic numbers.
        volumes: lowest and highest volume per atom, ``(crystals,)`` Å3, from atomic numbers.
        projection: symmetric subspace of each crystal.
        decode_elements: turns ``(crystals, atoms, 100)`` log-probabilities and the atoms still
            masked at the last step into atomic numbers, for example charge neutral ones.
        denoise: asked instead of the model's own network, for example with guidance.

    Returns:
        Crystals of the given composition, coordinates in [0, 1); given fields bit for bit.
    """
    with torch.inference_mode():
        found = _sample(
            model,
            start,
            streams,
            settings or SamplerSettings(),
            smallest,
            volumes,
            projection,
            decode_elements,
            denoise or model.predict,
        )
    # Copies made outside are ordinary tensors again, fit for training.
    return CrystalBatch(
        found.frac_coords.clone(), found.lattice.clone(), found.atomic_numbers.clone()
    )


def _sample(
    model: JointDiffusion,
    start: Start,
    streams: CrystalStreams,
    settings: SamplerSettings,
    smallest: Callable[[Tensor], Tensor] | None,
    volumes: Callable[[Tensor], tuple[Tensor, Tensor]] | None,
    projection: Projection | None,
    decode_elements: Callable[[Tensor, Tensor], Tensor] | None,
    denoise: Denoise,
) -> CrystalBatch:
    device = model.device
    numbers = start.atomic_numbers.to(device)
    mask = numbers > 0
    count = mask.sum(-1)
    frozen = start.frozen.to(device) & mask
    given_coords = start.frac_coords.to(device)
    given_lattice = start.lattice.to(device)
    lattice_given = start.lattice_given.to(device)
    first = start.level.to(device)
    searching = (numbers == MASK_ELEMENT).any(-1)

    frac, lattice = _initial(
        model, start, streams, projection, first, given_coords, given_lattice, count, frozen
    )
    steps = settings.calls(composition_given=not bool(searching.any()))
    long = model.long_steps and steps <= LONG_STEPS and not settings.eta
    for step in range(steps):
        high = first * (1 - step / steps)
        low = first * (1 - (step + 1) / steps)
        levels = Levels(
            coords=torch.where(frozen, 0.0, high.unsqueeze(-1)) * mask,
            lattice=torch.where(lattice_given, 0.0, high),
            elements=torch.where(searching, high, 0.0),
        )
        answer, state, basis = _ask(
            model, denoise, frac, lattice, numbers, count, levels, projection, low if long else None
        )
        coord_level, coord_low = levels.coords.unsqueeze(-1), low[:, None, None]
        fresh = streams.uniform_atoms().to(device) if settings.eta else torch.zeros_like(frac)
        noise = model.coordinates.unit_noise(fresh) if settings.eta else fresh
        # Never past the end that the network sees from here.
        speedup = 0.0 if long else settings.speedup
        faster = (1 + speedup * (1 - high)).clamp(max=steps - step)
        coords = answer.coords * faster[:, None, None]
        if projection is not None:
            coords = projection.displacement(coords)
            noise = projection.displacement(noise) if settings.eta else noise
        if settings.eta:
            noise = remove_translation(noise, mask, levels.coords)
        moved = model.coordinates.step(frac, coords, coord_level, coord_low, noise, settings.eta)
        cell_noise = streams.normal(6).to(device) if settings.eta else torch.zeros_like(state)
        state = lattice_step(
            model.lattice,
            state,
            answer.lattice,
            high[:, None],
            low[:, None],
            cell_noise,
            settings.eta,
        )
        new_lattice = _from_basis(model.decode_lattice(state, count), basis)
        physical = bool((high < settings.repulsion_below).any())
        if settings.cell_limits and volumes is not None and smallest is not None and physical:
            own = smallest(numbers).diagonal(dim1=-2, dim2=-1) * mask
            acts = (high < settings.repulsion_below)[:, None, None]
            fitted = fit_cell(
                new_lattice, count, volumes(numbers), own.amax(-1), settings.cell_limits
            )
            new_lattice = torch.where(acts, fitted, new_lattice)
        if projection is not None:
            new_lattice = projection.lattice(new_lattice)
        lattice = torch.where(lattice_given[:, None, None], lattice, new_lattice)
        if settings.repulsion and smallest is not None and physical:
            acts = (high < settings.repulsion_below)[:, None, None]
            push = push_apart(moved, lattice, mask, smallest(numbers), settings.repulsion)
            if projection is not None:
                push = projection.displacement(push)
            moved = moved + push * acts
        moved = torch.where(frozen.unsqueeze(-1), given_coords, geometry.wrap(moved))
        frac = (projection.coords(moved) if projection is not None else moved) * mask.unsqueeze(-1)
        if bool(searching.any()):
            numbers = _unmask(
                numbers,
                answer,
                streams,
                high,
                low,
                settings,
                start.allowed,
                decode_elements if step == steps - 1 else None,
            )
    lattice = torch.where(lattice_given[:, None, None], given_lattice, lattice)
    if settings.separate and smallest is not None:

        def allowed_step(step: Tensor) -> Tensor:
            step = step if projection is None else projection.displacement(step)
            return torch.where(frozen.unsqueeze(-1), 0.0, step)

        limits = smallest(numbers)
        apart = separate(frac, lattice, mask, limits, settings.separate, allowed_step)
        if volumes is not None and settings.cell_limits and not bool(frozen.any()):
            roomy = stretch_cell(
                apart,
                lattice,
                mask,
                limits,
                volumes(numbers)[1] * count,
                settings.separate,
                (lambda cell: cell) if projection is None else projection.lattice,
            )
            lattice = torch.where(lattice_given[:, None, None], given_lattice, roomy)
            apart = separate(apart, lattice, mask, limits, settings.separate, allowed_step)
        if projection is not None:
            apart = projection.coords(apart)
        frac = torch.where(frozen.unsqueeze(-1), frac, apart) * mask.unsqueeze(-1)
    return CrystalBatch(frac, lattice, numbers)


def _initial(
    model: JointDiffusion,
    start: Start,
    streams: CrystalStreams,
    projection: Projection | None,
    first: Tensor,
    given_coords: Tensor,
    given_lattice: Tensor,
    count: Tensor,
    frozen: Tensor,
) -> tuple[Tensor, Tensor]:
    """Noisy coordinates and lattice at the starting level."""
    mask = start.atomic_numbers.to(model.device) > 0
    # Both kinds of noise are always drawn, so a stream never depends on what others ask for.
    noise = model.coordinates.unit_noise(streams.uniform_atoms().to(model.device))
    cell_noise = streams.normal(6).to(model.device)
    level = first[:, None, None]
    if projection is not None:
        noise = projection.displacement(noise)
    free_level = torch.where(frozen, 0.0, first.unsqueeze(-1)) * mask
    noise = remove_translation(noise, mask, free_level) if not bool(frozen.any()) else noise
    partial = given_coords
    if start.renoise:
        partial = given_coords + model.coordinates.displacement(noise, level)
    pure = projection.start(streams).to(model.device) if projection else noise + 0.5
    if not model.coordinates.exchangeable and projection is None:
        pure = streams.uniform_atoms().to(model.device)
    frac = geometry.wrap(torch.where(level >= 1, pure, partial))
    frac = torch.where(frozen.unsqueeze(-1), given_coords, frac) * mask.unsqueeze(-1)

    encoded = model.encode_lattice(given_lattice, count)
    partial_cell = encoded
    if start.renoise:
        partial_cell = model.lattice.noisy(encoded, cell_noise, first.unsqueeze(-1))
    state = torch.where(first.unsqueeze(-1) >= 1, cell_noise, partial_cell)
    lattice = model.decode_lattice(state, count)
    if projection is not None:
        lattice = projection.lattice(lattice)
    lattice_given = start.lattice_given.to(model.device)
    return frac, torch.where(lattice_given[:, None, None], given_lattice, lattice)


def _ask(
    model: JointDiffusion,
    denoise: Denoise,
    frac: Float[Tensor, "crystals atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    numbers: Int[Tensor, "crystals atoms"],
    count: Shaped[Tensor, " crystals"],
    levels: Levels,
    projection: Projection | None,
    target_level: Float[Tensor, " crystals"] | None,
) -> tuple[Prediction, Tensor, Tensor | None]:
    """The network's answer; under a symmetry it is asked in the reduced cell it was trained on.

    With L' = M·L the coordinates are f' = f·M⁻¹, and a displacement d' belongs to d = d'·M.
    """
    basis = projection.basis(lattice) if projection is not None else None
    if basis is None:
        state = model.encode_lattice(lattice, count)
        return (
            denoise(frac, state, numbers, levels, lattice, target_level=target_level),
            state,
            None,
        )
    cell = basis @ lattice
    state = model.encode_lattice(cell, count)
    reduced = geometry.wrap(frac @ torch.linalg.inv(basis))
    answer = denoise(reduced, state, numbers, levels, cell, target_level=target_level)
    turned = Prediction(answer.coords @ basis, answer.lattice, answer.element_logits)
    return turned, state, basis


def _from_basis(
    lattice: Float[Tensor, "crystals 3 3"], basis: Float[Tensor, "crystals 3 3"] | None
) -> Float[Tensor, "crystals 3 3"]:
    return lattice if basis is None else torch.linalg.inv(basis) @ lattice


def _unmask(
    numbers: Tensor,
    answer: Prediction,
    streams: CrystalStreams,
    high: Tensor,
    low: Tensor,
    settings: SamplerSettings,
    allowed: Tensor | None,
    decode: Callable[[Tensor, Tensor], Tensor] | None,
) -> Tensor:
    """Reveal each masked atom with probability (t - s)/t, all of them at the last step."""
    logits = answer.element_logits
    if allowed is not None:
        logits = logits.masked_fill(~allowed.to(logits.device)[:, None, :], -1e9)
    uniform = streams.uniform_atoms(2).to(logits.device)
    masked = numbers == MASK_ELEMENT
    reveal = masked & (uniform[..., 0] < ((high - low) / high.clamp_min(1e-9)).unsqueeze(-1))
    if bool((low <= 1e-9).all()):
        reveal = masked
        if decode is not None:
            return decode(torch.log_softmax(logits, -1), numbers)
    temperature = max(settings.element_temperature, 1e-4)
    probabilities = torch.softmax(logits / temperature, -1)
    # Inverse transform: one uniform number an atom, so a stream's length is known beforehand.
    drawn = (probabilities.cumsum(-1) < uniform[..., 1:2]).sum(-1).clamp(max=99) + 1
    return torch.where(reveal, drawn, numbers)
