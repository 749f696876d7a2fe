"""Free crystals near a group get it exactly; given groups, cells and hosts are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.finishing import finish
from crystal_diffusion.generation.plan import Plan
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.validator import PhysicsValidator
from crystal_diffusion.runs.folder import RunFolder
from crystal_diffusion.symmetry.detection import detect_group


def rough_salt() -> Structure:
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
    rng = np.random.default_rng(2)
    moved = cell.frac_coords + 0.004 * rng.normal(size=(2, 3))
    strain = np.eye(3) + 0.002 * rng.normal(size=(3, 3))
    return Structure(Lattice(cell.lattice.matrix @ strain), cell.species, moved)


def test_free_crystals_are_idealised_and_the_original_kept(tmp_path: Path) -> None:
    rough, plan = rough_salt(), Plan(0, 0, 1, (11, 17))
    assert detect_group(rough, 0.001).number < 225
    found = finish(rough, plan, PhysicsValidator(), tolerance=0.1, whole=True)
    assert found.failure is None and found.original is not None
    assert detect_group(found.structure, 0.001).number == 225
    assert found.original.structure == rough
    columns = found.original.columns()
    assert columns["idealised_to"] == 225
    assert 0 < columns["idealised_moved_A"] < 0.1
    run = RunFolder.create(tmp_path / "run")
    run.write_originals({"cd0000": found.original.structure})
    kept = Structure.from_file(tmp_path / "run" / "original" / "cd0000.cif")
    assert np.allclose(sorted(kept.lattice.abc), sorted(rough.lattice.abc), atol=1e-6)
    run.write_originals({})
    assert not list((tmp_path / "run" / "original").glob("*.cif"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "host", "frozen": 1},
        {"lattice": (4, 4, 4, 60, 60, 60)},
        {"kind": "prototype"},
    ],
)
def test_what_was_given_is_left_alone(changes: dict[str, object]) -> None:
    rough = rough_salt()
    plan = replace(Plan(0, 0, 1, (11, 17)), **changes)
    found = finish(rough, plan, PhysicsValidator(), tolerance=0.1, whole=True)
    assert found.structure is rough and found.original is None


def test_it_can_be_turned_off_and_bad_tolerances_are_refused() -> None:
    rough, plan = rough_salt(), Plan(0, 0, 1, (11, 17))
    found = finish(rough, plan, PhysicsValidator(), tolerance=0.0, whole=True)
    assert found.structure is rough
    with pytest.raises(InputError, match="0 to 1"):
        GenerationSettings(idealise=-0.1)
