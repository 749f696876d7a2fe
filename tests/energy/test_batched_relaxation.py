"""Batches of relaxations against single ones: same answers, and one bad crystal harms no other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy.batched_relaxation import BatchEvaluator, Evaluation, relax_batched
from crystal_diffusion.energy.pair_potential import PairPotential
from crystal_diffusion.energy.relaxation import RelaxLimits, relax
from crystal_diffusion.errors import InputError
from crystal_diffusion.screening.pipeline import screen
from crystal_diffusion.screening.settings import Candidates, ScreenSettings


def shaken(seed: int, metal: str = "Na", primitive: bool = False) -> Structure:
    rng = np.random.default_rng(seed)
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.5), [metal, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    salt = salt.get_primitive_structure() if primitive else salt
    coords = salt.frac_coords + rng.normal(0, 0.03, (len(salt), 3))
    strain = np.eye(3) + rng.normal(0, 0.02, (3, 3))
    return Structure(salt.lattice.matrix @ strain, salt.species, coords)


def pair_evaluator(sizes: list[int]) -> BatchEvaluator:
    """The pair potential one crystal after the other; notes how many came at once."""

    def evaluate(crystals: Sequence[Atoms]) -> list[Evaluation]:
        sizes.append(len(crystals))
        answers = []
        for atoms in crystals:
            if "K" in atoms.get_chemical_symbols():
                raise RuntimeError("out of memory")
            copy = atoms.copy()
            copy.calc = PairPotential()
            stress = copy.get_stress(voigt=False)
            answers.append(Evaluation(copy.get_potential_energy(), copy.get_forces(), stress))
        return answers

    return evaluate


def test_batches_answer_as_single_relaxations_do() -> None:
    limits = RelaxLimits(max_steps=25)
    work = [(f"s{k}", shaken(k, primitive=k % 2 == 0)) for k in range(6)]
    sizes: list[int] = []
    found = dict(
        relax_batched(
            iter(work), "pair", limits=limits, evaluate=pair_evaluator(sizes), atoms_per_batch=20
        )
    )
    assert sorted(found) == sorted(key for key, _ in work)
    for key, structure in work:
        alone = relax(structure, "pair", limits=limits)
        assert found[key].energy == pytest.approx(alone.energy, abs=1e-9)
        assert found[key].steps == alone.steps and found[key].converged == alone.converged
        assert found[key].structure.lattice.matrix == pytest.approx(
            alone.structure.lattice.matrix, abs=1e-9
        )
    steps = sum(result.steps + 1 for result in found.values())
    assert max(sizes) > 1 and len(sizes) < steps and sum(sizes) == steps


def test_the_crystal_whose_fault_it_is_is_found_and_the_rest_goes_on() -> None:
    squeezed = Structure(Lattice.cubic(1.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    work = {"a": shaken(1), "bad": shaken(2, "K"), "squeezed": squeezed, "b": shaken(3)}
    found = dict(relax_batched(work.items(), "pair", evaluate=pair_evaluator([])))
    assert "out of memory" in found["bad"].problem and not found["bad"].converged
    assert "not relaxed" in found["squeezed"].problem
    for key in ("a", "b"):
        assert found[key].energy == pytest.approx(relax(work[key], "pair").energy, abs=1e-9)


def test_a_caller_that_goes_away_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    answers = relax_batched(
        ((str(k), shaken(k)) for k in range(50)),
        "pair",
        evaluate=pair_evaluator([]),
        atoms_per_batch=40,
    )
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive()


def test_what_cannot_be_batched_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'pair' has no batches; choose from chgnet"):
        relax_batched([], "pair")
    with pytest.raises(InputError, match="atoms_per_batch"):
        relax_batched([], "pair", evaluate=pair_evaluator([]), atoms_per_batch=0)
    candidates = Candidates({"a": shaken(1)}, {}, tmp_path, True)
    settings = ScreenSettings(stages=("relax",), potentials=("pair",), executor="batch")
    with pytest.raises(InputError, match="has no batches"):
        screen(candidates, settings)


@pytest.mark.parametrize("name", ["diep", "chgnet-r2scan"])
def test_named_potentials_agree_with_their_calculators(name: str) -> None:
    pytest.importorskip(name.split("-")[0], reason="the extra [relax] is not installed")
    limits = RelaxLimits(max_steps=3)
    work = [("small", shaken(1, primitive=True)), ("large", shaken(2)), ("other", shaken(3, "Li"))]
    for key, result in relax_batched(work, name, limits=limits, device="cpu"):
        alone = relax(dict(work)[key], name, limits=limits)
        assert result.problem == "" and result.steps == alone.steps
        assert result.energy == pytest.approx(alone.energy, abs=2e-4)
        assert result.max_force == pytest.approx(alone.max_force, abs=2e-3)
        assert result.stress == pytest.approx(alone.stress, abs=2e-2)
