"""Make the rows, fit the calibration of confidence, and measure it on other rows.

    python recipes/fit_confidence.py mp_20/val.parquet --shift mpts_52/val.parquet --rows rows/ \\
        --out crystal_diffusion/pretrained --picture docs/pictures/confidence.png

Rows come first, 0.11 to 0.17 s of a core each: told the contents of the cell, told the reduced
formula alone, and those of ``--shift``; what is in the folder already is not made again. Formulas
are drawn for fitting or for the report, however they are asked for, so no row of a reported formula
fits anything. Reported are reliability with n per bin, ECE over ten bins of equal width, AUC and
Brier score of the first candidate, by size, number of elements and for compositions whose answer no
known type holds; how often "the first k for 80 %" hold it.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confidence_rows import Way, make_rows
from stamp_cards import main as stamp_cards

from crystal_diffusion.ranking.confidence import (
    LEVELS,
    AnsweredList,
    ConfidenceModel,
    first_for,
    fit,
    grouped,
)

BINS = np.linspace(0, 1, 11)
#: How rows are asked for: the order in which they are made stays the same.
CELL, FORMULA, SHIFT = Way(5), Way(17, cell_given=False), Way(5, every_id=True)
#: Share of the formulas that are reported and fit nothing.
REPORTED = 0.57


def is_reported(formula: str) -> bool:
    """On which side a formula is, by itself."""
    return int(hashlib.sha256(formula.encode()).hexdigest()[:8], 16) / 2**32 < REPORTED


def answered(row: dict[str, Any]) -> AnsweredList:
    """A line of the rows."""
    return AnsweredList(
        tuple(row["scores"]), tuple(row["groups"]), tuple(row["match"]), row["features"]
    )


def judged(
    rows: Sequence[dict[str, Any]], calibration: ConfidenceModel | None
) -> list[dict[str, Any]]:
    """For each row the confidence of its groups and which is right; None: the softmax itself."""
    out = []
    for row in rows:
        if not row["scores"]:
            out.append(
                {"p": 0.0, "right": False, "inside": False, "sets": [None] * 3, **_kind(row)}
            )
            continue
        columns, hits = answered(row).columns_and_hits()
        hit = hits.tolist()
        sure = grouped(np.array(row["scores"]), row["groups"])[1]
        if calibration is not None:
            sure = calibration.probabilities(columns)
        values = sorted(zip(sure.tolist(), hit, strict=True), reverse=True)
        sets = []
        for level in LEVELS:
            k = first_for(sure.tolist(), level)
            sets.append(None if k is None else any(h for _, h in values[:k]))
        out.append(
            {"p": float(sure[0]), "right": hit[0], "inside": any(hit), "sets": sets, **_kind(row)}
        )
    return out


def _kind(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "atoms": row["num_atoms"],
        "elements": row["num_elements"],
        "known": row["features"]["known"] > 0,
        "members": row["features"]["log_members"],
    }


def ece(p: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017, eq. 3)."""
    place = np.clip(np.digitize(p, BINS) - 1, 0, 9)
    off = [abs(p[place == b].sum() - right[place == b].sum()) for b in range(10)]
    return float(np.sum(off) / len(p))


def auc(p: np.ndarray, right: np.ndarray) -> float:
    """Probability that a right first candidate has more confidence than a wrong one."""
    from scipy.stats import rankdata

    good, bad = int(right.sum()), int((~right).sum())
    ranks = rankdata(p)
    return float((ranks[right].sum() - good * (good + 1) / 2) / max(good * bad, 1))


def figures(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    p, right = np.array([r["p"] for r in rows]), np.array([r["right"] for r in rows], dtype=bool)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(p), len(p)) for _ in range(300)]
    low, high = np.percentile([ece(p[i], right[i]) for i in drawn], [2.5, 97.5])
    alow, ahigh = np.percentile([auc(p[i], right[i]) for i in drawn], [2.5, 97.5])
    brier = float(((p - right) ** 2).mean())
    return (
        f"| {name} | {len(p)} | {p.mean():.3f} | {right.mean():.3f} | {ece(p, right):.3f} "
        f"({low:.3f}-{high:.3f}) | {auc(p, right):.3f} ({alow:.3f}-{ahigh:.3f}) | {brier:.3f} |"
    )


HEAD = "| rows | n | mean confidence | right | ECE | AUC | Brier |\n|---|---|---|---|---|---|---|"


def report(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """All tables of one set of rows."""
    lines = [f"{title}\n", HEAD, figures("all", rows)]
    groups = {
        "up to 6 atoms": [r for r in rows if r["atoms"] <= 6],
        "7 to 12 atoms": [r for r in rows if 6 < r["atoms"] <= 12],
        "above 12 atoms": [r for r in rows if r["atoms"] > 12],
        "1 or 2 elements": [r for r in rows if r["elements"] <= 2],
        "3 elements": [r for r in rows if r["elements"] == 3],
        "4 and more elements": [r for r in rows if r["elements"] > 3],
        "another crystal of the formula is in the library": [r for r in rows if r["known"]],
        "best type with one known crystal only": [r for r in rows if r["members"] < 0.1],
        "no candidate is the answer": [r for r in rows if not r["inside"]],
    }
    lines += [figures(name, part) for name, part in groups.items() if len(part) >= 20]
    lines += ["", "| confidence | n | mean | right |", "|---|---|---|---|"]
    p, right = np.array([r["p"] for r in rows]), np.array([r["right"] for r in rows], dtype=float)
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        inside = (p >= low) & ((p < high) | (high == 1))
        if inside.any():
            line = f"{p[inside].mean():.3f} | {right[inside].mean():.3f}"
            lines.append(f"| {low:.1f} to {high:.1f} | {int(inside.sum())} | {line} |")
    lines += ["", "| first candidates for | reached in | answer among them |", "|---|---|---|"]
    for place, level in enumerate(LEVELS):
        told = [r["sets"][place] for r in rows if r["sets"][place] is not None]
        share = 100 * np.mean(told) if told else float("nan")
        lines.append(f"| {100 * level:.0f} % | {len(told)} of {len(rows)} | {share:.1f} % |")
    return "\n".join(lines)


def picture(sets: dict[str, Sequence[dict[str, Any]]], path: Path) -> None:
    """Reliability: share right against confidence, n above each point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4.6))
    axes.plot([0, 1], [0, 1], color="0.7")
    for name, rows in sets.items():
        p = np.array([r["p"] for r in rows])
        right = np.array([r["right"] for r in rows], dtype=float)
        place = np.clip(np.digitize(p, BINS) - 1, 0, 9)
        used = [b for b in range(10) if (place == b).sum() >= 5]
        x = [p[place == b].mean() for b in used]
        y = [right[place == b].mean() for b in used]
        (line,) = axes.plot(x, y, "o-", label=f"{name}, n = {len(p)}")
        for b, at, height in zip(used, x, y, strict=True):
            count = str(int((place == b).sum()))
            axes.annotate(
                count,
                (at, height),
                xytext=(4, 16 - 7 * len(axes.lines)),
                textcoords="offset points",
                fontsize=7,
                color=line.get_color(),
            )
    axes.set_xlabel("confidence of the first candidate")
    axes.set_ylabel("share that is the known structure")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make rows, fit, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--shift", type=Path, default=None, help="a split that only is reported")
    parser.add_argument("--rows", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--cell", type=int, default=1850, help="rows told the cell")
    parser.add_argument("--formula", type=int, default=2000, help="rows told the formula alone")
    parser.add_argument("--shifted", type=int, default=400, help="rows of --shift")
    parser.add_argument("--out", type=Path, required=True, help="folder of confidence.json")
    parser.add_argument("--picture", type=Path, default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)  # before ten minutes of rows
    args.rows.mkdir(parents=True, exist_ok=True)
    sets = {
        "told the cell": make_rows(args.split, args.rows / "cell.jsonl", args.cell, CELL),
        "formula alone": make_rows(args.split, args.rows / "formula.jsonl", args.formula, FORMULA),
    }
    fitting = [r for rows in sets.values() for r in rows if not is_reported(r["formula"])]
    calibration = fit([answered(row) for row in fitting])
    (args.out / "confidence.json").write_text(calibration.to_json())
    stamp_cards()
    print(f"fitted on {calibration.fitted_on} rows")
    reported = {name: [r for r in rows if is_reported(r["formula"])] for name, rows in sets.items()}
    if args.shift is not None:
        name = f"shift, {args.shift.parent.name}"
        reported[name] = make_rows(args.shift, args.rows / "shift.jsonl", args.shifted, SHIFT)
    shown = {}
    for name, rows in reported.items():
        shown[name] = judged(rows, calibration)
        print("\n" + report(name, shown[name]))
        print("\nSoftmax of the scores as they are:\n" + HEAD)
        print(figures(name, judged(rows, None)))
    other = fit([answered(r) for name in sets for r in reported[name]])
    print("\nEach side judged by a fit on the other:\n" + HEAD)
    for name, rows in sets.items():
        left = [r for r in rows if not is_reported(r["formula"])]
        print(figures(name, [*shown[name], *judged(left, other)]))
    if args.picture is not None:
        picture(shown, args.picture)


if __name__ == "__main__":
    main()
