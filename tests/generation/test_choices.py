"""Requests that leave elements open: what is drawn meets them, and depends on the index alone."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.choices import ElementChoices
from crystal_diffusion.generation.request import Request

KNOWN = tuple(chemistry.atomic_number(s) for s in "Li Na K Mg Al Fe Ti O F Cl S".split())  # noqa: SIM905


def draws(request: Request, n: int = 20) -> list[Request]:
    choices = ElementChoices(request, KNOWN, None)
    return [choices.draw(np.random.default_rng([i])) for i in range(n)]


def test_one_of_each_set_and_the_number_of_elements_are_kept() -> None:
    request = Request(elements=("O",), one_of=(("Li", "Na"), ("F", "Cl")), num_elements=(3, 4))
    for drawn in draws(request):
        assert not drawn.open_elements
        assert "O" in drawn.elements
        assert set(drawn.elements) & {"Li", "Na"}
        assert set(drawn.elements) & {"F", "Cl"}
        assert 3 <= len(drawn.elements) <= 4
    assert len({drawn.elements for drawn in draws(request)}) > 1


def test_a_structure_type_gives_group_and_positions() -> None:
    for drawn in draws(Request(structure_type="perovskite", elements=("O",)), 5):
        assert drawn.spacegroup == "221"
        assert str(drawn.wyckoff).count(":") == 3
        assert "O" in str(drawn.formula)
    (spinel,) = draws(Request(structure_type="spinel", formula="MgAl2O4"), 1)
    assert spinel.wyckoff == "Mg:8a,Al:16d,O:32e"


def test_symmetry_of_its_own_leaves_the_ratio_of_the_type() -> None:
    asked = Request(structure_type="perovskite", formula="NaTiO3", crystal_system="tetragonal")
    (drawn,) = draws(asked, 1)
    assert drawn.wyckoff is None
    assert drawn.crystal_system == "tetragonal"


@pytest.mark.parametrize(
    "wish",
    [
        {"structure_type": "rocksalt", "formula": "CaF2"},
        {"structure_type": "spinell"},
        {"elements": ("Li", "O"), "num_elements": (1, 1)},
        {"formula": "LiF", "one_of": (("Na",),)},
        {"one_of": (("Xx",),)},
    ],
)
def test_impossible_choices_are_refused(wish: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        Request(**wish)  # type: ignore[arg-type]
