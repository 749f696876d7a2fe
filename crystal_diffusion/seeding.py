"""One random stream per crystal: crystal *i* of a seed is the same alone or in any batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from crystal_diffusion.shapes import Float


def stream_seed(*keys: int | str) -> int:
    """A 63-bit seed from any keys, e.g. ``stream_seed(seed, index, attempt)``."""
    text = "/".join(str(key) for key in keys).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


class CrystalStreams:
    """Independent random streams, one per crystal, drawn together as padded tensors.

    The numbers a crystal receives depend on its own key and its own number of atoms only.
    """

    def __init__(self, seeds: Sequence[int], num_atoms: Sequence[int]) -> None:
        if len(seeds) != len(num_atoms):
            raise ValueError("seeds and num_atoms must have the same length: one stream a crystal.")
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self._num_atoms = [int(n) for n in num_atoms]
        self._width = max(self._num_atoms, default=0)

    def __len__(self) -> int:
        return len(self._generators)

    def uniform_atoms(self, features: int = 3) -> Float[Tensor, "crystals atoms features"]:
        """``(crystals, atoms, features)`` uniform in [0, 1), zero on padding."""
        out = torch.zeros(len(self), self._width, features)
        for row, (generator, atoms) in enumerate(
            zip(self._generators, self._num_atoms, strict=True)
        ):
            out[row, :atoms] = torch.rand(atoms, features, generator=generator)
        return out

    def normal(self, features: int) -> Float[Tensor, "crystals features"]:
        """``(crystals, features)`` standard normal."""
        rows = [torch.randn(features, generator=g) for g in self._generators]
        return torch.stack(rows) if rows else torch.zeros(0, features)

    def uniform(self, features: int) -> Float[Tensor, "crystals features"]:
        """``(crystals, features)`` uniform in [0, 1)."""
        rows = [torch.rand(features, generator=g) for g in self._generators]
        return torch.stack(rows) if rows else torch.zeros(0, features)
