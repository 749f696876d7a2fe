"""One table and one picture of several runs of ``crystal-diffusion benchmark small``.

    python benchmarks/small_families.py RUN/nitrides RUN/perov5 ... --out docs/pictures/small.png

Reads the ``small.json`` of each folder, or a file of that kind; several of one label become one
family, with the columns and numbers of own crystals of all. Prints two tables in Markdown: how many
are answered, and how well (RMSE of the first answers that match, space group of all first answers).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Columns that are drawn, with their colours; the table holds all.
DRAWN = {
    "box": "#444444",
    "box with yours": "#c0392b",
    "from scratch": "#2980b9",
    "substitution, yours": "#27ae60",
    "nearest copied": "#b7950b",
}


def joined(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of one label as one: what a later one measured again is left as it was.

    A column measured with other seeds than the first one of its row keeps its own n, see
    :func:`answers`.
    """
    families: dict[str, dict[str, Any]] = {}
    for run in runs:
        family = families.setdefault(run["label"], {**run, "cells": []})
        for cell in run["cells"]:
            known = next((c for c in family["cells"] if c["size"] == cell["size"]), None)
            if known is None:
                family["cells"].append(cell)
                continue
            for name, values in cell.items():
                if isinstance(values, dict):
                    known[name] |= {c: v for c, v in values.items() if c not in known[name]}
        family["cells"].sort(key=lambda cell: cell["size"])
    return list(families.values())


def columns_of(runs: list[dict[str, Any]]) -> list[str]:
    """All columns of all runs, in the order in which they were measured."""
    found: dict[str, None] = {}
    for run in runs:
        for cell in run["cells"]:
            found |= dict.fromkeys(cell["answered"])
    return list(found)


def table(runs: list[dict[str, Any]], text: Callable[[dict[str, Any], str], str]) -> str:
    """A row for each family and number of own crystals, a cell for each column that was measured.

    Args:
        text: what stands in the table, from a measured cell and the name of a column.
    """
    columns = columns_of(runs)
    lines = [
        "| family | own | n | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for run in runs:
        for cell in run["cells"]:
            row = [run["label"], str(cell["size"]), str(next(iter(cell["answered"].values()))["n"])]
            row += [text(cell, c) if c in cell["answered"] else "–" for c in columns]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def answers(cell: dict[str, Any], column: str) -> str:
    """Answered / any of five in percent, with the paired change to the first column for yours."""
    first, five = (100 * cell[k][column]["value"] for k in ("answered", "any_of_5"))
    text = f"{first:.0f} / {five:.0f}"
    asked = cell["answered"][column]["n"]
    if asked != next(iter(cell["answered"].values()))["n"]:
        text += f" (n {asked})"
    if column == "box with yours":
        change = cell["change"][column]
        low, value, high = (100 * change[k] for k in ("low", "value", "high"))
        text += f" ({value:+.0f}, {low:+.0f} to {high:+.0f})"
    return text


def quality(cell: dict[str, Any], column: str) -> str:
    """RMSE of the first answers that match, and first answers in the space group of the target."""
    rmse = cell["rmse"][column]
    error = "–" if math.isnan(rmse) else f"{rmse:.3f}"
    return f"{error} / {100 * cell['space_group'][column]:.0f} %"


def picture(runs: list[dict[str, Any]], path: Path) -> None:
    """Answered against own crystals, one panel a family."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = min(4, len(runs))
    high = -(-len(runs) // wide)
    figure = Figure(figsize=(2.6 * wide, 2.5 * high), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(high, wide, sharey=True, squeeze=False).ravel()
    for panel, run in zip(panels, runs, strict=False):
        sizes = [cell["size"] for cell in run["cells"]]
        for column, color in DRAWN.items():
            cells = [c for c in run["cells"] if column in c["answered"]]
            if not cells:
                continue
            found = [cell["answered"][column] for cell in cells]
            values = [100 * f["value"] for f in found]
            spans = [
                [100 * (f["value"] - f["low"]) for f in found],
                [100 * (f["high"] - f["value"]) for f in found],
            ]
            where = [c["size"] for c in cells]
            panel.errorbar(
                where, values, yerr=spans, marker="o", ms=3, lw=1, capsize=2, color=color,
                label=column,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.set_title(run["label"], fontsize=9)
        panel.set_ylim(0, 100)
        panel.tick_params(labelsize=7)
    for panel in panels[len(runs) :]:
        panel.axis("off")
    shown = {
        label: handle
        for panel in panels[: len(runs)]
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(shown.values()), list(shown), frameon=False, fontsize=7, loc="outside upper center",
        ncols=len(shown),
    )  # fmt: skip
    figure.supxlabel("own crystals", fontsize=8)
    figure.supylabel("right at the first answer, %", fontsize=8)
    figure.savefig(path, format="png", dpi=110)


def main() -> None:
    """Parse, read, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    options = parser.parse_args()
    runs = []
    for place in options.runs:
        run = json.loads((place / "small.json" if place.is_dir() else place).read_text())
        runs.append({**run, "label": run.get("label") or place.name})
    runs = joined(runs)
    print(table(runs, answers), table(runs, quality), sep="\n\n")
    picture(runs, options.out)


if __name__ == "__main__":
    main()
