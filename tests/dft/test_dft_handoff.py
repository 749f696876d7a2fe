"""DFT hand-off: inputs that say what was meant, results that come back by id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.dft.inputs import (
    DftJob,
    DftSettings,
    kpoint_grid,
    write_inputs,
)
from crystal_diffusion.dft.results import dft_rows, read_results, reference_jobs
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.rows import structure_row


def rock_salt(metal: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [metal, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


def simple(element: str, a: float) -> Structure:
    return Structure(Lattice.cubic(a), [element], [[0, 0, 0]])


SALT, RUST = rock_salt("Na", "Cl", 5.64), rock_salt("Fe", "O", 4.33)


def test_grid_follows_the_reciprocal_lengths() -> None:
    long = Structure(np.diag([4.0, 8.0, 16.0]), ["Si"], [[0, 0, 0]])
    assert kpoint_grid(long, 64.0) == (7, 4, 2)
    assert kpoint_grid(long, 1e-6) == (1, 1, 1)


def test_vasp_inputs_name_potcars_and_ship_none(tmp_path: Path) -> None:
    assert write_inputs([DftJob("rust/1", RUST)], tmp_path, "vasp") == {}
    folder = tmp_path / "rust_1"
    names = {path.name for path in folder.iterdir()}
    assert {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec", "job.sh", "id.json"} <= names
    assert "POTCAR" not in names
    assert (folder / "POTCAR.spec").read_text().split() == ["Fe_pv", "O"]
    incar = (folder / "INCAR").read_text()
    assert "ENCUT = 520" in incar and "ISPIN = 2" in incar
    assert "MAGMOM" in incar and "5.0" in incar and "LDAUU" in incar
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["jobs"][0]["id"] == "rust/1" and manifest["jobs"][0]["magnetic_start"]


def test_espresso_input_holds_the_crystal(tmp_path: Path) -> None:
    from ase.io import read

    assert write_inputs([DftJob("rust", RUST)], tmp_path, "espresso") == {}
    text = (tmp_path / "rust" / "pw.in").read_text()
    assert "nspin = 2" in text and "starting_magnetization(1) = 0.50" in text
    assert "ecutwfc = 38.2193" in text and "vc-relax" in text
    back = read(tmp_path / "rust" / "pw.in", format="espresso-in")
    assert back.get_chemical_symbols() == [site.specie.symbol for site in RUST]
    assert back.cell.array == pytest.approx(RUST.lattice.matrix, abs=1e-8)


def test_espresso_takes_the_pbe_file_and_says_which_is_missing(tmp_path: Path) -> None:
    pseudo = tmp_path / "upf"
    pseudo.mkdir()
    for name in ("Na.pz-x.UPF", "Na.pbesol-x.UPF", "Na.pbe-x.UPF", "N.pbe-x.UPF"):
        (pseudo / name).touch()
    settings = DftSettings(pseudo_dir=pseudo, relax=False)
    jobs = [DftJob("salt", SALT), DftJob("sodium", simple("Na", 4.2))]
    problems = write_inputs(jobs, tmp_path / "out", "espresso", settings)
    assert list(problems) == ["salt"] and "no UPF file for Cl" in problems["salt"]
    assert "Na.pbe-x.UPF" in (tmp_path / "out" / "sodium" / "pw.in").read_text()
    assert not (tmp_path / "out" / "salt").exists()


def test_gpaw_script_is_python_and_carries_the_settings(tmp_path: Path) -> None:
    write_inputs([DftJob("rust", RUST)], tmp_path, "gpaw", DftSettings(cutoff_eV=300))
    text = (tmp_path / "rust" / "run.py").read_text()
    compile(text, "run.py", "exec")
    assert "PW(300)" in text and "'Fe': 5.0" in text


def finish(folder: Path, energy: float, structure: Structure, converged: bool = True) -> None:
    """What run.py would have written."""
    row = {
        "id": folder.name,
        "energy_eV": energy,
        "converged": converged,
        **structure_row(structure),
    }
    (folder / "result.json").write_text(json.dumps(row))


def test_kind_09_results_of_another_id_or_without_a_cell_are_refused(tmp_path: Path) -> None:
    write_inputs([DftJob("a", SALT), DftJob("b", SALT)], tmp_path, "gpaw")
    finish(tmp_path / "a", -8.0, SALT)
    (tmp_path / "a" / "result.json").rename(tmp_path / "b" / "result.json")
    finish(tmp_path / "a", -8.0, SALT)
    text = (tmp_path / "a" / "result.json").read_text()
    cell = json.dumps(SALT.lattice.matrix.tolist())
    (tmp_path / "a" / "result.json").write_text(text.replace(cell, "[[NaN,0,0],[0,5,0],[0,0,5]]"))
    _, results = read_results(tmp_path)
    assert ["cell" in r.problem or "not of 'b'" in r.problem for r in results] == [True, True]


def test_results_come_back_by_id_with_a_hull_of_their_own(tmp_path: Path) -> None:
    sodium, chlorine = simple("Na", 4.2), simple("Cl", 4.0)
    jobs = [
        DftJob("a", SALT),
        DftJob("b", SALT),
        DftJob("late", SALT),
        DftJob("wrong", SALT),
        DftJob("na", sodium, "reference"),
        DftJob("cl", chlorine, "reference"),
        DftJob("known", SALT, "reference"),
    ]
    write_inputs(jobs, tmp_path, "gpaw")
    finish(tmp_path / "a", -8.0, SALT)
    finish(tmp_path / "b", -7.0, SALT, converged=False)
    finish(tmp_path / "wrong", -7.0, RUST)
    finish(tmp_path / "na", -1.0, sodium)
    finish(tmp_path / "cl", -2.0, chlorine)
    finish(tmp_path / "known", -7.6, SALT)
    (tmp_path / "a").rename(tmp_path / "zz")  # the order and names of folders mean nothing
    code, results = read_results(tmp_path)
    rows = dft_rows(code, results)
    assert set(rows) == {"a", "b", "late", "wrong"}
    assert rows["a"]["dft_energy_per_atom_eV"] == -4.0
    assert rows["a"]["dft_formation_energy_eV_atom"] == pytest.approx(-2.5)
    assert rows["a"]["dft_energy_above_hull_eV_atom"] == pytest.approx(-0.2)
    assert rows["b"]["dft_energy_above_hull_eV_atom"] == pytest.approx(0.3)
    assert rows["b"]["dft_converged"] is False
    assert "no result yet" in rows["late"]["dft_problem"]
    assert "Fe1 O1" in rows["wrong"]["dft_problem"]


def test_hull_without_references_says_what_is_missing(tmp_path: Path) -> None:
    write_inputs([DftJob("a", SALT)], tmp_path, "gpaw")
    finish(tmp_path / "a", -8.0, SALT)
    row = dft_rows(*read_results(tmp_path))["a"]
    assert row["dft_energy_per_atom_eV"] == -4.0
    assert row["dft_energy_above_hull_eV_atom"] is None
    assert "no reference energy for Cl, Na" in row["dft_problem"]


def test_damaged_output_is_a_recorded_problem(tmp_path: Path) -> None:
    write_inputs([DftJob("a", SALT)], tmp_path / "g", "gpaw")
    (tmp_path / "g" / "a" / "result.json").write_text("{")
    write_inputs([DftJob("a", SALT)], tmp_path / "e", "espresso")
    (tmp_path / "e" / "a" / "pw.out").write_text("stopped half way")
    write_inputs([DftJob("a", SALT)], tmp_path / "v", "vasp")
    (tmp_path / "v" / "a" / "vasprun.xml").write_text("<modeling>")
    for name, reason in (("g", "cannot be read"), ("e", "JOB DONE"), ("v", "cannot be read")):
        _, (result,) = read_results(tmp_path / name)
        assert reason in result.problem and np.isnan(result.energy_per_atom)


def test_references_are_the_elements_and_the_decomposition_products() -> None:
    def entry(key: str, energy: float, **composition: float) -> dict[str, object]:
        return {"id": key, "composition": composition, "energy_per_atom_eV": energy}

    hull = {
        "systems": {
            "Cl-Na": {
                "references": [
                    entry("Na-fcc", -1.0, Na=1),
                    entry("Na-bcc", -1.2, Na=1),
                    entry("Cl-fcc", -2.0, Cl=1),
                    entry("elsewhere", -2.0, Na=1, Cl=3),
                ],
                "candidates": [{"id": "a", "decomposition": {"Na": 0.5, "Cl": 0.5}}],
            }
        }
    }
    jobs = reference_jobs(hull, ["a"], None)
    assert {job.id for job in jobs} == {"Na-bcc", "Cl-fcc"}
    assert all(job.kind == "reference" for job in jobs)
    assert reference_jobs(hull, ["other"], None) == []


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="choose from vasp"):
        write_inputs([], Path("x"), "abinit")
    with pytest.raises(InputError, match="manifest"):
        read_results(Path("nowhere"))
    with pytest.raises(InputError, match="cutoff_eV"):
        DftSettings(cutoff_eV=0)
