"""One table row per structure: what it is, every check, where it came from, what it resembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.generation.finishing import Original
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.symmetric import symmetry_columns
from crystal_diffusion.physics.facts import crystal_facts
from crystal_diffusion.physics.report import ValidationReport

if TYPE_CHECKING:
    from pymatgen.core import Structure


def distance_moved(start: Structure | None, end: Structure, free: slice) -> float | None:
    """Root mean square displacement in Å between start and end, net translation removed.

    Measured in the final cell on wrapped fractional differences; None without a start. They are
    wrapped relative to the first atom: a common shift of half a cell would part them otherwise.
    """
    if start is None or len(start) < len(end.frac_coords[free]):
        return None
    before = np.asarray(start.frac_coords)[free]
    after = np.asarray(end.frac_coords)[free]
    if len(before) != len(after) or not len(after):
        return None
    difference = after - before
    difference -= difference[0]
    difference -= np.round(difference)
    difference -= difference.mean(0)
    cartesian = difference @ end.lattice.matrix
    return float(np.sqrt((cartesian**2).sum(1).mean()))


def make_row(
    name: str,
    structure: Structure,
    plan: Plan,
    report: ValidationReport,
    nearest: Any,
    trained_atoms: int,
    original: Original | None = None,
) -> dict[str, Any]:
    """The row of one crystal; ``nearest`` is a ``NearestKnown`` or None.

    ``original`` is the crystal as it was sampled, where its symmetry was made exact.
    """
    whole = slice(None) if plan.kind != "host" else slice(plan.frozen, None)
    moved = distance_moved(plan.start, structure, whole) if plan.kind == "prototype" else None
    if plan.kind == "host":
        moved = 0.0
    return {
        "id": name,
        **crystal_facts(structure),
        "nearest_train_id": None if nearest is None else nearest.id,
        "nearest_train_distance": None if nearest is None else round(float(nearest.distance), 5),
        "copy_of_training": None if nearest is None else bool(nearest.matches),
        "swap_of_like_elements": (None if nearest is None else bool(nearest.swap_of_like_elements)),
        "start": plan.kind,
        "start_source": plan.source or None,
        "moved_A": None if moved is None else round(moved, 4),
        "score": None,
        "rank": None,
        "group": None,
        **symmetry_columns(structure, plan),
        **(original.columns() if original is not None else {}),
        "beyond_training_size": len(structure) > trained_atoms,
        "index": plan.index,
        "attempt": plan.attempt,
        "seed": plan.seed,
        "valid": report.valid,
        "warnings": [check.name for check in report.warnings],
        "checks": [check.to_dict() for check in report.checks],
    }
