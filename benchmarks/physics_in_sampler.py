"""What the sampler's physics terms change: validity before any redraw, match rate, diversity.

    python benchmarks/physics_in_sampler.py ../shared/data/mp_20/val.parquet [--n 120]
        [--candidates 3] [--steps 20] [--untrained]

The contents of the primitive cells of random rows are sampled from pure noise,
the same noise for every variant, without redraw, ranking or prototypes:

* none: the network alone;
* repulsion: pairs below their limit are pushed apart at noise levels below 0.4;
* repulsion and cell: cells are also kept inside the limits of volume and shortest edge;
* all: at the end, what still overlaps is moved apart. This is the default of `generate`.

Valid: no error-level check of the default (strict) profile fails. Match: the row's crystal is found
by the first candidate (by any) with a root mean square displacement, as in
``StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist``, invalid candidates included.
Distinct: groups of equal structures over candidates, mean over compositions. Intervals are 95 %,
bootstrap over compositions. The share of the true crystals that the terms would move at all is
printed first.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe

from crystal_diffusion import load
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.diffusion.penalty import fit_cell, push_apart
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.sampling import (
    Guards,
    batches,
    sample_plans,
)
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.matching import StructureMatch, group_structures
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.seeding import stream_seed


def variants(steps: int) -> dict[str, SamplerSettings]:
    """The sampler with more and more physics."""
    return {
        "none": SamplerSettings.without_physics(steps=steps),
        "repulsion": SamplerSettings(steps=steps, cell_limits=0.0, separate=0),
        "repulsion and cell": SamplerSettings(steps=steps, separate=0),
        "all": SamplerSettings(steps=steps),
    }


def disturbed(structures: list[Any]) -> dict[str, int]:
    """How many true crystals each term would change."""
    found = {"pairs": 0, "cell": 0}
    for structure in structures:
        batch = CrystalBatch.from_structures([structure])
        smallest = Guards().smallest_distances(batch.atomic_numbers)
        step = push_apart(batch.frac_coords, batch.lattice, batch.mask, smallest, 1.0)
        found["pairs"] += bool(step.any())
        own = smallest.diagonal(dim1=-2, dim2=-1).amax(-1)
        limits = Guards().volume_limits(batch.atomic_numbers)
        cell = fit_cell(batch.lattice, batch.num_atoms, limits, own)
        found["cell"] += not torch.equal(cell, batch.lattice)
    return found


def make(
    model: JointDiffusion,
    contents: list[tuple[int, ...]],
    candidates: int,
    seed: int,
    settings: SamplerSettings,
) -> list[list[Any]]:
    """``candidates`` structures for each cell content, whatever they are like."""
    plans = [
        Plan(row * candidates + k, 0, stream_seed(seed, row, k), numbers)
        for row, numbers in enumerate(contents)
        for k in range(candidates)
    ]
    out: list[list[Any]] = [[None] * candidates for _ in contents]
    for batch in batches(plans):
        made = sample_plans(model, batch, GenerationSettings(sampler=settings))
        for plan, structure in zip(batch, made, strict=True):
            out[plan.index // candidates][plan.index % candidates] = structure
    return out


def figure(values: list[float]) -> str:
    """Mean with its interval."""
    result = ratio("", "", values)
    return f"{100 * result.value:5.1f} ({100 * result.low:.1f} to {100 * result.high:.1f})"


def main() -> None:
    """Parse, sample, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="Parquet file of crystals")
    parser.add_argument("--n", type=int, default=120, help="compositions")
    parser.add_argument("--candidates", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=None, help="model folder; the pretrained one if absent")
    parser.add_argument("--untrained", action="store_true", help="the same network, fresh weights")
    options = parser.parse_args()
    crystals = [
        record.structure
        for record in iter_crystals(str(options.rows), primitive=True)
        if record.structure is not None
    ]
    chosen = np.random.default_rng(options.seed).choice(len(crystals), options.n, replace=False)
    true = [crystals[int(i)] for i in chosen]
    model = load(options.model, "cpu").model
    if options.untrained:
        torch.manual_seed(options.seed)
        model = JointDiffusion(model.config)
    model.eval()
    contents = [tuple(int(z) for z in s.atomic_numbers) for s in true]
    print(
        f"{describe()}; {options.n} compositions of {options.rows.name}, {options.candidates} "
        f"candidates each, {options.steps} steps, seed {options.seed}, "
        f"{'untrained' if options.untrained else 'trained'} network"
    )
    print(f"of {len(true)} true crystals the terms would change {disturbed(true)}")
    default, strict = PhysicsValidator(), PhysicsValidator(profile="strict")
    matcher = StructureMatch()
    n = options.n * options.candidates
    print(f"\n% (95 % interval), n = {options.n} compositions, {n} structures")
    print("| terms | valid | strict | match, first | match, any | distinct | s per structure |")
    print("|---|---|---|---|---|---|---|")
    for name, settings in variants(options.steps).items():
        began = time.process_time()
        made = make(model, contents, options.candidates, options.seed, settings)
        seconds = (time.process_time() - began) / n
        columns: list[list[float]] = [[], [], [], [], []]
        for target, answers in zip(true, made, strict=True):
            columns[0].append(float(np.mean([default.validate(s).valid for s in answers])))
            columns[1].append(float(np.mean([strict.validate(s).valid for s in answers])))
            fits = [matcher.rms(target, s) is not None for s in answers]
            columns[2].append(float(fits[0]))
            columns[3].append(float(any(fits)))
            columns[4].append(len(set(group_structures(answers))) / len(answers))
        print(f"| {name} | {' | '.join(map(figure, columns))} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
