"""Crystals of a model trained on one half of the user's, compared with both halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from crystal_diffusion.crystal import MASK_ELEMENT, MAX_ATOMIC_NUMBER
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.evaluation.copying import MOST, Copying, compare_halves
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.seeding import CrystalStreams, stream_seed

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Samples, and calls of the network for each.
SAMPLES, STEPS = 40, 12
#: With fewer crystals in a half nothing is said.
FEWEST = 5


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
    count = min(len(trained), len(unseen), MOST)
    halves = [half.take(rng.permutation(len(half))[:count]) for half in (trained, unseen)]
    made = _samples(model, halves, rng, seed)
    known = [[half.crystal(i).to_structure() for i in range(len(half))] for half in halves]
    return compare_halves(made, known[0], known[1], seed=seed)


def _samples(
    model: JointDiffusion, halves: Sequence[CrystalArrays], rng: np.random.Generator, seed: int
) -> list[Structure]:
    sizes = rng.choice(np.concatenate([half.num_atoms for half in halves]), SAMPLES)
    allowed = torch.zeros(MAX_ATOMIC_NUMBER, dtype=torch.bool)
    met = np.unique(np.concatenate([half.atomic_numbers for half in halves]))
    allowed[torch.from_numpy(met - 1)] = True
    made: list[Structure] = []
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
        made += sample(
            model,
            start,
            streams,
            SamplerSettings(steps=STEPS),
            smallest=Guards().smallest_distances,
        ).to_structures()
    return made
