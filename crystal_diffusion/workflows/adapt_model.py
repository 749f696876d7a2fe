"""``train`` on top of the pretrained model: your crystals join what it knows, shown in figures."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import TRAINING_SET_FILE, save_training_set
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.files import locked, make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import base_header, load
from crystal_diffusion.ranking.own import LeftOut, OwnEvidence, weigh_own
from crystal_diffusion.training.checkpoint import MODEL_FILE, read_header, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import TrainingResult
from crystal_diffusion.workflows.adapt import (
    FEWEST,
    NO_CHANGE,
    Adaptation,
    Selection,
    steps_for,
    strengths_for,
)
from crystal_diffusion.workflows.copying import Copying, measure_copying
from crystal_diffusion.workflows.data_card import describe_data
from crystal_diffusion.workflows.estimate import (
    Defaults,
    Estimate,
    TrainingSummary,
    batch_of,
    defaults_for,
    measure,
    steps_of,
    training_config,
)
from crystal_diffusion.workflows.model_card import inherited, write_card
from crystal_diffusion.workflows.own_skeletons import write_skeletons
from crystal_diffusion.workflows.training_settings import TrainingSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.library import ReferenceLibrary

log = logging.getLogger(__name__)

#: Library crystals of at most so many atoms are repeated among the user's.
_REPLAY_ATOMS, _MOST_REPLAYED = 20, 3000


def adapt_model(
    dataset: CrystalStructureDataset,
    base: CrystalGenerator,
    folder: Path,
    wishes: TrainingSettings,
    *,
    left_out: Mapping[str, str] | None = None,
    library_only: CrystalArrays | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[CrystalGenerator, TrainingSummary]:
    """Join crystals to the library and ranking of a base, and adapt its weights where that helps.

    Args:
        left_out: crystals that are not in the data set, with reasons, for the verdict.
        library_only: crystals that join the library and are not trained on.

    Raises:
        CheckpointError: when the folder holds another model.
    """
    began = time.monotonic()
    arrays = dataset.arrays
    device = base.model.device
    chosen = defaults_for(len(arrays), device.type)
    config = training_config(
        wishes,
        steps=steps_for(len(arrays)),
        tokens=wishes.tokens or chosen.tokens,
        ema=0.99,
    )
    strengths = strengths_for(len(arrays))
    workers = Workers.from_environment(device)
    model = _widened(base.model, arrays)
    data = batch_of(arrays)
    estimate = workers.share(measure(_scratch_copy(model), data, config, workers))
    trainings = len(strengths) * (2 if len(arrays) < 50 else 1) + bool(strengths)
    total = _length(wishes, trainings, chosen, data, config, estimate)
    config = replace(
        config,
        steps=total,
        decay=max(1, total // 3),
        warmup=20,
        log_every=max(1, min(20, total // 20)),
        checkpoint_seconds=60.0,
    )
    # What is asked for, not what follows from the speed of this machine: a resumed run is the same.
    key = json.loads(json.dumps({"data": dataset.fingerprint(), "wishes": _asked(wishes)}))
    estimate = replace(estimate, steps=total * trainings)
    if on_estimate:
        on_estimate(estimate)
    with locked(make_folder(folder)) if workers.first else contextlib.nullcontext():
        finished = _finished(folder, key)
        if finished is not None:
            result = TrainingResult(int(finished["steps"]), float("nan"), "finished", 0.0)
            return load(folder, str(device)), TrainingSummary(
                result, estimate, finished["verdict"], float("nan"), float("nan"), folder
            )
        if workers.first:
            save_training_set(folder / TRAINING_SET_FILE, _together(arrays, library_only))
        nothing = arrays.take(np.zeros(0, np.int64))
        adaptation = Adaptation(
            model,
            arrays,
            _replayed(config.seed, len(arrays)) if strengths else nothing,
            folder,
            config,
            key=key,
            on_step=(lambda step, loss: on_step(step, total * trainings, loss))
            if on_step
            else None,
        )
        selection = Selection(None, {})
        weights: dict[str, Tensor] = {}
        if strengths:
            selection, weights = adaptation.final(adaptation.select(strengths))
        evidence, figures = workers.share(_weighed(arrays, config.seed))
        trained, unseen = (arrays.take(half) for half in adaptation.halves)
        half = adaptation.half_model(selection.chosen)
        copying = workers.share(measure_copying(half, trained, unseen, config.seed))
        if library_only is not None and len(library_only):
            log.warning(
                "%d crystals with partial occupancy are not trained on; their most probable "
                "ordered cells join the library",
                len(library_only),
            )
        text = verdict(
            arrays, base.model.config.elements, selection, figures, copying, left_out or {}
        )
        header: dict[str, Any] = {
            **describe_data(dataset, arrays, np.zeros(0, np.int64)),
            **inherited(base.header),
            "left_out": dict(left_out or {}),
            "base": base_header(holds_weights=bool(weights) or not _is_shipped(base)),
            "evidence": asdict(evidence),
            "left_out_answers": asdict(figures),
            "copying": asdict(copying),
            "selection": selection.to_dict(),
            "key": key,
            "verdict": text,
            "steps": selection.steps,
            "steps_before": int(base.header.get("steps", 0))
            + int(base.header.get("steps_before", 0)),
            "loss": selection.loss if weights else None,
        }
        if workers.first:
            stored: dict[str, Tensor] = {}
            if header["base"]["holds_weights"]:
                stored = {**dict(model.named_parameters()), **weights}
            write_skeletons(folder, arrays, config.seed)
            save_model(folder / MODEL_FILE, model, stored, header)
            write_card(folder)
        workers.wait()
        adaptation.clean()
        seconds = time.monotonic() - began
        result = TrainingResult(selection.steps, selection.loss, "finished", seconds)
        summary = TrainingSummary(result, estimate, text, float("nan"), copying.share, folder)
        return load(folder, str(device)), summary


def _asked(wishes: TrainingSettings) -> dict[str, Any]:
    """What was asked for, without what changes no result."""
    asked = asdict(wishes)
    for name in ("device", "holdout", "patience", "learning_rate"):
        asked.pop(name)
    return asked


def _length(
    wishes: TrainingSettings,
    trainings: int,
    chosen: Defaults,
    data: CrystalBatch,
    config: TrainingConfig,
    estimate: Estimate,
) -> int:
    """Steps of each candidate."""
    if not wishes.length_given:
        return config.steps
    if wishes.minutes is not None:
        wishes = replace(wishes, minutes=wishes.minutes / max(1, trainings))
    return steps_of(wishes, chosen, data, config, estimate)


def _is_shipped(base: CrystalGenerator) -> bool:
    return base.address == "pretrained" or base.header.get("base", {}).get("holds_weights") is False


def _finished(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The header of the model that this command made already, None where it is to be made.

    Raises:
        CheckpointError: when the folder holds a model of other crystals or settings.
    """
    file = folder / MODEL_FILE
    if not file.exists():
        return None
    stored = read_header(file)
    if stored.get("key") == key:
        return stored
    raise CheckpointError(
        f"{folder}: holds a model that was trained on other crystals or with other settings; use "
        "the same ones, or choose another folder with --out."
    )


def _widened(base: JointDiffusion, arrays: CrystalArrays) -> JointDiffusion:
    """The base, allowed to use the elements and sizes of the crystals as well as its own."""
    known = base.config.elements or tuple(range(1, 95))
    met = {int(z) for z in np.unique(arrays.atomic_numbers)}
    config = replace(
        base.config,
        elements=tuple(sorted({*known, *met})),
        max_train_atoms=max(base.config.max_train_atoms, int(arrays.num_atoms.max())),
    )
    return _scratch_copy(base, config)


def _scratch_copy(model: JointDiffusion, config: Any = None) -> JointDiffusion:
    copy = JointDiffusion(config or model.config).to(model.device)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def _replayed(seed: int, crystals: int) -> CrystalArrays:
    """Library crystals to repeat among the user's, near the hull, drawn with the seed."""
    from crystal_diffusion.proposals.library import default_library

    library = default_library()
    small = library.type_counts.sum(1)[library.entry_type] <= _REPLAY_ATOMS
    stable = np.nan_to_num(library.e_above_hull, nan=1.0) < 0.1
    rows = np.flatnonzero(small & stable)
    wanted = min(_MOST_REPLAYED, max(10, crystals), len(rows))
    picked = np.random.default_rng((seed, 17)).choice(rows, wanted, replace=False)
    structures = [library.structure(int(row)) for row in picked]
    return CrystalStructureDataset(structures, reduce=True).arrays


def _together(arrays: CrystalArrays, more: CrystalArrays | None) -> CrystalArrays:
    if more is None or not len(more):
        return arrays
    crystals = [part.crystal(i) for part in (arrays, more) for i in range(len(part))]
    return CrystalArrays.from_crystals(crystals)


def _weighed(arrays: CrystalArrays, seed: int) -> tuple[OwnEvidence, LeftOut]:
    """How much the crystals count in proposals and ranking, and what they add."""
    from crystal_diffusion.proposals.joining import join, read_own
    from crystal_diffusion.proposals.library import default_library

    structures: list[Structure] = [arrays.crystal(i).to_structure() for i in range(len(arrays))]
    entries, unfit = read_own(structures, arrays.ids)
    shipped: ReferenceLibrary = default_library()
    usable = [s for s, name in zip(structures, arrays.ids, strict=True) if name not in unfit]
    return weigh_own(shipped, join(shipped, entries), usable, seed=seed)


def verdict(
    arrays: CrystalArrays,
    base_elements: tuple[int, ...],
    selection: Selection,
    figures: LeftOut,
    copying: Copying,
    left_out: Mapping[str, str],
) -> str:
    """What was learned, what was not, in sentences with figures."""
    lines = []
    count = len(arrays)
    crystals = f"{count} crystal{'s' if count > 1 else ''}"
    lines.append(f"Your {crystals} joined the library and the ranking of the pretrained model.")
    if left_out:
        first, reason = next(iter(left_out.items()))
        more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        lines.append(f"Left out: {first} ({reason}){more}.")
    if figures.asked:
        lines.append(_answers(figures))
    else:
        lines.append("They are too few to measure what they add to the answers.")
    lines.append(_weights(selection, count))
    if copying.samples:
        lines.append(copying.sentence())
    new = sorted(
        {int(z) for z in np.unique(arrays.atomic_numbers)} - set(base_elements or range(1, 95))
    )
    if new:
        names = ", ".join(chemistry.symbol(z) for z in new)
        lines.append(f"New to the model, known from your crystals only: {names}.")
    return "\n".join(lines)


def _answers(figures: LeftOut) -> str:
    asked = figures.asked
    before, after = (100 * k / asked for k in (figures.box_first, figures.own_first))
    change = [1.0] * figures.gained + [-1.0] * figures.lost
    change += [0.0] * (asked - len(change))
    span = ratio("", "", change)
    return (
        f"Answers: of {asked} of yours, each left out in turn with all of its composition, the "
        f"first answer was right for {before:.0f} % without and {after:.0f} % with the others "
        f"({figures.gained} gained, {figures.lost} lost; change {100 * span.value:+.0f} points, "
        f"{100 * span.low:+.0f} to {100 * span.high:+.0f} with 95 %); among five "
        f"{100 * figures.box_any / asked:.0f} and {100 * figures.own_any / asked:.0f} %."
    )


def _weights(selection: Selection, count: int) -> str:
    if not selection.judged:
        return f"Weights: unchanged, because fewer than {FEWEST} crystals are too few to adapt to."
    before = selection.judged[NO_CHANGE]
    tried = ", ".join(name for name in selection.judged if name != NO_CHANGE)
    half = "each half in turn" if count < 50 else "one half"
    if selection.chosen is None:
        return (
            f"Weights: unchanged. Trained on {half} and judged on the other, none of ({tried}) "
            f"did better on {len(before.losses)} crystals than no change (loss {before.loss:.3f})."
        )
    after = selection.judged[selection.chosen.name]
    return (
        f"Weights: adapted ({selection.chosen.name}). On {len(before.losses)} crystals left out "
        f"of training the loss fell from {before.loss:.3f} to {after.loss:.3f} "
        f"(by {selection.gain:.3f} ± {selection.error:.3f}); from noise alone "
        f"{sum(before.found)} and then {sum(after.found)} of {len(before.found)} came back."
    )
