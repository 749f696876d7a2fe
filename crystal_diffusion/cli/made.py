"""What `generate` says of the crystals it made, and with which exit code it ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crystal_diffusion.cli.console import (
    FAILED,
    INTERRUPTED,
    OK,
    PARTIAL,
    crystal_table,
    err,
    out,
    say_badly,
)

if TYPE_CHECKING:
    from crystal_diffusion.generation.result import GenerationResult
    from crystal_diffusion.generation.rows import GeneratedRow
    from crystal_diffusion.runs.folder import RunFolder

#: Columns of the table that is printed.
_SHOWN = (
    "rank",
    "id",
    "formula",
    "num_atoms",
    "space_group_0.1",
    "volume_per_atom_A3",
    "start",
    "score",
    "confidence",
    "nearest_train_id",
)
#: Those that make room, on 80 columns, for the properties that were asked for.
_LESS_THAN_ASKED = ("volume_per_atom_A3", "start", "score")


def tell(
    run: RunFolder, result: GenerationResult, wanted: int, max_attempts: int, quiet: bool
) -> int:
    """Print what was made and what was not; returns the exit code.

    Args:
        run: where it was written.
        wanted: number of crystals that were asked for.
        max_attempts: tries after which one was given up.
        quiet: say only what went wrong.
    """
    if not quiet:
        _tell_made(result, str(run.path))
    if result.interrupted:
        err.print(
            f"{len(result)} of {wanted} crystals were finished and are in {run.path}; the same "
            "command with --overwrite makes all of them",
            highlight=False,
        )
        return INTERRUPTED
    if result.missing:
        index, reason = next(iter(result.missing.items()))
        say_badly(
            "short",
            f"{len(result)} of {wanted} crystals; {len(result.missing)} failed "
            f"{max_attempts} times, crystal {index} last because {reason}",
        )
        return PARTIAL if len(result) else FAILED
    return OK


def _tell_made(result: GenerationResult, path: str) -> None:
    _show(result.rows, path)
    _show_cells(result)
    for line in () if result.selection is None else result.selection.lines():
        out.print(line, highlight=False, markup=False)
    for many in result.how_many[:3]:
        out.print(f"Confidence, {many}", highlight=False)
    if result.confidence_source:
        several = len({row.formula for row in result.rows}) > 1  # nobody named the composition
        presumed = "; it presumes that a composition has a crystal at all" if several else ""
        out.print(f"Confidence comes from {result.confidence_source}{presumed}", highlight=False)
    if result.rejected:
        counted = ", ".join(f"{k} {v}" for k, v in sorted(result.rejected.items()))
        out.print(f"Redrawn candidates by reason: {counted}", highlight=False)


def _show_cells(result: GenerationResult) -> None:
    """Which numbers of formula units were tried, and how many answers have each."""
    if len(result.formula_units) < 2:
        return
    made = Counter(
        math.gcd(*(round(n) for n in structure.composition.get_el_amt_dict().values()))
        for structure in result
    )
    tried = ", ".join(str(z) for z in result.formula_units)
    found = ", ".join(f"{made[z]} with {z}" for z in sorted(made))
    out.print(f"Formula units per cell tried: {tried}; crystals: {found}", highlight=False)


def _show(rows: Sequence[GeneratedRow], path: str) -> None:
    from crystal_diffusion.runs.columns import column, used_columns
    from crystal_diffusion.runs.predicted import is_prediction

    # A score compares candidates of one composition; a lone one has nothing to be compared with.
    candidates = Counter(row.formula for row in rows)

    def score(row: GeneratedRow) -> str:
        return column("score").text(row.score, "–") if candidates[row.formula] > 1 else "–"

    def nearest(row: GeneratedRow) -> str:
        return (row.nearest_train_id or "–") + (" (copy)" if row.copy_of_training else "")

    times, firsts = folded(rows)

    def name(row: GeneratedRow) -> str:
        same = times[str(row.id)]
        return f"{row.id} ×{same}" if same > 1 else str(row.id)

    title = f"{len(rows)} crystals in {path}"

    def energy(row: GeneratedRow) -> str:
        return column("energy_per_atom_eV").text(row.energy_per_atom_eV, "–")

    special = {
        "energy_per_atom_eV": energy,
        "id": name,
        "score": score,
        "nearest_train_id": nearest,
    }
    names = list(_SHOWN)
    if any(row.energy_per_atom_eV is not None for row in rows):
        names.insert(names.index("score") + 1, "energy_per_atom_eV")
    asked = [c.name for c in used_columns(rows) if is_prediction(c.name)]
    if asked:  # the order is by the chance to be inside; a score says nothing across formulas
        names = [name for name in names if name not in _LESS_THAN_ASKED]
    names[-1:-1] = asked
    out.print(crystal_table(title, firsts[:20], names, special))
    if len(rows) > len(firsts):
        out.print(
            f"{len(firsts)} different crystals; copies (×) left out here: "
            f"{len(rows) - len(firsts)}; all are in {path}/structures.csv",
            highlight=False,
        )
    if len(firsts) > 20:
        out.print(f"… and {len(firsts) - 20} more in {path}/structures.csv", highlight=False)


def folded(rows: Sequence[GeneratedRow]) -> tuple[dict[str, int], list[GeneratedRow]]:
    """How many crystals each stands for, by id, and the first of each group of equals in order."""
    times: dict[str, int] = {}
    leader: dict[int, str] = {}
    firsts = []
    for row in rows:
        key = str(row.id)
        best = key if row.group is None else leader.setdefault(row.group, key)
        if best == key:
            firsts.append(row)
        times[best] = times.get(best, 0) + 1
    return times, firsts
