"""Does a model repeat what it was trained on? Two disjoint halves tell.

A model trained on half A makes crystals. Where it learned the kind and not the crystals, as many of
them lie nearer to A as to half B, which it has not met: 50 % is no copying.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from crystal_diffusion.crystal import MASK_ELEMENT, MAX_ATOMIC_NUMBER
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.evaluation.metrics import Floats
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.matching.radial import composition_fingerprint, distance, fingerprint_arrays
from crystal_diffusion.seeding import CrystalStreams, stream_seed

#: Samples, calls of the network for each, and crystals of both halves that are compared at most.
SAMPLES, STEPS, MOST = 40, 12, 500
#: With fewer crystals in a half nothing is said.
FEWEST = 5


@dataclass(frozen=True)
class Copying:
    """Samples that lie nearer to the half trained on, of those that do not lie as near to both."""

    nearer: int = 0
    samples: int = 0

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
        return (
            f"Copying: of {self.samples} crystals made by the model trained on one half, "
            f"{self.nearer} lie nearer to that half than to the other ({100 * self.share:.0f} %, "
            f"{100 * low:.0f} to {100 * high:.0f}; 50 % is no copying)."
        )


def measure_copying(
    model: JointDiffusion, trained: CrystalArrays, unseen: CrystalArrays, seed: int = 0
) -> Copying:
    """Crystals made from nothing, of the elements and sizes of both halves.

    Args:
        model: trained on ``trained``; unseen: as many crystals or nearly, of the same kind.
    """
    if min(len(trained), len(unseen)) < FEWEST:
        return Copying()
    rng = np.random.default_rng((seed, 29))
    # As many of both, or the larger half would lie nearer by chance.
    count = min(len(trained), len(unseen), MOST)
    halves = [half.take(rng.permutation(len(half))[:count]) for half in (trained, unseen)]
    made = _samples(model, halves, rng, seed)
    seen = [_vectors(half) for half in halves]
    gaps = np.array([[distance(vector[None], known).min() for known in seen] for vector in made])
    # What lies equally near to both says nothing.
    decided = np.abs(gaps[:, 0] - gaps[:, 1]) > 1e-9
    return Copying(int((gaps[:, 0] < gaps[:, 1])[decided].sum()), int(decided.sum()))


def _samples(
    model: JointDiffusion, halves: Sequence[CrystalArrays], rng: np.random.Generator, seed: int
) -> list[Floats]:
    sizes = rng.choice(np.concatenate([half.num_atoms for half in halves]), SAMPLES)
    allowed = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.bool)
    met = np.unique(np.concatenate([half.atomic_numbers for half in halves]))
    allowed[torch.from_numpy(met - 1)] = True
    made = []
    for size in np.unique(sizes):
        places = np.flatnonzero(sizes == size)
        start = Start.noise(torch.full((len(places), int(size)), MASK_ELEMENT))
        start = Start(
            start.atomic_numbers,
            start.level,
            start.frac_coords,
            start.lattice,
            start.lattice_given,
            start.frozen,
            allowed=allowed.expand(len(places), -1),
        )
        streams = CrystalStreams(
            [stream_seed(seed, "copying", int(place)) for place in places],
            [int(size)] * len(places),
        )
        batch = sample(
            model,
            start,
            streams,
            SamplerSettings(steps=STEPS),
            smallest=Guards().smallest_distances,
        )
        for lattice, coords, numbers in zip(
            batch.lattice.double().cpu().numpy(),
            batch.frac_coords.double().cpu().numpy(),
            batch.atomic_numbers.cpu().numpy(),
            strict=True,
        ):
            made.append(_vector(lattice, coords, numbers))
    return made


def _vectors(arrays: CrystalArrays) -> Floats:
    crystals = (arrays.crystal(i) for i in range(len(arrays)))
    return np.array([_vector(c.lattice, c.frac_coords, c.atomic_numbers) for c in crystals])


def _vector(lattice: Floats, coords: Floats, numbers: np.ndarray) -> Floats:
    """Geometry and composition side by side."""
    kinds = np.asarray(numbers, dtype=np.int64)
    return np.concatenate(
        [fingerprint_arrays(lattice, coords, kinds), composition_fingerprint(kinds)]
    )
