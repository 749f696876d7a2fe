"""The open questions of the method at equal compute: what is trained for the same processor time.

    OMP_NUM_THREADS=1 python benchmarks/equal_compute.py TRAIN.parquet VAL.parquet \
        --minutes 4 --subset 10000 --variants flow wrapped
    ... --minutes 1 --size 96x4 --variants symmetric-0 symmetric-0.5 symmetric-1 muon

Each variant is trained for the same processor minutes of one core (the learning rate falls over the
last quarter of them), then answers the compositions of ``--n`` validation crystals with one
candidate from noise: free of symmetry, and told the true group and Wyckoff letters (moyopy, 0.1 Å).
Match: StructureMatch(ltol=0.3, stol=0.5, angle_tol=10), unfiltered; interval: 95 %, bootstrap over
targets. One line a variant, as soon as it is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import torch
from machine import describe

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.diffusion.joint import (
    JointConfig,
    JointDiffusion,
    LatticeStatistics,
    Levels,
)
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import CrystalDiffusionError, InputError
from crystal_diffusion.generation.symmetric import TemplateProjection
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.seeding import CrystalStreams, stream_seed
from crystal_diffusion.skeletons.tokens import composition_of, skeleton_of
from crystal_diffusion.symmetry.orbits import SymmetryTable
from crystal_diffusion.symmetry.template import SymmetricTemplate
from crystal_diffusion.training import steps as training_steps
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import batch_plan, use_bfloat16
from crystal_diffusion.training.steps import denoising_objective, prepare_step
from crystal_diffusion.training.symmetry import find_symmetry
from crystal_diffusion.workflows.train import batch_of


@dataclass(frozen=True)
class Variant:
    """What differs from the default.

    Attributes:
        model: fields of :class:`JointConfig`.
        training: fields of :class:`TrainingConfig`.
        width_depth: factors on the width, and layers added, of the transformer.
        standard_cell: half of the crystals in their primitive standard cell.
        muon: Muon for the matrices of the blocks, AdamW for the rest.
        level_power: noise levels are uniform to this power; above 1 more low ones.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    width_depth: tuple[float, int] = (1.0, 0)
    standard_cell: bool = False
    muon: bool = False
    level_power: float = 1.0


VARIANTS: dict[str, Variant] = {
    "flow": Variant(),
    "wrapped": Variant({"coordinates": "wrapped"}),
    "cosine-lattice": Variant({"lattice": "cosine"}),
    "unet": Variant({"network": "unet"}),
    "equivariant": Variant({"network": "equivariant"}),
    "symmetric-0": Variant(training={"symmetric": 0.0}),
    "symmetric-0.3": Variant(training={"symmetric": 0.3}),
    "symmetric-0.7": Variant(training={"symmetric": 0.7}),
    "symmetric-1": Variant(training={"symmetric": 1.0}),
    "no-exchange": Variant(training={"exchange": False}),
    "lattice-weight-0.1": Variant(training={"lattice_weight": 0.1}),
    "lattice-weight-1": Variant(training={"lattice_weight": 1.0}),
    "rate-2.5e-3": Variant(training={"learning_rate": 2.5e-3}),
    "muon": Variant(muon=True),
    "low-levels": Variant(level_power=1.5),
    "high-levels": Variant(level_power=0.67),
    "wide": Variant(width_depth=(4 / 3, -1)),
    "deep": Variant(width_depth=(2 / 3, 3)),
    "small": Variant(width_depth=(2 / 3, -1)),
    "large": Variant(width_depth=(4 / 3, 2)),
    "standard-cell": Variant(standard_cell=True),
}


@dataclass(frozen=True)
class Trained:
    """A model with its steps and the processor seconds they took."""

    model: JointDiffusion
    steps: int
    seconds: float


def standard_cells(batch: CrystalBatch) -> CrystalBatch:
    """The primitive standard cell of each crystal, half of them; the others stay as they are."""
    fractions, cells, numbers = [], [], []
    for row in range(len(batch)):
        z = batch.atomic_numbers[row]
        n = int((z > 0).sum())
        frac, cell, z_list = batch.frac_coords[row, :n], batch.lattice[row], z[:n].tolist()
        if row % 2:
            given = moyopy.Cell(cell.tolist(), frac.tolist(), z_list)
            standard = moyopy.MoyoDataset(given, symprec=0.01).prim_std_cell
            if len(standard.numbers) == n:
                frac, cell = np.array(standard.positions), np.array(standard.basis)
                z_list = standard.numbers
        fractions.append(np.asarray(frac, np.float64))
        cells.append(np.asarray(cell, np.float64))
        numbers.append(np.array(z_list))
    return CrystalBatch.from_arrays(fractions, np.array(cells), numbers)


def read(path: Path, rows: int | None, seed: int) -> CrystalBatch:
    """Reduced crystals of a file, a random part of them."""
    arrays = CrystalStructureDataset(str(path), reduce=True).arrays
    chosen = np.random.default_rng(seed).permutation(len(arrays))[: rows or len(arrays)]
    return batch_of(arrays.take(np.sort(chosen)))


def network_options(variant: Variant, size: tuple[int, int]) -> dict[str, int]:
    """Size of the network; those of the other networks need about as long a step."""
    width, layers = size
    kind = variant.model.get("network", "transformer")
    if kind == "unet":
        return {"hidden_dim": width}
    if kind == "equivariant":
        return {"dim": width, "layers": max(2, layers - 1)}
    factor, more = variant.width_depth
    return {"dim": round(width * factor / 16) * 16, "layers": layers + more, "heads": 8}


def optimisers(
    model: JointDiffusion, config: TrainingConfig, muon: bool
) -> list[torch.optim.Optimizer]:
    """AdamW as in training; with Muon (Jordan 2024) for the matrices of the blocks."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if muon and p.ndim == 2 and "blocks" in n]
    others = [p for n, p in named if not any(p is m for m in matrices)]
    rate, decay = config.learning_rate, config.weight_decay
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    ]
    if matrices:
        found.append(
            torch.optim.Muon(
                matrices, lr=4 * rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return found


def train(
    data: CrystalBatch,
    symmetry: SymmetryTable,
    variant: Variant,
    minutes: float,
    tokens: int,
    seed: int,
    size: tuple[int, int],
) -> Trained:
    """A model trained for this many processor minutes; averaged weights."""
    torch.manual_seed(seed)
    model = JointDiffusion(
        JointConfig(
            network_options=network_options(variant, size),
            statistics=LatticeStatistics.from_batch(data),
            max_train_atoms=int(data.num_atoms.max()),
            elements=tuple(int(z) for z in np.unique(data.atomic_numbers.numpy()) if z),
            **variant.model,
        )
    )
    config = TrainingConfig(tokens=tokens, seed=seed + 1, **{"symmetric": 0.5, **variant.training})
    plan, bfloat16 = batch_plan(data, config), use_bfloat16("auto", model.device)
    chosen = optimisers(model, config, variant.muon)
    peaks = [group["lr"] for optimiser in chosen for group in optimiser.param_groups]
    average = [p.detach().clone() for p in model.parameters()]
    step, began = 0, time.process_time()
    while (done := (time.process_time() - began) / (60 * minutes)) < 1:
        share = min(1.0, (step + 1) / 100, 4 * (1 - done))
        groups = [group for optimiser in chosen for group in optimiser.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * share
        inputs = prepare_step(model, data, plan.batch(step), config, step, symmetry)
        loss = denoising_objective(model, inputs, config, bfloat16).total
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimiser in chosen:
            optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(config.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1 - decay)
    with torch.no_grad():
        for parameter, mean in zip(model.parameters(), average, strict=True):
            parameter.copy_(mean)
    return Trained(model.eval(), step, time.process_time() - began)


def powered(power: float) -> Any:
    """``draw_levels`` with uniform levels taken to a power."""
    draw = training_steps.draw_levels

    def drawn(*args: Any) -> Levels:
        levels = draw(*args)
        return Levels(levels.coords**power, levels.lattice**power, levels.elements)

    return drawn


@dataclass(frozen=True)
class Target:
    """A true crystal and its template; None where no group was found."""

    structure: Any
    template: SymmetricTemplate | None


def targets_of(batch: CrystalBatch) -> list[Target]:
    """The crystals with the templates of their true skeletons."""
    found = []
    for structure in batch.to_structures():
        template = None
        try:
            skeleton = skeleton_of(structure)
            if sum(composition_of(skeleton).values()) == len(structure):
                template = SymmetricTemplate.from_assignment(skeleton)
        except CrystalDiffusionError:
            pass
        found.append(Target(structure, template))
    return found


def match_rate(
    model: JointDiffusion, targets: Sequence[Target], steps: int, told: bool
) -> np.ndarray:
    """RMS displacement of the first candidate for each target, nan where nothing matches."""
    matcher, out = StructureMatch(), np.full(len(targets), np.nan)
    order = np.argsort([len(t.structure) for t in targets], kind="stable")
    for first in range(0, len(order), 50):
        rows = [int(i) for i in order[first : first + 50]]
        if told:
            rows = [i for i in rows if targets[i].template is not None]
        if not rows:
            continue
        templates = [t for i in rows if (t := targets[i].template) is not None]
        given = [templates[k].numbers if told else targets[i].structure.atomic_numbers
                 for k, i in enumerate(rows)]  # fmt: skip
        numbers = torch.nn.utils.rnn.pad_sequence(
            [torch.as_tensor(np.array(z), dtype=torch.int64) for z in given], batch_first=True
        )
        streams = CrystalStreams([stream_seed(5, i) for i in rows], [len(z) for z in given])
        projection = TemplateProjection(templates) if told else None
        settings = SamplerSettings(steps=steps)
        made = sample(model, Start.noise(numbers), streams, settings, projection=projection)
        for row, mine in zip(rows, made.to_structures(), strict=True):
            try:
                rms = matcher.rms(mine, targets[row].structure)
            except InputError:  # a cell that cannot be compared is a miss
                rms = None
            out[row] = np.nan if rms is None else rms
    return out


def figures(rms: np.ndarray) -> str:
    """Match in per cent with its interval, and the mean RMSE."""
    hit = np.isfinite(rms)
    rng = np.random.default_rng(0)
    means = 100 * hit[rng.integers(0, len(hit), (1000, len(hit)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = np.nanmean(rms) if hit.any() else np.nan
    return f"{100 * hit.mean():.1f} % ({low:.1f} to {high:.1f}), RMSE {mean:.3f}"


def main() -> None:
    """Train, ask, print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--subset", type=int, default=None)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--steps", type=int, default=8, help="network calls of a candidate")
    parser.add_argument("--size", default="128x6", help="width and layers of the transformer")
    parser.add_argument("--seed", type=int, default=0, help="of weights and noise in training")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=sorted(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    width, _, layers = options.size.partition("x")
    print(describe())
    data, found = read(options.train, options.subset, 0), read(options.val, options.n, 1)
    targets = targets_of(found)
    data, symmetry = find_symmetry(data)
    print(
        f"{options.train.name}: {len(data)} crystals; {options.val.name}: {len(targets)} targets; "
        f"{options.minutes} min, {options.size}, {options.tokens} tokens, {options.steps} steps",
        flush=True,
    )
    draw = training_steps.draw_levels
    for name in options.variants:
        variant = VARIANTS[name]
        mine, own = data, symmetry
        if variant.standard_cell:
            mine, own = find_symmetry(standard_cells(data))
        training_steps.draw_levels = powered(variant.level_power)
        trained = train(
            mine, own, variant, options.minutes, options.tokens, options.seed,
            (int(width), int(layers)),
        )  # fmt: skip
        training_steps.draw_levels = draw
        parameters = sum(p.numel() for p in trained.model.parameters()) / 1e6
        free = match_rate(trained.model, targets, options.steps, told=False)
        told = match_rate(trained.model, targets, options.steps, told=True)
        print(
            f"{name:18s} {parameters:.2f} M parameters, {trained.steps} steps, "
            f"{trained.seconds:.0f} s: free {figures(free)}; told {figures(told)}; n = {len(free)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
