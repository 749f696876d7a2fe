"""What unrelaxed candidates come to: near the hull or far, how sure, and which file says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.known.index import load_known
from crystal_diffusion.prediction import relaxed_hull
from crystal_diffusion.prediction.model import default_properties
from crystal_diffusion.prediction.relaxed_hull import (
    RelaxedHull,
    candidate_features,
    default_relaxed_hull,
    read_relaxed_hull,
    relaxed_hull_path,
    save_relaxed_hull,
)
from crystal_diffusion.pretrained import model_path
from tests.crystals import rock_salt, shaken


@pytest.fixture(scope="module")
def hull() -> HullBuilder:
    table = load_known()
    return HullBuilder(ReferenceEnergies(table.potential, table.potential_version, table=table))


def shipped() -> RelaxedHull:
    learned = default_relaxed_hull()
    assert learned is not None, "fitted with another property network: run fit_relaxed_hull.py"
    return learned


def test_what_ships_belongs_to_the_table_of_known_crystals() -> None:
    table = load_known()
    assert shipped().potential == (table.potential, table.potential_version)


def test_a_known_salt_is_expected_near_the_hull_and_an_odd_one_is_not(hull: HullBuilder) -> None:
    crystals = [rock_salt(), rock_salt("Au", "Cs"), shaken(rock_salt("Fe", "W"), 0.3)]
    features = candidate_features(crystals, hull, default_properties())
    above, deviation = shipped().expected(features)
    assert above[0] < 0.1 < above[2] and above[0] < above[1]
    assert (deviation > 0).all() and deviation[0] < deviation[2]
    alone, _ = shipped().expected(features[:1])
    assert alone[0] == pytest.approx(above[0], abs=1e-5)


def test_nothing_is_said_of_what_the_network_or_the_hull_does_not_know(hull: HullBuilder) -> None:
    features = candidate_features([rock_salt("Po"), rock_salt()], hull, default_properties())
    assert np.isnan(features[0]).all() and np.isfinite(features[1]).all()
    assert np.isnan(candidate_features([rock_salt("Po")], hull, default_properties())).all()


def test_the_file_comes_back_as_it_was_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "relaxed_hull.safetensors"
    learned = replace(shipped(), widened=1.5)
    save_relaxed_hull(path, learned, {})
    back = read_relaxed_hull(path)
    assert back.widened == 1.5 and back.network == learned.network
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, len(learned.centre))) * learned.scale + learned.centre
    assert np.allclose(back.expected(features), learned.expected(features), atol=1e-3)
    with pytest.raises(CheckpointError, match="holds a model of kind"):
        read_relaxed_hull(model_path())
    with pytest.raises(CheckpointError):
        read_relaxed_hull(tmp_path / "none.safetensors")


def test_it_is_not_used_with_another_property_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "relaxed_hull.safetensors"
    save_relaxed_hull(other, replace(shipped(), network="0" * 64), {})
    monkeypatch.setattr(relaxed_hull, "relaxed_hull_path", lambda: other)
    assert default_relaxed_hull.__wrapped__() is None
    monkeypatch.setattr(relaxed_hull, "relaxed_hull_path", lambda: tmp_path / "none")
    assert default_relaxed_hull.__wrapped__() is None
    assert relaxed_hull_path().is_file()
