"""The page of a discovery says how sure each crystal is, and only what is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crystal_diffusion.discovery.loop import DiscoverySettings, Found
from crystal_diffusion.discovery.reporting import write_discovery
from crystal_diffusion.known.index import load_known
from crystal_diffusion.known.novelty import Novelty
from crystal_diffusion.viewer.report_data import gather
from tests.crystals import caesium_chloride, small_rock_salt


def found(key: str, *, above: float, cation: str = "Na", boxed: bool = False) -> Found:
    crystal = caesium_chloride(cation, "Cl") if boxed else small_rock_salt(cation, "Cl")
    row = {"energy_per_atom_eV": -3.0, "converged": True, "seconds": 6.0}
    return Found(key, "prototype", "", crystal, above, True, Novelty(True), "", None, None, "", row)


def test_the_chance_near_the_published_hull_stands_beside_the_distance(tmp_path: Path) -> None:
    sure, unsure = found("001-000", above=0.0), found("001-001", above=0.3, boxed=True)
    settings = DiscoverySettings(potential="diep")
    accepted = write_discovery(tmp_path, settings, [unsure, sure], load_known(), 60.0)
    assert [f.id for f in accepted] == ["001-000", "001-001"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith("| id"))
    body = [line for line in text.splitlines() if line.startswith("| 001-")]
    assert "chance near hull" in head
    assert {line.count("|") for line in (head, *body)} == {head.count("|")}
    assert "- 1 lie near the published (PBE) hull with a chance of 0.78 or more" in text
    rows = [json.loads(line) for line in (tmp_path / "structures.jsonl").read_text().splitlines()]
    assert json.loads((tmp_path / "manifest.json").read_text())["seconds"] == {"discovery": 60.0}
    assert not gather(tmp_path).gaps
    chances = [row["published_near_hull_probability"] for row in rows]
    assert chances[0] > 0.9 and chances[1] < 0.2
    assert rows[0]["published_above_hull_eV_atom"] < rows[1]["published_above_hull_eV_atom"]


@pytest.mark.parametrize("accepted", [True, False])
def test_nothing_is_foretold_for_another_potential(tmp_path: Path, accepted: bool) -> None:
    settings = DiscoverySettings(potential="chgnet")
    one = [found("001-000", above=0.0)] if accepted else []
    write_discovery(tmp_path, settings, one, load_known(), 60.0)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "chance near hull" not in text and "published (PBE)" not in text
