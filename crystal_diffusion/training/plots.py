"""The loss of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from crystal_diffusion.files import atomic_write


def plot_losses(metrics: Path, picture: Path) -> None:
    """Draw total and partial losses, and validity where it was monitored, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text().splitlines() if line]
    losses = [line for line in lines if "loss" in line]
    monitored = [line for line in lines if "validity" in line]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot()
    steps = [line["step"] for line in losses]
    for name, width in (("loss", 2.0), ("coords", 0.8), ("lattice", 0.8)):
        left.plot(steps, [line[name] for line in losses], linewidth=width, label=name)
    left.set_xlabel("step")
    left.set_ylabel("loss")
    left.set_ylim(bottom=0)
    left.legend(loc="upper right", frameon=False)
    if monitored:
        right = left.twinx()
        right.plot(
            [line["step"] for line in monitored],
            [line["validity"] for line in monitored],
            "o-",
            color="tab:green",
        )
        right.set_ylim(0, 1.05)
        right.set_ylabel("share of samples that are valid", color="tab:green")
    with atomic_write(picture) as part:
        figure.savefig(part, format="png", dpi=120)
