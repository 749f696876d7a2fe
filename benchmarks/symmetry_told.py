"""What knowing the symmetry is worth: candidates from noise for known compositions.

    python benchmarks/symmetry_told.py mp_20/val.parquet --n 200 --seed 5 --model MODEL

For each row the sampler is told nothing, the true group, or the true group and Wyckoff letters
(moyopy, 0.1 Å). Prints the share of rows whose first and whose any candidate matches, the RMSE of
the matched first ones, and how often the group of the first is the target's; 95 %, bootstrap.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from prototypes import interval

from crystal_diffusion import chemistry, load
from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.diffusion.sampler import SamplerSettings
from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.facts import space_group
from crystal_diffusion.symmetry.detection import wyckoff_letters


def share(values: list[bool]) -> str:
    """Mean and 95 % interval in per cent."""
    array = np.array(values, float)
    low, high = interval(array)
    return f"{100 * array.mean():5.1f} ({100 * low:.1f} to {100 * high:.1f})"


def asked(structure: Any, told: str) -> Request:
    """The request for the composition of the primitive cell, with what is told."""
    from pymatgen.core import Composition

    units = structure.composition.get_reduced_composition_and_factor()
    formula = Composition(units[0]).formula.replace(" ", "")
    z = round(units[1])
    if told == "nothing":
        return Request(formula=formula, z=(z, z))
    number, words = wyckoff_letters(structure, 0.1)
    if told == "group":
        return Request(formula=formula, z=(z, z), spacegroup=str(number))
    wyckoff = ",".join(f"{chemistry.symbol(z)}:{'+'.join(letters)}" for z, letters in words.items())
    return Request(formula=formula, z=(z, z), spacegroup=str(number), wyckoff=wyckoff)


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split")
    parser.add_argument("--model", default=None)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--told", nargs="+", default=["nothing", "group", "letters"])
    parser.add_argument("--most", type=int, default=20, help="Largest number of atoms.")
    options = parser.parse_args()
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3)
    table = parquet_arrays(options.split)
    generator = load(options.model)
    sampler = SamplerSettings(steps=options.steps)
    settings = GenerationSettings(sampler=sampler, noise_share=1.0, scorer="none", group=False)
    order = np.random.default_rng(options.seed).permutation(len(table))
    rows = [int(i) for i in order if table.num_atoms[i] <= options.most][: options.n]
    targets = [table.crystal(i).to_structure().get_primitive_structure() for i in rows]
    for told in options.told:
        began = time.process_time()
        first, several, groups, distances, failed = [], [], [], [], 0
        for index, target in enumerate(targets):
            try:
                request = asked(target, told)
                made = list(
                    generator.run(
                        request, options.candidates, seed=index, settings=settings, describe=False
                    ).structures.values()
                )
            except CrystalDiffusionError:
                made = []
            failed += not made
            found = [matcher.get_rms_dist(target, other) for other in made]
            first.append(bool(found) and found[0] is not None)
            several.append(any(f is not None for f in found))
            groups.append(bool(made) and space_group(made[0], 0.1) == space_group(target, 0.1))
            if found and found[0] is not None:
                distances.append(found[0][0])
        print(
            f"{told:8s} first {share(first)} any of {options.candidates} "
            f"{share(several)} RMSE {np.mean(distances or [np.nan]):.3f} group "
            f"{share(groups)} n {len(targets)} without candidate {failed} "
            f"{time.process_time() - began:.0f} s of processor time",
            flush=True,
        )


if __name__ == "__main__":
    main()
