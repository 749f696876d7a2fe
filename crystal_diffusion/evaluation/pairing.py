"""Which prediction belongs to which target: by id, by the id in its row, or by composition."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crystal_diffusion.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Keys of a row that name the target.
TARGET_KEYS = ("target_id", "target", "reference_id")
#: What may stand between the id of a target and the number of a candidate.
_NUMBERED = re.compile(r"^(?P<target>.+?)[-_~#./](?:candidate|cand|sample|rank|c|s)?[-_]?\d+$")

Kind = Literal["prediction", "generation"]


@dataclass(frozen=True)
class Pairing:
    """Candidates of each target.

    Attributes:
        candidates: for each target the ids of its candidates, best first; empty for none.
        draws: for each target the places in ``candidates`` in the order of the run.
        how: in words.
    """

    candidates: Mapping[str, tuple[str, ...]]
    draws: Mapping[str, tuple[int, ...]]
    how: str


def pair(
    structures: Mapping[str, Structure],
    rows: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Structure],
) -> Pairing | None:
    """Pair a run with the targets it was made for.

    In this order: an id of a target in the row (``target_id``); the id of the structure, which
    may carry a number behind the id of its target (``mp-1_3``); the reduced composition, where
    every composition of the run is one of the reference and the other way round. Candidates are
    ordered by the ``rank`` of their rows where all have one, else as in the run.

    Returns:
        ``None`` where nothing of this fits.
    """
    by_id = {str(row.get("id")): row for row in rows}
    named = {
        name: next(
            (str(row[k]) for k in TARGET_KEYS if (row := by_id.get(name, {})).get(k) is not None),
            None,
        )
        for name in structures
    }
    if any(target in reference for target in named.values()):
        wrong = [name for name, target in named.items() if target not in reference]
        if wrong:
            raise InputError(
                f"{len(wrong)} structures of the run name a target that is not in the reference, "
                f"for example '{wrong[0]}' ({named[wrong[0]]}); give the reference that the run "
                "was made for."
            )
        return _ordered(
            {name: [str(t)] for name, t in named.items()}, by_id, reference, "id in the row"
        )
    owners = {name: _owner(name, reference) for name in structures}
    if all(owner is not None for owner in owners.values()):
        return _ordered(
            {name: [str(owner)] for name, owner in owners.items()}, by_id, reference, "id"
        )
    targets: dict[str, list[str]] = defaultdict(list)
    for name, structure in reference.items():
        targets[structure.composition.reduced_formula].append(name)
    formulas = {name: s.composition.reduced_formula for name, s in structures.items()}
    if set(formulas.values()) == set(targets):
        return _ordered(
            {name: targets[formula] for name, formula in formulas.items()},
            by_id,
            reference,
            "composition",
        )
    return None


def _owner(name: str, reference: Mapping[str, Structure]) -> str | None:
    if name in reference:
        return name
    found = _NUMBERED.match(name)
    if found and found["target"] in reference:
        return found["target"]
    return None


def _ordered(
    owners: Mapping[str, Sequence[str]],
    rows: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, Structure],
    how: str,
) -> Pairing:
    found: dict[str, list[str]] = {name: [] for name in reference}
    for name, targets in owners.items():
        for target in targets:
            found[target].append(name)
    candidates, draws = {}, {}
    for target, names in found.items():
        order = sorted(range(len(names)), key=_ranks(names, rows).__getitem__)
        candidates[target] = tuple(names[i] for i in order)
        draws[target] = tuple(order.index(i) for i in range(len(names)))
    return Pairing(candidates, draws, how)


def _ranks(names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Rank of each candidate; the order of the run where one has none."""
    given = [rows.get(name, {}).get("rank") for name in names]
    ranks = [float(rank) for rank in given if rank is not None]
    return ranks if len(ranks) == len(names) else [float(i) for i in range(len(names))]


def misfit(
    structures: Mapping[str, Structure], reference: Mapping[str, Structure], run: str, source: str
) -> InputError:
    """The error for a reference that does not belong to a run."""
    first, known = next(iter(structures)), next(iter(reference))
    return InputError(
        f"no structure of {run} belongs to a crystal of {source}: ids such as '{first}' are not "
        f"among '{known}', ..., and the compositions differ; give the reference that the run was "
        "made for, or use --kind generation."
    )
