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

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.duplicates import find_duplicates
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import TRAINING_SET_FILE, save_training_set
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.files import locked, make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.generation.loading import base_header, load, model_hash
from crystal_diffusion.ranking.own import left_out_seconds, weigh_own
from crystal_diffusion.training.checkpoint import MODEL_FILE, read_header, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import TrainingResult
from crystal_diffusion.workflows.adapt import (
    Adaptation,
    Selection,
    steps_for,
    strengths_for,
)
from crystal_diffusion.workflows.copying import measure_copying
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
from crystal_diffusion.workflows.own_confidence import adjusting_seconds, write_adjusted
from crystal_diffusion.workflows.own_skeletons import write_skeletons
from crystal_diffusion.workflows.own_verdict import joined_types, verdict
from crystal_diffusion.workflows.training_settings import TrainingSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.library import CrystalLibrary

log = logging.getLogger(__name__)

#: Library crystals of at most so many atoms are repeated among the user's.
_REPLAY_ATOMS, _MOST_REPLAYED = 20, 3000
#: Atoms and cells of a step on a processor: with twice as many, 300 crystals and all that is tried
#: take ten minutes of one core.
_TOKENS = 256


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
    # What is asked for, not what follows from the speed of this machine: a resumed run is the same.
    asked = {"data": dataset.fingerprint(), "wishes": _asked(wishes), "base": model_hash(base)}
    key = json.loads(json.dumps(asked))
    finished = _finished(folder, key)
    if finished is not None:
        return _again(folder, finished, str(device))
    chosen = defaults_for(len(arrays), device.type)
    config = training_config(
        wishes,
        steps=steps_for(len(arrays)),
        tokens=wishes.tokens or (_TOKENS if device.type == "cpu" else chosen.tokens),
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
    earlier = earlier_crystals(base, arrays)
    more = CrystalArrays.join((library_only, earlier))
    libraries, usable = _libraries(arrays, more)
    nothing = arrays.take(np.zeros(0, np.int64))
    adaptation = Adaptation(
        model,
        arrays,
        _replayed(config.seed, len(arrays)) if strengths else nothing,
        folder,
        config,
        key=key,
        on_step=(lambda step, loss: on_step(step, total * trainings, loss)) if on_step else None,
    )
    leaving_out = left_out_seconds(*libraries, usable, config.seed, shipped_scorer())
    estimate = replace(
        estimate,
        steps=total * trainings,
        trainings=trainings,
        other_seconds=workers.share(
            adaptation.judging_seconds(strengths)
            + leaving_out
            + adjusting_seconds(leaving_out, len(usable))
        ),
    )
    if on_estimate:
        on_estimate(estimate)
    with locked(make_folder(folder)) if workers.first else contextlib.nullcontext():
        finished = _finished(folder, key)  # another process may have made it meanwhile
        if finished is not None:
            return _again(folder, finished, str(device))
        if workers.first:
            everything = CrystalArrays.join((arrays, more)) or arrays
            save_training_set(folder / TRAINING_SET_FILE, everything)
        selection = Selection(None, {})
        weights: dict[str, Tensor] = {}
        if strengths:
            selection, weights = adaptation.final(adaptation.select(strengths))
        evidence, figures = workers.share(
            weigh_own(*libraries, usable, seed=config.seed, scorer=shipped_scorer())
        )
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
            arrays,
            (base.model.config.elements, base.model.config.max_train_atoms),
            joined_types(libraries[1]),
            selection,
            figures,
            copying,
            left_out or {},
            0 if earlier is None else len(earlier),
            muted=evidence.muted,
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
            write_adjusted(folder, libraries[1], usable, evidence, config.seed)
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
    asked["symmetric_noise"] = asked["symmetric_noise"] or 0.0
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


def _again(
    folder: Path, header: Mapping[str, Any], device: str
) -> tuple[CrystalGenerator, TrainingSummary]:
    """The model that this command made before."""
    nothing = float("nan")
    result = TrainingResult(int(header["steps"]), nothing, "finished", 0.0)
    summary = TrainingSummary(
        result, Estimate(0, 0.0, 0.0, 0), header["verdict"], nothing, nothing, folder
    )
    return load(folder, device), summary


def _finished(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The header of the model that this command made already, None where it is to be made.

    Raises:
        CheckpointError: when the folder holds a model of other crystals or settings.
    """
    file = folder / MODEL_FILE
    if not file.exists():
        return None
    stored = read_header(file)
    found = stored.get("key") or {}
    if found == key:
        return stored
    if found and {**found, "base": key["base"]} == key:
        log.warning(
            "%s: was trained in the same way from another version of the model it starts from; it "
            "is trained again",
            folder,
        )
        return None
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


def earlier_crystals(base: CrystalGenerator, arrays: CrystalArrays) -> CrystalArrays | None:
    """Crystals of the model that training starts from which are not among the new ones."""
    if base.training is None or not len(base.training):
        return None
    crystals = [part.crystal(i) for part in (arrays, base.training) for i in range(len(part))]
    repeated, _ = find_duplicates(crystals)
    rows = [row for row in range(len(base.training)) if row + len(arrays) not in repeated]
    return base.training.take(np.array(rows, dtype=np.int64)) if rows else None


def _libraries(
    arrays: CrystalArrays, more: CrystalArrays | None
) -> tuple[tuple[CrystalLibrary, CrystalLibrary], list[Structure]]:
    """The shipped library, and with the crystals; those of them that can be left out in turn.

    Args:
        more: crystals that join the library and are not asked for.
    """
    from crystal_diffusion.proposals.joining import join, read_own
    from crystal_diffusion.proposals.library import default_library

    together = CrystalArrays.join((arrays, more)) or arrays
    structures = [together.crystal(i).to_structure() for i in range(len(together))]
    entries, unfit = read_own(structures, together.ids)
    shipped = default_library()
    own = zip(structures[: len(arrays)], arrays.ids, strict=True)
    return (shipped, join(shipped, entries)), [s for s, name in own if name not in unfit]
