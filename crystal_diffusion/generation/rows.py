"""One table row per structure: what it is, every check, where it came from, what it resembles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.cell_geometry import wrap_displacement
from crystal_diffusion.generation.finishing import Original
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.symmetric import symmetry_columns
from crystal_diffusion.physics.facts import CrystalFacts, crystal_facts
from crystal_diffusion.physics.report import ValidationReport
from crystal_diffusion.runs.columns import named

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.matching import NearestKnown

#: A field that is there where a space group was drawn.
_drawn = partial(named, with_field="space_group_drawn")


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratedRow(CrystalFacts):
    """What ``structures.jsonl`` says of a generated crystal; see `runs.columns` for the units.

    Score, rank and group are None until the crystals of a run are compared; energy and potential
    are there only where a potential ranked: one calculation of the crystal as it is. What has to
    do with symmetry is there only for crystals whose symmetry was asked for, drawn or made exact.
    """

    nearest_train_id: str | None = None
    nearest_train_distance: float | None = None
    copy_of_training: bool | None = None
    swap_of_like_elements: bool | None = None
    start: str
    start_source: str | None = None
    moved_A: float | None = None
    score: float | None = None
    rank: int | None = None
    group: int | None = None
    confidence: float | None = None
    energy_per_atom_eV: float | None = named("energy_per_atom_eV", optional=True)
    potential: str | None = named("potential", optional=True)
    symmetry: str | None = named("symmetry", optional=True)
    space_group_requested: int | None = named(
        "space_group_requested", with_field="space_group_drawn"
    )
    space_group_drawn: int | None = named("space_group_drawn", optional=True)
    wyckoff: str | None = _drawn("wyckoff")
    skeleton_probability: float | None = named(
        "skeleton_probability", with_field="space_group_drawn"
    )
    space_group_moyopy: int | None = _drawn("space_group_moyopy")
    space_group_spglib: int | None = _drawn("space_group_spglib")
    higher_symmetry: bool | None = _drawn("higher_symmetry")
    idealised_from: int | None = named("idealised_from", optional=True)
    idealised_to: int | None = named("idealised_to", optional=True)
    idealised_moved_A: float | None = named("idealised_moved_A", optional=True)
    beyond_training_size: bool
    index: int
    attempt: int
    seed: int
    valid: bool
    warnings: list[str]
    checks: list[dict[str, Any]]
    more: Mapping[str, Any] = field(default_factory=dict)


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
    difference = wrap_displacement(difference)
    difference -= difference.mean(0)
    cartesian = difference @ end.lattice.matrix
    return float(np.sqrt((cartesian**2).sum(1).mean()))


def make_row(
    name: str,
    structure: Structure,
    plan: Plan,
    report: ValidationReport,
    nearest: NearestKnown | None,
    trained_atoms: int,
    original: Original | None = None,
    *,
    compared: bool = False,
) -> GeneratedRow:
    """The row of one crystal.

    Args:
        name: its id.
        structure: as it is given out.
        plan: what it was made from.
        report: of its checks.
        nearest: the nearest crystal of the training set, where there is one.
        trained_atoms: of the largest training crystal.
        original: the crystal as it was sampled, where its symmetry was made exact.
        compared: whether known crystals were looked at; then one without a nearest is no copy.
    """
    whole = slice(None) if plan.kind != "host" else slice(plan.frozen, None)
    moved = distance_moved(plan.start, structure, whole) if plan.kind == "prototype" else None
    if plan.kind == "host":
        moved = 0.0
    none = {"copy_of_training": False, "swap_of_like_elements": False} if compared else {}
    near = (
        none
        if nearest is None
        else {
            "nearest_train_id": nearest.id,
            "nearest_train_distance": round(float(nearest.distance), 5),
            "copy_of_training": bool(nearest.matches),
            "swap_of_like_elements": bool(nearest.swap_of_like_elements),
        }
    )
    return GeneratedRow.from_dict(
        {
            **crystal_facts(structure),
            **near,
            **symmetry_columns(structure, plan),
            **(original.columns() if original is not None else {}),
            "id": name,
            "start": plan.kind,
            "start_source": plan.source or None,
            "moved_A": None if moved is None else round(moved, 4),
            "beyond_training_size": len(structure) > trained_atoms,
            "index": plan.index,
            "attempt": plan.attempt,
            "seed": plan.seed,
            "valid": report.valid,
            "warnings": [check.name for check in report.warnings],
            "checks": [check.to_dict() for check in report.checks],
        }
    )
