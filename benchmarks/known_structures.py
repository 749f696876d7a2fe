"""Are the textbook structures among the first answers when formula and space group are given?

    python benchmarks/known_structures.py [--n 12] [--seeds 0-4] [--steps 20]

Asks the pretrained model through the public ``load().run()`` for SrTiO3 in 221, NaCl in 225, TiO2
in 136 and Si in 227, takes the first three answers in order of rank, and compares each with the
cell from the literature by pymatgen's ``StructureMatcher`` (its defaults: ltol 0.2, stol 0.3, angle
5 degrees, volumes scaled). Prints the rank of the first match for each seed.
"""

from __future__ import annotations

import argparse
import time

from machine import describe
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion import GenerationSettings, Request, SamplerSettings, load

FIRST = 3


def literature() -> dict[tuple[str, str], tuple[str, Structure]]:
    """Name and experimental cell of each (formula, group)."""
    from_group = Structure.from_spacegroup
    return {
        ("SrTiO3", "221"): (
            "perovskite",
            from_group(
                221,
                Lattice.cubic(3.905),
                ["Sr", "Ti", "O"],
                [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]],
            ),
        ),
        ("NaCl", "225"): (
            "rock salt",
            from_group(225, Lattice.cubic(5.640), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        ),
        ("TiO2", "136"): (
            "rutile",
            from_group(
                136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
            ),
        ),
        ("Si", "227"): (
            "diamond",
            from_group("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]]),
        ),
    }


def main() -> None:
    """Parse, ask, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12, help="crystals asked for")
    parser.add_argument("--seeds", default="0-4", help="one number or a range")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default=None, help="model folder; the pretrained one if absent")
    options = parser.parse_args()
    low, _, high = options.seeds.partition("-")
    seeds = range(int(low), int(high or low) + 1)
    generator = load(options.model, "cpu")
    settings = GenerationSettings(sampler=SamplerSettings(steps=options.steps))
    matcher = StructureMatcher()
    print(f"{describe()}; {options.n} crystals a request, {options.steps} steps")
    found = 0
    for (formula, group), (name, known) in literature().items():
        for seed in seeds:
            began = time.perf_counter()
            request = Request(formula=formula, spacegroup=group)
            result = generator.run(request, options.n, seed=seed, settings=settings)
            answers = list(result)
            ranks = [r for r, s in enumerate(answers, start=1) if matcher.fit(known, s)]
            good = bool(ranks) and ranks[0] <= FIRST
            found += good
            top = ", ".join(
                f"{s.composition.formula.replace(' ', '')} {row.get('wyckoff')} "
                f"{s.volume / len(s):.1f} Å3/atom"
                for s, row in zip(answers[:FIRST], result.rows, strict=False)
            )
            print(
                f"{formula:7s} {group} {name:10s} seed {seed}: "
                f"{'rank ' + str(ranks[0]) if ranks else 'no match'} "
                f"({len(ranks)} of {len(answers)} match) {'ok' if good else 'NOT IN THE FIRST 3'}; "
                f"{time.perf_counter() - began:.1f} s; first: {top}",
                flush=True,
            )
    cases = len(literature()) * len(seeds)
    print(f"{found} of {cases} requests have the known structure among the first {FIRST} answers")


if __name__ == "__main__":
    main()
