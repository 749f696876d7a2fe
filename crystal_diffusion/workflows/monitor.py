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
from crystal_diffusion.matching.grouping import RELAXED_TOLERANCES
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.training.loop import TrainingResult

#: Training with fewer valid samples is called too short.
VALID_FROM = 0.5
#: Training of which more samples repeat a training crystal is called copying.
COPYING_ABOVE = 0.8


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
        # The usual tolerances lay rock salt on zincblende; a repeat is the same crystal.
        self.close = StructureMatch(*RELAXED_TOLERANCES)
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
            copies += any(self.close.fit(made, c.to_structure()) for c in known)
        count = len(self.targets)
        agreement = found / count
        return {
            "validity": valid / count,
            "agreement": agreement,
            "copies": copies / count,
            "samples": float(count),
            "score": valid / count + (agreement if self.held_out else 0.0),
        }


def _key(numbers: np.ndarray) -> str:
    values, counts = np.unique(numbers, return_counts=True)
    divisor = math.gcd(*counts.tolist())
    return " ".join(f"{z}:{k // divisor}" for z, k in zip(values, counts, strict=True))


def verdict(
    result: TrainingResult,
    before: Mapping[str, float],
    final: Mapping[str, float],
    total: int,
    started: bool = False,
    box: Mapping[str, float] | None = None,
) -> str:
    """One to three sentences on what came out: learning, copying, not shown or too short.

    Args:
        result: of the training.
        before: figures of the monitor before the first step.
        final: its figures after the last.
        total: steps that were planned.
        started: whether training began with a trained model, not with an untrained network.
        box: figures of the pretrained model, for a network that did not start from it.
    """
    count = round(final["samples"])
    other = "the model it started from" if started else "the untrained network"
    valid = f"{_counted(final, 'validity')} of {count} samples are valid"
    shown = {
        name: f"{_counted(before, name)} by {other}"
        + (f", {_counted(box, name)} by the pretrained model" if box else "")
        for name in ("validity", "agreement")
    }
    facts = (
        f"{valid} ({shown['validity']}), and {_counted(final, 'agreement')} find the known crystal "
        f"of their composition again ({shown['agreement']})"
    )
    if result.stopped == "slice":
        return f"Not finished: {result.steps} of {total} steps; the same command goes on. {facts}."
    if final["validity"] < VALID_FROM:
        return (
            f"Too short: {facts}, none drawn again. Train longer (--epochs), or check the data "
            "with `crystal-diffusion check`."
        )
    end = " Stopped early: no further gain." if result.stopped == "early" else ""
    if final["copies"] > COPYING_ABOVE:
        return (
            f"Copying: {facts}; {_counted(final, 'copies')} repeat a training crystal closely. "
            "That is right for the compositions trained on; ask for new ones, or add crystals, "
            f"and read nearest_train_distance.{end}"
        )
    if not any(_more(final[name], before[name], count) for name in ("validity", "agreement")):
        return (
            f"Not shown: {facts}; so few samples do not show that anything was learned. Train "
            f"longer (--epochs), or ask the model and look at what it makes.{end}"
        )
    return f"Learning: {facts}; {_counted(final, 'copies')} repeat a training crystal closely.{end}"


def _counted(figures: Mapping[str, float], name: str) -> int:
    """A share as a number of samples."""
    return round(figures[name] * figures["samples"])


def _more(after: float, before: float, count: int) -> bool:
    """Whether a share rose by more than two standard errors of the difference."""
    pooled = (after + before) / 2
    return after - before > 2 * math.sqrt(2 * pooled * (1 - pooled) / count)
