"""Frozen atoms: read, kept in every file, and obeyed by relaxations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from ase.db import connect
from ase.io import read as ase_read
from ase.io import write as ase_write
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.readers import iter_crystals, iter_plain
from crystal_diffusion.energy.relaxation import RelaxLimits, relax
from crystal_diffusion.frozen import frozen_of_structure
from crystal_diffusion.runs.folder import extxyz_text
from crystal_diffusion.runs.reading import read_frames
from crystal_diffusion.runs.rows import structure_from_row, structure_row

SLAB = """NaCl, two layers frozen under two that move, vacuum above
1.0
5.64 0 0
0 5.64 0
0 0 14.0
Na Cl
4 4
Selective dynamics
Direct
0.013 0 0 F F F
0.5 0.5 0 F F F
0.5 0.02 0.201 T T T
0 0.5 0.201 T T F
0.5 0 0.003 F F F
0 0.5 0 F F F
0.01 0 0.205 T T T
0.5 0.5 0.205 T T T
"""
FROZEN = np.array([True, True, False, False, True, True, False, False])


@pytest.fixture
def slab(tmp_path: Path) -> Structure:
    (tmp_path / "POSCAR").write_text(SLAB)
    (record,) = iter_crystals(tmp_path / "POSCAR")
    assert record.structure is not None
    return record.structure


def test_frozen_layers_move_by_exactly_nothing(slab: Structure) -> None:
    result = relax(slab, "pair", limits=RelaxLimits(max_steps=15))
    assert result.problem == "" and result.steps > 0
    after = result.structure
    assert np.array_equal(after.lattice.matrix, slab.lattice.matrix)
    assert np.array_equal(after.frac_coords[FROZEN], slab.frac_coords[FROZEN])
    assert np.array_equal(after.frac_coords[3, 2], slab.frac_coords[3, 2])
    assert np.abs(after.frac_coords[[2, 6, 7]] - slab.frac_coords[[2, 6, 7]]).max() > 1e-3
    assert np.array_equal(frozen_of_structure(after), frozen_of_structure(slab))


def test_fix_cell_moves_atoms_only() -> None:
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.0), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    salt.perturb(0.1, seed=1)
    free = relax(salt, "pair", limits=RelaxLimits(max_steps=15))
    fixed = relax(salt, "pair", limits=RelaxLimits(max_steps=40, fix_cell=True))
    assert abs(free.structure.volume - salt.volume) > 0.1
    assert np.array_equal(fixed.structure.lattice.matrix, salt.lattice.matrix)
    # A squeezed crystal is at rest in its cell, whatever its stress.
    assert fixed.converged and fixed.stress > 0.1


def test_every_format_keeps_them(slab: Structure, tmp_path: Path) -> None:
    frozen = frozen_of_structure(slab)
    assert frozen is not None and frozen.sum() == 13
    (tmp_path / "x.extxyz").write_text(extxyz_text(slab, "x"))
    assert np.array_equal(frozen_of_structure(read_frames(tmp_path / "x.extxyz")["x"]), frozen)
    again = structure_from_row(structure_row(slab))
    assert np.array_equal(frozen_of_structure(again), frozen)
    slab.to(filename=str(tmp_path / "out.vasp"), fmt="poscar")
    (plain,) = iter_plain(tmp_path / "out.vasp")
    assert np.array_equal(plain.frozen, frozen)


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "db"])
def test_constraints_of_ase(tmp_path: Path, suffix: str) -> None:
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[4, 4, 4], pbc=True)
    atoms.set_constraint([FixAtoms([0])])
    if suffix == "db":
        connect(str(tmp_path / "x.db")).write(atoms)
    else:
        ase_write(tmp_path / f"x.{suffix}", atoms)
    (plain,) = iter_plain(tmp_path / f"x.{suffix}")
    assert plain.frozen is not None and plain.frozen.tolist() == [[True] * 3, [False] * 3]
    if suffix == "extxyz":
        assert ase_read(tmp_path / "x.extxyz").constraints


def test_constraints_along_axes() -> None:
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[4, 4, 4], pbc=True)
    atoms.set_constraint(
        [FixScaled([0], mask=[True, False, False]), FixCartesian([1], mask=(0, 0, 1))]
    )
    (plain,) = iter_plain([atoms])
    assert plain.frozen is not None
    assert plain.frozen.tolist() == [[True, False, False], [False, False, True]]
    atoms.set_cell([[4, 0, 0], [1, 4, 0], [0, 1, 4]])
    (plain,) = iter_plain([atoms])
    assert plain.frozen is not None and plain.frozen[1].all()
    assert "fixed in all directions" in plain.notes[0]


def test_a_left_handed_cell_takes_its_flags_along(tmp_path: Path) -> None:
    text = SLAB.replace("5.64 0 0\n0 5.64 0", "0 5.64 0\n5.64 0 0").replace("T T F", "T F T")
    (tmp_path / "POSCAR").write_text(text)
    (plain,) = iter_plain(tmp_path / "POSCAR")
    assert plain.frozen is not None and plain.frozen[3].tolist() == [True, False, False]
    assert "a and b exchanged" in plain.notes[0]
