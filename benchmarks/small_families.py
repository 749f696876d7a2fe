"""One table and one picture of several runs of ``crystal-diffusion benchmark small``.

    python benchmarks/small_families.py RUN/nitrides RUN/perov5 ... --out docs/pictures/small.png

Reads the ``small.json`` of each folder; prints Markdown.
"""

from __future__ import annotations

import argparse
import json
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


def table(runs: list[dict[str, Any]]) -> str:
    """Answered / any of five in percent, and the paired change to the first column."""
    columns = list(runs[0]["cells"][0]["answered"])
    lines = [
        "| family | own | n | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for run in runs:
        for cell in run["cells"]:
            row = [run["label"], str(cell["size"]), str(cell["answered"][columns[0]]["n"])]
            for column in columns:
                if column not in cell["answered"]:
                    row.append("–")
                    continue
                first, five = (100 * cell[k][column]["value"] for k in ("answered", "any_of_5"))
                text = f"{first:.0f} / {five:.0f}"
                if column == "box with yours":
                    change = cell["change"][column]
                    low, value, high = (100 * change[k] for k in ("low", "value", "high"))
                    text += f" ({value:+.0f}, {low:+.0f} to {high:+.0f})"
                row.append(text)
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


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
    handles, labels = panels[0].get_legend_handles_labels()
    spare = panels[-1] if len(runs) < len(panels) else panels[0]
    spare.legend(handles, labels, frameon=False, fontsize=7, loc="center")
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
    for folder in options.runs:
        run = json.loads((folder / "small.json").read_text())
        runs.append({**run, "label": run.get("label") or folder.name})
    print(table(runs))
    picture(runs, options.out)


if __name__ == "__main__":
    main()
