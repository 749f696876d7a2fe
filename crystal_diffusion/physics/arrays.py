"""Positions, lattice and mask as callers give them: numpy or torch, one crystal or a batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import Floats


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_array(value: Any) -> Floats:
    """A float64 copy of an array or tensor."""
    if is_tensor(value):
        value = value.detach().cpu().double().numpy()
    return np.array(value, np.float64)


def same_kind(array: Floats, like: Any) -> Any:
    """An array as the kind of ``like``: tensor on its device or numpy, in its floating type."""
    if is_tensor(like):
        torch = sys.modules["torch"]
        dtype = like.dtype if like.dtype.is_floating_point else torch.get_default_dtype()
        out = torch.as_tensor(array).to(device=like.device, dtype=dtype)
        return torch.where(out >= 1.0, torch.zeros_like(out), out)
    kind = np.asarray(like).dtype
    dtype = kind if np.issubdtype(kind, np.floating) else np.dtype(np.float64)
    out = array.astype(dtype)
    return np.where(out >= 1.0, np.zeros_like(out), out)


@dataclass(frozen=True, eq=False)
class PaddedCrystals:
    """Padded crystals as float64 arrays.

    Attributes:
        positions: ``(crystals, atoms, 3)`` fractional.
        lattice: ``(crystals, 3, 3)`` Å.
        mask: ``(crystals, atoms)`` true where there is an atom.
        several: whether they were given with an axis of crystals.
    """

    positions: Floats
    lattice: Floats
    mask: NDArray[np.bool_]
    several: bool

    def __iter__(self) -> Iterator[tuple[Floats, Floats, NDArray[np.bool_]]]:
        return zip(self.positions, self.lattice, self.mask, strict=True)

    @classmethod
    def of(cls, positions: Any, lattice: Any, mask: Any = None) -> PaddedCrystals:
        """Anything array-like: ``(atoms, 3)`` or ``(crystals, atoms, 3)``, one or many lattices.

        Raises:
            InputError: for shapes that do not fit.
        """
        frac, cell = to_array(positions), to_array(lattice)
        several = frac.ndim == 3
        if frac.ndim not in (2, 3) or frac.shape[-1] != 3:
            raise InputError(
                f"positions have shape {frac.shape}; give (atoms, 3) or (crystals, atoms, 3) "
                "fractional coordinates."
            )
        if cell.ndim not in (2, 3) or cell.shape[-2:] != (3, 3):
            raise InputError(
                f"lattice has shape {cell.shape}; give (3, 3) or (crystals, 3, 3), rows in Å."
            )
        frac = frac if several else frac[None]
        cell = cell if cell.ndim == 3 else cell[None]
        if cell.shape[0] not in (1, len(frac)):
            raise InputError(
                f"{cell.shape[0]} lattices for {len(frac)} crystals; give one, or one for each."
            )
        there = np.ones(frac.shape[:2], bool) if mask is None else to_array(mask) > 0.5
        there = there if there.ndim == 2 else there[None]
        try:
            there = np.broadcast_to(there, frac.shape[:2])
        except ValueError:
            raise InputError(
                f"mask has shape {there.shape} but positions {frac.shape}; "
                "give one entry for each atom."
            ) from None
        return cls(frac, np.broadcast_to(cell, (len(frac), 3, 3)), there, several)
