"""The loop in a folder: resumed after kills it ends as it would have, and two never share one."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.discovery.comparison import (
    StrategyFigures,
    compare_strategies,
    ratio_of,
    strategies_table,
)
from crystal_diffusion.discovery.loop import Discovery, DiscoverySettings
from crystal_diffusion.discovery.proposing import Proposed
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
from crystal_diffusion.runs.rows import structure_from_row
from tests.crystals import small_rock_salt

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
        "per_round": 3,
        "executor": "here",
        "limits": RelaxLimits(max_steps=4),
    }
    return DiscoverySettings(**(base | more))


def discover(folder: Path, generator: Any, known: Any, **more: Any) -> Discovery:
    search = Discovery(folder, settings(**more), generator, known)
    search.run()
    return search


def rounds(folder: Path) -> list[dict[str, Any]]:
    """What was chosen in each round."""
    lines = (folder / "discovery" / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line)["row"] for line in lines]


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


def test_strategies_are_compared_at_the_same_cost(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    lines: list[str] = []

    def compared() -> list[StrategyFigures]:
        return compare_strategies(
            generator,
            known,
            tmp_path,
            wishes=[Wish(SYMBOLS, most_atoms=8, most_above_hull=20.0)],
            budget=3,
            potential="springs",
            executor="here",
            say=lines.append,
        )

    figures = compared()
    assert [f.strategy for f in figures] == ["loop", "once", "exchange", "random"]
    assert all(f.relaxed == 3 and f.accepted <= 3 for f in figures)
    starts = {
        name: {e["start"] for r in rounds(tmp_path / "Na-Sb-S" / name) for e in r["candidates"]}
        for name in ("exchange", "random")
    }
    assert starts == {"exchange": {"exchange"}, "random": {"random type"}}
    table = strategies_table(figures, known.title)
    assert "| | loop | once | exchange | random |" in table and known.title in table
    assert f"| Na-Sb-S | {figures[0].accepted} of 3 ({figures[0].below}) |" in table
    assert compared() == figures and lines[-1] == "Na-Sb-S, random"  # nothing is done again
    with pytest.raises(InputError, match="nothing is asked for"):
        compare_strategies(generator, known, tmp_path, wishes=[], budget=3)


def test_the_share_of_the_loop_over_another_has_an_interval() -> None:
    def of(strategy: str, accepted: int) -> StrategyFigures:
        return StrategyFigures("anything", strategy, 100, accepted, 0, accepted, 0, 0, 1.0)

    middle, low, high = ratio_of([of("loop", 60), of("once", 30)], "once")
    assert middle == pytest.approx(2.0) and 1.3 < low < 1.7 and 2.4 < high < 3.0
    assert ratio_of([of("loop", 5), of("random", 0)], "random")[0] == float("inf")


def test_what_is_chosen_is_what_the_network_puts_near_the_hull(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    asked = settings(budget=Budget(4), strategy="once", wish=Wish(SYMBOLS, most_atoms=8))
    search = Discovery(tmp_path, asked, generator, known)
    tmp_path.mkdir(exist_ok=True)
    chosen = search.choose_once(4)
    rng = np.random.default_rng(3)
    drawn = list(search.proposing.prototypes(rng, 40))
    above, _ = search._guesses([p.structure for p in chosen])
    usual, _ = search._guesses([p.structure for p in drawn])
    assert len(chosen) == 4 and np.mean(above) < np.median(usual)


def test_a_round_keeps_what_comes_next_and_the_following_one_looks_at_it_again(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    search = discover(tmp_path / "loop", generator, known, budget=Budget(3))
    first = rounds(tmp_path / "loop")[0]
    assert len(first["candidates"]) == 3 and 0 < len(first["reserve"]) <= 24
    formulas = [p.structure.composition.reduced_formula for p in search._reserve(2)]
    asked = [structure_from_row(e["structure"]) for e in first["reserve"]]
    assert formulas == [s.composition.reduced_formula for s in asked] and not search._reserve(1)
    # Not again what was relaxed, as it was made or as it came out.
    made = [structure_from_row(e["structure"]) for e in first["candidates"]]
    out = [f.structure for f in search.found()]
    assert search._fresh([Proposed(s, "prototype") for s in (*made, *out)]) == []
    discover(tmp_path / "once", generator, known, budget=Budget(3), strategy="once")
    assert "reserve" not in rounds(tmp_path / "once")[0]


def test_other_structures_are_proposed_for_what_was_found(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    search = Discovery(tmp_path, settings(wish=Wish(SYMBOLS, most_atoms=16)), generator, known)
    parents = [Proposed(small_rock_salt("Na", "S"), "prototype")]
    found = list(search.proposing.polymorphs(np.random.default_rng(0), parents, 5))
    assert len(found) >= 5 and len({p.kind for p in found}) >= 5
    for proposed in found:
        assert proposed.structure.composition.reduced_formula == "NaS"
        assert len(proposed.structure) <= 16


def test_what_is_not_wished_for_is_not_relaxed(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    search = Discovery(tmp_path, settings(), generator, known)
    search._open_logs()
    metal = Structure(Lattice.cubic(4.3), ["Na", "Na"], [[0] * 3, [0.5] * 3])
    salt, other = small_rock_salt("Na", "S"), small_rock_salt("Na", "Cl")
    pool = [Proposed(s, "noise") for s in (metal, salt, other, salt.copy())]
    assert [p.structure for p in search._fresh(pool)] == [salt]


def test_what_gives_no_energies_discovers_nothing(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="pair gives no energies"):
        Discovery(tmp_path, settings(potential="pair"), generator, known)
    with pytest.raises(InputError, match="no table of known crystals for springs"):
        Discovery(tmp_path, settings(), generator, load_known())
    with pytest.raises(InputError, match="'greedy' unknown"):
        settings(strategy="greedy")


def test_elements_that_nobody_knows_are_refused_and_noble_gases_only_left_out_unasked(
    generator: CrystalGenerator, known: KnownCrystals, tmp_path: Path
) -> None:
    few = potentials.NamedPotential("springs", "1", "test", frozenset({"Na", "S"}), PairPotential)
    potentials.POTENTIALS["springs"] = lambda: few
    with pytest.raises(InputError, match="elements: springs does not know Sb; leave it out"):
        Discovery(tmp_path, settings(), generator, known)
    wide = potentials.NamedPotential("springs", "1", "test", None, PairPotential)
    potentials.POTENTIALS["springs"] = lambda: wide
    with pytest.raises(InputError, match="the model does not know At, Po; leave them out"):
        Discovery(tmp_path, settings(wish=Wish(("Po", "At", "O"))), generator, known)
    asked = Discovery(tmp_path, settings(wish=Wish(("Xe", "F"))), generator, known)
    assert asked.proposing.elements == [54, 9]
    unasked = Discovery(tmp_path, settings(wish=Wish()), generator, known)
    assert 54 not in unasked.proposing.elements and 9 in unasked.proposing.elements
