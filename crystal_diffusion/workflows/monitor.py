"""What is asked of a model while and after it is trained, and one sentence about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.generation.plan import spread
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.training.loop import TrainingResult


class Monitor:
    """Now and then during training: generate, check validity, copying and held-out agreement.

    The score is validity plus, where crystals were held out, the share of held-out compositions
    whose crystal is found again; training stops when it no longer rises.
    """

    def __init__(self, used: Any, held: Any | None, seed: int, count: int = 16) -> None:
        rng = np.random.default_rng((seed, 11))
        source = held if held is not None else used
        rows = rng.permutation(len(source))[:count]
        self.targets = [source.crystal(int(i)).to_structure() for i in rows]
        self.held_out = held is not None
        self.known: dict[str, list[Any]] = {}
        for i in range(min(len(used), 20_000)):
            crystal = used.crystal(i)
            key = _key(crystal.atomic_numbers)
            self.known.setdefault(key, []).append(crystal)
        self.matcher = StructureMatch()
        self.validator = PhysicsValidator()
        self.seed = seed

    def __call__(self, step: int, model: JointDiffusion) -> Mapping[str, float]:
        """Figures of one monitoring."""
        from crystal_diffusion.diffusion.sampler import Start, sample
        from crystal_diffusion.seeding import CrystalStreams, stream_seed

        valid = found = copies = 0
        settings = SamplerSettings(steps=15)
        for index, target in enumerate(self.targets):
            composition = Counter(int(z) for z in target.atomic_numbers)
            numbers = torch.tensor([spread(composition)])
            streams = CrystalStreams([stream_seed(self.seed, "monitor", index)], [numbers.shape[1]])
            batch = sample(
                model, Start.noise(numbers), streams, settings, smallest=Guards().smallest_distances
            )
            made = batch.to_structures()[0]
            good = self.validator.validate(made, geometry_only=True).valid
            valid += good
            if not good:
                continue
            found += self.matcher.fit(made, target)
            known = self.known.get(_key(np.array(made.atomic_numbers)), [])
            copies += any(self.matcher.fit(made, c.to_structure()) for c in known)
        count = len(self.targets)
        agreement = found / count
        return {
            "validity": valid / count,
            "agreement": agreement,
            "copies": copies / count,
            "score": valid / count + (agreement if self.held_out else 0.0),
        }


def _key(numbers: np.ndarray) -> str:
    values, counts = np.unique(numbers, return_counts=True)
    divisor = math.gcd(*counts.tolist())
    return " ".join(f"{z}:{k // divisor}" for z, k in zip(values, counts, strict=True))


def verdict(result: TrainingResult, final: Mapping[str, float], total: int) -> str:
    """One or two sentences on what came out: learning, copying or too short."""
    valid = f"{100 * final['validity']:.0f} % of the samples are valid"
    if result.stopped == "slice":
        return f"Not finished: {result.steps} of {total} steps; the same command goes on. {valid}."
    if final["validity"] < 0.5:
        return (
            f"Too short: {valid} without a redraw. Train longer (--epochs), or check the data "
            "with `crystal-diffusion check`."
        )
    if final["copies"] > 0.8:
        return (
            f"Copying: {valid}, and {100 * final['copies']:.0f} % of those asked for with a "
            "training composition are the training crystal itself. That is right for those "
            "compositions; ask for new ones, or add crystals, and read nearest_train_distance."
        )
    end = " (stopped early: no further gain)" if result.stopped == "early" else ""
    return f"Learning: {valid}, {100 * final['copies']:.0f} % repeat a training crystal{end}."
