"""The rows of a screening, what its stages record of one crystal, and what all came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.energy.relaxation import RelaxResult
from crystal_diffusion.runs.columns import Row, named
from crystal_diffusion.runs.rows import rounded, structure_row

if TYPE_CHECKING:
    from crystal_diffusion.physics.report import ValidationReport


@dataclass(frozen=True, eq=False, kw_only=True)
class ScreeningRow(Row):
    """A line of ``screening.jsonl`` and ``screening.csv``; see `runs.columns` for the units."""

    id: str
    formula: str | None = None
    valid: bool | None = None
    problem: str = ""
    group: int | None = None
    duplicate_of: str | None = None
    potential: str | None = None
    potential_version: str | None = None
    energy_per_atom_eV: float | None = None
    formation_energy_eV_atom: float | None = None
    energy_above_hull_eV_atom: float | None = None
    published_above_hull_eV_atom: float | None = None
    published_near_hull_probability: float | None = None
    n_competing: int | None = None
    reference_date: str | None = None
    converged: bool | None = None
    steps: int | None = None
    max_force_eV_A: float | None = None
    max_stress_GPa: float | None = None
    spread_eV_atom: float | None = None
    doubt: str | None = None
    novel: bool | None = None
    known_by: str | None = None
    nearest_known_id: str | None = None
    nearest_known_distance: float | None = None
    swap_of_like_elements: bool | None = None
    score: float | None = None
    rank: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckedRow(Row):
    """What the stage validate records."""

    valid: bool
    problem: str
    warnings: list[str]
    checks: list[dict[str, Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupedRow(Row):
    """What the stage group records."""

    group: int
    duplicate_of: str | None


@dataclass(frozen=True, eq=False, kw_only=True)
class RelaxedRow(Row):
    """What the stage relax records; the structure as `runs.rows.structure_row`."""

    potential: str
    potential_version: str
    energy_per_atom_eV: float | None
    converged: bool
    steps: int
    max_force_eV_A: float | None
    max_stress_GPa: float | None
    problem: str
    structure: dict[str, Any]
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class EnergyRow(Row):
    """What the stage energies records for a further potential."""

    energy_per_atom_eV: float | None
    problem: str


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedRow(Row):
    """What the stage rank records; the group only of a crystal that became equal to another."""

    rank: int | None
    score: float | None
    duplicate_of: str | None = named("duplicate_of", optional=True)
    group: int | None = named("group", optional=True)


@dataclass(frozen=True)
class ScreenOutcome:
    """What a screening came to.

    Attributes:
        rows: one per candidate, in order.
        folder: where the files are.
        failed: ids that a stage could not deal with (not those that physics rejects).
        problems: what went wrong beside the crystals (a locked database, an unreadable reference).
        funnel: counts by stage.
        notes: what a reader must know beside the table: the index of known crystals, why there
            are no energies.
    """

    rows: list[ScreeningRow]
    folder: Path
    failed: tuple[str, ...]
    problems: tuple[str, ...]
    funnel: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[ScreeningRow]:
        """Rows that have a rank, best first."""
        return in_order(self.rows)


def in_order(rows: Iterable[ScreeningRow]) -> list[ScreeningRow]:
    """Rows that have a rank, best first."""
    ranked = [(row.rank, place, row) for place, row in enumerate(rows) if row.rank is not None]
    return [row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])]


def verdict_row(verdict: ValidationReport) -> CheckedRow:
    """The first failed check in full, the others by name; all checks for the card of a crystal."""
    problem = ""
    if verdict.errors:
        first, *others = verdict.errors
        more = f" (also: {', '.join(c.name for c in others)})" if others else ""
        problem = f"not valid: {first.name}: {first.reason}{more}"
    warnings = [check.name for check in verdict.warnings]
    checks = [check.to_dict() for check in verdict.checks]
    return CheckedRow(valid=verdict.valid, problem=problem, warnings=warnings, checks=checks)


def relaxed_row(result: RelaxResult, is_energy: bool = True) -> RelaxedRow:
    """What the stage relax records of a crystal.

    Args:
        result: of the relaxation.
        is_energy: whether the potential's numbers are energies; they are left out where not.
    """
    told = is_energy and not result.problem
    return RelaxedRow(
        potential=result.potential,
        potential_version=result.potential_version,
        energy_per_atom_eV=rounded(result.energy_per_atom) if told else None,
        converged=result.converged,
        steps=result.steps,
        max_force_eV_A=rounded(result.max_force),
        max_stress_GPa=rounded(result.stress),
        problem=result.problem,
        structure=structure_row(result.structure),
        seconds=round(result.seconds, 2),
    )
