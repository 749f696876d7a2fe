"""Profiles and TOML limits; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from crystal_diffusion.errors import InputError
from crystal_diffusion.physics.limits import PROFILES, make_limits
from crystal_diffusion.physics.validator import PhysicsValidator
from tests import crystals as named


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("density_high_warning = 23\n[severity]\ndimension = 'warning'\n")
    limits = make_limits("strict", path)
    assert limits.density_high_warning == 23.0
    assert limits.severity == {"dimension": "warning"}
    assert limits.pair_error == PROFILES["strict"].pair_error


def test_osmium_passes_with_a_higher_limit() -> None:
    assert not PhysicsValidator().validate(named.osmium()).check("density").passed
    validator = PhysicsValidator(limits={"density_high_warning": 23})
    assert validator.validate(named.osmium()).check("density").passed


def test_severity_can_be_changed() -> None:
    validator = PhysicsValidator(limits={"severity": {"dimension": "error"}})
    assert not validator.validate(named.graphite()).valid
    assert PhysicsValidator().validate(named.graphite()).valid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("densty_high = 3", "unknown limit 'densty_high'"),
        ("min_distance = 'far'", "give a number"),
        ("min_distance = true", "give a number"),
        ("min_distance = nan", "give a number"),
        ("min_distance = ", "no valid TOML"),
        ("[severity]\nbeauty = 'error'", "unknown check 'beauty'"),
        ("[severity]\ndensity = 'fatal'", "use 'error', 'warning' or 'note'"),
        ("severity = 3", "give a table"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        PhysicsValidator(limits=path)
    assert "limits.toml" in str(error.value)


def test_missing_file_and_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PhysicsValidator(limits=tmp_path / "none.toml")
    with pytest.raises(InputError, match="use one of default, strict, permissive"):
        PhysicsValidator(profile="lax")


def test_the_argument_wins_over_the_file() -> None:
    assert PhysicsValidator(limits={"min_distance": 1.0}).min_distance == 1.0
    assert PhysicsValidator(min_distance=0.9, limits={"min_distance": 1.0}).min_distance == 0.9
    assert PhysicsValidator().min_distance == 0.7


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan")])
def test_bad_distance(distance: float) -> None:
    with pytest.raises(InputError, match="positive distance"):
        PhysicsValidator(min_distance=distance)


def test_strict_is_stricter() -> None:
    default, strict, loose = (PROFILES[p] for p in ("default", "strict", "permissive"))
    assert strict.pair_error > default.pair_error > loose.pair_error
    assert strict.volume_high_error < default.volume_high_error < loose.volume_high_error
