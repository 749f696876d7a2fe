"""What happens to a sampled crystal before it counts: symmetry made exact, then the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.physics.report import CheckResult, ValidationReport
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.symmetry.idealisation import idealise

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class Original:
    """A crystal as it was sampled, where its symmetry was made exact afterwards.

    Attributes:
        structure: as sampled.
        before: space group number it had exactly.
        number: of the group it has now.
        moved: root mean square displacement between the two, Å.
    """

    structure: Structure
    before: int
    number: int
    moved: float

    def columns(self) -> dict[str, Any]:
        """For the row of the crystal."""
        return {
            "idealised_from": self.before,
            "idealised_to": self.number,
            "idealised_moved_A": round(self.moved, 4),
        }


@dataclass(frozen=True)
class Finished:
    """A sampled crystal after the checks.

    Attributes:
        structure: what is given out.
        report: of the checks.
        failure: the check that speaks against it; None where it passed.
        original: as it was sampled, where it was changed.
    """

    structure: Structure
    report: ValidationReport
    failure: CheckResult | None
    original: Original | None = None


def finish(
    structure: Structure,
    plan: Plan,
    validator: PhysicsValidator,
    *,
    tolerance: float,
    whole: bool,
) -> Finished:
    """Check a crystal, and its ideal form where it is within ``tolerance`` (Å) of more symmetry.

    Only crystals that were free to have any symmetry are idealised: no given group, cell or host.
    The ideal form is given out where it passes the checks too.

    Args:
        structure: as sampled.
        plan: what it was made from.
        validator: makes the checks.
        tolerance: 0 leaves crystals as they are.
        whole: apply all checks; otherwise those of the geometry.
    """
    report, failure = _checked(validator, structure, plan, whole)
    free = plan.template is None and plan.lattice is None and plan.kind == "noise"
    if failure is not None or tolerance <= 0 or not free:
        return Finished(structure, report, failure)
    ideal = idealise(structure, tolerance)
    if ideal is None:
        return Finished(structure, report, failure)
    better = ideal.cell.to_structure()
    ideal_report, ideal_failure = _checked(validator, better, plan, whole)
    if ideal_failure is not None:
        return Finished(structure, report, failure)
    original = Original(structure, ideal.before, ideal.number, ideal.moved)
    return Finished(better, ideal_report, None, original)


def _checked(
    validator: PhysicsValidator, structure: Structure, plan: Plan, whole: bool
) -> tuple[ValidationReport, CheckResult | None]:
    """The report, and the check that speaks against the structure if there is one."""
    report = validator.validate(structure, geometry_only=not whole)
    failure = report.errors[0] if report.errors else None
    if failure is None and plan.charge_neutral:
        charge = validator.check("charge_neutrality", structure)
        failure = None if charge.passed else charge
    return report, failure
