"""The card of a trained model: what it is, what it learned from, and whose data that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crystal_diffusion.chemistry import symbol
from crystal_diffusion.data.provenance import OriginSummary
from crystal_diffusion.files import write_text
from crystal_diffusion.prediction.own import read_own
from crystal_diffusion.training.checkpoint import MODEL_FILE, file_hash, read_header

CARD_FILE = "model.md"


def origins_of(header: Mapping[str, Any]) -> tuple[OriginSummary, ...]:
    """Where the training crystals come from, first those of the last training.

    A fine-tuned model repeats the origins of the model that it started from.
    """
    stored = [*header.get("origins", []), *header.get("origins_before", [])]
    return tuple(OriginSummary.from_dict(entry) for entry in stored)


def inherited(header: Mapping[str, Any]) -> dict[str, Any]:
    """What the header of a fine-tuned model says of the data of the model it started from."""
    before = [origin.to_dict() for origin in origins_of(header)]
    text = header.get("trained_on") or header.get("trained_on_before")
    return {"origins_before": before, **({"trained_on_before": text} if text else {})}


def write_card(folder: Path) -> Path:
    """Write ``model.md`` beside the weights, from their header alone.

    Raises:
        CheckpointError: when there are no weights in the folder.
    """
    file = folder / MODEL_FILE
    header = read_header(file)
    parts = header["model"]
    elements = ", ".join(symbol(int(z)) for z in parts["elements"]) or "all"
    rows = {
        "written by": f"crystal_diffusion {header['version']}",
        "file": f"`{MODEL_FILE}`, sha256 {file_hash(file)}",
        "network": f"{parts['network']}, {parts['coordinates']} coordinates, "
        f"{parts['lattice']} lattice",
        "steps": header.get("steps"),
        "steps before": header.get("steps_before"),
        "training crystals": header.get("crystals"),
        "held out": header.get("held_out"),
        "left out as unusable": header.get("skipped"),
        "largest cell": f"{parts['max_train_atoms']} atoms",
        "elements": elements,
        "data sha256": header.get("data_sha256"),
    }
    table = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    text = "\n".join(
        ["# Model card", "", "| | |", "|---|---|", *table, "", *_data(header), *_own(folder), ""]
    )
    card = folder / CARD_FILE
    write_text(card, text)
    return card


def _own(folder: Path) -> list[str]:
    """What the model says of properties of the user's own."""
    learned = read_own(folder)
    return ["", "## Properties", "", *(f"- {own.summary()}" for own in learned)] if learned else []


def _data(header: Mapping[str, Any]) -> list[str]:
    origins = origins_of(header)
    lines = ["## Data", ""]
    lines += [f"- {origin.sentence(most=20)}" for origin in origins]
    if not header.get("origins"):
        lines.append("- The training crystals do not say where they come from.")
    if header.get("trained_on_before"):
        lines.append(f"- Started from a model trained on: {header['trained_on_before']}")
    licenses = sorted({origin.license for origin in origins if origin.license})
    if licenses:
        lines += ["", f"Licenses of the data: {', '.join(licenses)}."]
    return lines
