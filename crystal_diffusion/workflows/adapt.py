"""Adapt a trained model to a user's crystals, and keep what answers best on those left out.

The crystals are cut into two halves, those of one composition together. Candidates (no change; thin
matrices beside the weights; all weights, at two strengths) are trained on one half with library
crystals among them and judged on the other, below 50 crystals also the other way round. "No change"
stays unless a candidate is better on crystals it has not met. What was chosen is then trained on
all crystals.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.files import write_text
from crystal_diffusion.generation.plan import spread
from crystal_diffusion.generation.sampling import Guards
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.networks.adapters import adapted_weights, add_differences, add_low_rank
from crystal_diffusion.ranking.residual import denoising_residual
from crystal_diffusion.seeding import CrystalStreams, stream_seed
from crystal_diffusion.training.checkpoint import STATE_FILE, read_tensors, write_tensors
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import TrainingResult, fit
from crystal_diffusion.workflows.estimate import batch_of

log = logging.getLogger(__name__)

#: Below this many crystals both halves are trained on and judged in turn.
BOTH_WAYS_BELOW = 50
#: Fewer crystals than this are too few to adapt weights to.
FEWEST = 3
#: Share of library crystals among those of a step, so that what was known stays known.
REPLAY = 0.3
#: Crystals a candidate is judged on at most, and those asked for from noise, each so many times.
_JUDGED, _ASKED, _TRIES, _STEPS = 60, 20, 3, 8
#: Calls of the network for the losses of the crystals of one size, in calls of a crystal asked for.
_LOSS_CALLS = 24
#: What measuring copying takes, in crystals asked for.
_COPYING_CALLS = 20
_FOLDER = "adaptation"


@dataclass(frozen=True)
class Strength:
    """One way to adapt.

    Attributes:
        name: in words; width: of the thin matrices, 0 where all weights change.
        learning_rate: peak; pull: decay of the change towards the base.
    """

    name: str
    width: int
    learning_rate: float
    pull: float


LOW_RANK = Strength("low rank", 8, 1e-3, 0.05)
GENTLY = Strength("all weights, gently", 0, 1e-4, 1.0)
FULLY = Strength("all weights", 0, 4e-4, 0.1)


def strengths_for(crystals: int) -> tuple[Strength, ...]:
    """What is tried for so many crystals, the mildest first."""
    if crystals < FEWEST:
        return ()
    return (LOW_RANK, GENTLY) if crystals < BOTH_WAYS_BELOW else (LOW_RANK, GENTLY, FULLY)


def steps_for(crystals: int) -> int:
    """Optimiser steps of one candidate."""
    return int(np.clip(60 * np.sqrt(crystals), 150, 6000))


@dataclass(frozen=True)
class Judgement:
    """How weights did on crystals that they have not met.

    Attributes:
        losses: denoising loss of each; found: whether it came back from noise in a few tries.
    """

    losses: tuple[float, ...]
    found: tuple[bool, ...]

    def joined(self, other: Judgement) -> Judgement:
        """Both together."""
        return Judgement(self.losses + other.losses, self.found + other.found)

    @property
    def loss(self) -> float:
        """Mean denoising loss."""
        return float(np.mean(self.losses)) if self.losses else float("nan")


@dataclass(frozen=True)
class Selection:
    """What was tried and chosen.

    Attributes:
        chosen: the strength, None for no change.
        judged: by name, "no change" among them; empty where nothing was tried.
        gain: mean fall of the loss on left-out crystals; error: its standard error.
        steps: of the last training; loss: its running loss.
    """

    chosen: Strength | None
    judged: Mapping[str, Judgement]
    gain: float = 0.0
    error: float = 0.0
    steps: int = 0
    loss: float = float("nan")

    def to_dict(self) -> dict[str, Any]:
        """For the header of a model file: figures, no lists of crystals."""
        return {
            "chosen": "no change" if self.chosen is None else self.chosen.name,
            "gain": round(self.gain, 5),
            "error": round(self.error, 5),
            "candidates": {
                name: {
                    "loss": round(j.loss, 5),
                    "found": sum(j.found),
                    "asked": len(j.found),
                    "judged": len(j.losses),
                }
                for name, j in self.judged.items()
            },
        }


NO_CHANGE = "no change"
#: Where one half would hold more than this share of the crystals, compositions are cut as well.
_LARGEST_HALF = 2 / 3


def halved(own: CrystalArrays, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two halves; crystals of one composition stay together where that can be.

    What is judged on a half would otherwise be known from crystals of the same composition in the
    other. Where nearly all crystals are of one composition, they are cut one by one.
    """
    order = np.random.default_rng((seed, 7)).permutation(len(own))
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row in order.tolist():
        atoms = own.atomic_numbers[own.offsets[row] : own.offsets[row + 1]]
        numbers, counts = np.unique(atoms, return_counts=True)
        shares = counts // np.gcd.reduce(counts)
        groups.setdefault(tuple(zip(numbers.tolist(), shares.tolist(), strict=True)), []).append(
            row
        )
    middle, most = (len(own) + 1) // 2, max(1, round(_LARGEST_HALF * len(own)))
    first: list[int] = []
    for rows in groups.values():
        if len(first) < middle and len(first) + len(rows) <= most:
            first += rows
    if len(own) - len(first) > most:
        first = order[:middle].tolist()
    return np.sort(first), np.setdiff1d(order, first)


def choose(judged: Mapping[str, Judgement], among: Sequence[Strength]) -> Selection:
    """The candidate whose loss on left-out crystals falls most, or no change.

    A candidate must be better than no change by more than the standard error of the paired
    difference, and must find no fewer of the crystals from noise.
    """
    before = judged[NO_CHANGE]
    best = Selection(None, judged)
    for strength in among:
        after = judged[strength.name]
        fall = np.array(before.losses) - np.array(after.losses)
        gain = float(fall.mean())
        error = float(fall.std(ddof=1) / np.sqrt(len(fall))) if len(fall) > 1 else float("inf")
        if gain > max(error, best.gain) and sum(after.found) >= sum(before.found):
            best = Selection(strength, judged, gain, error)
    return best


class Adaptation:
    """Candidates for one set of crystals; finished ones are kept, so a killed run goes on.

    Args:
        base: the model to start from; own: the crystals; library: crystals to repeat among them.
        folder: of the model.
        config: steps, tokens, precision and the like; rate and decay are set here.
        key: names data and wishes; what was made under another key is made again.
    """

    def __init__(
        self,
        base: JointDiffusion,
        own: CrystalArrays,
        library: CrystalArrays,
        folder: Path,
        config: TrainingConfig,
        *,
        key: Mapping[str, Any],
        on_step: Callable[[int, float], None] | None = None,
    ) -> None:
        self.base, self.own, self.library = base, own, library
        self.folder = folder / _FOLDER
        self.config = config
        self.workers = Workers.from_environment(base.device)
        self._on_step = on_step
        self._done = 0
        self._key = dict(key)
        self.halves = halved(own, config.seed)

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        """(half trained on, half judged on)."""
        return ((0, 1), (1, 0)) if len(self.own) < BOTH_WAYS_BELOW else ((0, 1),)

    def trainings(self, strengths: Sequence[Strength]) -> int:
        """How many there are in all, the last one among them."""
        return len(strengths) * len(self.directions) + bool(strengths)

    def select(self, strengths: Sequence[Strength]) -> Selection:
        """Train and judge every candidate."""
        judged = {NO_CHANGE: self._judged(NO_CHANGE, None)}
        for strength in strengths:
            judged[strength.name] = self._judged(strength.name, strength)
        return self.workers.share(choose(judged, strengths))

    def final(self, selection: Selection) -> tuple[Selection, dict[str, Tensor]]:
        """The chosen strength trained on all crystals: figures and weights."""
        if selection.chosen is None:
            return selection, {}
        weights, result = self._trained(selection.chosen, np.arange(len(self.own)), "final")
        return replace(selection, steps=result.steps, loss=result.loss), weights

    def half_model(self, strength: Strength | None) -> JointDiffusion:
        """The model trained on the first half."""
        model = _copy(self.base)
        if strength is not None:
            weights, _ = self._trained(strength, self.halves[0], f"{strength.name} 0")
            model.load_state_dict(weights, strict=False)
        return model.eval().requires_grad_(False)

    def judging_seconds(self, strengths: Sequence[Strength]) -> float:
        """What judging all candidates will take, from timing one crystal asked for from noise.

        Measuring copying in the end is counted too.
        """
        row = int(np.argsort(self.own.num_atoms)[len(self.own) // 2])
        target = self.own.crystal(row).to_structure()
        model = _copy(self.base).eval().requires_grad_(False)
        _found(model, target, self.config.seed, 0)
        began = time.perf_counter()
        _found(model, target, self.config.seed, 0)
        one = time.perf_counter() - began
        sizes = len(np.unique(self.own.num_atoms))
        calls = min(_ASKED, len(self.halves[1])) + _LOSS_CALLS * sizes / _STEPS
        return one * (calls * (1 + len(strengths)) * len(self.directions) + _COPYING_CALLS)

    def clean(self) -> None:
        """Remove what only a killed run needs."""
        if self.workers.first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _judged(self, name: str, strength: Strength | None) -> Judgement:
        whole = Judgement((), ())
        for trained, asked in self.directions:
            note = self.folder / f"{name} {trained}.json"
            known = self.workers.share(self._read(note))
            if known is None:
                model = _copy(self.base)
                if strength is not None:
                    weights, _ = self._trained(strength, self.halves[trained], f"{name} {trained}")
                    model.load_state_dict(weights, strict=False)
                known = self.workers.share(self._judge(model, self.halves[asked]))
                if self.workers.first:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    write_text(note, json.dumps({"key": self._key, **asdict(known)}))
            whole = whole.joined(known)
        return whole

    def _read(self, note: Path) -> Judgement | None:
        try:
            stored = json.loads(note.read_text())
        except (OSError, ValueError):
            return None
        try:
            if stored["key"] != self._key:
                return None
            losses = tuple(float(loss) for loss in stored["losses"])
            return Judgement(losses, tuple(bool(x) for x in stored["found"]))
        except (KeyError, TypeError, ValueError):
            return None

    def _trained(
        self, strength: Strength, rows: np.ndarray, name: str
    ) -> tuple[dict[str, Tensor], TrainingResult]:
        """Weights after training on some of the crystals; read where that is finished."""
        folder = self.folder / name
        file = folder / "weights.safetensors"
        if file.exists():
            weights, header = read_tensors(file)
            if header.get("key") == self._key:
                self._done += self.config.steps
                return weights, TrainingResult(header["step"], header["loss"], "finished", 0.0)
        model = _copy(self.base)
        if strength.width:
            add_low_rank(model, strength.width, self.config.seed)
        else:
            add_differences(model)
        config = replace(
            self.config, learning_rate=strength.learning_rate, weight_decay=strength.pull
        )
        report = self._on_step
        before = self._done
        result = fit(
            model,
            self._data(rows),
            config,
            folder,
            on_step=(lambda step, loss: report(before + step, loss)) if report else None,
        )
        self._done = before + config.steps
        weights = adapted_weights(model)
        if self.workers.first:
            header = {"format": 1, "key": self._key, "step": result.steps, "loss": result.loss}
            write_tensors(file, weights, header)
            (folder / STATE_FILE).unlink(missing_ok=True)
        self.workers.wait()
        return weights, result

    def _data(self, rows: np.ndarray) -> CrystalBatch:
        """The crystals of these rows and the library's share of others, as one batch."""
        wanted = min(len(self.library), round(len(rows) * REPLAY / (1 - REPLAY)))
        own = self.own.take(rows)
        if not wanted:
            return batch_of(own)
        crystals = [own.crystal(i) for i in range(len(own))]
        crystals += [self.library.crystal(i) for i in range(wanted)]
        return batch_of(CrystalArrays.from_crystals(crystals))

    def _judge(self, model: JointDiffusion, rows: np.ndarray) -> Judgement:
        model = model.eval().requires_grad_(False)
        picked = np.random.default_rng((self.config.seed, 13)).permutation(rows)[:_JUDGED]
        losses: dict[int, float] = {}
        sizes: dict[int, list[int]] = {}
        for row in picked:
            sizes.setdefault(int(self.own.num_atoms[row]), []).append(int(row))
        for members in sizes.values():
            structures = [self.own.crystal(row).to_structure() for row in members]
            found = denoising_residual(model, CrystalBatch.from_structures(structures), draws=4)
            losses |= dict(zip(members, found.tolist(), strict=True))
        targets = [self.own.crystal(int(row)).to_structure() for row in picked[:_ASKED]]
        found_again = tuple(
            _found(model, target, self.config.seed, place) for place, target in enumerate(targets)
        )
        return Judgement(tuple(losses[int(row)] for row in picked), found_again)


def _found(model: JointDiffusion, target: Any, seed: int, place: int) -> bool:
    """Whether a crystal comes back from noise, its composition given, in a few tries."""
    numbers = spread(Counter(int(z) for z in target.atomic_numbers))
    made = sample(
        model,
        Start.noise(torch.tensor([numbers] * _TRIES)),
        CrystalStreams(
            [stream_seed(seed, "judge", place, k) for k in range(_TRIES)], [len(numbers)] * _TRIES
        ),
        SamplerSettings(steps=_STEPS),
        smallest=Guards().smallest_distances,
    )
    matcher = StructureMatch()
    return any(matcher.fit(one, target) for one in made.to_structures())


def _copy(base: JointDiffusion) -> JointDiffusion:
    model = JointDiffusion(base.config).to(base.device)
    model.load_state_dict(base.state_dict())
    return model
