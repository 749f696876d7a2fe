"""Figures in a table, with the rows they were made from: text, Markdown, JSON, files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.metrics import MetricResult
from crystal_diffusion.files import make_folder, write_text

METRICS = "metrics.json"
REPORT = "metrics.md"
ROWS = "rows.jsonl"


@dataclass(frozen=True)
class EvaluationTable:
    """What was measured.

    Attributes:
        name: of what was evaluated.
        metrics: figures in the order of the report.
        rows: one mapping per target or structure.
        info: settings, versions, reference set, times.
    """

    name: str
    metrics: tuple[MetricResult, ...]
    rows: tuple[Mapping[str, Any], ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    def metric(self, name: str) -> MetricResult:
        """One of the figures.

        Raises:
            InputError: if there is none of that name.
        """
        for result in self.metrics:
            if result.name == name:
                return result
        raise InputError(
            f"no figure '{name}' in this table; it has {', '.join(m.name for m in self.metrics)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Figures and settings as plain values, without the rows."""
        return {
            "name": self.name,
            "info": dict(self.info),
            "metrics": [m.to_dict() for m in self.metrics],
        }

    def to_text(self, definitions: bool = True) -> str:
        """Columns for a terminal: figure, value, interval, n; then the definitions."""
        return "\n".join(_columns([self], definitions)) + "\n"

    def to_markdown(self, definitions: bool = True) -> str:
        """A table for a document."""
        return markdown([self], definitions)

    def save(self, folder: Path | str) -> None:
        """Write ``metrics.json``, ``metrics.md`` and ``rows.jsonl``."""
        path = Path(folder)
        make_folder(path)
        write(path / METRICS, json.dumps(self.to_dict(), indent=2, default=str) + "\n")
        write(path / REPORT, self.to_markdown())
        write(path / ROWS, "".join(json.dumps(row, default=str) + "\n" for row in self.rows))


def write(path: Path, text: str) -> None:
    """Write whole, then move into place.

    Raises:
        InputError: when the disk is full or the folder cannot be written.
    """
    write_text(path, text, flush=False)


def shown(result: MetricResult) -> tuple[str, str]:
    """Value and interval as text, shares in per cent."""
    if not math.isfinite(result.value):
        return "–", "–"
    share = not result.unit
    scale, suffix = (100.0, " %") if share else (1.0, "")
    digits = 1 if share else 4
    value = f"{result.value * scale:.{digits}f}{suffix}"
    if not math.isfinite(result.low):
        return value, "–"
    return value, f"{result.low * scale:.{digits}f} to {result.high * scale:.{digits}f}"


def _columns(tables: Sequence[EvaluationTable], definitions: bool) -> list[str]:
    lines = []
    for table in tables:
        cells = [("figure", "value", "95 % interval", "n", "")]
        for m in table.metrics:
            value, interval = shown(m)
            cells.append((m.name, value, interval, str(m.n), _unit(m)))
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines.append(table.name)
        for name, value, interval, n, unit in cells:
            lines.append(
                f"  {name:<{widths[0]}}  {value:>{widths[1]}}  {interval:>{widths[2]}}  "
                f"{n:>{widths[3]}}  {unit}".rstrip()
            )
        lines.append("")
    if definitions:
        lines.append("Definitions")
        lines += [f"  {name}: {text}." for name, text in _definitions(tables).items()]
    return lines


def _unit(result: MetricResult) -> str:
    return result.unit if result.unit != "1" else ""


def _definitions(tables: Sequence[EvaluationTable]) -> dict[str, str]:
    return {m.name: m.definition for table in tables for m in table.metrics}


def markdown(tables: Sequence[EvaluationTable], definitions: bool = True) -> str:
    """Several tables side by side: one row a figure, one column a table."""
    names = list(_definitions(tables))
    lines = [
        "| figure | " + " | ".join(t.name for t in tables) + " | n |",
        "|---" * (len(tables) + 2) + "|",
    ]
    for name in names:
        found = [next((m for m in t.metrics if m.name == name), None) for t in tables]
        cells = []
        for m in found:
            value, interval = shown(m) if m is not None else ("–", "–")
            unit = f" {_unit(m)}" if m is not None and _unit(m) else ""
            cells.append(f"{value}{unit}" + ("" if interval == "–" else f" ({interval})"))
        counts = sorted({m.n for m in found if m is not None})
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {', '.join(map(str, counts))} |")
    if definitions:
        lines += ["", "In brackets: 95 % interval, bootstrap over targets.", ""]
        lines += [f"- `{name}`: {text}." for name, text in _definitions(tables).items()]
    return "\n".join(lines) + "\n"
