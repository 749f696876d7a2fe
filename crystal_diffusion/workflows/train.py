"""``train``: from any source of crystals to a model folder, with defaults chosen from the data."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.training_set import (
    TRAINING_SET_FILE,
    save_training_set,
)
from crystal_diffusion.device import resolve_device
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import locked, make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import PRETRAINED, base_header, load
from crystal_diffusion.networks import NETWORKS
from crystal_diffusion.training.checkpoint import checksum
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.distributed import Workers
from crystal_diffusion.training.loop import fit
from crystal_diffusion.training.plots import plot_losses
from crystal_diffusion.training.run_state import RunState
from crystal_diffusion.workflows.adapt_model import AdaptationWishes, adapt_model
from crystal_diffusion.workflows.data_card import describe_data, without_odd, without_oversized
from crystal_diffusion.workflows.estimate import (
    HEADS,
    Estimate,
    TrainingSummary,
    batch_of,
    defaults_for,
    measure,
    network_options,
    steps_of,
)
from crystal_diffusion.workflows.model_card import inherited, write_card
from crystal_diffusion.workflows.monitor import Monitor, verdict

log = logging.getLogger(__name__)


def train(
    source: Any,
    out: str | Path,
    *,
    network: str = "transformer",
    coordinates: str = "flow",
    lattice: str = "flow",
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    learning_rate: float | None = None,
    dim: int | None = None,
    layers: int | None = None,
    tokens: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    reduce: bool = True,
    holdout: float = 0.1,
    patience: int = 4,
    physics_weight: float = 0.0,
    accumulate: int = 1,
    translate: bool = True,
    symmetric_noise: float = 0.0,
    large_power: float = 0.0,
    disorder: str = "skip",
    largest_volume: float = 6.0,
    start_from: str | Path | None = None,
    from_scratch: bool = False,
    odd: str = "leave",
    on_estimate: Callable[[Estimate], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[CrystalGenerator, TrainingSummary]:
    """Train a joint model and write it to ``out``; the same call resumes a killed run.

    Without more, the pretrained model is the base: it is adapted to the crystals in whichever way
    answers best on those left out (see ``adapt.py``), and they join its library and its ranking.
    A network of one's own (``network``, ``dim``, ``layers``, ``coordinates``, ``lattice``) or
    ``from_scratch`` learns from the crystals alone.

    Args:
        source: anything ``CrystalStructureDataset`` takes, or a data set.
        out: model folder.
        network: "transformer", "unet" or "equivariant".
        coordinates: "flow" or "wrapped"; lattice: "flow", "cosine" or "linear".
        epochs, steps, minutes: length of training; by default chosen from the data.
        reduce: reduce cells to primitive Niggli cells.
        holdout: share of crystals kept for early stopping, where there are 50 or more.
        patience: monitorings without improvement before training stops early; 0 never stops.
        symmetric_noise: share of the crystals that get noise of their own space group.
        large_power: crystals of N > 20 atoms take part in (20/N)^large_power of the passes.
        largest_volume: crystals of more than this many times the volume that their elements take
            elsewhere are left out: the Materials Project holds some two thousand whose cells are
            2.4 times too long, and a model that has met them makes more of them.
        start_from: "pretrained" or "box" for the shipped model, as without it; or a model folder to
            adapt. With a learning rate, or a folder and a length of training, all weights are
            trained in that way and nothing is selected.
        from_scratch: learn from these crystals alone.
        odd: "leave" leaves out crystals that ``check`` finds odd in themselves (atoms too close, a
            cell out of all proportion) and repeats of others; "keep" trains on them too.
        on_estimate: called once before training with the measured cost.
        on_step: called with steps done, steps in all and the running loss.

    Returns:
        The generator, ready to use, and a summary with a verdict.
    """
    folder = Path(out)
    _check_arguments(
        {"epochs": epochs, "steps": steps, "dim": dim, "layers": layers, "tokens": tokens},
        {"minutes": minutes, "learning_rate": learning_rate, "largest_volume": largest_volume},
    )
    if dim is not None and network == "transformer" and dim % HEADS:
        raise InputError(f"dim is {dim}; the transformer has {HEADS} heads, give a multiple of it.")
    if network not in NETWORKS:
        raise InputError(f"network {network!r} is not known; choose one of {', '.join(NETWORKS)}.")
    own_network = dim is not None or layers is not None
    own_network |= (network, coordinates, lattice) != ("transformer", "flow", "flow")
    start_from = _base(start_from, from_scratch, own_network)
    if odd not in ("leave", "keep"):
        raise InputError(f"odd is {odd!r}; choose leave or keep.")
    dataset = _dataset(source, reduce, disorder)
    left_out = {skipped.id: skipped.reason for skipped in dataset.skipped}
    dataset = without_oversized(dataset, largest_volume)
    if odd == "leave":
        dataset, strange = without_odd(dataset)
        left_out |= strange
    length_given = any(x is not None for x in (steps, epochs, minutes))
    plain = learning_rate is not None or (length_given and start_from != PRETRAINED)
    if start_from is not None and not plain:
        started = load(start_from, device)
        if started.knows_pretrained:
            return adapt_model(
                dataset,
                started,
                folder,
                AdaptationWishes(
                    steps=steps,
                    epochs=epochs,
                    minutes=minutes,
                    tokens=tokens,
                    seed=seed,
                    precision=precision,
                    physics_weight=physics_weight,
                    accumulate=accumulate,
                    translate=translate,
                    symmetric_noise=symmetric_noise,
                    large_power=large_power,
                ),
                left_out=left_out,
                on_estimate=on_estimate,
                on_step=on_step,
            )
    arrays = dataset.arrays
    crystals = len(dataset)
    held = np.zeros(0, dtype=np.int64)
    order = np.random.default_rng((seed, 7)).permutation(crystals)
    if crystals >= 50 and holdout > 0:
        held = np.sort(order[: max(5, min(500, round(crystals * holdout)))])
    used = np.setdiff1d(np.arange(crystals), held)
    data = batch_of(arrays.take(used))
    resolved = resolve_device(device)
    chosen = defaults_for(len(used), resolved.type)
    elements = tuple(int(z) for z in np.unique(arrays.atomic_numbers))
    before = 0
    if start_from is not None:
        started = load(start_from, device)
        before = int(started.header.get("steps", 0)) + int(started.header.get("steps_before", 0))
        base = started.model
        if started.knows_pretrained:
            elements = tuple(sorted({*elements, *started.known_elements}))
        model = JointDiffusion(replace(base.config, elements=elements)).to(resolved)
        model.load_state_dict(base.state_dict())
    else:
        options = network_options(network, dim, layers, chosen)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = JointDiffusion(
                JointConfig(
                    network=network,
                    network_options=options,
                    coordinates=coordinates,
                    lattice=lattice,
                    statistics=LatticeStatistics.from_batch(data),
                    max_train_atoms=int(data.num_atoms.max()),
                    elements=elements,
                )
            ).to(resolved)
    rate = learning_rate or (chosen.learning_rate if start_from is None else 2e-4)
    config = TrainingConfig(
        steps=1,
        tokens=tokens or chosen.tokens,
        learning_rate=rate,
        seed=seed,
        precision=precision,
        physics_weight=physics_weight,
        accumulate=accumulate,
        translate=translate,
        symmetric=symmetric_noise,
        large_power=large_power,
        patience=patience if len(held) or crystals < 50 else 0,
    )
    workers = Workers.from_environment(resolved)
    estimate = workers.share(measure(model, data, config, workers))
    total = steps_of(steps, epochs, minutes, chosen, data, config, estimate)
    config = replace(
        config,
        steps=total,
        decay=max(1, total // 4),
        warmup=min(200, max(1, total // 10)),
        monitor_every=max(50, total // 8),
        log_every=max(1, min(20, total // 20)),
        checkpoint_seconds=60.0,
    )
    estimate = replace(estimate, steps=total)
    if on_estimate:
        on_estimate(estimate)
    identity = {
        "network": asdict(model.config),
        "start_from": None if start_from is None else checksum(model.state_dict()),
        "held_out": [int(i) for i in held],
    }
    with locked(make_folder(folder)) if workers.first else contextlib.nullcontext():
        if workers.first:
            # Nothing is written before it is clear that the run may go on here.
            RunState(folder, config, data, identity).check()
            save_training_set(folder / TRAINING_SET_FILE, arrays.take(used))
        header = describe_data(dataset, arrays.take(used), held) if workers.first else {}
        if before:
            header["steps_before"] = before
            header |= inherited(started.header)
        if start_from is not None and started.knows_pretrained:
            header["base"] = base_header(holds_weights=True)
        if left_out:
            header["left_out"] = left_out
        monitor = (
            Monitor(arrays.take(used), arrays.take(held) if len(held) else None, seed)
            if workers.first
            else _figures_of_the_first
        )
        result = fit(
            model,
            data,
            config,
            folder,
            header=header,
            monitor=monitor,
            identity=identity,
            on_step=(lambda step, loss: on_step(step, total, loss)) if on_step else None,
        )
        final = workers.share(monitor(result.steps, model))
        if workers.first:
            plot_losses(folder / "metrics.jsonl", folder / "loss.png")
            write_card(folder)
        workers.wait()
        summary = TrainingSummary(
            result,
            estimate,
            verdict(result, final, total),
            final["validity"],
            final["copies"],
            folder,
        )
        return load(folder, device), summary


def _base(
    start_from: str | Path | None, from_scratch: bool, own_network: bool
) -> str | Path | None:
    """The model to start from; None for none.

    Raises:
        InputError: for wishes that exclude each other.
    """
    if start_from is None:
        return None if from_scratch or own_network else PRETRAINED
    if from_scratch:
        raise InputError("start_from and from_scratch exclude each other; give one of them.")
    if own_network:
        raise InputError(
            "network, dim, layers, coordinates and lattice are those of the model that training "
            "starts from; leave them out, or train --from-scratch."
        )
    return PRETRAINED if str(start_from) == "box" else start_from


def _check_arguments(counts: Mapping[str, int | None], amounts: Mapping[str, float | None]) -> None:
    """Numbers that no training can use, told before anything is read.

    Raises:
        InputError: names the argument.
    """
    for name, count in counts.items():
        if count is not None and not 1 <= count < 2**31:
            raise InputError(f"{name} is {count}; give at least 1.")
    for name, amount in amounts.items():
        if amount is not None and not 0 < amount < math.inf:
            raise InputError(f"{name} is {amount}; give a number above 0.")


def _dataset(source: Any, reduce: bool, disorder: str) -> CrystalStructureDataset:
    if isinstance(source, CrystalStructureDataset):
        return source
    return CrystalStructureDataset(source, reduce=reduce, disorder=disorder)  # type: ignore[arg-type]


def _figures_of_the_first(step: int, model: JointDiffusion) -> Mapping[str, float]:
    """The monitor of every process but the first, which asks the model and tells the others."""
    return {}
