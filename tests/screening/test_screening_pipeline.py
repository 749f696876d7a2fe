"""The stages together: what a run leaves behind, after kills, bad files and missing references."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy import potentials
from crystal_diffusion.energy.pair_potential import PAIR_ELEMENTS, PairPotential
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.errors import InputError
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.rows import ScreeningRow, ScreenOutcome
from crystal_diffusion.screening.settings import Candidates, ScreenSettings, read_candidates
from crystal_diffusion.screening.stage_log import StageLog
from crystal_diffusion.screening.store import Store
from tests.crystals import small_rock_salt as rock_salt


def shaken(seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    coords = cell.frac_coords + rng.normal(0, 0.03, (8, 3))
    return Structure(
        cell.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), cell.species, coords
    )


@pytest.fixture(scope="module")
def library() -> CrystalLibrary:
    known = {
        "known-na": Structure.from_spacegroup("Im-3m", Lattice.cubic(4.2), ["Na"], [[0, 0, 0]]),
        "known-cl": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.4), ["Cl"], [[0, 0, 0]]),
        "known-salt": rock_salt(),
    }
    structures = [s.get_primitive_structure() for s in known.values()]
    return CrystalLibrary.from_structures(structures, list(known))


class Softer(PairPotential):  # type: ignore[misc]
    """Nine tenths of the pair potential."""

    def calculate(self, *arguments: Any, **named: Any) -> None:
        super().calculate(*arguments, **named)
        self.results = {k: 0.9 * v for k, v in self.results.items()}


@pytest.fixture(autouse=True)
def potentials_with_energies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair potential under names that claim to give energies, which it itself does not."""
    for name, make in (("springs", PairPotential), ("softer", Softer)):
        made = potentials.NamedPotential(name, "1", "test", PAIR_ELEMENTS, make)
        monkeypatch.setitem(potentials.POTENTIALS, name, lambda made=made: made)


def settings(tmp_path: Path, **more: Any) -> ScreenSettings:
    base: dict[str, Any] = {
        "potentials": ("springs",),
        "stages": ("validate", "group", "relax", "novelty", "hull", "rank"),
        "executor": "here",
        "profile": "permissive",
        "cache": tmp_path / "cache",
        "limits": RelaxLimits(max_steps=30),
    }
    return ScreenSettings(**(base | more))


def run(
    tmp_path: Path,
    structures: dict[str, Structure],
    library: CrystalLibrary | None,
    unreadable: dict[str, str] | None = None,
    **more: Any,
) -> ScreenOutcome:
    candidates = Candidates(structures, unreadable or {}, tmp_path / "out", False)
    return screen(candidates, settings(tmp_path, **more), known=index_of(library))


def index_of(library: CrystalLibrary | None) -> KnownCrystals | None:
    return None if library is None else KnownCrystals.of_library(library)


def by_id(outcome: ScreenOutcome) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in outcome.rows}


def test_whole_run_leaves_tables_structures_hull_and_database(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    structures = {
        "salt": rock_salt(edge=5.5),
        "copy": rock_salt(edge=5.5),
        "cesium-like": Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "squeezed": Structure(Lattice.cubic(1.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    }
    outcome = run(tmp_path, structures, library, {"broken": "unreadable: no CIF"})
    rows = by_id(outcome)
    assert [row["id"] for row in outcome.rows] == [*structures, "broken"]
    assert all(tuple(row) == ScreeningRow.columns() for row in outcome.rows)
    assert rows["salt"]["rank"] == 1 and rows["cesium-like"]["rank"] == 2
    assert rows["copy"]["duplicate_of"] == "salt" and rows["copy"]["rank"] is None
    assert rows["squeezed"]["valid"] is False and "not valid" in rows["squeezed"]["problem"]
    assert rows["broken"]["problem"] == "unreadable: no CIF"
    assert outcome.failed == ("broken",)
    assert rows["salt"]["energy_above_hull_eV_atom"] == pytest.approx(0.0, abs=2e-3)
    assert rows["salt"]["formation_energy_eV_atom"] < 0
    assert rows["salt"]["n_competing"] == 1 and rows["salt"]["reference_date"]
    assert rows["salt"]["novel"] is False and rows["salt"]["nearest_known_id"] == "known-salt"
    assert rows["cesium-like"]["novel"] is True
    assert rows["cesium-like"]["energy_above_hull_eV_atom"] > 0.05

    out = tmp_path / "out"
    with (out / "screening.csv").open() as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == list(rows)
    lines = (out / "screening.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == outcome.rows
    cif = Structure.from_file(out / "relaxed" / "salt.cif")
    stored = {key: structure for key, structure, _ in Store(out / "screening.db").rows()}
    assert cif.lattice.parameters == pytest.approx(stored["salt"].lattice.parameters, abs=1e-6)
    assert sorted(stored) == sorted(structures)
    hull = json.loads((out / "hull.json").read_text())
    assert hull["potential"] == "springs" and hull["potential_version"]
    assert {r["id"] for r in hull["systems"]["Cl-Na"]["references"]} >= {"known-na", "known-salt"}
    assert outcome.funnel["ranked"] == 2


def test_crystals_that_become_equal_by_relaxing_count_once(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    rows = by_id(run(tmp_path, {"a": shaken(1), "b": rock_salt()}, library))
    ranked = [key for key, row in rows.items() if row["rank"]]
    if rows["a"]["group"] == rows["b"]["group"]:
        assert len(ranked) == 1
    assert sum(row["duplicate_of"] is not None for row in rows.values()) == 2 - len(ranked)
    assert len(ranked) == 1


def test_further_potentials_give_the_spread(tmp_path: Path, library: CrystalLibrary) -> None:
    stages = ("validate", "group", "relax", "energies", "hull", "rank")
    outcome = run(
        tmp_path, {"salt": rock_salt()}, library, potentials=("springs", "softer"), stages=stages
    )
    row = outcome.rows[0]
    expected = 0.1 * abs(row["formation_energy_eV_atom"])
    assert row["spread_eV_atom"] == pytest.approx(expected, rel=0.02)


def test_missing_reference_element_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    from crystal_diffusion.energy.reference_energies import ReferenceEnergies

    def nothing(self: ReferenceEnergies, element: str) -> float | None:
        return None if element == "Cl" else -1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceEnergies, "elemental_energy", nothing)
        outcome = run(tmp_path, {"salt": rock_salt()}, library)
    row = outcome.rows[0]
    assert "no reference energy for Cl with springs" in row["problem"]
    assert row["formation_energy_eV_atom"] is None
    assert row["energy_per_atom_eV"] is not None and row["rank"] == 1
    assert outcome.failed == ("salt",)


def test_elements_no_potential_knows_are_recorded(tmp_path: Path, library: CrystalLibrary) -> None:
    odd = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.4), ["Cf", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    outcome = run(
        tmp_path,
        {"odd": odd, "salt": rock_salt()},
        library,
        stages=("group", "relax", "hull", "rank"),
    )
    rows = by_id(outcome)
    assert "springs does not know Cf" in rows["odd"]["problem"]
    assert rows["salt"]["rank"] == 1 and rows["odd"]["rank"] is None
    assert "odd" in outcome.failed


def test_locked_database_does_not_lose_the_run(tmp_path: Path, library: CrystalLibrary) -> None:
    outcome = run(tmp_path, {"salt": rock_salt()}, library, db=str(tmp_path / "nowhere" / "x.db"))
    assert any("does not exist" in problem for problem in outcome.problems)
    assert outcome.rows[0]["rank"] == 1
    assert (tmp_path / "out" / "screening.csv").exists()


def test_each_stage_runs_alone_and_what_is_done_is_not_done_again(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    structures = {"salt": rock_salt(edge=5.4), "b": shaken(3)}
    for stage in ("validate", "group", "relax", "novelty", "hull", "rank"):
        outcome = run(tmp_path, structures, library, stages=(stage,))
    alone = outcome.rows
    before = (tmp_path / "out" / "screening" / "relax.jsonl").read_bytes()
    again = run(tmp_path, structures, library)
    assert again.rows == alone
    assert (tmp_path / "out" / "screening" / "relax.jsonl").read_bytes() == before
    changed = run(tmp_path, structures, library, limits=RelaxLimits(max_steps=1))
    assert by_id(changed)["b"]["steps"] == 1


def _screen_slowly(folder: Path, count: int) -> None:
    structures = {f"s{i}": shaken(i) for i in range(count)}
    candidates = Candidates(structures, {}, folder / "out", False)
    stages = ("validate", "group", "relax", "rank")
    screen(candidates, settings(folder, stages=stages, limits=RelaxLimits(max_steps=12)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_killed_twice_while_relaxing_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    count = 8
    _screen_slowly(tmp_path / "whole", count)  # first, so that children need not import anything
    fork = multiprocessing.get_context("fork")
    log = tmp_path / "killed" / "out" / "screening" / "relax.jsonl"
    reached = 0
    for _ in range(2):
        child = fork.Process(target=_screen_slowly, args=(tmp_path / "killed", count))
        child.start()
        deadline = time.monotonic() + 900  # a busy machine is no failure
        while time.monotonic() < deadline and child.is_alive():
            lines = log.read_bytes().count(b"\n") if log.exists() else 0
            if lines > reached:
                break
            time.sleep(0.005)
        child.kill()
        child.join()
        reached = log.read_bytes().count(b"\n")
        assert 0 < reached < count, "the kill must fall into the middle of relaxation"
    with log.open("ab") as stream:
        stream.write(b'{"id": "s7", "settings": "cut sho')  # as a kill during a write leaves it
    _screen_slowly(tmp_path / "killed", count)
    for name in ("screening.jsonl", "screening.csv", "relaxed.extxyz"):
        killed = (tmp_path / "killed" / "out" / name).read_bytes()
        assert killed == (tmp_path / "whole" / "out" / name).read_bytes()


def test_stage_log_drops_damaged_lines_and_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first = StageLog(path, "one")
    first.add("a", {"value": 1})
    first.add("b", {"value": 2})
    with path.open("ab") as stream:
        stream.write(b"not json\n")
        stream.write(b'{"id": "c", "settin')
    again = StageLog(path, "one")
    assert again.rows == {"a": {"value": 1}, "b": {"value": 2}}
    again.add("c", {"value": 3})
    assert StageLog(path, "one").rows["c"] == {"value": 3}
    assert StageLog(path, "two").rows == {}


def test_candidates_from_a_folder_with_an_unreadable_file(tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for number in range(3):
        rock_salt(edge=5.4 + 0.1 * number).to(filename=str(folder / f"s{number}.cif"))
    (folder / "bad.cif").write_text("data_bad\nthis is no crystal")
    found = read_candidates(folder)
    assert list(found.structures) == ["s0", "s1", "s2"]
    assert list(found.unreadable) == ["bad"] and "bad.cif" in found.unreadable["bad"]
    assert found.folder == tmp_path / "cifs-screened"


def test_screened_folder_is_a_run_for_the_other_verbs(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    from ase.io import read

    from crystal_diffusion.runs.folder import RunFolder
    from crystal_diffusion.viewer.report_data import gather

    folder = tmp_path / "cifs"
    (folder / "sub").mkdir(parents=True)
    for name in ("one", "sub/one", "odd name"):
        rock_salt(edge=5.4).to(filename=str(folder / f"{name}.cif"))
    (folder / "bad.cif").write_text("data_bad")
    out = tmp_path / "cifs-screened"
    first = screen(read_candidates(folder), settings(tmp_path), known=index_of(library))
    ids = ["odd_name", "one", "sub_one"]
    made = RunFolder.open(out)
    assert sorted(made.structures()) == ids
    assert sorted(path.stem for path in (out / "cif").iterdir()) == ids
    assert sorted(str(atoms.info["id"]) for atoms in read(out / "structures.extxyz", ":")) == ids
    rows = {row["id"]: row for row in made.rows()}
    assert rows["one"]["formula"] == "NaCl" and rows["one"]["space_group_0.1"] == 225
    assert rows["one"]["min_distance_A"] == pytest.approx(2.7) and rows["one"]["checks"]
    assert rows["sub_one"]["source"].endswith("one.cif")
    data = gather(out)
    assert not data.gaps and sorted(data.made) == ids and data.funnel[0] == ("Files found", 4)
    again = screen(read_candidates(out), settings(tmp_path), known=index_of(library))
    assert again.rows == first.rows and again.failed == ("bad",)


def test_run_screened_into_another_folder_keeps_its_own_rows(tmp_path: Path) -> None:
    from crystal_diffusion.runs.folder import RunFolder

    run = RunFolder.create(tmp_path / "run")
    run.write_structures({"a": rock_salt()}, [{"id": "a", "seed": 7}])
    run.write_rejected({"contacts": 2})
    run.write_manifest({"n": 1, "training_statistics": {"density_g_cm3": [2.0]}})
    found = read_candidates(tmp_path / "run", tmp_path / "elsewhere")
    screen(found, settings(tmp_path, stages=("validate",)))
    there = RunFolder.open(tmp_path / "elsewhere")
    assert there.rows() == run.rows() and there.rejected() == run.rejected()
    assert there.manifest["training_statistics"] == {"density_g_cm3": [2.0]}
    assert there.manifest["screened_from"] == str(tmp_path / "run")


def test_settings_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="polish unknown; choose from validate"):
        ScreenSettings(stages=("polish",))
    with pytest.raises(InputError, match="refine_hull: -1 given"):
        ScreenSettings(refine_hull=-1)


def test_without_a_potential_there_is_no_energy_and_one_sentence_says_what_to_type(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    structures = {"salt": rock_salt(), "copy": rock_salt(), "other": rock_salt(edge=6.4)}
    structures["cesium-like"] = Structure(
        Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    stages = ("validate", "group", "relax", "energies", "novelty", "hull", "rank")
    outcome = run(tmp_path, structures, library, potentials=(), stages=stages)
    rows = by_id(outcome)
    assert [note for note in outcome.notes if "pip install diep" in note] == [
        potentials.NO_POTENTIAL
    ]
    for row in outcome.rows:
        assert all(row[k] is None for k in ScreeningRow.columns() if k.endswith(("_eV", "eV_atom")))
    assert rows["salt"]["novel"] is False and rows["cesium-like"]["novel"] is True
    assert {rows["salt"]["rank"], rows["cesium-like"]["rank"]} == {1, 2}
    assert rows["copy"]["duplicate_of"] == "salt" and rows["copy"]["rank"] is None
    assert not (tmp_path / "out" / "hull.json").exists()
    with pytest.raises(InputError, match="relax: no potential .* pip install diep"):
        run(tmp_path, structures, library, potentials=(), stages=("relax",))


def test_the_pair_potential_moves_atoms_but_says_nothing_of_energy(
    tmp_path: Path, library: CrystalLibrary
) -> None:
    outcome = run(tmp_path, {"salt": shaken(1)}, library, potentials=("pair",))
    row = outcome.rows[0]
    assert row["converged"] is not None and row["steps"] > 0
    assert row["energy_per_atom_eV"] is None and row["energy_above_hull_eV_atom"] is None
    assert any("no energies" in note for note in outcome.notes)
    assert (tmp_path / "out" / "relaxed" / "salt.cif").is_file()


def test_a_doubtful_result_is_marked_and_comes_last(tmp_path: Path) -> None:
    """Nothing is known of K-Cl here but the elements: the distance is to these only."""
    elements = [
        Structure.from_spacegroup("Im-3m", Lattice.cubic(a), [symbol], [[0, 0, 0]])
        for symbol, a in (("K", 5.3), ("Cl", 4.4), ("Na", 4.2))
    ]
    elements.append(rock_salt())
    small = CrystalLibrary.from_structures([s.get_primitive_structure() for s in elements])
    outcome = run(tmp_path, {"odd": rock_salt("K", edge=6.3), "salt": rock_salt(edge=5.7)}, small)
    rows = by_id(outcome)
    assert rows["odd"]["n_competing"] == 0
    assert "no competing compound" in rows["odd"]["doubt"]
    assert rows["odd"]["energy_above_hull_eV_atom"] < rows["salt"]["energy_above_hull_eV_atom"]
    assert rows["salt"]["doubt"] == "" and (rows["salt"]["rank"], rows["odd"]["rank"]) == (1, 2)


def test_a_doubtful_crystal_is_neither_the_headline_nor_stable() -> None:
    from crystal_diffusion.viewer import report_parts
    from crystal_diffusion.viewer.report import _flags
    from crystal_diffusion.viewer.report_data import ReportData

    fields: dict[str, Any] = {"published_near_hull_probability": 0.9, "formula": "NaCl"}
    rows = [
        {"id": "far", "energy_above_hull_eV_atom": -2.2, "doubt": "no competing", **fields},
        {"id": "near", "energy_above_hull_eV_atom": 0.02, "doubt": "", **fields},
        {"id": "open", "energy_above_hull_eV_atom": 0.3, **fields},
    ]
    fake: Any = type("Data", (), {"rows": rows})
    data: ReportData = fake
    assert "near (NaCl), lies 0.02 eV" in report_parts.headline(data)
    marks = [_flags(row, set()).split() for row in rows]
    assert [("stable" in own, "likely" in own) for own in marks] == [
        (False, False),
        (True, True),
        (False, True),
    ]
