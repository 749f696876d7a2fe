"""Training from the model in the box brings the user's skeletons into the model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons import SkeletonModel, adapting
from crystal_diffusion.skeletons.adapting import fit_alone
from crystal_diffusion.skeletons.weights import SKELETONS_FILE
from crystal_diffusion.workflows import train as workflow
from crystal_diffusion.workflows.own_skeletons import (
    learns_skeletons,
    write_own_skeletons,
    write_skeletons,
)

#: Litharge-like halides: a type that nobody expects of them.
PAIRS = [("Li", "F"), ("Na", "Cl"), ("K", "Br"), ("Rb", "I"), ("Na", "F"), ("K", "Cl")]


def odd_halide(metal: str, halogen: str, a: float) -> Structure:
    return Structure(
        Lattice.tetragonal(a, 1.3 * a),
        [metal, metal, halogen, halogen],
        [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.23], [0.5, 0, 0.77]],
    )


def test_skeletons_are_adapted_and_written(tmp_path: Path) -> None:
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(4) for a, x in PAIRS]
    arrays = CrystalStructureDataset(crystals).arrays
    adapted = write_skeletons(tmp_path, arrays, seed=1)
    assert adapted is not None and adapted.rounds > 0
    assert adapted.after < adapted.before
    own = SkeletonModel.load(tmp_path / SKELETONS_FILE)
    here = own.group_probabilities({37: 2, 17: 2})[128]
    shipped = SkeletonModel.load().group_probabilities({37: 2, 17: 2})[128]
    assert here > 3 * shipped
    assert own.header["adapted_to"] == adapted.crystals


def test_crystals_alone_teach_their_own_skeletons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_ALONE_ROUNDS", 2)
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(5) for a, x in PAIRS]
    arrays = CrystalStructureDataset(crystals).arrays
    alone = write_own_skeletons(tmp_path, arrays, seed=1)
    assert alone is not None and alone.held_out == 3 and alone.after < alone.before
    own = SkeletonModel.load(tmp_path / SKELETONS_FILE)
    # All it has met is this group, so nearly all it draws is of it; the table is its own too.
    assert own.group_probabilities({37: 2, 17: 2})[128] > 0.5
    assert own.prior is not None and len(own.prior.patterns) == 1
    again = fit_alone(crystals, seed=1)
    assert again.after == alone.after
    with pytest.raises(InputError, match="20 are needed"):
        fit_alone(crystals[:12])
    assert not learns_skeletons(99) and learns_skeletons(100) and not learns_skeletons(20_000)


def test_a_model_from_scratch_uses_what_it_learned_of_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_ALONE_ROUNDS", 1)
    monkeypatch.setattr(workflow, "learns_skeletons", lambda crystals: crystals >= 20)
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(4) for a, x in PAIRS]
    options = {"from_scratch": True, "dim": 32, "layers": 1, "device": "cpu", "odd": "keep"}
    generator, _ = workflow.train(crystals, tmp_path / "m", steps=2, symmetric_noise=0.7, **options)
    assert generator.knowledge.skeletons_file == tmp_path / "m" / SKELETONS_FILE
    assert generator.knowledge.symmetric > 0.9
    usual, _ = workflow.train(crystals, tmp_path / "usual", steps=2, **options)
    assert usual.knowledge.symmetric == 0.0
    options["symmetric_noise"] = 0.7
    few, _ = workflow.train(crystals[:12], tmp_path / "few", steps=2, **options)
    assert few.knowledge.symmetric == 0.0 and not (tmp_path / "few" / SKELETONS_FILE).exists()


def test_a_model_from_scratch_asks_its_own_types_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_ALONE_ROUNDS", 1)
    monkeypatch.setattr(workflow, "learns_skeletons", lambda crystals: crystals >= 20)
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(4) for a, x in PAIRS]
    generator, _ = workflow.train(
        crystals,
        tmp_path / "m",
        from_scratch=True,
        dim=32,
        layers=1,
        device="cpu",
        odd="keep",
        steps=2,
        symmetric_noise=0.7,
    )
    # Nothing of the shipped library: its types would say rock salt, which these crystals never are.
    told = generator.knowledge.types.chances({37: 2, 17: 2})
    assert {skeleton.space_group for skeleton in told} == {129}


def test_groups_are_learned_from_scratch_unless_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_ALONE_ROUNDS", 1)
    monkeypatch.setattr(workflow, "learns_skeletons", lambda crystals: crystals >= 20)
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(4) for a, x in PAIRS]
    options = {"from_scratch": True, "steps": 2, "device": "cpu", "odd": "keep"}
    usual, _ = workflow.train(crystals, tmp_path / "usual", **options)
    assert usual.knowledge.symmetric > 0.9
    free, _ = workflow.train(crystals, tmp_path / "free", symmetric_noise=0.0, **options)
    assert free.knowledge.symmetric == 0.0
    few, _ = workflow.train(crystals[:12], tmp_path / "few", **options)
    assert few.knowledge.symmetric == 0.0
