"""The 230 space groups: tables, assignments of elements to sites, exact symmetric subspaces.

The names below are imported when first used, so importing the room costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_diffusion.symmetry.assignments import (
        Assignment,
        Site,
        count_assignments,
        enumerate_assignments,
        parse_wyckoff,
        possible_totals,
        refuse_impossible,
    )
    from crystal_diffusion.symmetry.cells import Cell, to_cell, to_conventional, to_niggli
    from crystal_diffusion.symmetry.compositions import draw_composition
    from crystal_diffusion.symmetry.detection import (
        Detection,
        SymmetryCheck,
        check_template,
        detect_group,
        is_supergroup,
        symmetrise,
        wyckoff_signature,
    )
    from crystal_diffusion.symmetry.groups import SpaceGroup, WyckoffPosition, groups_of
    from crystal_diffusion.symmetry.prior import WyckoffPrior, draw_assignment
    from crystal_diffusion.symmetry.projection import TemplateBatch
    from crystal_diffusion.symmetry.template import SymmetricTemplate

_HOMES = {
    "groups": ("SpaceGroup", "WyckoffPosition", "groups_of"),
    "assignments": (
        "Assignment",
        "Site",
        "count_assignments",
        "enumerate_assignments",
        "parse_wyckoff",
        "possible_totals",
        "refuse_impossible",
    ),
    "compositions": ("draw_composition",),
    "prior": ("WyckoffPrior", "draw_assignment"),
    "cells": ("Cell", "to_cell", "to_conventional", "to_niggli"),
    "template": ("SymmetricTemplate",),
    "projection": ("TemplateBatch",),
    "detection": (
        "Detection",
        "SymmetryCheck",
        "check_template",
        "detect_group",
        "is_supergroup",
        "symmetrise",
        "wyckoff_signature",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Assignment",
    "Cell",
    "Detection",
    "Site",
    "SpaceGroup",
    "SymmetricTemplate",
    "SymmetryCheck",
    "TemplateBatch",
    "WyckoffPosition",
    "WyckoffPrior",
    "check_template",
    "count_assignments",
    "detect_group",
    "draw_assignment",
    "draw_composition",
    "enumerate_assignments",
    "groups_of",
    "is_supergroup",
    "parse_wyckoff",
    "possible_totals",
    "refuse_impossible",
    "symmetrise",
    "to_cell",
    "to_conventional",
    "to_niggli",
    "wyckoff_signature",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
