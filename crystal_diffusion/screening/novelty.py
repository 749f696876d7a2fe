"""The nearest known crystal of every candidate: in the shipped library and the user's own files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.energy.reference_energies import Library
from crystal_diffusion.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

log = logging.getLogger(__name__)


def _anonymous(counts: Sequence[int]) -> tuple[int, ...]:
    divisor = int(np.gcd.reduce(np.asarray(counts)))
    return tuple(sorted(int(n) // divisor for n in counts))


def known_of_like_formula(
    library: Library | None, structures: Sequence[Structure]
) -> dict[str, Structure]:
    """Crystals of the library whose formula has the same proportions as one of the structures.

    A crystal equal to a candidate, or equal up to a swap of elements, is always among them; the
    fingerprints of all the others need not be computed.
    """
    if library is None or not structures:
        return {}
    wanted = {
        _anonymous([int(n) for n in s.composition.get_el_amt_dict().values()]) for s in structures
    }
    counts = np.asarray(library.type_counts)
    kinds = [kind for kind, row in enumerate(counts) if _anonymous(row[row > 0].tolist()) in wanted]
    entries = np.flatnonzero(np.isin(np.asarray(library.entry_type), kinds))
    return {library.id_of(int(entry)): library.structure(int(entry)) for entry in entries}


def read_own_references(folders: Sequence[Path]) -> tuple[dict[str, Structure], list[str]]:
    """The user's own known crystals, and one sentence for each file that cannot be read.

    Raises:
        InputError: a folder or file that does not exist or holds nothing readable.
    """
    from crystal_diffusion.data.readers import iter_crystals

    found: dict[str, Structure] = {}
    problems: list[str] = []
    for folder in folders:
        for record in iter_crystals(folder):
            if record.structure is None:
                problems.append(f"reference {record.source}: {record.problem}")
                continue
            key = record.id if record.id not in found else f"{folder.name}/{record.id}"
            found[key] = record.structure
    if folders and not found:
        raise InputError(
            f"reference: no crystal could be read from {', '.join(map(str, folders))}; "
            "give a folder of structure files"
        )
    return found, problems


def nearest_known(
    candidates: Sequence[Structure], known: dict[str, Structure], processes: int
) -> list[dict[str, Any]]:
    """For each candidate the columns of novelty.

    ``novel`` is True where no known crystal matches; ``swap_of_like_elements`` where the nearest
    one is the same arrangement of chemically like elements; all None where nothing is known.
    """
    nothing: dict[str, Any] = {
        "novel": None,
        "nearest_known_id": None,
        "nearest_known_distance": None,
        "swap_of_like_elements": None,
    }
    if not known:
        return [dict(nothing) for _ in candidates]
    from crystal_diffusion.matching import ReferenceIndex

    index = ReferenceIndex.from_structures(known)
    answers = index.nearest_many(list(candidates), processes=processes)
    rows: list[dict[str, Any]] = []
    for answer in answers:
        if answer.problem is not None:
            rows.append({**nothing, "problem": answer.problem})
            continue
        rows.append(
            {
                "novel": not answer.matches,
                "nearest_known_id": answer.id,
                "nearest_known_distance": round(float(answer.distance), 6),
                "swap_of_like_elements": bool(answer.swap_of_like_elements),
            }
        )
    return rows
