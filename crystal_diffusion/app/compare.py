"""Runs side by side: what each holds, and which crystals they have in common."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Crystals of one run that are matched with those of another.
MOST_MATCHED = 200


@dataclass(frozen=True)
class Side:
    """One run in a comparison.

    Attributes:
        id, title: of its job.
        crystals: number of its rows.
        formulas: distinct reduced formulas.
        best: id, formula and space group of the crystal that is first.
        groups: the most frequent space groups with their numbers.
        above_p1: share of crystals in a group above P1, 0 to 1; None without crystals.
        new: crystals that are not among the known ones; None where nobody looked.
        lowest_hull: lowest energy above hull, eV/atom; None without energies.
    """

    id: str
    title: str
    crystals: int
    formulas: int
    best: str
    groups: str
    above_p1: float | None
    new: int | None
    lowest_hull: float | None


@dataclass(frozen=True)
class Comparison:
    """Several runs.

    Attributes:
        runs: one side for each.
        common: for each pair of runs, by position, how many crystals of the first are in the
            second.
        matched: how many crystals of a run were matched at most.
    """

    runs: tuple[Side, ...]
    common: tuple[tuple[int, int, int], ...]
    matched: int = MOST_MATCHED

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(runs: Sequence[tuple[str, str, Path]]) -> Comparison:
    """Compare runs.

    Args:
        runs: id, title and folder of each.

    Raises:
        InputError: when one is no run, or damaged.
    """
    from crystal_diffusion.matching import StructureMatch
    from crystal_diffusion.runs.folder import RunFolder

    read = []
    for key, title, folder in runs:
        run = RunFolder.open(folder)
        read.append((key, title, run.rows(), run.structures()))
    matcher = StructureMatch()
    common = []
    for i, (_, _, rows_a, structures_a) in enumerate(read):
        for j, (_, _, _, structures_b) in enumerate(read):
            if i == j:
                continue
            by_formula = defaultdict(list)
            for structure in list(structures_b.values())[:MOST_MATCHED]:
                by_formula[structure.composition.reduced_formula].append(structure)
            shared = 0
            for row in rows_a[:MOST_MATCHED]:
                mine = structures_a.get(row["id"])
                if mine is not None:
                    others = by_formula[mine.composition.reduced_formula]
                    shared += any(matcher.fit(mine, other) for other in others)
            common.append((i, j, shared))
    return Comparison(tuple(_side(key, title, rows) for key, title, rows, _ in read), tuple(common))


def _side(key: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Side:
    groups = Counter(int(row["space_group_0.1"]) for row in rows if row.get("space_group_0.1"))
    ranked = sorted(rows, key=lambda row: (row.get("rank") is None, row.get("rank") or 0))
    hulls = [v for row in rows if (v := row.get("energy_above_hull_eV_atom")) is not None]
    looked = [row["novel"] for row in rows if row.get("novel") is not None]
    first = ranked[0] if ranked else None
    return Side(
        id=key,
        title=title,
        crystals=len(rows),
        formulas=len({str(row.get("formula")) for row in rows}),
        best=f"{first['id']}, {first.get('formula')}, group {first.get('space_group_0.1') or '–'}"
        if first
        else "–",
        groups=", ".join(f"{group} ({count})" for group, count in groups.most_common(4)) or "–",
        above_p1=sum(count for group, count in groups.items() if group > 1) / len(rows)
        if rows
        else None,
        new=sum(looked) if looked else None,
        lowest_hull=min(hulls) if hulls else None,
    )
