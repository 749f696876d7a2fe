"""Does a model repeat what it was trained on? Two disjoint halves tell.

A model trained on half A makes crystals. Where it learned the kind and not the crystals, as many of
them lie nearer to A as to half B, which it has not met: 50 % is no copying.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import Floats
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.matching.radial import composition_fingerprint, distance, fingerprint

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Crystals of both halves that are compared at most.
MOST = 500


@dataclass(frozen=True)
class Copying:
    """Samples that lie nearer to the half trained on, of those that do not lie as near to both.

    Attributes:
        nearer: samples nearer to the half trained on; samples: those that are nearer to one.
        found: crystals of the other half that were made again; unseen: crystals of that half.
    """

    nearer: int = 0
    samples: int = 0
    found: int = 0
    unseen: int = 0

    @property
    def share(self) -> float:
        """0.5 is no copying."""
        return self.nearer / self.samples if self.samples else float("nan")

    def interval(self) -> tuple[float, float]:
        """95 % interval of the share: Clopper and Pearson (1934), exact binomial."""
        from scipy.stats import beta

        k, n = self.nearer, self.samples
        low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
        return low, high

    def sentence(self) -> str:
        """In words, for a verdict."""
        low, high = self.interval()
        again = (
            f" {self.found} of the {self.unseen} crystals of the other half were made again."
            if self.unseen
            else ""
        )
        return (
            f"Copying: {self.verdict}. Of {self.samples} crystals made by the model trained on one "
            f"half, {self.nearer} lie nearer to that half than to the other "
            f"({100 * self.share:.0f} %, {100 * low:.0f} to {100 * high:.0f} with 95 %; 50 % is no "
            f"copying).{again}"
        )

    @property
    def verdict(self) -> str:
        """What the interval says."""
        low, high = self.interval()
        if low > 0.5:
            return "the model repeats what it was trained on more than chance would"
        if high < 0.5:
            return "none, the samples lie nearer to crystals that were not trained on"
        return "no sign of it"


def compare_halves(
    made: Sequence[Structure],
    trained: Sequence[Structure],
    unseen: Sequence[Structure],
    matcher: StructureMatch | None = None,
    seed: int = 0,
) -> Copying:
    """How many made crystals lie nearer to those trained on than to others of the same kind.

    As many of both are compared, or the larger half would lie nearer by chance.

    Args:
        made: samples of a model; trained, unseen: disjoint crystals of one kind.
        seed: of the draw where one half is larger.

    Raises:
        InputError: where one of the three is empty.
    """
    for name, crystals in (("run", made), ("training set", trained), ("unseen half", unseen)):
        if not crystals:
            raise InputError(f"copying needs crystals in the {name}, and there are none.")
    rng = np.random.default_rng((seed, 31))
    count = min(len(trained), len(unseen), MOST)
    halves = [[half[i] for i in rng.permutation(len(half))[:count]] for half in (trained, unseen)]
    seen = [np.array([_vector(s) for s in half if s.is_ordered]) for half in halves]
    vectors = [vector for vector in map(_vector_or_none, made) if vector is not None]
    gaps = np.array(
        [[distance(vector[None], known).min() for known in seen] for vector in vectors]
    ).reshape(-1, 2)
    # What lies equally near to both says nothing.
    decided = np.abs(gaps[:, 0] - gaps[:, 1]) > 1e-9
    nearer = (gaps[:, 0] < gaps[:, 1])[decided]
    return Copying(
        int(nearer.sum()), int(decided.sum()), _made_again(made, halves[1], matcher), count
    )


def _made_again(
    made: Sequence[Structure], unseen: Sequence[Structure], matcher: StructureMatch | None
) -> int:
    """How many of the unseen crystals are among those made."""
    matcher = matcher or StructureMatch()
    by_formula: dict[str, list[Structure]] = {}
    for structure in made:
        by_formula.setdefault(structure.composition.reduced_formula, []).append(structure)
    return sum(
        any(
            matcher.fit(one, target)
            for one in by_formula.get(target.composition.reduced_formula, [])
        )
        for target in unseen
    )


def _vector(structure: Structure) -> Floats:
    """Geometry and composition side by side."""
    numbers = np.array([site.specie.Z for site in structure], np.int64)
    return np.concatenate([fingerprint(structure), composition_fingerprint(numbers)])


def _vector_or_none(structure: Structure) -> Floats | None:
    """None for a sample that has no fingerprint, such as one without volume."""
    try:
        return _vector(structure)
    except InputError:
        return None
