"""What a screening came to, and what its stages record of one crystal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.energy.relaxation import RelaxResult
from crystal_diffusion.runs.rows import rounded, structure_row

if TYPE_CHECKING:
    from crystal_diffusion.physics.report import ValidationReport


@dataclass(frozen=True)
class ScreenOutcome:
    """What a screening came to.

    Attributes:
        rows: one mapping per candidate, in order, with the columns of ``screening.jsonl``.
        folder: where the files are.
        failed: ids that a stage could not deal with (not those that physics rejects).
        problems: what went wrong beside the crystals (a locked database, an unreadable reference).
        funnel: counts by stage.
        notes: what a reader must know beside the table: the index of known crystals, why there
            are no energies.
    """

    rows: list[dict[str, Any]]
    folder: Path
    failed: tuple[str, ...]
    problems: tuple[str, ...]
    funnel: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """Rows that have a rank, best first."""
        found = [row for row in self.rows if row["rank"] is not None]
        return sorted(found, key=lambda row: int(row["rank"]))


def verdict_row(verdict: ValidationReport) -> dict[str, Any]:
    """The first failed check in full, the others by name; all checks for the card of a crystal."""
    problem = ""
    if verdict.errors:
        first, *others = verdict.errors
        more = f" (also: {', '.join(c.name for c in others)})" if others else ""
        problem = f"not valid: {first.name}: {first.reason}{more}"
    warnings = [check.name for check in verdict.warnings]
    checks = [check.to_dict() for check in verdict.checks]
    return {"valid": verdict.valid, "problem": problem, "warnings": warnings, "checks": checks}


def relaxed_row(result: RelaxResult, is_energy: bool = True) -> dict[str, Any]:
    """What the stage relax records of a crystal.

    Args:
        result: of the relaxation.
        is_energy: whether the potential's numbers are energies; they are left out where not.
    """
    told = is_energy and not result.problem
    return {
        "potential": result.potential,
        "potential_version": result.potential_version,
        "energy_per_atom_eV": rounded(result.energy_per_atom) if told else None,
        "converged": result.converged,
        "steps": result.steps,
        "max_force_eV_A": rounded(result.max_force),
        "max_stress_GPa": rounded(result.stress),
        "problem": result.problem,
        "structure": structure_row(result.structure),
        "seconds": round(result.seconds, 2),
    }
