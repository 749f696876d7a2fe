"""All 230 space groups with the shipped weights: is the group that was asked for really there?

    python benchmarks/symmetry_groups.py [--groups 1-230] [--per-group 3] [--steps 8] [--seed 1]

For each group, compositions of two or three elements with at most 48 atoms in the conventional
cell are drawn as reference crystals of the group have them (any two elements that fit, for the few
groups where none has so few), and each is asked for by formula and
group number through ``CrystalGenerator.run``. Neither the verdict nor the operations come from the
package: spglib and moyopy search the conventional cell at symprec 0.01 Å, and the operations of
the requested group are those of spglib's own database, in the standard setting.

* equal: both programs find the requested number;
* supergroup: both find every operation of the requested group, and at least one finds more;
* not the group: one of them misses an operation;
* none made: no candidate passed the physics checks for any composition tried.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import moyopy
import numpy as np
import spglib
from machine import describe
from make_wyckoff_table import default_hall_numbers

from crystal_diffusion import GenerationSettings, Request, SamplerSettings, chemistry, load
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.symmetry import SpaceGroup, WyckoffPrior, count_assignments, draw_composition

LARGEST = 48
SYMPREC = 0.01


@dataclass(frozen=True)
class Found:
    """Number and operations that a program finds."""

    number: int
    rotations: np.ndarray
    translations: np.ndarray

    def holds(self, rotations: np.ndarray, translations: np.ndarray, slack: float) -> bool:
        """Whether every given operation is among the found ones."""
        same = np.all(rotations[:, None] == self.rotations[None], axis=(2, 3))
        away = translations[:, None] - self.translations[None]
        near = np.abs(away - np.round(away)).max(-1) < slack
        return bool((same & near).any(1).all())


def by_spglib(structure: Any) -> Found | None:
    """The dataset of spglib in the given cell."""
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if dataset is None:
        return None
    return Found(int(dataset.number), dataset.rotations, dataset.translations)


def by_moyopy(structure: Any) -> Found | None:
    """The dataset of moyopy in the given cell."""
    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [int(z) for z in structure.atomic_numbers],
    )
    try:
        dataset = moyopy.MoyoDataset(cell, symprec=SYMPREC)
    except ValueError:
        return None
    operations = dataset.operations
    return Found(
        int(dataset.number),
        np.array(operations.rotations).reshape(-1, 3, 3),
        np.array(operations.translations).reshape(-1, 3),
    )


def verdict(structure: Any, number: int, hall: int) -> tuple[int, int, str]:
    """What spglib and moyopy find, and what it means for the requested group."""
    wanted = spglib.get_symmetry_from_database(hall)
    slack = 2 * SYMPREC / min(structure.lattice.abc) + 1e-6
    found = [by_spglib(structure), by_moyopy(structure)]
    numbers = [0 if f is None else f.number for f in found]
    kept = all(
        f is not None and f.holds(wanted["rotations"], wanted["translations"], slack) for f in found
    )
    if not kept:
        return numbers[0], numbers[1], "NOT THE GROUP"
    return numbers[0], numbers[1], "equal" if numbers == [number, number] else "supergroup"


def draw_formula(
    prior: WyckoffPrior, group: SpaceGroup, allowed: set[int], rng: np.random.Generator
) -> str | None:
    """Primitive cell contents of two or three elements, as reference crystals of the group."""
    largest = LARGEST // group.centring_size
    for _ in range(200):
        try:
            drawn = draw_composition(prior, [group], rng, num_atoms=(2, largest), allowed=allowed)
        except RequestError:
            return None
        counts = drawn.counts("primitive")
        if 2 <= len(counts) <= 3:
            return spell(counts)
    # All known patterns of this size have one element or many: any two elements that fit.
    shares = np.array([prior.element_frequencies[z] for z in sorted(allowed)])
    for _ in range(2000):
        a, b = rng.choice(sorted(allowed), 2, replace=False, p=shares / shares.sum())
        first = int(rng.integers(1, largest))
        counts = {int(a): first, int(b): int(rng.integers(1, largest - first + 1))}
        if count_assignments(group, counts):
            return spell(counts)
    return None


def spell(counts: dict[int, int]) -> str:
    """Atomic numbers and counts to a formula that is not reduced."""
    return "".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(counts.items()))


def make_one(
    generator: CrystalGenerator,
    prior: WyckoffPrior,
    group: SpaceGroup,
    seed: int,
    settings: GenerationSettings,
    compositions: int,
) -> tuple[Any, str, int]:
    """A structure or None, its request's formula, and how many candidates were drawn."""
    rng = np.random.default_rng(seed)
    tried, formula = 0, None
    for _ in range(compositions):
        formula = draw_formula(prior, group, set(generator.known_elements), rng)
        if formula is None:
            break
        request = Request(
            formula=formula, z=(1, 1), spacegroup=str(group.number), cell="conventional"
        )
        result = generator.run(request, 1, seed=seed, settings=settings, describe=False)
        tried += sum(result.rejected.values()) + len(result)
        if len(result):
            return next(iter(result)), formula, tried
    return None, formula or "no composition", tried


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", default="1-230", help="one number or a range")
    parser.add_argument("--per-group", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--attempts", type=int, default=24, help="candidates per composition")
    parser.add_argument("--compositions", type=int, default=6, help="tried before giving up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=None, help="model folder; the pretrained one if absent")
    options = parser.parse_args()
    low, _, high = options.groups.partition("-")
    generator = load(options.model, "cpu")
    prior = WyckoffPrior.load()
    halls = default_hall_numbers()
    settings = GenerationSettings(
        sampler=SamplerSettings(steps=options.steps), max_attempts=options.attempts
    )
    print(f"{describe()}; {options.steps} steps, seed {options.seed}, symprec {SYMPREC} Å")
    print("group symbol      formula            atoms  spglib  moyopy  drawn  verdict")
    counts: Counter[str] = Counter()
    complete = 0
    began = time.perf_counter()
    for number in range(int(low), int(high or low) + 1):
        group = SpaceGroup.from_number(number)
        good = 0
        for k in range(options.per_group):
            seed = 1_000_003 * options.seed + 1000 * number + k
            structure, formula, drawn = make_one(
                generator, prior, group, seed, settings, options.compositions
            )
            if structure is None:
                counts["none made"] += 1
                print(
                    f"{number:5d} {group.symbol:11s} {formula:18s} {'':21s} {drawn:6d}  NONE MADE"
                )
                continue
            first, second, word = verdict(structure, number, halls[number])
            counts[word] += 1
            good += word in ("equal", "supergroup")
            print(
                f"{number:5d} {group.symbol:11s} {structure.composition.reduced_formula:18s} "
                f"{len(structure):5d} {first:7d} {second:7d} {drawn:6d}  {word}",
                flush=True,
            )
        complete += good == options.per_group
    total = sum(counts.values())
    words = ", ".join(f"{word} {n}" for word, n in sorted(counts.items()))
    print(
        f"{total} structures asked for: {words}; {complete} of {int(high or low) - int(low) + 1} "
        f"groups complete; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
