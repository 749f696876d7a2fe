"""Does the physics penalty in the training loss help? Equal trainings with and without it.

    python benchmarks/physics_in_training.py ../shared/data/perov_5/train.parquet
        ../shared/data/perov_5/val.parquet [--steps 400] [--weights 0,0.1,1] [--n 150]

Each weight trains the same small network from the same seed for the same number of steps on the
same batches; the penalty needs a second network call per step, so the weight 0 is also trained for
as much longer as the penalty cost (``0, same time``). Then the contents of random rows of the
second file are sampled from the same noise, without redraw, with the sampler's physics off and on.
Valid and match as in ``physics_in_sampler.py``, one candidate a row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe
from physics_in_sampler import figure, make, variants

from crystal_diffusion.data import CrystalStructureDataset
from crystal_diffusion.data.readers import iter_crystals
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.workflows.train import train


def main() -> None:
    """Parse, train, sample, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="Parquet file to train on")
    parser.add_argument("rows", type=Path, help="Parquet file of crystals to be found")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--weights", default="0,0.1,1")
    parser.add_argument("--n", type=int, default=150)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = CrystalStructureDataset(options.train)
    crystals = [
        record.structure
        for record in iter_crystals(str(options.rows), primitive=True)
        if record.structure is not None
    ]
    chosen = np.random.default_rng(options.seed).choice(len(crystals), options.n, replace=False)
    true = [crystals[int(i)] for i in chosen]
    contents = [tuple(int(z) for z in s.atomic_numbers) for s in true]
    print(
        f"{describe()}; {len(data)} crystals of {options.train.name}, transformer "
        f"{options.dim}x{options.layers}, {options.tokens} tokens a step, seed {options.seed}"
    )
    print(f"% (95 % interval), n = {options.n} rows of {options.rows.name}, one candidate each")
    print("| weight | steps | processor s | valid, plain | match | valid, all terms | match |")
    print("|---|---|---|---|---|---|---|", flush=True)

    def fit(weight: float, steps: int) -> tuple[JointDiffusion, float]:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            generator, _ = train(
                data,
                folder,
                steps=steps,
                dim=options.dim,
                layers=options.layers,
                tokens=options.tokens,
                seed=options.seed,
                patience=0,
                physics_weight=weight,
            )
        return generator.model.eval(), time.process_time() - began

    def show(label: str, steps: int, model: JointDiffusion, seconds: float) -> None:
        validator, matcher = PhysicsValidator(), StructureMatch()
        columns = []
        for name in ("none", "all"):
            made = [s for (s,) in make(model, contents, 1, options.seed, variants(20)[name])]
            columns.append([float(validator.validate(s).valid) for s in made])
            columns.append(
                [float(matcher.rms(t, s) is not None) for t, s in zip(true, made, strict=True)]
            )
        print(
            f"| {label} | {steps} | {seconds:.0f} | {' | '.join(map(figure, columns))} |",
            flush=True,
        )

    plain, most = 0.0, 0.0
    for weight in (float(w) for w in options.weights.split(",")):
        model, seconds = fit(weight, options.steps)
        show(f"{weight:g}", options.steps, model, seconds)
        plain = plain if weight else seconds
        most = max(most, seconds)
    if plain and most > 1.1 * plain:
        longer = round(options.steps * most / plain)
        show("0, same time", longer, *fit(0.0, longer))


if __name__ == "__main__":
    main()
