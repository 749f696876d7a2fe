"""How far the network may move a prototype: match and RMSE by the level at which it enters.

    python benchmarks/prototype_level.py ../shared/data/mp_20/val.parquet --n 150

For each composition the best prototype of the shipped ranker (structures known for the composition
last) enters the reverse path at a level and is denoised in a few calls, without added noise; level
0 leaves it as it is. The same prototypes at every level. Match: StructureMatch(ltol=0.3, stol=0.5,
angle_tol=10), whose answers are pymatgen's; all targets count. Intervals: 95 %, bootstrap.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from machine import describe
from prototypes import interval, read_targets

from crystal_diffusion import GenerationSettings, Request, load
from crystal_diffusion.errors import InputError
from crystal_diffusion.matching import StructureMatch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--n", type=int, default=150)
    parser.add_argument("--levels", type=float, nargs="+", default=[0, 0.02, 0.05, 0.1, 0.2])
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("odd", "even", "all"), default="even")
    options = parser.parse_args()
    generator = load(device="cpu")
    matcher = StructureMatch()
    targets = read_targets(options.split, options.n, options.seed, options.part)
    rms = np.full((len(options.levels), len(targets)), np.nan)
    for row, (_, true) in enumerate(targets):
        formula = "".join(f"{el}{int(n)}" for el, n in true.composition.get_el_amt_dict().items())
        request = Request(formula=formula, z=(1, 1))
        for column, level in enumerate(options.levels):
            settings = GenerationSettings(
                noise_share=0.0,
                known_last=True,
                prototype_level=level,
                prototype_steps=options.calls,
                max_attempts=1,
            )
            made = list(generator.run(request, 1, seed=1, settings=settings, describe=False))
            try:
                value = matcher.rms(made[0], true) if made else None
            except InputError:  # a cell that cannot be compared is a miss
                value = None
            rms[column, row] = np.nan if value is None else value
    print(f"{describe()}; {len(targets)} compositions of {options.split.name}, {options.part} ids")
    both = np.isfinite(rms).all(0)
    for level, values in zip(options.levels, rms, strict=True):
        hit = np.isfinite(values)
        low, high = interval(hit.astype(float))
        print(
            f"level {level:<5g} match {100 * hit.mean():.1f} % ({100 * low:.1f} to "
            f"{100 * high:.1f}), RMSE {values[hit].mean():.4f}, of the {both.sum()} matched at all "
            f"levels {values[both].mean():.4f} (median {np.median(values[both]):.4f})"
        )


if __name__ == "__main__":
    main()
