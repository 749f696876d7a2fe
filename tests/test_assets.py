"""Every shipped file has a card, is the file that its card describes, and can be made again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from crystal_diffusion import __version__
from crystal_diffusion.errors import InputError
from crystal_diffusion.pretrained import asset_files, assets, card_of, read_card

ROOT = Path(__file__).parents[1]
FILES = asset_files()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_an_asset_is_the_one_of_its_card(path: Path) -> None:
    asset = read_card(card_of(path))
    assert asset.path == path
    assert asset.intact, f"{path.name} changed: run `python recipes/stamp_cards.py`"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_card_says_whence_and_how(path: Path) -> None:
    asset = read_card(card_of(path))
    assert asset.source
    assert (ROOT / asset.recipe).is_file()
    assert len(card_of(path).read_text().split("+++\n", 2)[2].split()) > 20


def test_the_licenses_of_the_package_are_those_of_its_assets_and_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["license"].split(" AND ")) == {"MIT"} | {a.license for a in assets()}
    for name in project["license-files"]:
        assert (ROOT / name).is_file()
    named = (ROOT / "LICENSE-DATA").read_text()
    for asset in assets():
        assert (asset.file in named) == (asset.license == "CC-BY-4.0")


def test_the_version_is_written_in_the_package_and_cited_as_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and "version" in project["dynamic"]
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_changed_asset_and_a_card_without_head_are_noticed(tmp_path: Path) -> None:
    card = tmp_path / "model.md"
    card.write_text("# no head\n")
    with pytest.raises(InputError, match="is no card"):
        read_card(card)
    text = card_of(FILES[0]).read_text()
    card.write_text(text.replace('sha256 = "', 'sha256 = "0'))
    assert not read_card(card).intact
