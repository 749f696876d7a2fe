"""Is crystal i of a seed the same alone and in a batch where a space group is asked for?

python benchmarks/batch_independence.py --each 12

Several groups and compositions are asked for; every crystal of each answer is made once more by
itself (``--first i -n 1``). Cells and coordinates may differ by rounding only. Exit code 1 where
one differs.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from pymatgen.core import Structure

from crystal_diffusion import __version__
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings

#: Groups and formulas, with low and high symmetry and all kinds of cells.
QUESTIONS = (("Pnma", "CaTiO3"), ("R-3m", "NaCoO2"), ("C2/m", "LiMnO2"))
#: Å and fractions; a cell or a place that flips is off by tenths.
ROUNDING = 2e-3


def apart(one: Structure, two: Structure) -> float:
    """The largest difference of cells (Å) and coordinates (fractions); infinite for other atoms."""
    if [s.specie for s in one] != [s.specie for s in two]:
        return float("inf")
    difference = one.frac_coords - two.frac_coords
    cells = np.abs(one.lattice.matrix - two.lattice.matrix).max()
    return float(max(cells, np.abs(difference - np.round(difference)).max()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=12, help="crystals of each question")
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = load(options.model)
    settings = GenerationSettings()
    differing, largest, made = [], 0.0, 0
    for group, formula in QUESTIONS:
        request = Request(formula=formula, spacegroup=group)
        together = generator.run(request, options.each, seed=5, settings=settings).structures
        for name, crystal in together.items():
            number = int(name.removeprefix("cd"))
            alone = generator.run(request, 1, seed=5, first=number, settings=settings).structures
            off = apart(crystal, alone[name]) if name in alone else float("inf")
            made += 1
            largest = max(largest, off if np.isfinite(off) else 0.0)
            if off > ROUNDING:
                differing.append(f"{formula} {group} {name}: {off:.3g}")
        print(f"{formula} in {group}: {len(together)} crystals", flush=True)
    print(
        f"version {__version__}: {len(differing)} of {made} differ; largest otherwise {largest:.1e}"
    )
    print("\n".join(differing))
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
