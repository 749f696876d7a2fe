"""What a network is asked and what it answers: one protocol for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from crystal_diffusion.shapes import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is asked of properties: one interval a crystal and property, in standard units.

    A network is told the event "the property lies in [low, high]", never the value itself, which
    an interval around it would give away.

    Attributes:
        low: ``(crystals, properties)``, -inf for no lower end.
        high: ``(crystals, properties)``, +inf for no upper end.
        asked: ``(crystals, properties)`` bool; properties that nothing is asked of are ignored.
        text: ``(crystals, size)`` vectors of texts, zeros where nothing is said; None for no texts.
    """

    low: Float[Tensor, "crystals properties"]
    high: Float[Tensor, "crystals properties"]
    asked: Bool[Tensor, "crystals properties"]
    text: Float[Tensor, "crystals features"] | None = None

    def none_asked(self) -> Conditions:
        """The same shapes with nothing asked: the other half of classifier-free guidance."""
        silent = None if self.text is None else torch.zeros_like(self.text)
        return Conditions(self.low, self.high, self.asked & False, silent)

    def followed_by(self, other: Conditions) -> Conditions:
        """Those of two batches as one batch."""
        text = None
        if self.text is not None and other.text is not None:
            text = torch.cat([self.text, other.text])
        return Conditions(
            torch.cat([self.low, other.low]),
            torch.cat([self.high, other.high]),
            torch.cat([self.asked, other.asked]),
            text,
        )

    def part(self, rows: slice | Tensor, device: torch.device) -> Conditions:
        """Those of some of the crystals, on a device."""
        text = None if self.text is None else self.text[rows].to(device)
        low, high, asked = (x[rows].to(device) for x in (self.low, self.high, self.asked))
        return Conditions(low, high, asked, text)


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
        conditions: what is asked of properties, None for nothing.
        target_level: ``(crystals,)`` level that one step shall lead to, for networks that learned
            long steps; None for the velocity here.
    """

    frac_coords: Float[Tensor, "crystals atoms 3"]
    lattice_state: Float[Tensor, "crystals 6"]
    metric: Float[Tensor, "crystals 3 3"]
    atomic_numbers: Int[Tensor, "crystals atoms"]
    coord_level: Float[Tensor, "crystals atoms"]
    lattice_level: Float[Tensor, " crystals"]
    element_level: Float[Tensor, " crystals"]
    conditions: Conditions | None = None
    target_level: Float[Tensor, " crystals"] | None = None

    @property
    def mask(self) -> Bool[Tensor, "crystals atoms"]:
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

    coords: Float[Tensor, "crystals atoms 3"]
    lattice: Float[Tensor, "crystals 6"]
    element_logits: Float[Tensor, "crystals atoms 100"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a network makes of noisy crystals before its heads, for heads of other questions.

    Attributes:
        atoms: ``(crystals, atoms, features)``.
        crystal: ``(crystals, features)``.
    """

    atoms: Float[Tensor, "crystals atoms features"]
    crystal: Float[Tensor, "crystals features"]


class Denoiser(Protocol):
    """Any network that can stand in the joint model."""

    def __call__(self, noisy: NoisyCrystals) -> Prediction:
        """Predict the clean crystal behind a noisy one."""
        ...

    def encode(self, noisy: NoisyCrystals) -> Encoded:
        """Features of atoms and crystal, apart from the heads."""
        ...
