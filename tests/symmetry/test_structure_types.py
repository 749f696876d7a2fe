"""Structure types by name: their table agrees with groups, ratios and detection."""

from __future__ import annotations

import math

import pytest

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.request import Request
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


def test_an_element_may_take_several_roles() -> None:
    spinel = types_named("spinel")[0]
    roles = spinel.roles_of({"Co": 3, "O": 4})
    assert roles == ("Co", "Co", "O")
    assert spinel.wyckoff(roles) == "Co:8a,Co:16d,O:32e"
    assert types_named("garnet")[0].roles_of({"Y": 3, "Fe": 5, "O": 12}) is not None
    assert spinel.roles_of({"Co": 4, "O": 3}) is None
    assert Request(formula="Co3O4", structure_type="spinel").structure_type == "spinel"
    with pytest.raises(RequestError, match="ratio of atoms"):
        Request(formula="Co4O3", structure_type="spinel")


def test_unknown_types_are_refused_with_the_likeliest_meant() -> None:
    assert types_named("Rock Salt")[0].name == "rocksalt"
    with pytest.raises(RequestError, match="did you mean spinel"):
        types_named("spinell")
