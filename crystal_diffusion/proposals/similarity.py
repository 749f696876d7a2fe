"""How alike two elements are as occupants of one site, and what follows for structure types.

The weight of a known crystal m for a wanted composition q, both written as elements by role, is

    w(q, m) = exp(-sum_r s_r |e(q_r) - e(m_r)|^2) + floor,   s_r ~ (share of atoms in role r)^gamma

with one vector e per element and per standing (the most electronegative element of the compound,
or not). The vectors are learned so that the types of crystals of other formulas foretell the type
of a crystal (neighbourhood component analysis, Goldberger et al. 2004, with structure types as
classes); see ``recipes/train_ranker.py``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Elements with a vector: 1 to this number.
MAX_ELEMENT = 100


def default_tables_path() -> Path:
    """Where the shipped tables lie."""
    return asset_path("ranker_similarity.npz")


@lru_cache(maxsize=1)
def default_tables() -> ElementTables:
    """The shipped tables, read once per process."""
    return ElementTables.load()


@dataclass(frozen=True, eq=False)
class ElementTables:
    """What was learned about elements from the training crystals.

    Attributes:
        vectors: ``(2, 101, features)``; first axis 0 = not the most electronegative, 1 = the most.
        electronegativity: ``(101,)`` Pauling, 1.0 where there is none.
        role_exponent: gamma above; floor: smallest weight of any known crystal of a type.
        hull_slope: by how much e_above_hull (eV/atom) of a known crystal lowers its log weight.
        hull_known: what is taken from the log weight where e_above_hull is known.
        volumes: ``(2, 101)`` Å3 per atom by standing, fitted.
    """

    vectors: Floats
    electronegativity: Floats
    role_exponent: float
    floor: float
    hull_slope: float
    hull_known: float
    volumes: Floats

    @cached_property
    def squared_distances(self) -> Floats:
        """``(202, 202)`` between all (standing, element) pairs; row = standing * 101 + element."""
        flat = self.vectors.reshape(-1, self.vectors.shape[-1])
        square = np.square(flat).sum(1)
        return np.maximum(square[:, None] + square[None] - 2 * flat @ flat.T, 0.0)

    def indices(self, elements: NDArray[Any]) -> Ints:
        """``(..., roles)`` rows of ``vectors`` for elements by role; 0 = no such role."""
        elements = np.asarray(elements, dtype=np.int64)
        values = np.where(elements > 0, self.electronegativity[elements], -1.0)
        highest = (values == values.max(-1, keepdims=True)) & (elements > 0)
        return elements + (MAX_ELEMENT + 1) * highest

    def role_weights(self, counts: Sequence[int]) -> Floats:
        """``(roles,)`` s above; their mean is 1."""
        share = np.asarray(counts, dtype=float) / sum(counts)
        weights = share**self.role_exponent
        return np.asarray(weights / weights.mean(), dtype=float)

    def distances(self, counts: Sequence[int], wanted: Ints, known: Ints) -> Floats:
        """``(wanted, known)`` the sum in the exponent, for rows of role indices ``(n, roles)``."""
        weights = self.role_weights(counts)
        total = np.zeros((len(wanted), len(known)))
        for role, weight in enumerate(weights):
            total += weight * self.squared_distances[wanted[:, role]][:, known[:, role]]
        return total

    def expected_volume(self, indices: Ints, counts: NDArray[Any]) -> Floats:
        """``(...,)`` Å3 per atom expected from elements alone; arguments ``(..., roles)``."""
        counts = np.where(indices % (MAX_ELEMENT + 1) > 0, counts, 0)
        values = self.volumes.reshape(-1)[indices] * counts
        return np.asarray(values.sum(-1) / counts.sum(-1), dtype=float)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` file."""
        target = Path(path)
        with atomic_write(target) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                vectors=self.vectors.astype(np.float32),
                electronegativity=self.electronegativity.astype(np.float32),
                volumes=self.volumes.astype(np.float32),
                scalars=np.array(
                    [self.role_exponent, self.floor, self.hull_slope, self.hull_known]
                ),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> ElementTables:
        """Read tables; without ``path``, those that are shipped.

        Raises:
            InputError: no such file, or not such tables.
        """
        source = default_tables_path() if path is None else Path(path)
        try:
            with np.load(source, allow_pickle=False) as data:
                exponent, floor, slope, known = (float(value) for value in data["scalars"])
                return cls(
                    vectors=data["vectors"].astype(float),
                    electronegativity=data["electronegativity"].astype(float),
                    role_exponent=exponent,
                    floor=floor,
                    hull_slope=slope,
                    hull_known=known,
                    volumes=data["volumes"].astype(float),
                )
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InputError(
                f"{source} holds no element tables ({problem}); give a file written by save(), or "
                "reinstall the package."
            ) from problem
