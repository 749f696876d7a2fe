"""Train what tells the models in the box of the properties that are asked for, and write it.

    python recipes/train_conditions.py skeletons mp_2025/train_le20.parquet \\
        mp_2025/train_21_52.parquet --work SKELETONS --steps 3000
    python recipes/train_conditions.py flow mp_2025/train_le20.parquet --work FLOW --steps 2000

``skeletons`` begins with the model of skeletons in the box and goes on with it as a network of its
own, written beside it; the work folder is that of ``train_skeletons.py``, whose files it reads. On
a GPU it takes ``--device cuda --tokens 16384``.
``flow`` leaves the denoiser in the box as it is and fits an embedding of what is asked alone, so
that without a wish nothing changes. Both are told random pieces of the axis of each property (see
``crystal_diffusion/networks/conditions.py``) and are written in half precision.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from train_skeletons import AVERAGE, CHECK_EVERY, HELD_OUT, Split, skeletons_of

from crystal_diffusion import chemistry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import CrystalArrays, parquet_arrays
from crystal_diffusion.diffusion.guidance import conditional_copy
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.told import FLOW_CONDITIONS, save_embedding
from crystal_diffusion.networks.conditions import (
    ConditionScale,
    even_quantiles,
    random_conditions,
)
from crystal_diffusion.seeding import stream_seed
from crystal_diffusion.skeletons.conditional import SKELETON_CONDITIONS
from crystal_diffusion.skeletons.fitting import (
    FitSettings,
    SkeletonReport,
    Skeletons,
    batches,
    fit,
    losses,
    make_batch,
)
from crystal_diffusion.skeletons.network import SkeletonNetwork
from crystal_diffusion.skeletons.weights import SHIPPED, load_network, save_network
from crystal_diffusion.training.batches import BatchPlan
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.steps import denoising_objective, prepare_step
from crystal_diffusion.workflows.data_card import without_oversized
from crystal_diffusion.workflows.estimate import batch_of


def labels_of(arrays: CrystalArrays) -> dict[str, np.ndarray]:
    """Labels by the names of requests, NaN where not known or not to be believed."""
    volume = np.abs(np.linalg.det(arrays.lattice))
    masses = np.add.reduceat(
        np.asarray(chemistry.ATOMIC_MASSES)[arrays.atomic_numbers], arrays.offsets[:-1]
    )

    def kept(values: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.where((values >= low) & (values <= high), values, np.nan)

    found = arrays.properties
    return {
        "formation_energy": kept(found["formation_energy_per_atom"], -6, 6),
        "energy_above_hull": kept(found["e_above_hull"], 0, 6),
        "band_gap": kept(found["band_gap"], 0, 20),
        "magnetization": kept(np.abs(found["total_magnetization"]) / volume, 0, 1),
        "bulk_modulus": kept(found["K_VRH"], 1, 700),
        "shear_modulus": kept(found["G_VRH"], 1, 700),
        "density": 1.66053906660 * masses / volume,
    }


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Labels of all tables, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def skeleton_labels(tables: Sequence[Path], data: Skeletons) -> dict[str, np.ndarray]:
    """Labels of the skeletons of tables.

    Raises:
        SystemExit: when they are not of the same rows.
    """
    labels = joined([labels_of(parquet_arrays(path)) for path in tables])
    if len(labels["density"]) != len(data):
        raise SystemExit("skeletons and labels are not of the same rows; use another work folder")
    return labels


def fit_conditions(
    base: SkeletonNetwork,
    split: Split,
    values: Tensor,
    settings: FitSettings,
    state: Path | None = None,
) -> SkeletonNetwork:
    """A network like ``base`` that is told of properties as well.

    Args:
        values: ``(crystals, properties)`` scaled labels of all crystals, in the order before the
            split; what was best on those held out is kept.
    """
    network = SkeletonNetwork(replace(base.config, properties=values.shape[1]))
    network.load_state_dict(base.state_dict(), strict=False)
    network.requires_grad_(True)
    began, last = time.monotonic(), [math.inf]
    rest = np.setdiff1d(np.arange(len(values)), split.hold)
    rng, quantiles = np.random.default_rng(3), even_quantiles(values)
    questions = []
    for number, rows in enumerate(batches(split.held, 8192, rng)):
        told = SkeletonReport.drawn(rng, len(rows), settings.composition)
        batch = make_batch(split.held, rows, told)
        chance = torch.Generator().manual_seed(number)
        asked = random_conditions(values[split.hold[rows]], quantiles, chance)
        batch = replace(batch, asked=replace(batch.asked, properties=asked))
        questions.append(batch.to(settings.device))

    def check(looked_at: SkeletonNetwork) -> float:
        found = [losses(looked_at, batch) for batch in questions]
        last[0] = sum(float(x.mean) * x.crystals for x in found) / HELD_OUT
        return last[0]

    def tell(step: int, loss: float) -> None:
        spent = time.monotonic() - began
        print(f"step {step}, loss {loss:.4f}, held out {last[0]:.4f}, {spent:.0f} s", flush=True)

    return fit(
        network,
        split.data,
        settings,
        state=state,
        progress=tell,
        labels=values[rest],
        check=check,
    )


def train_skeletons(arguments: argparse.Namespace) -> None:
    """Go on from the model of skeletons in the box."""
    work, tables = arguments.work, arguments.tables
    data = Skeletons.join([skeletons_of(path, work) for path in tables])
    labels = skeleton_labels(tables, data)
    scale = ConditionScale.from_labels(labels)
    base, _ = load_network(SHIPPED)
    settings = FitSettings(
        arguments.steps,
        arguments.tokens,
        arguments.learning_rate,
        100,
        composition=0.25,
        seed=1,
        bfloat16=arguments.device != "cpu",
        device=arguments.device,
        average=AVERAGE,
        check_every=CHECK_EVERY,
    )
    state = work / "conditions.state.safetensors"
    network = fit_conditions(base, Split.of(data), scale.encode_all(labels), settings, state)
    save_network(
        arguments.out or SKELETON_CONDITIONS,
        network.to("cpu"),
        {
            "steps": arguments.steps,
            "crystals": len(data) - HELD_OUT,
            "trained_on": ", ".join(path.stem for path in tables),
            "scale": asdict(scale),
        },
    )


def train_flow(arguments: argparse.Namespace) -> None:
    """Fit the embedding of what is asked, the denoiser frozen."""
    parts, labels = [], []
    for path in arguments.tables:
        dataset = without_oversized(CrystalStructureDataset(path, reduce=True), 6.0)
        parts.append(batch_of(dataset.arrays))
        # Of the cells as they are in the table: the magnetisation is that of the whole cell.
        found = parquet_arrays(path)
        place = {name: row for row, name in enumerate(found.ids)}
        rows = np.array([place[name] for name in dataset.arrays.ids])
        labels.append({name: values[rows] for name, values in labels_of(found).items()})
    data = CrystalBatch.concatenate(parts)
    known = joined(labels)
    scale = ConditionScale.from_labels(known)
    values = scale.encode_all(known)
    quantiles = even_quantiles(values)
    base = load(arguments.model, "cpu").model
    model = conditional_copy(base, len(scale.names))
    trained = [p for name, p in model.named_parameters() if ".asked." in name]
    for parameter in trained:
        parameter.requires_grad_(True)
    config = TrainingConfig(
        steps=arguments.steps,
        tokens=768,
        tasks={"composition": 0.4, "nothing": 0.6},
        symmetric=0.0,
    )
    plan = BatchPlan(data.num_atoms.numpy(), config.tokens, 1)
    optimiser = torch.optim.AdamW(trained, lr=arguments.learning_rate, betas=(0.9, 0.98))
    average = [p.detach().clone() for p in trained]
    began, sums = time.process_time(), [0.0, 0.0]
    for step in range(arguments.steps):
        done = step / arguments.steps
        for group in optimiser.param_groups:
            group["lr"] = arguments.learning_rate * min(1.0, (step + 1) / 50, 4 * (1 - done))
        rows = plan.batch(step)
        inputs = prepare_step(model, data, rows, config, step)
        chance = torch.Generator().manual_seed(stream_seed(1, "asked", step))
        asked = random_conditions(values[torch.from_numpy(rows)], quantiles, chance)
        loss = denoising_objective(model, replace(inputs, conditions=asked), config, True).total
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        with torch.no_grad():
            for kept, now in zip(average, trained, strict=True):
                kept.lerp_(now, 1 - min(0.99, (1 + step) / (10 + step)))
            if step % 10 == 0:
                plain = denoising_objective(model, inputs, config, True).total
                asked_loss = denoising_objective(
                    model, replace(inputs, conditions=asked), config, True
                ).total
                sums[0] += float(plain - asked_loss)
                sums[1] += 1
        if (step + 1) % 100 == 0:
            gain = sums[0] / max(sums[1], 1)
            spent = time.process_time() - began
            print(f"step {step + 1}, gain {gain:.4f}, {spent:.0f} s of a core", flush=True)
            sums = [0.0, 0.0]
            save(model, average, scale, arguments, step + 1)
    save(model, average, scale, arguments, arguments.steps)


def save(
    model: JointDiffusion,
    average: list[Tensor],
    scale: ConditionScale,
    arguments: argparse.Namespace,
    steps: int,
) -> None:
    """The averaged embedding, in half precision."""
    names = [name for name, _ in model.named_parameters() if ".asked." in name]
    header = {
        "steps": steps,
        "trained_on": ", ".join(path.stem for path in arguments.tables),
        "scale": asdict(scale),
    }
    save_embedding(arguments.out or FLOW_CONDITIONS, dict(zip(names, average, strict=True)), header)


def main() -> None:
    """Train one of the two, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["skeletons", "flow"])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--model", default=None)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.part == "flow" and arguments.device != "cpu":
        parser.error("the flow is trained on the processor; leave --device out")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    {"skeletons": train_skeletons, "flow": train_flow}[arguments.part](arguments)


if __name__ == "__main__":
    main()
