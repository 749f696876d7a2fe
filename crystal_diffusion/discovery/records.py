"""What the logs of a discovery must hold; a line that does not is dropped and done again.

A relaxation belongs to the candidate that was chosen, a verdict to the relaxed crystal: each line
carries the hash of that (:class:`~crystal_diffusion.screening.stage_log.StageLog`), so that a round
that was chosen anew never gets the energies of the one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from crystal_diffusion.known.novelty import Novelty
from crystal_diffusion.runs.rows import structure_from_row

#: No energy, time or distance is as large.
_LARGEST = 1e12


def hash_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of a structure as a row."""
    text = json.dumps(row["structure"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_round(row: Mapping[str, Any]) -> None:
    """Refuse a row of ``rounds.jsonl``.

    Raises:
        ValueError: it holds no candidates.
    """
    for entry in _those(row["candidates"]):
        _texts(entry, "id")
    for entry in (*_those(row["candidates"]), *_those(row.get("reserve", []))):
        _texts(entry, "start", "kind")
        _number(entry["guess"])
        _number(entry.get("deviation", 1.0))
        _crystal(entry)


def check_relaxed(row: Mapping[str, Any]) -> None:
    """Refuse a row of ``relaxed.jsonl``.

    Raises:
        ValueError: it holds no relaxed crystal.
    """
    _texts(row, "problem")
    _number(row["clock"])
    _number(row["seconds"])
    check_point(row)
    if not (isinstance(row["converged"], bool) and isinstance(row["steps"], int)):
        raise ValueError("how it ended is missing")
    _crystal(row)


def check_verdict(row: Mapping[str, Any]) -> None:
    """Refuse a row of ``verdicts.jsonl``.

    Raises:
        ValueError: it holds no verdict.
    """
    _texts(row, "twin", "note")
    for name in ("above_hull", "second"):
        if row[name] is not None:
            _number(row[name])
    if not isinstance(row["accepted"], bool) or row["agrees"] not in (None, True, False):
        raise ValueError("the verdict is neither true nor false")
    if row["novelty"] is not None:
        Novelty(**row["novelty"])


def check_point(row: Mapping[str, Any]) -> None:
    """Refuse a row of energies.

    Raises:
        ValueError: it holds none.
    """
    if row["energy_per_atom_eV"] is not None:
        _number(row["energy_per_atom_eV"])


def _those(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("the candidates are no list of mappings")
    return value


def _texts(row: Mapping[str, Any], *names: str) -> None:
    if not all(isinstance(row[name], str) for name in names):
        raise ValueError(f"{', '.join(names)} must be text")


def _number(value: object) -> None:
    # False for NaN too.
    small = isinstance(value, int | float) and abs(value) < _LARGEST
    if isinstance(value, bool) or not small:
        raise ValueError(f"{str(value)[:40]!r} is no number")


def _crystal(row: Mapping[str, Any]) -> None:
    try:
        structure_from_row(row["structure"])
    # Damaged numbers make pymatgen fail in every way there is.
    except Exception as error:
        raise ValueError(f"it holds no crystal ({error})") from error
