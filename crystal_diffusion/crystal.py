"""CrystalBatch, Request, and the only bridge to pymatgen and ASE.

Everything below this file works on tensors; everything above the bridge works on ``Structure``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.errors import InputError
from crystal_diffusion.shapes import Bool, Float, Int

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Atomic number 0 means "no atom here"; elements run from 1 to this number.
MAX_ATOMIC_NUMBER = 100
#: Stands for "an atom whose element is not known yet" inside a batch that is being denoised.
MASK_ELEMENT = MAX_ATOMIC_NUMBER + 1


@dataclass(frozen=True, eq=False)
class CrystalBatch:
    """Many crystals as padded tensors.

    Attributes:
        frac_coords: ``(crystals, atoms, 3)`` in [0, 1), zero on padding.
        lattice: ``(crystals, 3, 3)``, rows a, b, c in Å.
        atomic_numbers: ``(crystals, atoms)`` int64; 0 = no atom, atoms come first in each row.
    """

    frac_coords: Float[Tensor, "crystals atoms 3"]
    lattice: Float[Tensor, "crystals 3 3"]
    atomic_numbers: Int[Tensor, "crystals atoms"]

    def __post_init__(self) -> None:
        crystals, atoms = self.atomic_numbers.shape
        if self.frac_coords.shape != (crystals, atoms, 3):
            raise InputError(
                f"frac_coords has shape {tuple(self.frac_coords.shape)}, expected "
                f"{(crystals, atoms, 3)} to fit atomic_numbers; pad all crystals to one length."
            )
        if self.lattice.shape != (crystals, 3, 3):
            raise InputError(
                f"lattice has shape {tuple(self.lattice.shape)}, expected {(crystals, 3, 3)}; "
                "give one 3x3 cell, rows a, b, c in Å, for each crystal."
            )

    def __len__(self) -> int:
        return int(self.atomic_numbers.shape[0])

    @property
    def mask(self) -> Bool[Tensor, "crystals atoms"]:
        """``(crystals, atoms)`` bool, true where there is an atom."""
        return self.atomic_numbers > 0

    @property
    def num_atoms(self) -> Int[Tensor, " crystals"]:
        """``(crystals,)`` int64."""
        return self.mask.sum(-1)

    def __getitem__(self, rows: Tensor | np.ndarray | Sequence[int] | slice) -> CrystalBatch:
        """Some of the crystals, cut to the longest of them."""
        index = torch.as_tensor(rows) if not isinstance(rows, slice) else rows
        numbers = self.atomic_numbers[index]
        width = int((numbers > 0).sum(-1).max()) if numbers.numel() else 0
        return CrystalBatch(
            self.frac_coords[index][:, :width], self.lattice[index], numbers[:, :width]
        )

    def to(self, device: torch.device | str) -> CrystalBatch:
        """The same batch on another device."""
        return CrystalBatch(
            self.frac_coords.to(device), self.lattice.to(device), self.atomic_numbers.to(device)
        )

    @classmethod
    def concatenate(cls, batches: Iterable[CrystalBatch]) -> CrystalBatch:
        """All crystals of several batches, padded to the longest."""
        parts = list(batches)
        width = max((b.atomic_numbers.shape[1] for b in parts), default=0)

        def pad(tensor: Tensor) -> Tensor:
            shape = list(tensor.shape)
            shape[1] = width - shape[1]
            return torch.cat([tensor, tensor.new_zeros(shape)], 1)

        return cls(
            torch.cat([pad(b.frac_coords) for b in parts]),
            torch.cat([b.lattice for b in parts]),
            torch.cat([pad(b.atomic_numbers) for b in parts]),
        )

    @classmethod
    def from_arrays(
        cls,
        frac_coords: Sequence[np.ndarray],
        lattices: Sequence[np.ndarray] | np.ndarray,
        atomic_numbers: Sequence[np.ndarray],
    ) -> CrystalBatch:
        """A batch from ragged arrays, one entry a crystal."""
        count = len(atomic_numbers)
        width = max((len(z) for z in atomic_numbers), default=0)
        coords = np.zeros((count, width, 3), np.float32)
        numbers = np.zeros((count, width), np.int64)
        for row, (frac, z) in enumerate(zip(frac_coords, atomic_numbers, strict=True)):
            coords[row, : len(z)] = np.asarray(frac, np.float64).reshape(-1, 3) % 1.0
            numbers[row, : len(z)] = z
        lattice = np.asarray(lattices, np.float32).reshape(count, 3, 3)
        return cls(
            geometry.wrap(torch.from_numpy(coords)),
            torch.from_numpy(lattice),
            torch.from_numpy(numbers),
        )

    @classmethod
    def from_structures(cls, structures: Iterable[Any]) -> CrystalBatch:
        """A batch from pymatgen ``Structure`` or ASE ``Atoms`` objects.

        Raises:
            InputError: for a disordered structure or an element beyond number 100.
        """
        items = [to_structure(s) for s in structures]
        for index, item in enumerate(items):
            if not item.is_ordered:
                raise InputError(
                    f"structure {index} ({item.formula}) has partial occupancy; order it first, "
                    "for example with `crystal-diffusion check --disorder order`."
                )
            if max(item.atomic_numbers) > MAX_ATOMIC_NUMBER:
                raise InputError(
                    f"structure {index} ({item.formula}) has an element beyond number "
                    f"{MAX_ATOMIC_NUMBER}, which no model here knows; leave it out."
                )
        return cls.from_arrays(
            [s.frac_coords for s in items],
            np.array([s.lattice.matrix for s in items]),
            [np.array(s.atomic_numbers) for s in items],
        )

    def to_structures(self) -> list[Structure]:
        """One pymatgen ``Structure`` a crystal, in order, in double precision."""
        from pymatgen.core import Lattice, Structure

        out = []
        for frac, lattice, numbers in zip(
            self.frac_coords.detach().cpu().double().numpy(),
            self.lattice.detach().cpu().double().numpy(),
            self.atomic_numbers.cpu().numpy(),
            strict=True,
        ):
            atoms = int((numbers > 0).sum())
            out.append(Structure(Lattice(lattice), numbers[:atoms].tolist(), frac[:atoms] % 1.0))
        return out


def to_structure(crystal: Any) -> Structure:
    """A pymatgen ``Structure`` from a ``Structure`` or ASE ``Atoms``.

    Raises:
        InputError: for anything else.
    """
    from pymatgen.core import Structure

    if isinstance(crystal, Structure):
        return crystal
    if hasattr(crystal, "get_scaled_positions"):
        return Structure(
            np.array(crystal.cell), list(crystal.numbers), crystal.get_scaled_positions(wrap=True)
        )
    raise InputError(
        f"expected a pymatgen Structure or ASE Atoms, got {type(crystal).__name__}; "
        "read files with crystal_diffusion.data.iter_crystals."
    )


def to_atoms(structure: Structure) -> Any:
    """The ASE ``Atoms`` of a ``Structure``, periodic in three directions."""
    from ase import Atoms

    return Atoms(
        numbers=list(structure.atomic_numbers),
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )
