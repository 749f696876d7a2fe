"""Relaxation: exact derivatives, honest answers, and structures that must not be relaxed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy.pair_potential import PairPotential
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import (
    POTENTIALS,
    NamedPotential,
    get_potential,
    wrap_calculator,
)
from crystal_diffusion.energy.relaxation import RelaxLimits, relax, structure_to_atoms
from crystal_diffusion.errors import InputError, MissingDependencyError
from crystal_diffusion.parallel.executors import HereExecutor, LocalExecutor, make_executor


def rock_salt(a: float = 5.6, shake: float = 0.0, seed: int = 0) -> Structure:
    structure = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    rng = np.random.default_rng(seed)
    coords = structure.cart_coords + rng.normal(0, shake, structure.cart_coords.shape)
    return Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)


class Scripted(Calculator):  # type: ignore[misc]
    """A potential that misbehaves on demand."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        energy, forces, stress = 0.0, np.zeros((n, 3)), np.zeros(6)
        if self.kind == "crash" and "K" in self.atoms.get_chemical_symbols():
            os._exit(11)
        if self.kind == "raise":
            raise RuntimeError("no neighbours\nat all")
        if self.kind == "nan":
            energy = float("nan")
        if self.kind == "explode":
            stress[:3] = -3.0
        if self.kind == "collide":
            apart = self.atoms.positions[1] - self.atoms.positions[0]
            energy, forces[0], forces[1] = 2.5 * apart @ apart, 5 * apart, -5 * apart
        if self.kind == "stressed":
            stress[0] = 0.01
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": stress}


def make_crash() -> Scripted:
    return Scripted("crash")


def scripted(kind: str) -> NamedPotential:
    return wrap_calculator(kind, "1", lambda: Scripted(kind))


@pytest.mark.parametrize("seed", [0, 1])
def test_pair_potential_has_exact_forces_and_stress(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = 4.5 * np.eye(3) + rng.normal(0, 0.4, (3, 3))
    atoms = Atoms("NaMgOTiSi", scaled_positions=rng.random((5, 3)), cell=cell, pbc=True)
    atoms.calc = PairPotential()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces.sum(axis=0)).max() < 1e-9
    assert forces == pytest.approx(calculate_numerical_forces(atoms, 1e-5), abs=1e-4, rel=1e-5)
    assert stress == pytest.approx(calculate_numerical_stress(atoms, 1e-6), abs=1e-6, rel=1e-5)


def test_pair_energy_does_not_depend_on_cell_choice() -> None:
    structure = rock_salt(shake=0.1)
    one = structure_to_atoms(structure)
    two = one.repeat((2, 1, 1))
    for atoms in (one, two):
        atoms.calc = PairPotential()
    assert two.get_potential_energy() == pytest.approx(2 * one.get_potential_energy(), rel=1e-9)


def test_relaxing_brings_shaken_salt_back() -> None:
    result = relax(rock_salt(5.2, shake=0.15), "pair")
    assert result.converged and not result.problem
    assert result.max_force <= 0.05 and result.stress <= 0.1
    assert result.structure.volume / 8 == pytest.approx(23.5, rel=0.1)
    distances = result.structure.distance_matrix[:4, 4:]
    assert np.sort(distances, axis=1)[:, :1].max() == pytest.approx(2.8, abs=0.15)


def test_relaxing_is_deterministic_and_leaves_the_input_alone() -> None:
    start = rock_salt(5.2, shake=0.15)
    before = start.copy()
    first, second = relax(start), relax(start)
    assert first.energy == second.energy
    assert np.array_equal(first.structure.frac_coords, second.structure.frac_coords)
    assert start == before


def test_converged_needs_the_stress_as_well() -> None:
    result = relax(rock_salt(), scripted("stressed"), limits=RelaxLimits(max_steps=0))
    assert result.max_force == 0.0
    assert result.stress == pytest.approx(1.602, abs=0.001)
    assert not result.converged and not result.problem


def test_step_limit_is_kept_and_said() -> None:
    result = relax(rock_salt(5.0, shake=0.2), limits=RelaxLimits(max_steps=2))
    assert result.steps == 2
    assert not result.converged and not result.problem


def test_time_limit_ends_a_relaxation() -> None:
    result = relax(rock_salt(5.0, shake=0.2), limits=RelaxLimits(time_limit_s=1e-6))
    assert result.steps == 1
    assert not result.converged


def test_trajectory_only_when_asked_for() -> None:
    steps: list[Structure] = []
    result = relax(rock_salt(5.2), trajectory=steps)
    assert len(steps) == result.steps + 1
    assert steps[-1] == result.structure


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("raise", "raise failed: RuntimeError: no neighbours at all"),
        ("nan", "no number"),
        ("explode", "ran away: the volume changed by a factor"),
        ("collide", "ran away: two atoms"),
    ],
)
def test_misbehaving_potentials_are_recorded(kind: str, reason: str) -> None:
    start = Structure(Lattice.cubic(6.0), ["Na", "Cl"], [[0, 0, 0], [0.3, 0, 0]])
    result = relax(start, scripted(kind), limits=RelaxLimits(max_steps=200))
    assert reason in result.problem
    assert not result.converged
    assert np.isfinite(result.structure.frac_coords).all()


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (Structure(Lattice.cubic(1.1), ["Na"], [[0, 0, 0]]), "volume of 1.33 Å³ per atom"),
        (Structure(Lattice.cubic(5), ["Na", "Na"], [[0, 0, 0], [0.01, 0, 0]]), "0.05 Å apart"),
        (Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]]), "per atom, outside"),
        (Structure(np.diag([0.04, 40, 40]), ["Na"], [[0, 0, 0]]), "flat cell"),
        (Structure(np.diag([300, 1, 1]), ["Na"], [[0, 0, 0]]), "cell edge of 300"),
        (Structure(Lattice.cubic(5), ["Na"], [[np.nan, 0, 0]]), "NaN"),
        (Structure(Lattice.cubic(5), ["Cf"], [[0, 0, 0]]), "does not know Cf"),
        (Structure(Lattice.cubic(5), [{"Na": 0.5}], [[0, 0, 0]]), "partially occupied"),
    ],
)
def test_bad_geometry_never_reaches_the_potential(structure: Structure, reason: str) -> None:
    seen: list[int] = []

    def make() -> PairPotential:
        seen.append(1)
        return PairPotential()

    known = get_potential("pair").elements
    result = relax(structure, NamedPotential("watched", "1", "none", known, make))
    assert reason in result.problem
    assert not seen


def test_a_crash_of_the_worker_costs_one_structure_only() -> None:
    poison = Structure(Lattice.cubic(5.3), ["K"], [[0, 0, 0]])
    work = [("a", rock_salt()), ("poison", poison), ("b", rock_salt()), ("c", rock_salt())]
    potential = wrap_calculator("crashing", "1", make_crash)
    limits = RelaxLimits(max_steps=1)
    results = dict(relax_many(work, potential, limits=limits, processes=1))
    assert set(results) == {"a", "b", "c", "poison"}
    assert "worker process died" in results["poison"].problem
    assert not any(results[key].problem for key in "abc")


def hang(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


def test_a_worker_that_never_answers_is_ended() -> None:
    outcomes = dict(LocalExecutor(1, hard_limit_s=1.0)(hang, [("slow", 60.0), ("fast", 0.0)]))
    assert outcomes["fast"].value == 0.0
    assert "no answer in time" in outcomes["slow"].problem


def test_executors_give_the_same_answers() -> None:
    work = [(str(i), rock_salt(5.3, 0.1, seed=i)) for i in range(3)]
    here = dict(relax_many(work, "pair", executor=HereExecutor()))
    local = dict(relax_many(work, "pair", processes=1))
    assert {k: r.energy for k, r in here.items()} == {k: r.energy for k, r in local.items()}


def test_names_and_limits_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="choose from"):
        get_potential("emt2")
    with pytest.raises(InputError, match="choose local"):
        make_executor("slurm")
    with pytest.raises(InputError, match="fmax"):
        RelaxLimits(fmax=0)
    with pytest.raises(InputError, match="processes"):
        LocalExecutor(0)


@pytest.mark.parametrize("name", sorted(POTENTIALS))
def test_every_named_potential_is_versioned_or_says_what_is_missing(name: str) -> None:
    try:
        potential = get_potential(name)
    except MissingDependencyError as error:
        assert "pip install" in str(error)
        return
    assert potential.name == name and potential.version
    assert potential.elements is not None and "Si" in potential.elements


def test_diep_relaxes_salt_to_its_known_cell() -> None:
    pytest.importorskip("diep", reason="the extra [relax] is not installed")
    result = relax(rock_salt(5.5).get_primitive_structure(), "diep")
    assert result.converged
    assert (4 * result.structure.volume) ** (1 / 3) == pytest.approx(5.64, rel=0.02)
