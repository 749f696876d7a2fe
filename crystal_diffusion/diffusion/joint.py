"""The joint model: lattice, coordinates and elements diffused together, each of them givable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT, CrystalBatch
from crystal_diffusion.diffusion.processes import (
    COORDINATE_PROCESSES,
    LATTICE_PROCESSES,
    mask_elements,
)
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks import NETWORKS
from crystal_diffusion.networks.protocol import Conditions, NoisyCrystals, Prediction
from crystal_diffusion.shapes import Bool, Float, Int, Shaped


@dataclass(frozen=True)
class LatticeStatistics:
    """How log-strain is standardised: volume per atom (Å3), mean and deviation of six numbers."""

    volume_per_atom: float = 18.0
    mean: tuple[float, ...] = (0.0,) * 6
    deviation: tuple[float, ...] = (0.2,) * 6

    @classmethod
    def from_batch(cls, batch: CrystalBatch) -> LatticeStatistics:
        """Fit to training crystals; deviations have a floor so that ten cubic crystals work."""
        volume = geometry.volume(batch.lattice.double()) / batch.num_atoms
        mean_volume = float(torch.exp(torch.log(volume).mean()))
        shift = torch.log(batch.num_atoms.double() * mean_volume) / 3
        strain = geometry.lattice_to_log_strain(batch.lattice.double())
        strain[:, :3] -= shift[:, None]
        deviation = strain.std(0, unbiased=False).clamp_min(0.05)
        return cls(mean_volume, tuple(strain.mean(0).tolist()), tuple(deviation.tolist()))


@dataclass(frozen=True)
class JointConfig:
    """What a joint model is made of; stored with its weights."""

    network: str = "transformer"
    network_options: Mapping[str, Any] = field(default_factory=dict)
    coordinates: str = "flow"
    lattice: str = "flow"
    statistics: LatticeStatistics = field(default_factory=LatticeStatistics)
    max_train_atoms: int = 20
    elements: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("network", self.network, NETWORKS),
            ("coordinates", self.coordinates, COORDINATE_PROCESSES),
            ("lattice", self.lattice, LATTICE_PROCESSES),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r} is not known; choose one of {sorted(known)}.")


@dataclass(frozen=True, eq=False)
class Levels:
    """Noise level of every field; 0 means given.

    Attributes:
        coords: ``(crystals, atoms)``.
        lattice: ``(crystals,)``.
        elements: ``(crystals,)``.
    """

    coords: Float[Tensor, "crystals atoms"]
    lattice: Float[Tensor, " crystals"]
    elements: Float[Tensor, " crystals"]


@dataclass(frozen=True, eq=False)
class LossTerms:
    """What a training step returns: the weighted sum and its parts, each a mean over crystals."""

    total: Float[Tensor, "*shape"]
    coords: Float[Tensor, "*shape"]
    lattice: Float[Tensor, "*shape"]
    elements: Float[Tensor, "*shape"]


@dataclass(frozen=True, eq=False)
class NoisyState:
    """Crystals on their way to noise.

    Attributes:
        frac_coords: ``(crystals, atoms, 3)`` on the torus.
        lattice_state: ``(crystals, 6)``.
        atomic_numbers: ``(crystals, atoms)``, 101 where masked.
        coord_noise: ``(crystals, atoms, 3)`` the noise used: given atoms and translation taken out.
    """

    frac_coords: Float[Tensor, "crystals atoms 3"]
    lattice_state: Float[Tensor, "crystals 6"]
    atomic_numbers: Int[Tensor, "crystals atoms"]
    coord_noise: Float[Tensor, "crystals atoms 3"]


class Subspace(Protocol):
    """The directions in which symmetric crystals may move, one subspace a crystal."""

    def displacement(
        self, displacement: Float[Tensor, "crystals atoms 3"]
    ) -> Float[Tensor, "crystals atoms 3"]:
        """Linear projection of ``(crystals, atoms, 3)`` fractional vectors."""
        ...

    def freedom(self) -> Float[Tensor, "crystals atoms"]:
        """``(crystals, atoms)`` dimensions left to each atom, 3 without symmetry."""
        ...

    def spread(self, lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, " crystals"]:
        """``(crystals,)`` sum of squares (Å2) of unit noise in the free directions."""
        ...


class JointDiffusion(nn.Module):
    """Network, processes and statistics; no optimiser and no sampler in here."""

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.network = NETWORKS[config.network](**config.network_options)
        self.coordinates = COORDINATE_PROCESSES[config.coordinates]()
        self.lattice = LATTICE_PROCESSES[config.lattice]()
        stats = config.statistics
        self.register_buffer("strain_mean", torch.tensor(stats.mean), persistent=False)
        self.register_buffer("strain_deviation", torch.tensor(stats.deviation), persistent=False)
        self.strain_mean: Tensor
        self.strain_deviation: Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.strain_mean.device

    @property
    def long_steps(self) -> bool:
        """Whether the network learned steps of any length (see :mod:`.distillation`)."""
        return bool(self.config.network_options.get("long_steps", False))

    def encode_lattice(
        self, lattice: Float[Tensor, "crystals 3 3"], num_atoms: Shaped[Tensor, " crystals"]
    ) -> Float[Tensor, "crystals 6"]:
        """``(crystals, 6)`` standardised log-strain of ``(crystals, 3, 3)`` cells."""
        strain = geometry.lattice_to_log_strain(lattice)
        return (strain - self._shift(num_atoms, strain) - self.strain_mean) / self.strain_deviation

    def decode_lattice(
        self, state: Float[Tensor, "crystals 6"], num_atoms: Shaped[Tensor, " crystals"]
    ) -> Float[Tensor, "crystals 3 3"]:
        """The symmetric cells ``(crystals, 3, 3)`` of standardised log-strain."""
        strain = state * self.strain_deviation + self.strain_mean
        return geometry.log_strain_to_lattice(strain + self._shift(num_atoms, strain))

    def _shift(self, num_atoms: Tensor, like: Tensor) -> Tensor:
        size = num_atoms.to(like.dtype).clamp_min(1) * self.config.statistics.volume_per_atom
        # A third on each diagonal component, nothing on the others.
        return nn.functional.pad((torch.log(size) / 3).unsqueeze(-1).expand(-1, 3), (0, 3))

    def predict(
        self,
        frac_coords: Float[Tensor, "crystals atoms 3"],
        lattice_state: Float[Tensor, "crystals 6"],
        atomic_numbers: Int[Tensor, "crystals atoms"],
        levels: Levels,
        lattice: Float[Tensor, "crystals 3 3"] | None = None,
        bfloat16: bool = False,
        conditions: Conditions | None = None,
        target_level: Float[Tensor, " crystals"] | None = None,
    ) -> Prediction:
        """Ask the network; net translation is removed where no atom is given.

        ``lattice`` saves decoding the state where the cell is known; its rotation is free. With
        ``bfloat16`` the network computes in it; cells, states and the answer stay in float32.
        ``conditions`` and ``target_level`` are those of :class:`NoisyCrystals`.
        """
        if lattice is None:
            lattice = self.decode_lattice(lattice_state, (atomic_numbers > 0).sum(-1))
        noisy = NoisyCrystals(
            frac_coords=frac_coords,
            lattice_state=lattice_state,
            metric=lattice @ lattice.transpose(-1, -2),
            atomic_numbers=atomic_numbers,
            coord_level=levels.coords,
            lattice_level=levels.lattice,
            element_level=levels.elements,
            conditions=conditions,
            target_level=target_level,
        )
        if bfloat16:
            with torch.autocast(frac_coords.device.type, torch.bfloat16):
                rough: Prediction = self.network(noisy)
            answer = Prediction(
                rough.coords.float(), rough.lattice.float(), rough.element_logits.float()
            )
        else:
            answer = self.network(noisy)
        coords = remove_translation(answer.coords, atomic_numbers > 0, levels.coords)
        return Prediction(coords, answer.lattice, answer.element_logits)

    def noisy_state(
        self,
        batch: CrystalBatch,
        levels: Levels,
        coord_noise: Float[Tensor, "crystals atoms 3"],
        lattice_noise: Float[Tensor, "crystals 6"],
        mask_noise: Float[Tensor, "crystals atoms"],
    ) -> NoisyState:
        """Clean crystals brought to ``levels`` by the given unit noise; see :meth:`loss`."""
        free = batch.mask & (levels.coords > 0)
        coord_level = levels.coords.unsqueeze(-1)
        coord_noise = coord_noise * free.unsqueeze(-1)
        if self.coordinates.exchangeable:
            coord_noise = remove_translation(coord_noise, batch.mask, levels.coords)
        return NoisyState(
            geometry.wrap(
                batch.frac_coords + self.coordinates.displacement(coord_noise, coord_level)
            ),
            self.lattice.noisy(
                self.encode_lattice(batch.lattice, batch.num_atoms),
                lattice_noise,
                levels.lattice.unsqueeze(-1),
            ),
            mask_elements(batch.atomic_numbers, mask_noise, levels.elements.unsqueeze(-1)),
            coord_noise,
        )

    def coordinate_error(
        self,
        batch: CrystalBatch,
        levels: Levels,
        residual: Float[Tensor, "crystals atoms 3"],
        subspace: Subspace | None = None,
    ) -> tuple[Float[Tensor, " crystals"], Float[Tensor, " crystals"]]:
        """Mean square of a fractional residual as the distance it is, per free direction.

        Returns:
            ``(crystals,)`` each: the mean square in units of the cube root of the volume, and the
            number of free directions, 0 where no coordinate is noised.
        """
        free = batch.mask & (levels.coords > 0)
        residual = residual * free.unsqueeze(-1)
        scale = geometry.volume(batch.lattice).pow(1 / 3)
        directions = 3.0 * free.sum(-1)
        if subspace is not None:
            residual = subspace.displacement(residual)
            left = subspace.freedom().to(residual.dtype).sum(-1)
            symmetric = left < 3 * batch.num_atoms
            # Where only a long axis is left, unit noise is many times longer than elsewhere;
            # without this bound such crystals would outweigh all others.
            left = torch.maximum(left, subspace.spread(batch.lattice) / scale.square())
            directions = torch.where(symmetric, left, directions)
        cartesian = residual @ batch.lattice / scale[:, None, None]
        return cartesian.square().sum((-1, -2)) / directions.clamp_min(1), directions

    def loss(
        self,
        batch: CrystalBatch,
        levels: Levels,
        coord_noise: Float[Tensor, "crystals atoms 3"],
        lattice_noise: Float[Tensor, "crystals 6"],
        mask_noise: Float[Tensor, "crystals atoms"],
        lattice_weight: float = 0.25,
        element_weight: float = 0.25,
        per_crystal: bool = False,
        bfloat16: bool = False,
        subspace: Subspace | None = None,
        conditions: Conditions | None = None,
    ) -> LossTerms:
        """Denoising loss at given levels with given unit noise.

        The coordinate residual is measured in the crystal's own metric, divided by the cube root
        of its volume, so that an error along a long axis counts as the distance it is.

        Args:
            batch: clean crystals.
            levels: noise levels; atoms at level 0 are given and have no loss.
            coord_noise: ``(crystals, atoms, 3)`` unit noise of the coordinate process.
            lattice_noise: ``(crystals, 6)`` standard normal.
            mask_noise: ``(crystals, atoms)`` uniform in [0, 1).
            per_crystal: return ``(crystals,)`` tensors instead of means.
            bfloat16: as in :meth:`predict`.
            subspace: what is left free of the coordinates; the sampler projects the answer on it,
                so only that part of an error counts, as a mean over the free directions (at most
                the share of the noise that is left).
            conditions: what the network is told of properties.
        """
        mask = batch.mask
        state = self.noisy_state(batch, levels, coord_noise, lattice_noise, mask_noise)
        answer = self.predict(
            state.frac_coords,
            state.lattice_state,
            state.atomic_numbers,
            levels,
            bfloat16=bfloat16,
            conditions=conditions,
        )
        coord_level, lattice_level = levels.coords.unsqueeze(-1), levels.lattice.unsqueeze(-1)
        target = self.coordinates.target(state.coord_noise, coord_level)
        target = remove_translation(target, mask, levels.coords)
        coords, directions = self.coordinate_error(batch, levels, answer.coords - target, subspace)

        clean_lattice = self.encode_lattice(batch.lattice, batch.num_atoms)
        lattice_target = self.lattice.target(clean_lattice, lattice_noise, lattice_level)
        lattice = (answer.lattice - lattice_target).square().mean(-1) * (levels.lattice > 0)

        lost = state.atomic_numbers == MASK_ELEMENT
        logp = torch.log_softmax(answer.element_logits, -1)
        chosen = (batch.atomic_numbers - 1).clamp_min(0).unsqueeze(-1)
        cross = -logp.gather(-1, chosen).squeeze(-1) * lost
        elements = cross.sum(-1) / lost.sum(-1).clamp_min(1)
        total = coords + lattice_weight * lattice + element_weight * elements
        if per_crystal:
            return LossTerms(total, coords, lattice, elements)

        def mean_where(values: Tensor, used: Tensor) -> Tensor:
            return values.sum() / used.sum().clamp_min(1)

        return LossTerms(
            total.mean(),
            mean_where(coords, directions > 0),
            mean_where(lattice, levels.lattice > 0),
            mean_where(elements, lost.any(-1)),
        )


def remove_translation(
    field_: Float[Tensor, "crystals atoms 3"],
    mask: Bool[Tensor, "crystals atoms"],
    coord_level: Float[Tensor, "crystals atoms"],
) -> Float[Tensor, "crystals atoms 3"]:
    """Subtract the mean over atoms from ``(crystals, atoms, 3)`` where no atom is given.

    A crystal moved as a whole is the same crystal; with an atom given there is nothing to remove.
    """
    given = (mask & (coord_level <= 0)).any(-1)
    weight = mask.unsqueeze(-1)
    mean = (field_ * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)
    return (field_ - mean * ~given[:, None, None]) * weight


def exchange_noise(batch: CrystalBatch, noise: np.ndarray) -> np.ndarray:
    """Give equal atoms the noise that moves them least (minibatch-free optimal transport).

    Atoms of one element are interchangeable, so the end points x_0 + v can be matched to the
    atoms of that element with the smallest sum of squared wrapped distances (Hungarian method);
    paths become shorter and cross less, the distribution of end points stays uniform.

    Args:
        batch: clean crystals on the CPU.
        noise: ``(crystals, atoms, 3)`` velocities in [-0.5, 0.5].

    Returns:
        The exchanged velocities, the same shape.
    """
    # Not at the top: only training needs it, and importing it takes a quarter of a second.
    from scipy.optimize import linear_sum_assignment

    frac = batch.frac_coords.numpy()
    numbers = batch.atomic_numbers.numpy()
    metric = (batch.lattice @ batch.lattice.transpose(-1, -2)).numpy()
    ends = frac + noise
    out = noise.copy()
    difference = ends[:, None, :, :] - frac[:, :, None, :]
    difference -= np.round(difference)
    cost = np.einsum("bijx,bxy,bijy->bij", difference, metric, difference)
    cost = np.where(numbers[:, :, None] == numbers[:, None, :], cost, 1e6)
    for row in range(len(numbers)):
        atoms = int((numbers[row] > 0).sum())
        if atoms < 2:
            continue
        rows, columns = linear_sum_assignment(cost[row, :atoms, :atoms])
        out[row, rows] = difference[row, rows, columns]
    return out
