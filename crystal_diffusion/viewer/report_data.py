"""What a report shows, gathered from the files of a run folder.

The folder may be a run (``manifest.json``, ``structures.jsonl``, ...), a screened run, or a folder
that ``crystal-diffusion screen`` made from crystals of another tool (no manifest).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.facts import crystal_facts, space_group
from crystal_diffusion.runs.folder import RunFolder, incomplete, refuse_unfinished
from crystal_diffusion.runs.reading import read_frames, read_json, read_rows

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

_FILES = ("manifest.json", "structures.jsonl", "screening.jsonl", "relaxed.extxyz")


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything a report is made of.

    Attributes:
        path: the folder.
        manifest: as written by the run; empty where there is none.
        rows: one mapping per crystal, columns of the run and of the screening together, the best
            ranked first.
        made: structures as they were generated or read, by id.
        relaxed: relaxed structures by id.
        rejected: counts by reason.
        hull: the content of ``hull.json``; empty where there is none.
        funnel: label and count from the first step to the last.
        screened: whether there is a screening table.
        gaps: sentences on files that are absent or cannot be read.
        notes: sentences of the screening: what it compared with, why there are no energies.
    """

    path: Path
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]
    made: dict[str, Structure]
    relaxed: dict[str, Structure]
    rejected: dict[str, int]
    hull: dict[str, Any]
    funnel: list[tuple[str, int]]
    screened: bool
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(path: Path) -> ReportData:
    """Read a folder.

    Raises:
        InputError: when the folder does not exist or holds no file of a run.
    """
    refuse_unfinished(path)
    if not any((path / name).is_file() for name in _FILES):
        raise InputError(
            f"{path}: is not a run folder (none of {', '.join(_FILES)}); give the --out folder of "
            "`crystal-diffusion generate` or `crystal-diffusion screen`."
        )
    gaps: list[str] = []
    manifest = _json(path / "manifest.json", gaps)
    own, screening = (_rows(path / name, gaps) for name in ("structures.jsonl", "screening.jsonl"))
    made = _structures(path / "structures.extxyz", gaps)
    relaxed = _structures(path / "relaxed.extxyz", gaps)
    missing = incomplete(manifest, min(len(made), len(own)))
    if missing:
        gaps.append(f"The run is {missing}")
    rows = _merge(own, screening)
    for name in made:
        rows.setdefault(name, {"id": name})
    made, relaxed = ({k: found[f] for k, f in _named(rows, found)} for found in (made, relaxed))
    for name, row in rows.items():
        _complete(row, made.get(name), relaxed.get(name))
    rejected = _rejected(path / "rejected.csv", manifest, gaps)
    told = _json(path / "screening" / "summary.json", [])
    summary = told.get("funnel") or {}
    return ReportData(
        path=path,
        manifest=manifest,
        rows=sorted(rows.values(), key=_order),
        made=made,
        relaxed=relaxed,
        rejected=rejected,
        hull=_json(path / "hull.json", []),
        funnel=_funnel(list(rows.values()), rejected, summary, bool(screening), len(relaxed)),
        screened=bool(screening),
        gaps=gaps,
        notes=[str(note) for note in told.get("notes") or []],
    )


def _json(file: Path, gaps: list[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return read_json(file)
    except InputError as error:
        _note(file, str(error), gaps)
        return {}


def _rows(file: Path, gaps: list[str]) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file; a broken line is named and the others are used."""
    found: list[str] = []
    try:
        rows = read_rows(file, found)
    except InputError as error:
        _note(file, str(error), gaps)
        return []
    for text in found:
        _note(file, text, gaps)
    return rows


def _structures(file: Path, gaps: list[str]) -> dict[str, Structure]:
    """Structures of an extended XYZ file by id, up to the first that is damaged."""
    found: list[str] = []
    structures = read_frames(file, found)
    for text in found:
        _note(file, text, gaps)
    return structures


def _note(file: Path, text: str, gaps: list[str]) -> None:
    log.warning("%s The report goes on without it.", text)
    # The page may be shown to others: it names files, not where they lie.
    gaps.append(text.replace(f"{file.parent}{os.sep}", ""))


def _merge(own: list[dict[str, Any]], screening: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Columns of both tables by id; what the screening leaves empty keeps the run's value."""
    rows = {row["id"]: dict(row) for row in own}
    for row in screening:
        target = rows.setdefault(row["id"], {"id": row["id"]})
        # Rank and energy of the screening take the place of the run's, also where they are empty.
        kept = ("rank", "energy_per_atom_eV")
        target.update({k: v for k, v in row.items() if v is not None or k in kept})
    return rows


def _named(rows: Mapping[str, Any], found: Mapping[str, Structure]) -> list[tuple[str, str]]:
    """Row ids with the name that their frame has in a file (odd characters become ``_`` there)."""
    pairs = []
    for key in rows:
        safe = "".join(c if c.isalnum() or c in "._-~+" else "_" for c in key).lstrip(".") or "_"
        name = key if key in found else safe
        if name in found:
            pairs.append((key, name))
    return pairs


def _complete(row: dict[str, Any], made: Structure | None, relaxed: Structure | None) -> None:
    """Columns that follow from the structures."""
    structure = made or relaxed
    if structure is not None and "formula" not in row:
        row.update(crystal_facts(structure))
    if relaxed is not None:
        row["space_group_relaxed"] = space_group(relaxed, 0.1)
        row["volume_per_atom_relaxed_A3"] = round(relaxed.volume / len(relaxed), 4)


def _rejected(file: Path, manifest: Mapping[str, Any], gaps: list[str]) -> dict[str, int]:
    if not file.is_file():
        listed = manifest.get("rejected")
        if isinstance(listed, dict):
            return {str(k): v for k, v in listed.items() if isinstance(v, int)}
        return {}
    try:
        return RunFolder(file.parent).rejected()
    except InputError as error:
        _note(file, str(error), gaps)
        return {}


def equals(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """What equal crystals share: a run of several formulas numbers the groups of each anew."""
    return row.get("formula"), row.get("group")


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    rank = row.get("rank")
    return (not isinstance(rank, int | float), rank or 0)


def _funnel(
    rows: list[dict[str, Any]],
    rejected: Mapping[str, int],
    summary: Mapping[str, int],
    screened: bool,
    relaxed: int,
) -> list[tuple[str, int]]:
    """From all candidates to those kept, each step with its count."""
    drawn = len(rows) + sum(rejected.values())
    steps = []
    if rejected:
        steps.append(("Candidates drawn", drawn))
    summary = {k: v for k, v in summary.items() if isinstance(v, int)}
    unreadable = summary.get("unreadable", 0)
    if unreadable:
        steps.append(("Files found", len(rows)))
        steps.append(("Readable", len(rows) - unreadable))
    else:
        steps.append(("Passed the checks when made" if rejected else "Crystals", len(rows)))
    if screened:
        valid = [r for r in rows if r.get("valid") is True]
        steps.append(("Valid in screening", len(valid)))
        # The count of the grouping itself: crystals that became equal by relaxing come later.
        distinct = sum(not r.get("duplicate_of") for r in valid)
        steps.append(("Distinct", summary.get("distinct", distinct)))
        steps.append(("Relaxed", relaxed))
        steps.append(("Relaxation converged", sum(r.get("converged") is True for r in rows)))
        steps.append(("Kept and ranked", sum(r.get("rank") is not None for r in rows)))
    else:
        grouped = [equals(row) for row in rows if row.get("group") is not None]
        if grouped:
            steps.append(("Distinct", len(set(grouped)) + len(rows) - len(grouped)))
    return steps
