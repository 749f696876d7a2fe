"""What every method has to beat: copies of the nearest known crystal, and random placement."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.chemistry import (
    MENDELEEV_NUMBERS,
    NUMBERS,
    covalent_radii,
    expected_volume,
)
from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.distances import minimum_distance

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.matching.references import ReferenceIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Tries to place atoms at random before smaller distances are accepted.
_TRIES = 50


def _numbers(composition: Mapping[str, int]) -> Ints:
    unknown = [symbol for symbol in composition if symbol not in NUMBERS]
    if unknown:
        raise InputError(f"'{unknown[0]}' is no element symbol; write one like 'Na'.")
    symbols = [s for s, count in composition.items() for _ in range(int(count))]
    return np.array([NUMBERS[s] for s in symbols], np.int64)


class NearestNeighbourCopy:
    """Copies the known crystals whose elements are most alike, elements exchanged.

    Known crystals of the same anonymous formula are taken in order of the mean distance of the
    exchanged elements on the chemical scale of Pettifor (1984). The cell keeps its shape and is
    scaled by the ratio of the expected volumes. Crystals with another number of formula units
    count too.

    Args:
        references: known crystals.
    """

    def __init__(self, references: ReferenceIndex) -> None:
        self._references = references
        self._by_counts: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, composition in enumerate(references.compositions):
            self._by_counts[tuple(sorted(count for _, count in composition))].append(row)

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        """Candidates for each composition, most alike first; ``seed`` is not needed."""
        return [self._copies(_numbers(c), candidates) for c in compositions]

    def _copies(self, numbers: Ints, count: int) -> list[Structure]:
        from crystal_diffusion.matching.reduced import reduced_composition

        wanted = reduced_composition(numbers)
        rows = self._by_counts.get(tuple(sorted(n for _, n in wanted)), [])
        ranked = sorted(
            (self._exchange(self._references.compositions[row], wanted), row) for row in rows
        )
        return [self._copy(row, pairs) for (_, pairs), row in ranked[:count]]

    @staticmethod
    def _exchange(
        known: tuple[tuple[int, int], ...], wanted: tuple[tuple[int, int], ...]
    ) -> tuple[float, tuple[tuple[int, int], ...]]:
        """Cost and pairs (old, new): elements of equal counts in order on the chemical scale."""

        def order(item: tuple[int, int]) -> tuple[int, int]:
            return item[1], int(MENDELEEV_NUMBERS[item[0]])

        pairs = tuple(
            (old, new)
            for (old, _), (new, _) in zip(
                sorted(known, key=order), sorted(wanted, key=order), strict=True
            )
        )
        weights = dict(known)
        steps = [
            weights[old] * abs(int(MENDELEEV_NUMBERS[old]) - int(MENDELEEV_NUMBERS[new]))
            for old, new in pairs
        ]
        return sum(steps) / sum(weights.values()), pairs

    def _copy(self, row: int, pairs: tuple[tuple[int, int], ...]) -> Structure:
        from pymatgen.core import Lattice, Structure

        known = self._references.structure(row)
        old = np.array([site.specie.Z for site in known], np.int64)
        exchange = dict(pairs)
        new = np.array([exchange[int(z)] for z in old], np.int64)
        scale = (expected_volume(new)[0] / expected_volume(old)[0]) ** (1 / 3)
        return Structure(
            Lattice(known.lattice.matrix * scale), new.tolist(), known.frac_coords.copy()
        )


class RandomPlacement:
    """Atoms at random in a random cell of the expected volume, no two much too close."""

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        """Candidates for each composition."""
        found = []
        for place, composition in enumerate(compositions):
            rng = np.random.default_rng([seed, place])
            numbers = _numbers(composition)
            found.append([self._one(numbers, rng) for _ in range(candidates)])
        return found

    @staticmethod
    def _one(numbers: Ints, rng: np.random.Generator) -> Structure:
        from pymatgen.core import Lattice, Structure

        volume = expected_volume(numbers)[0] * len(numbers)
        wanted = 1.2 * float(covalent_radii(numbers).min())
        best: tuple[float, Floats, Floats] | None = None
        for attempt in range(_TRIES):
            cell = _random_cell(volume, rng)
            coords = rng.random((len(numbers), 3))
            nearest = minimum_distance(coords, cell)
            if best is None or nearest > best[0]:
                best = nearest, cell, coords
            if nearest >= wanted * (1 - attempt / _TRIES):
                break
        if best is None:
            raise InputError("a composition without atoms cannot be placed; give at least one.")
        return Structure(Lattice(best[1]), numbers.tolist(), best[2])


def _random_cell(volume: float, rng: np.random.Generator) -> Floats:
    """Edges within a factor of 2, angles of 60 to 120 degrees, the given volume in Å3."""
    while True:
        edges = np.exp(rng.uniform(-0.35, 0.35, 3))
        alpha, beta, gamma = np.radians(rng.uniform(60, 120, 3))
        x = (math.cos(alpha) - math.cos(beta) * math.cos(gamma)) / math.sin(gamma)
        height = 1 - math.cos(beta) ** 2 - x**2
        if height < 0.1:
            continue
        cell = np.array(
            [
                [1, 0, 0],
                [math.cos(gamma), math.sin(gamma), 0],
                [math.cos(beta), x, math.sqrt(height)],
            ]
        )
        cell *= edges[:, None]
        return np.asarray(cell * (volume / abs(np.linalg.det(cell))) ** (1 / 3), np.float64)
