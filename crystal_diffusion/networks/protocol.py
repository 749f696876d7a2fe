"""What a network is asked and what it answers: one protocol for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoisyCrystals:
    """A batch somewhere on its way to noise, with the noise level of every field.

    Attributes:
        frac_coords: ``(crystals, atoms, 3)`` on the torus.
        lattice_state: ``(crystals, 6)`` standardised log-strain, noisy.
        metric: ``(crystals, 3, 3)`` L Lᵀ (Å2) of the lattice that ``lattice_state`` stands for.
        atomic_numbers: ``(crystals, atoms)``; 0 = padding, 101 = masked.
        coord_level: ``(crystals, atoms)`` in [0, 1]; 0 = this atom's position is given.
        lattice_level: ``(crystals,)`` in [0, 1]; 0 = the lattice is given.
        element_level: ``(crystals,)`` in [0, 1]; 0 = the elements are given.
    """

    frac_coords: Tensor
    lattice_state: Tensor
    metric: Tensor
    atomic_numbers: Tensor
    coord_level: Tensor
    lattice_level: Tensor
    element_level: Tensor

    @property
    def mask(self) -> Tensor:
        """``(crystals, atoms)`` bool, true where there is an atom."""
        return self.atomic_numbers > 0


@dataclass(frozen=True, eq=False)
class Prediction:
    """A network's answer in the units of the processes.

    Attributes:
        coords: ``(crystals, atoms, 3)`` scaled fractional displacement from clean to noisy.
        lattice: ``(crystals, 6)``, for the standardised log-strain.
        element_logits: ``(crystals, atoms, 100)`` for atomic numbers 1 to 100.
    """

    coords: Tensor
    lattice: Tensor
    element_logits: Tensor


class Denoiser(Protocol):
    """Any network that can stand in the joint model."""

    def __call__(self, noisy: NoisyCrystals) -> Prediction:
        """Predict the clean crystal behind a noisy one."""
        ...
