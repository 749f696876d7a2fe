"""Confidence of a trained model on crystals it has not seen: shipped calibration and its own.

    python benchmarks/own_confidence.py MODEL SPLIT.parquet --family nitrides -n 300
    python benchmarks/own_confidence.py SCRATCH SPLIT.parquet -n 60 --held CRYSTALS

Crystals of compositions among the training ones are not asked for, and of each composition asked
for nothing known is used. A model without a calibration gets one first, as ``train`` makes it; one
from scratch from those of ``--held`` that are not among its training crystals. ECE over ten bins,
AUC and Brier score of the first candidate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.ranking.confidence import default_calibration
from crystal_diffusion.ranking.own import OwnEvidence
from crystal_diffusion.ranking.own_confidence import (
    SAMPLES,
    AdjustedCalibration,
    SampledCalibration,
    answered,
    load_calibration,
)
from crystal_diffusion.workflows.own_confidence import sampled, write_adjusted, write_sampled
from crystal_diffusion.workflows.small import FAMILIES


def calibrated(folder: Path, held: Path | None) -> AdjustedCalibration | SampledCalibration:
    """The calibration of a model, made where there is none."""
    found = load_calibration(folder)
    if found is not None:
        return found
    generator = load(folder)
    assert generator.training is not None and generator.knowledge.library is not None
    if not generator.knowledge.scorer.log_odds:
        if held is None:
            raise SystemExit("--held: the crystals that the model was trained from")
        arrays = CrystalStructureDataset(held, reduce=True).arrays
        trained = set(generator.training.ids)
        rows = [row for row, name in enumerate(arrays.ids) if name not in trained]
        return write_sampled(generator, arrays.take(np.array(rows)), folder)
    training = generator.training
    crystals = [training.crystal(i).to_structure() for i in range(len(training))]
    evidence = OwnEvidence(**generator.header.get("evidence", {}))
    return write_adjusted(folder, generator.knowledge.library, crystals, evidence)


def targets(split: Path, family: str, generator: CrystalGenerator, count: int) -> list[Any]:
    """Crystals of a family with none of the training compositions, in the order of a seed."""
    assert generator.training is not None
    training = generator.training
    met = {
        training.crystal(i).to_structure().composition.reduced_formula for i in range(len(training))
    }
    arrays = parquet_arrays(split)
    found = []
    for row in np.random.default_rng(41).permutation(len(arrays)):
        numbers = arrays.atomic_numbers[arrays.offsets[row] : arrays.offsets[row + 1]]
        if not FAMILIES[family](frozenset(numbers.tolist())):
            continue
        crystal = arrays.crystal(int(row)).to_structure().get_primitive_structure()
        if crystal.composition.reduced_formula not in met:
            found.append(crystal)
        if len(found) == count:
            break
    return found


def line(name: str, p: np.ndarray, right: np.ndarray) -> str:
    """One row of the table."""
    draws = [np.random.default_rng(i).integers(0, len(p), len(p)) for i in range(300)]
    spans = [np.percentile([f(p[d], right[d]) for d in draws], [2.5, 97.5]) for f in (ece, auc)]
    brier = ratio("", "", ((p - right) ** 2).tolist())
    shown = f"{ece(p, right):.3f} ({spans[0][0]:.3f} to {spans[0][1]:.3f})"
    shown += f" | {auc(p, right):.3f} ({spans[1][0]:.3f} to {spans[1][1]:.3f})"
    return (
        f"| {name} | {len(p)} | {p.mean():.3f} | {right.mean():.3f} | {shown} | {brier.value:.3f} |"
    )


def ece(p: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017, eq. 3)."""
    place = np.clip((10 * p).astype(int), 0, 9)
    return float(sum(abs((p - right)[place == b].sum()) for b in range(10)) / len(p))


def auc(p: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right answer has more confidence than a wrong one."""
    good, bad = p[right == 1], p[right == 0]
    if not len(good) or not len(bad):
        return float("nan")
    more = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    return float(more)


def first_of(lists: Sequence[tuple[np.ndarray, np.ndarray]], judge: Any) -> tuple[Any, Any]:
    """``(lists,)`` confidence of the first candidate, and whether it is right."""
    p = np.array([judge.probabilities(columns)[0] for columns, _ in lists])
    return p, np.array([float(hits[0]) for _, hits in lists])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--family", default="all", choices=sorted(FAMILIES))
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--held", type=Path, default=None)
    args = parser.parse_args()
    calibration = calibrated(args.model, args.held)
    generator = load(args.model)
    asked = targets(args.split, args.family, generator, args.n)
    print(describe())
    print(f"{args.model}: {calibration.source}; {calibration}")
    print("| calibration | n | mean confidence | right | ECE | AUC | Brier |")
    print("|---|---|---|---|---|---|---|")
    if isinstance(calibration, SampledCalibration):
        found = [sampled(generator, target, 1) for target in asked]
        lists = [each for each in found if each is not None]
        print(line("of the model", *first_of(lists, calibration)))
        print(f"{len(asked) - len(lists)} of {len(asked)} made nothing; {SAMPLES} candidates each")
        return
    assert generator.proposer is not None
    rows = [answered(generator.proposer, generator.knowledge.scorer, target) for target in asked]
    lists = [row.columns_and_hits() for row in rows if row.scores]
    print(line("shipped", *first_of(lists, default_calibration())))
    print(line("of the model", *first_of(lists, calibration)))
    only = replace(calibration, slope=1.0)
    print(line("its offset alone", *first_of(lists, only)))


if __name__ == "__main__":
    main()
