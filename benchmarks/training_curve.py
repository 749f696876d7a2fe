"""Match against passes of a training: weights copied on the way, asked for validation crystals.

    OMP_NUM_THREADS=1 python benchmarks/training_curve.py VAL.parquet 5.4=7500/model.safetensors \
        15.7=22000/model.safetensors --table curve.csv --picture docs/pictures/training_curve.png

One candidate from noise for each composition, told the true group and Wyckoff letters (moyopy,
0.1 Å) and told nothing. Match: StructureMatch(ltol=0.3, stol=0.5, angle_tol=10), unfiltered;
interval: 95 %, bootstrap over targets. What the table holds already is not measured again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib
import numpy as np
import torch
from equal_compute import match_rate, read, targets_of
from machine import describe
from prototypes import interval

from crystal_diffusion.training.checkpoint import load_model

COLUMNS = ("passes", "told", "match", "low", "high", "rmse", "n")


def measured(passes: float, told: bool, rms: np.ndarray) -> dict[str, str]:
    """One row of the table."""
    hit = np.isfinite(rms).astype(float)
    low, high = interval(100 * hit)
    values = (100 * hit.mean(), low, high)
    return {
        "passes": str(passes),
        "told": "letters" if told else "nothing",
        **{name: f"{value:.1f}" for name, value in zip(COLUMNS[2:5], values, strict=True)},
        "rmse": f"{np.nanmean(rms):.3f}",
        "n": str(len(rms)),
    }


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Match rate with its interval against passes, one line for each question."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.4, 3.6))
    for told, colour in (("letters", "#1f5fa8"), ("nothing", "#b5562b")):
        mine = sorted((r for r in rows if r["told"] == told), key=lambda r: float(r["passes"]))
        x, y, low, high = (
            np.array([float(r[name]) for r in mine]) for name in ("passes", "match", "low", "high")
        )
        axes.errorbar(x, y, (y - low, high - y), marker="o", capsize=3, color=colour)
        axes.annotate(f"told {told}", (x[-1], y[-1]), xytext=(6, 6), textcoords="offset points")
    axes.set_xlabel("passes over the training crystals")
    axes.set_ylabel("match, one candidate (%)")
    axes.set_ylim(0, 80)
    axes.margins(x=0.16)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what the table lacks, write it, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("val", type=Path)
    parser.add_argument("weights", nargs="*", help="PASSES=FILE")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    rows: list[dict[str, str]] = []
    if options.table.is_file():
        with options.table.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    targets = None
    for given in options.weights:
        passes, _, file = given.partition("=")
        if any(row["passes"] == str(float(passes)) for row in rows):
            continue
        targets = targets or targets_of(read(options.val, options.n, 1))
        model = load_model(Path(file))[0].eval()
        for told in (True, False):
            rms = match_rate(model, targets, options.steps, told=told)
            rows.append(measured(float(passes), told, rms))
            print(rows[-1], flush=True)
    with options.table.open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    if options.picture is not None:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
