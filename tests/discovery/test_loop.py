"""The loop in a folder: resumed after kills it ends as it would have, and two never share one."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from crystal_diffusion.discovery.loop import Discovery, DiscoverySettings
from crystal_diffusion.discovery.reporting import write_discovery
from crystal_diffusion.discovery.wish import Budget, Wish
from crystal_diffusion.energy import potentials
from crystal_diffusion.energy.pair_potential import PAIR_ELEMENTS, PairPotential
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import locked
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.known.index import KnownCrystals, load_known

SYMBOLS = ("Na", "Sb", "S")


@pytest.fixture(scope="module")
def generator() -> CrystalGenerator:
    return load()


@pytest.fixture(scope="module")
def known() -> KnownCrystals:
    """The shipped index as if its energies were of the test potential; only few are needed."""
    from dataclasses import replace

    return replace(load_known(), potential="springs", potential_version="1")


@pytest.fixture(autouse=True)
def springs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = potentials.NamedPotential("springs", "1", "test", PAIR_ELEMENTS, PairPotential)
    monkeypatch.setitem(potentials.POTENTIALS, "springs", lambda: made)


def settings(**more: Any) -> DiscoverySettings:
    base: dict[str, Any] = {
        # The pair potential's energies lie far above those of the table.
        "wish": Wish(SYMBOLS, most_atoms=8, most_above_hull=20.0),
        "budget": Budget(6),
        "potential": "springs",
        "batch": 3,
        "executor": "here",
        "limits": RelaxLimits(max_steps=4),
    }
    return DiscoverySettings(**(base | more))


def discover(folder: Path, generator: Any, known: Any, **more: Any) -> Discovery:
    search = Discovery(folder, settings(**more), generator, known)
    search.run()
    return search


def outcome(folder: Path) -> dict[str, Any]:
    """Verdicts by id, without what depends on the clock."""
    lines = (folder / "discovery" / "verdicts.jsonl").read_text().splitlines()
    return {json.loads(line)["id"]: json.loads(line)["row"] for line in lines}


def test_a_discovery_spends_its_budget_and_writes_what_it_found(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    lines: list[str] = []
    search = Discovery(tmp_path, settings(), generator, known, lines.append)
    found = search.run()
    assert len(found) == 6 and len(lines) == 2
    assert "so far" in lines[1] and "round 2" in lines[1]
    accepted = write_discovery(tmp_path, search.settings, found, known, search.seconds)
    assert [f.id for f in found if f.accepted] == sorted(f.id for f in accepted)
    for f in accepted:
        assert f.novelty is not None and f.novelty.novel and not f.twin and not f.note
        assert set(f.structure.composition.get_el_amt_dict()) <= set(SYMBOLS)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert known.title in text and "6 relaxed" in text and "What it cost" in text
    assert len(list((tmp_path / "cif").iterdir())) == len(accepted)
    formulas = [f.structure.composition.reduced_formula for f in found]
    assert all(formulas.count(formula) <= 4 for formula in formulas)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_killed_twice_it_ends_like_one_that_was_not(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    discover(tmp_path / "whole", generator, known)
    fork = multiprocessing.get_context("fork")
    log = tmp_path / "killed" / "discovery" / "relaxed.jsonl"
    for after in (1, 4):
        child = fork.Process(target=discover, args=(tmp_path / "killed", generator, known))
        child.start()
        deadline = time.monotonic() + 900  # a busy machine is no failure
        while time.monotonic() < deadline and child.is_alive():
            if log.exists() and log.read_bytes().count(b"\n") >= after:
                break
            time.sleep(0.002)
        child.kill()
        child.join()
    discover(tmp_path / "killed", generator, known)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_two_in_one_folder_and_another_wish_are_refused(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="another command"):
        discover(tmp_path, generator, known)
    discover(tmp_path, generator, known, budget=Budget(1))
    with pytest.raises(InputError, match="another wish, seed or settings"):
        discover(tmp_path, generator, known, seed=5)
    again = discover(tmp_path, generator, known, budget=Budget(2))  # a larger budget goes on
    assert len(again.found()) == 2


@pytest.mark.parametrize("strategy", ["once", "exchange", "random"])
def test_what_it_is_compared_with_spends_the_same(
    strategy: str, generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    search = discover(tmp_path, generator, known, strategy=strategy, budget=Budget(3))
    found = search.found()
    assert len(found) == 3
    wanted = {"exchange": {"exchange"}, "random": {"random type"}}.get(strategy)
    assert wanted is None or {f.start for f in found} == wanted


def test_what_gives_no_energies_discovers_nothing(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="pair gives no energies"):
        Discovery(tmp_path, settings(potential="pair"), generator, known)
    with pytest.raises(InputError, match="no table of known crystals for springs"):
        Discovery(tmp_path, settings(), generator, load_known())
    with pytest.raises(InputError, match="'greedy' unknown"):
        settings(strategy="greedy")
