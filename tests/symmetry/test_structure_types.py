"""Structure types by name: their table agrees with groups, ratios and detection."""

from __future__ import annotations

import math

import pytest

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.structure_types import STRUCTURE_TYPES, NamedType, types_named


@pytest.mark.parametrize("kind", STRUCTURE_TYPES, ids=lambda kind: kind.name + kind.example[0])
def test_wyckoff_positions_make_the_ratio(kind: NamedType) -> None:
    assignment = parse_wyckoff(kind.wyckoff(kind.example), SpaceGroup.from_number(kind.space_group))
    counts = assignment.counts()
    divisor = math.gcd(*counts.values())
    made = {chemistry.symbol(z): n // divisor for z, n in counts.items()}
    assert made == kind.formula(kind.example)
    assert kind.roles_of(made) is not None


def test_roles_go_by_electronegativity() -> None:
    (perovskite,) = types_named("perovskite")
    assert perovskite.roles_of({"O": 3, "Ti": 1, "Ca": 1}) == ("Ca", "Ti", "O")
    assert perovskite.roles_of({"O": 2, "Ti": 1}) is None


def test_unknown_types_are_refused_with_the_likeliest_meant() -> None:
    assert types_named("Rock Salt")[0].name == "rocksalt"
    with pytest.raises(RequestError, match="did you mean spinel"):
        types_named("spinell")
