"""``train``: from any source of crystals to a model folder, with defaults chosen from the data."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import (
    TRAINING_SET_FILE,
    save_training_set,
)
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.files import locked, make_folder, refuse_file
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import PRETRAINED, base_header, load
from crystal_diffusion.prediction.model import default_properties
from crystal_diffusion.prediction.own import (
    OwnProperty,
    check_labels,
    labelled,
    learn_property,
    save_own,
)
from crystal_diffusion.training.checkpoint import checksum
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import fit
from crystal_diffusion.training.plots import plot_losses
from crystal_diffusion.training.run_state import RunState
from crystal_diffusion.workflows.adapt_model import adapt_model, earlier_crystals
from crystal_diffusion.workflows.data_card import describe_data, without_odd, without_oversized
from crystal_diffusion.workflows.estimate import (
    Defaults,
    Estimate,
    TrainingSummary,
    batch_of,
    defaults_for,
    measure,
    network_options,
    steps_of,
    training_config,
)
from crystal_diffusion.workflows.model_card import inherited, write_card
from crystal_diffusion.workflows.monitor import Monitor, verdict
from crystal_diffusion.workflows.own_confidence import asks_samples, write_sampled
from crystal_diffusion.workflows.own_skeletons import (
    SYMMETRIC_NOISE,
    alone_seconds,
    learns_skeletons,
    write_own_skeletons,
)
from crystal_diffusion.workflows.training_settings import (
    DataSettings,
    ModelSettings,
    TrainingSettings,
    with_keywords,
)

log = logging.getLogger(__name__)


def train(
    source: Any,
    out: str | Path,
    *,
    training: TrainingSettings | None = None,
    model: ModelSettings | None = None,
    data: DataSettings | None = None,
    properties: Sequence[str] = (),
    on_estimate: Callable[[Estimate], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    **single: Any,
) -> tuple[CrystalGenerator, TrainingSummary]:
    """Train a joint model and write it to ``out``; the same call resumes a killed run.

    Without more, the pretrained model is the base: it is adapted to the crystals in whichever way
    answers best on those left out (see ``adapt.py``), and they join its library and its ranking.
    A network of one's own or ``from_scratch`` learns from the crystals alone.

    Args:
        source: anything ``CrystalStructureDataset`` takes, or a data set.
        out: model folder.
        training: how, how long and on what device; model: which network, or which model to start
            from; data: which of the crystals.
        properties: columns of numbers to learn to predict as well; see
            :mod:`crystal_diffusion.prediction.own`.
        on_estimate: called once before training with the measured cost.
        on_step: called with steps done, steps in all and the running loss.
        **single: fields of the three settings by name, for example ``steps=200``.

    Returns:
        The generator, ready to use, and a summary with a verdict.

    Raises:
        InputError: for settings or crystals that cannot be trained with.
        CheckpointError: when the folder holds another model.
    """
    training, model, data = with_keywords(training, model, data, single)
    base = _base(model)
    dataset, left_out = _read(source, data)
    for name in properties:
        # Before hours of training, not after.
        check_labels(name, labelled(dataset, name)[1])
    plain = training.learning_rate is not None
    plain |= training.length_given and base != PRETRAINED
    refuse_file(Path(out))  # not after the cost was measured
    started = None if base is None else load(base, training.device)
    if started is not None and started.knows_pretrained and not plain:
        generator, summary = adapt_model(
            dataset,
            started,
            Path(out),
            training,
            left_out=left_out,
            library_only=_ordered_versions(source, data, left_out),
            on_estimate=on_estimate,
            on_step=on_step,
        )
    else:
        generator, summary = _train_weights(
            dataset, started, Path(out), training, model, left_out, on_estimate, on_step
        )
    learned = _learn_properties(dataset, properties, summary.out, training.seed)
    return generator, replace(summary, properties=learned)


def _learn_properties(
    dataset: CrystalStructureDataset, names: Sequence[str], folder: Path, seed: int
) -> tuple[OwnProperty, ...]:
    """The columns asked for, learned and written beside the weights by the first process."""
    if not names or not Workers.is_first():
        return ()
    shipped = default_properties()
    learned = tuple(learn_property(dataset, name, shipped, seed) for name in names)
    save_own(folder, learned)
    write_card(folder)
    return learned


def _train_weights(
    dataset: CrystalStructureDataset,
    started: CrystalGenerator | None,
    folder: Path,
    training: TrainingSettings,
    model: ModelSettings,
    left_out: Mapping[str, str],
    on_estimate: Callable[[Estimate], None] | None,
    on_step: Callable[[int, int, float], None] | None,
) -> tuple[CrystalGenerator, TrainingSummary]:
    """All weights of a new network, or of one that was trained before."""
    arrays = dataset.arrays
    held = _held_out(len(dataset), training)
    used = np.setdiff1d(np.arange(len(dataset)), held)
    crystals = batch_of(arrays.take(used))
    device = resolve_device(training.device)
    chosen = defaults_for(len(used), device.type)
    elements = tuple(int(z) for z in np.unique(arrays.atomic_numbers))
    network = (
        _new_network(model, training.seed, chosen, crystals, elements)
        if started is None
        else _started_network(started, elements)
    ).to(device)
    usual = chosen.learning_rate if started is None else 2e-4
    if training.symmetric_noise is None:
        usual_network = started is None and not model.own and learns_skeletons(len(used))
        training = replace(training, symmetric_noise=SYMMETRIC_NOISE if usual_network else 0.0)
    # Learned beside the network where it learns symmetric noise, so that starts get a group first.
    alone = started is None and bool(training.symmetric_noise) and learns_skeletons(len(used))
    config = training_config(
        training,
        steps=1,
        tokens=training.tokens or chosen.tokens,
        learning_rate=training.learning_rate or usual,
        patience=training.patience if len(held) or len(dataset) < 50 else 0,
    )
    workers = Workers.from_environment(device)
    estimate = workers.share(measure(network, crystals, config, workers))
    total = steps_of(training, chosen, crystals, config, estimate)
    config = replace(
        config,
        steps=total,
        decay=max(1, total // 4),
        warmup=min(200, max(1, total // 10)),
        monitor_every=max(50, total // 8),
        log_every=max(1, min(20, total // 20)),
        checkpoint_seconds=60.0,
    )
    identity = {
        "network": asdict(network.config),
        "start_from": None if started is None else checksum(network.state_dict()),
        "held_out": [int(i) for i in held],
    }
    with locked(make_folder(folder)) if workers.first else contextlib.nullcontext():
        header: dict[str, Any] = {}
        if workers.first:
            # Nothing is written before it is clear that the run may go on here.
            RunState(folder, config, crystals, identity).check()
            trained = arrays.take(used)
            earlier = None if started is None else earlier_crystals(started, trained)
            stored = CrystalArrays.join((trained, earlier)) or trained
            save_training_set(folder / TRAINING_SET_FILE, stored)
            header = describe_data(dataset, arrays.take(used), held)
        header |= _history(started)
        if left_out:
            header["left_out"] = dict(left_out)
        monitor = (
            Monitor(arrays.take(used), arrays.take(held) if len(held) else None, training.seed)
            if workers.first
            else _figures_of_the_first
        )
        # Valid crystals alone show nothing: the limits while sampling make most samples valid.
        began = time.perf_counter()
        before = workers.share(monitor(0, network))
        each = time.perf_counter() - began
        box = None
        if started is None and workers.first:  # and what there is without any training
            box = monitor(0, load(PRETRAINED, training.device).model)
        checks = total // config.monitor_every + 1  # the last one for the verdict
        beside = alone_seconds(arrays.take(used)) if alone else 0.0
        checks += started is None and asks_samples(len(held))
        other = workers.share(checks * each + beside)
        estimate = replace(estimate, steps=total, other_seconds=other)
        if on_estimate:
            on_estimate(estimate)
        result = fit(
            network,
            crystals,
            config,
            folder,
            header=header,
            monitor=monitor,
            identity=identity,
            on_step=(lambda step, loss: on_step(step, total, loss)) if on_step else None,
        )
        final = workers.share(monitor(result.steps, network))
        if workers.first:
            if alone:
                write_own_skeletons(folder, arrays.take(used), training.seed)
            if started is None:
                # With the skeletons, as it is asked.
                made = load(folder, training.device)
                write_sampled(made, arrays.take(held), folder, training.seed)
            plot_losses(folder / "metrics.jsonl", folder / "loss.png")
            write_card(folder)
        workers.wait()
        summary = TrainingSummary(
            result,
            estimate,
            verdict(result, before, final, total, started is not None, box),
            final["validity"],
            final["copies"],
            folder,
        )
        return load(folder, training.device), summary


def _base(model: ModelSettings) -> str | Path | None:
    """The model to start from; None for none."""
    if model.start_from is None:
        return None if model.from_scratch or model.own else PRETRAINED
    return PRETRAINED if str(model.start_from) == "box" else model.start_from


def _read(source: Any, data: DataSettings) -> tuple[CrystalStructureDataset, dict[str, str]]:
    """The crystals to train on, and the others by id with the reason."""
    dataset = (
        source
        if isinstance(source, CrystalStructureDataset)
        else CrystalStructureDataset(source, reduce=data.reduce, disorder=data.disorder)  # type: ignore[arg-type]
    )
    left_out = {skipped.id: skipped.reason for skipped in dataset.skipped}
    dataset = without_oversized(dataset, data.largest_volume)
    if data.odd == "leave":
        dataset, strange = without_odd(dataset)
        left_out |= strange
    return dataset, left_out


def _ordered_versions(
    source: Any, data: DataSettings, left_out: Mapping[str, str]
) -> CrystalArrays | None:
    """Most probable ordered cells of crystals that training leaves out for partial occupancy."""
    names = {name for name, reason in left_out.items() if reason.startswith("partial occupancy")}
    if isinstance(source, CrystalStructureDataset) or data.disorder != "skip" or not names:
        return None
    arrays = CrystalStructureDataset(source, reduce=data.reduce, disorder="order").arrays
    rows = [row for row, name in enumerate(arrays.ids) if name in names]
    return arrays.take(np.array(rows, dtype=np.int64)) if rows else None


def _held_out(crystals: int, training: TrainingSettings) -> np.ndarray:
    """Rows that are kept for early stopping."""
    if crystals < 50 or training.holdout <= 0:
        return np.zeros(0, dtype=np.int64)
    order = np.random.default_rng((training.seed, 7)).permutation(crystals)
    return np.sort(order[: max(5, min(500, round(crystals * training.holdout)))])


def _started_network(started: CrystalGenerator, elements: tuple[int, ...]) -> JointDiffusion:
    """A copy of a trained network that may use these elements; its own too, if pretrained."""
    if started.knows_pretrained:
        elements = tuple(sorted({*elements, *started.known_elements}))
    network = JointDiffusion(replace(started.model.config, elements=elements))
    network.load_state_dict(started.model.state_dict())
    return network


def _new_network(
    model: ModelSettings,
    seed: int,
    chosen: Defaults,
    crystals: CrystalBatch,
    elements: tuple[int, ...],
) -> JointDiffusion:
    """A network with weights drawn from the seed, in the size that suits the data."""
    options = network_options(model, chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JointDiffusion(
            JointConfig(
                network=model.network,
                network_options=options,
                coordinates=model.coordinates,
                lattice=model.lattice,
                statistics=LatticeStatistics.from_batch(crystals),
                max_train_atoms=int(crystals.num_atoms.max()),
                elements=elements,
            )
        )


def _history(started: CrystalGenerator | None) -> dict[str, Any]:
    """What the header of a model says of the one that it started from."""
    if started is None:
        return {}
    header: dict[str, Any] = {}
    before = int(started.header.get("steps", 0)) + int(started.header.get("steps_before", 0))
    if before:
        header = {"steps_before": before, **inherited(started.header)}
    if started.knows_pretrained:
        header["base"] = base_header(holds_weights=True)
    return header


def _figures_of_the_first(step: int, model: JointDiffusion) -> Mapping[str, float]:
    """The monitor of every process but the first, which asks the model and tells the others."""
    return {}
