"""A property of one's own, from labels to crystals inside: the commands a user types.

    python benchmarks/own_property.py mp_2025/train_le20.parquet --labels 60 --n 50

Draws oxides and labels them with an invented, smooth property, twice the logarithm of the density
plus the square of the mean electronegativity. Then `train --property`, `generate --property` for
the upper tenth of the labels, and `generate` of as many candidates with nothing asked. The property
of what was made is computed, so no judge errs. Counted are all crystals made, and those among them
that are distinct and match none of the labelled ones.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import describe

from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.evaluation.metrics import wilson
from crystal_diffusion.matching import StructureMatch, group_near
from crystal_diffusion.runs.folder import RunFolder

LARGEST = 12


def value(structure) -> float:
    """The invented property."""
    composition = structure.composition
    return float(2.0 * np.log(structure.density) + composition.average_electroneg**2)


def drawn(path: Path, count: int, seed: int) -> list:
    """Oxides of two or three elements at random, in their primitive cells."""
    arrays, rng, found = parquet_arrays(path), np.random.default_rng(seed), []
    for row in rng.permutation(len(arrays)):
        numbers = arrays.atomic_numbers[arrays.offsets[row] : arrays.offsets[row + 1]]
        if len(numbers) <= LARGEST and 8 in numbers and len(set(numbers.tolist())) in (2, 3):
            found.append(arrays.crystal(int(row)).to_structure().get_primitive_structure())
        if len(found) == count:
            break
    return found


def command(*words: str | Path) -> float:
    """Run the command line; processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "crystal_diffusion", *map(str, words)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime


def tell(way: str, structures: list, known: list, lowest: float) -> None:
    """One line: how many are inside."""
    matcher = StructureMatch()
    groups = np.asarray(group_near([*known, *structures], matcher))
    old, new = set(groups[: len(known)].tolist()), groups[len(known) :]
    first = [i for i, group in enumerate(new) if group not in old and group not in new[:i]]
    values = np.array([value(s) for s in structures])
    for kind, rows in (("all", np.arange(len(values))), ("distinct and not labelled", first)):
        hits, made = int((values[rows] >= lowest).sum()), len(rows)
        low, high = wilson(hits, made) if made else (0.0, 1.0)
        print(
            f"{way}, {kind}: {hits} of {made} inside, {100 * hits / max(made, 1):.0f} % "
            f"({100 * low:.0f} to {100 * high:.0f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", type=Path)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--n", type=int, default=50, help="crystals kept")
    parser.add_argument("--select", type=int, default=4, help="candidates for each of them")
    parser.add_argument("--steps", type=int, default=None, help="a short training of all weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(describe())
    known = drawn(args.crystals, args.labels, args.seed)
    values = np.array([value(s) for s in known])
    lowest = float(np.quantile(values, 0.9))
    print(
        f"{len(known)} labels from {values.min():.2f} to {values.max():.2f}; asked: > {lowest:.3f}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "own.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("id", "cif", "mine"))
            for place, structure in enumerate(known):
                table.writerow((place, structure.to(fmt="cif"), f"{values[place]:.6f}"))
        model, seed = folder / "model", ("--seed", str(args.seed))
        short = ("--steps", str(args.steps), "--learning-rate", "1e-4") if args.steps else ()
        own = folder / "own.csv"
        spent = command("train", own, "--property", "mine", "--out", model, *short, *seed)
        print(f"train: {spent:.0f} s of a core", flush=True)
        ways = {
            "asked and selected": (args.n, ("--property", f"mine>{lowest:.4f}")),
            "nothing asked": (args.n * args.select, ()),
        }
        for place, (way, (count, asked)) in enumerate(ways.items()):
            run = folder / f"run{place}"
            number = (
                ("-n", str(count), "--select", str(args.select)) if asked else ("-n", str(count))
            )
            spent = command("generate", model, *number, *asked, "--out", run, *seed)
            print(f"generate: {spent:.0f} s of a core", flush=True)
            tell(way, list(RunFolder.open(run).structures().values()), known, lowest)


if __name__ == "__main__":
    main()
