"""Old names work for one version, and say what they are called now."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import crystal_diffusion as cd
from crystal_diffusion.cli import verbs
from crystal_diffusion.deprecated import MOVED


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_a_moved_module_is_found_under_its_old_name(old: str, new: str) -> None:
    module = importlib.import_module(f"crystal_diffusion.{new}")
    spec = module.__spec__
    sys.modules.pop(f"crystal_diffusion.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"is now crystal_diffusion\.{new}"):
        assert importlib.import_module(f"crystal_diffusion.{old}") is module
    assert module.__spec__ is spec and module.__name__ == f"crystal_diffusion.{new}"


def test_an_unknown_module_is_still_unknown() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("crystal_diffusion.screening.nothing")


def test_old_keywords_and_attributes_of_settings() -> None:
    with pytest.warns(DeprecationWarning, match=r"churn=\.\.\.\) is now eta="):
        sampler = cd.SamplerSettings(churn=0.5)
    assert sampler == cd.SamplerSettings(eta=0.5)
    with pytest.warns(DeprecationWarning, match="noise_share"):
        settings = cd.GenerationSettings(novel=0.25, new=True, rank="none")
    assert settings == cd.GenerationSettings(noise_share=0.25, known_last=True, scorer="none")
    with pytest.warns(DeprecationWarning):
        assert settings.novel == 0.25
    with pytest.warns(DeprecationWarning):
        assert replace(settings, rank="score").scorer == "score"


def test_new_names_do_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    settings = cd.GenerationSettings(noise_share=0.25, sampler=cd.SamplerSettings(eta=1.0))
    assert (settings.noise_share, settings.sampler.eta) == (0.25, 1.0)
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]


def test_old_options_work_and_are_not_in_the_help() -> None:
    runner = CliRunner()
    text = runner.invoke(verbs, ["generate", "--help"]).output
    assert "--known-last" in text and "--churn" not in text and "--novel" not in text
    told = runner.invoke(verbs, ["generate", "--churn", "7", "--out", "unused"])
    assert "--churn is now --eta" in told.output
    assert "eta is 7" in str(told.exception)


@pytest.mark.parametrize(
    ("module", "old", "home", "new"),
    [
        ("proposals.library", "ReferenceLibrary", "proposals.library", "CrystalLibrary"),
        ("generation.nearest", "LibraryReference", "generation.nearest", "NearestInLibrary"),
        ("generation.settings", "GenerationResult", "generation.result", "GenerationResult"),
    ],
)
def test_a_renamed_class_is_found_under_its_old_name(
    module: str, old: str, home: str, new: str
) -> None:
    place = importlib.import_module(f"crystal_diffusion.{module}")
    with pytest.warns(DeprecationWarning, match=rf"{old} is now crystal_diffusion\.{home}\.{new}"):
        found = getattr(place, old)
    assert found is getattr(importlib.import_module(f"crystal_diffusion.{home}"), new)
    with pytest.raises(AttributeError, match="nothing"):
        place.nothing  # noqa: B018


def test_the_old_name_of_crystals_relaxed_in_a_round() -> None:
    from crystal_diffusion.discovery.loop import DiscoverySettings

    with pytest.warns(DeprecationWarning, match="per_round"):
        assert DiscoverySettings(batch=3) == DiscoverySettings(per_round=3)
