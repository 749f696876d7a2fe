"""The network's word on the hull distance, and which formulas it never met."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystal_diffusion.prediction import near_hull
from crystal_diffusion.prediction.formulas import FORMULA_CODES, formula_code
from crystal_diffusion.prediction.near_hull import network_opinions
from tests.crystals import rock_salt, shaken


def test_a_known_salt_is_nearer_than_one_shaken_apart() -> None:
    calm, wild = network_opinions([rock_salt(), shaken(rock_salt(), 0.6)], 0.1)
    assert calm.above < wild.above and calm.inside > wild.inside
    assert network_opinions([rock_salt()], 10.0)[0].inside == pytest.approx(1.0)


def test_nothing_is_said_of_what_it_refuses_or_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    strange = rock_salt("Po")
    said = network_opinions([strange, rock_salt()], 0.1)
    assert math.isnan(said[0].above) and math.isnan(said[0].inside)
    assert math.isfinite(said[1].above)
    from pathlib import Path

    monkeypatch.setattr(near_hull, "default_properties_path", lambda: Path(str(tmp_path)) / "no")
    assert math.isnan(network_opinions([rock_salt()], 0.1)[0].inside)


def test_the_code_of_a_formula_depends_on_the_reduced_formula_alone() -> None:
    one = formula_code(np.array([11, 17]))
    assert one == formula_code(np.array([17, 17, 11, 11])) and 0 <= one < FORMULA_CODES
    codes = {formula_code(np.array([a, b])) for a in range(1, 40) for b in range(40, 60)}
    assert codes == set(range(FORMULA_CODES))
    salted = [formula_code(np.array([a, 8]), 2, "half") for a in range(9, 60)]
    assert 10 < sum(salted) < 41
