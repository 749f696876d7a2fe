"""generate: exact requests, seeds, run folders that others read, with a hardly trained network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystal_diffusion import GenerationSettings, Request, SamplerSettings, load
from crystal_diffusion.diffusion.sampler import sample
from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.generation import sampling
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.rows import make_row
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.runs.rows import structure_from_row
from crystal_diffusion.workflows.generate import generate_run

QUICK = GenerationSettings(sampler=SamplerSettings(steps=6), max_attempts=60)


def test_composition_is_exact_and_everything_valid(generator: CrystalGenerator) -> None:
    result = generator.run(Request(formula="SrTiO3", z=(1, 2)), 4, seed=1, settings=QUICK)
    assert len(result) == 4
    for structure, row in zip(result, result.rows, strict=True):
        assert structure.composition.reduced_formula == "SrTiO3"
        assert len(structure) in (5, 10)
        assert row["valid"] and row["formula"] == "SrTiO3"
        matrix = structure.distance_matrix + 10 * np.eye(len(structure))
        assert min(matrix.min(), min(structure.lattice.abc)) >= 0.7
        assert row["nearest_train_id"]
    assert sorted(row["rank"] for row in result.rows) == [1, 2, 3, 4]


def test_a_composition_of_no_known_crystal_is_no_copy(generator: CrystalGenerator) -> None:
    result = generator.run(Request(formula="NaCl", z=(1, 1)), 1, seed=1, settings=QUICK)
    ((name, made),) = result.structures.items()
    plan, report = result.plans[name], PhysicsValidator().validate(made)
    looked, not_looked = (
        make_row(name, made, plan, report, None, 20, compared=known) for known in (True, False)
    )
    assert looked.copy_of_training is False and looked.nearest_train_id is None
    assert not_looked.copy_of_training is None


def test_crystal_i_is_the_same_alone_and_together(generator: CrystalGenerator) -> None:
    request = Request(formula="NaCl", z=(1, 1))
    together = generator.run(request, 5, seed=7, settings=QUICK)
    alone = generator.run(request, 1, seed=7, first=3, settings=QUICK)
    a, b = together.structures["cd0003"], alone.structures["cd0003"]
    assert a.lattice.matrix == pytest.approx(b.lattice.matrix, abs=2e-3)
    difference = a.frac_coords - b.frac_coords
    assert np.abs(difference - np.round(difference)).max() < 2e-3
    other = generator.run(request, 1, seed=8, settings=QUICK).structures["cd0000"]
    assert not np.allclose(other.lattice.matrix, together.structures["cd0000"].lattice.matrix)


def test_elements_and_sizes(generator: CrystalGenerator) -> None:
    request = Request(elements=("Li", "O", "Ti"), num_atoms=(4, 6))
    for structure in generator.run(request, 3, seed=2, settings=QUICK):
        assert {el.symbol for el in structure.composition} == {"Li", "O", "Ti"}
        assert 4 <= len(structure) <= 6


def test_exclusions(generator: CrystalGenerator) -> None:
    request = Request(exclude=("O", "Cu"), num_atoms=(3, 5))
    for structure in generator.run(request, 3, seed=2, settings=QUICK):
        assert not {"O", "Cu"} & {el.symbol for el in structure.composition}


def test_given_lattice_is_kept(generator: CrystalGenerator) -> None:
    wanted = (5.0, 5.5, 6.0, 80.0, 95.0, 102.0)
    request = Request(lattice=wanted, formula="NaCl", z=(2, 2))
    structure = next(iter(generator.run(request, 1, seed=0, settings=QUICK)))
    assert structure.lattice.parameters == pytest.approx(wanted, abs=1e-9)


def test_host_atoms_do_not_move_at_all(generator: CrystalGenerator) -> None:
    host = Structure(Lattice.cubic(5.1), ["Ti", "O"], [[0.1, 0.2, 0.3], [0.6, 0.71, 0.8]])
    request = Request(host=host, add="Li")
    structure = next(iter(generator.run(request, 1, seed=0, settings=QUICK)))
    assert np.array_equal(structure.frac_coords[:2], host.frac_coords)
    assert np.array_equal(structure.lattice.matrix, host.lattice.matrix)
    assert structure[2].specie.symbol == "Li" and len(structure) == 3


def test_atoms_of_ase_come_out_when_asked(generator: CrystalGenerator) -> None:
    (atoms,) = generator.generate("NaCl", 1, seed=3, as_atoms=True, settings=QUICK, z=(1, 1))
    assert sorted(atoms.get_chemical_symbols()) == ["Cl", "Na"]
    assert atoms.pbc.all()


def test_unknown_elements_and_impossible_cells_are_refused(generator: CrystalGenerator) -> None:
    with pytest.raises(RequestError, match="has not met Rn in training"):
        generator.generate("RnO2")
    with pytest.raises(RequestError, match="do not fit in the given cell"):
        generator.generate(lattice=(3.0, 3, 3, 90, 90, 90), num_atoms=(100, 100))
    with pytest.raises(InputError, match="at least 1 crystal"):
        generator.generate("NaCl", 0)


def test_shortfall_is_said(generator: CrystalGenerator) -> None:
    settings = GenerationSettings(sampler=SamplerSettings(steps=1), max_attempts=1)
    # Room enough, but each atom is too near to its own images.
    request = Request(lattice=(1.95, 1.95, 8, 90, 90, 90), formula="CaO")
    result = generator.run(request, 2, seed=0, settings=settings)
    assert len(result) + len(result.missing) == 2
    assert result.missing and all(result.missing.values())
    assert sum(result.rejected.values()) == len(result.missing)


def test_run_folder_reads_back_everywhere(generator: CrystalGenerator, tmp_path: Path) -> None:
    request = Request(formula="TiO2", z=(2, 2))
    folder, result = generate_run(
        generator, request, 3, tmp_path / "run", seed=4, settings=QUICK, command=["test"]
    )
    again = RunFolder.open(tmp_path / "run")
    rows, structures = again.rows(), again.structures()
    assert [row["id"] for row in rows] == list(structures) == list(result.structures)
    for name, wanted in result.structures.items():
        cif = Structure.from_file(folder.path / "cif" / f"{name}.cif")
        atoms = ase.io.read(folder.path / "cif" / f"{name}.cif")
        for other in (structures[name], cif):
            assert other.lattice.parameters == pytest.approx(wanted.lattice.parameters, abs=1e-6)
            assert len(other) == len(wanted)
            # Readers may order the atoms by element, so distances are compared as a set.
            assert np.sort(other.distance_matrix.ravel()) == pytest.approx(
                np.sort(wanted.distance_matrix.ravel()), abs=1e-5
            )
        assert len(atoms) == len(wanted)
        assert atoms.get_volume() == pytest.approx(wanted.volume, abs=1e-4)
    manifest = again.manifest
    assert manifest["seed"] == 4 and manifest["request"]["formula"] == "TiO2"
    assert len(manifest["model"]["sha256"]) == 64 and manifest["versions"]["torch"]
    assert manifest["made"] == 3
    lines = (folder.path / "structures.jsonl").read_text().splitlines()
    assert all(check["limit"] for check in json.loads(lines[0])["checks"])


def test_used_folder_is_refused_and_kept(generator: CrystalGenerator, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="already in use"):
        generate_run(generator, Request(formula="NaCl"), 1, tmp_path / "run")
    assert (tmp_path / "run" / "mine.txt").read_text() == "precious"


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model"):
        load(tmp_path / "nothing")


def test_no_space_left_is_one_clear_error(
    generator: CrystalGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        generate_run(
            generator, Request(formula="NaCl", z=(1, 1)), 1, tmp_path / "r", settings=QUICK
        )
    assert not list((tmp_path / "r").glob("*.part"))


def test_one_and_two_threads_make_the_same_crystals(generator: CrystalGenerator) -> None:
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            runs.append(generator.run(Request(formula="NaCl"), 7, seed=4, settings=QUICK))
    finally:
        torch.set_num_threads(before)
    one, two = runs
    assert sorted(one.structures) == sorted(two.structures)
    assert one.rejected == two.rejected
    for name, structure in one.structures.items():
        other = two.structures[name]
        assert structure.lattice.matrix == pytest.approx(other.lattice.matrix, abs=2e-3)
        difference = structure.frac_coords - other.frac_coords
        assert np.abs(difference - np.round(difference)).max() < 2e-3


def test_ctrl_c_before_the_first_crystal_writes_nothing(
    generator: CrystalGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crystal_diffusion.generation.generator.sample_plans", pressed)
    with pytest.raises(KeyboardInterrupt):
        generate_run(generator, Request(formula="NaCl"), 12, tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_ctrl_c_keeps_what_is_finished(generator: CrystalGenerator, tmp_path: Path) -> None:
    def stop_after(limit: int) -> Callable[[int], None]:
        def progress(done: int) -> None:
            if done >= limit:
                raise KeyboardInterrupt

        return progress

    # Three sizes are three batches; the first of them is finished when the key is pressed.
    request = Request(elements=("Na", "Cl"), num_atoms=(2, 6))
    folder, result = generate_run(
        generator, request, 12, tmp_path / "run", seed=1, settings=QUICK, progress=stop_after(1)
    )
    assert result.interrupted and 0 < len(result) < 12
    assert len(result) + len(result.missing) == 12
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest["interrupted"] and manifest["made"] == len(result)
    whole = generator.run(request, 12, seed=1, settings=QUICK)
    assert set(result.structures) < set(whole.structures)

    with pytest.raises(KeyboardInterrupt):
        generator.run(request, 12, seed=1, settings=QUICK, progress=stop_after(1))


def test_the_limits_of_the_validator_reach_the_sampler(
    generator: CrystalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stricter validator would redraw what the sampler made for default limits."""
    kept_apart = []

    def watched(*args: Any, **named: Any) -> Any:
        kept_apart.append(float(named["smallest"](torch.tensor([[11, 17]]))[0, 0, 1]))
        return sample(*args, **named)

    monkeypatch.setattr(sampling, "sample", watched)
    for far in (2.0, 2.5):
        settings = replace(
            QUICK, noise_share=1.0, validator=PhysicsValidator(limits={"min_distance": far})
        )
        found = generator.run(Request(formula="NaCl", z=(1, 1)), 2, seed=3, settings=settings)
        assert all(found[0].distance_matrix[0, 1] >= far for _ in found)
        assert kept_apart.pop() > far
        kept_apart.clear()


def test_the_manifest_repeats_the_limits_that_were_used(
    generator: CrystalGenerator, tmp_path: Path
) -> None:
    host = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    validator = PhysicsValidator(profile="strict", limits={"min_distance": 0.9})
    folder, _ = generate_run(
        generator,
        Request(host=host),
        1,
        tmp_path / "run",
        settings=replace(QUICK, validator=validator),
    )
    text = (folder.path / "manifest.json").read_text()
    manifest = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    used = manifest["settings"]["validator"]
    assert used["profile"] == "strict" and used["limits"]["min_distance"] == 0.9
    assert used["limits"]["pair_error"] == validator.limits.pair_error
    again = structure_from_row(manifest["request"]["host"])
    assert np.array_equal(again.lattice.matrix, host.lattice.matrix)
    assert np.array_equal(again.frac_coords, host.frac_coords)
    assert manifest["tolerances"]["same_structure"]["stol"] == StructureMatch().stol
    assert manifest["machine"]["cores"] >= 1


def test_the_manifest_of_default_settings_says_which_limits(
    generator: CrystalGenerator, tmp_path: Path
) -> None:
    folder, _ = generate_run(generator, Request(formula="MgO"), 1, tmp_path / "run", settings=QUICK)
    used = folder.manifest["settings"]["validator"]
    assert used == PhysicsValidator().to_dict()
