"""Every scorer puts a true crystal before the same crystal shaken: the sign of each score."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes
from pymatgen.core import Structure

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.energy import potentials
from crystal_diffusion.generation.loading import load
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.order import places
from crystal_diffusion.ranking.residual import denoising_residual
from crystal_diffusion.ranking.scorers import (
    EnergyScorer,
    JoinedScorer,
    LearnedScorer,
    ResidualScorer,
    Scorer,
)
from crystal_diffusion.testing import ExactTorusDenoiser
from tests.crystals import copper_sulfate, perovskite, rock_salt, rutile, shaken, zinc_blende
from tests.models import Scripted, tiny_model

TRUE = {
    "perovskite": perovskite(),
    "rutile": rutile(),
    "rock salt": rock_salt().get_primitive_structure(),
    "zinc blende": zinc_blende().get_primitive_structure(),
}


def from_noise(*structures: Structure) -> list[Candidate]:
    return [Candidate(structure, "noise") for structure in structures]


def assert_true_first(scorer: Scorer, true: Structure, amount: float = 0.4) -> None:
    worse = [shaken(true, amount, seed) for seed in range(3)]
    scores = scorer.score(from_noise(*worse, true))
    assert scores.argmax() == 3, scores
    structures = {f"shaken{k}": s for k, s in enumerate(worse)} | {"true": true}
    best = places(structures, scores, group=False)[0]
    assert (best.name, best.rank) == ("true", 1)


@pytest.fixture(scope="module")
def shipped() -> JointDiffusion:
    return load(None, "cpu").model


@pytest.mark.parametrize("name", TRUE)
def test_learned_ranker(name: str) -> None:
    assert_true_first(LearnedScorer(), TRUE[name])


@pytest.mark.parametrize("name", TRUE)
def test_residual_of_the_shipped_model(name: str, shipped: JointDiffusion) -> None:
    """On the mean of several: two atoms shaken by chance along a bond may stay a good crystal."""
    worse = [shaken(TRUE[name], 0.5, seed) for seed in range(6)]
    scores = ResidualScorer(shipped).score(from_noise(*worse, TRUE[name]))
    assert scores[-1] > scores[:-1].mean()


def knows(structure: Structure) -> JointDiffusion:
    """A model whose answers lead to one crystal."""
    model = tiny_model()
    batch = CrystalBatch.from_structures([structure])
    target = batch.frac_coords[0] - batch.frac_coords[0, :1]
    model.network = ExactTorusDenoiser(
        target, model.encode_lattice(batch.lattice, batch.num_atoms)[0]
    )
    return model


@pytest.mark.parametrize("amount", [0.1, 0.4])
def test_residual_of_a_model_that_knows_a_triclinic_crystal(amount: float) -> None:
    true = copper_sulfate()
    assert_true_first(ResidualScorer(knows(true)), true, amount)


def test_the_residual_is_the_mean_loss_over_levels_and_draws() -> None:
    """A network that leaves out a fixed part of cell and coordinates: its loss is known."""
    model = tiny_model()
    batch = CrystalBatch.from_structures([copper_sulfate()])
    exact = knows(copper_sulfate()).network
    error = torch.tensor([[[0.4, 0, 0], [-0.4, 0, 0], [0, 0.2, 0], [0, -0.2, 0]]])
    model.network = Scripted(
        lambda noisy: exact(noisy).coords + error, lambda noisy: exact(noisy).lattice + 0.6
    )
    cartesian = error @ batch.lattice / torch.linalg.det(batch.lattice) ** (1 / 3)
    expected = float(cartesian.square().sum() / 12) + 0.25 * 0.6**2
    found = denoising_residual(model, batch, levels=(0.1, 0.2, 0.3), draws=2)
    assert found.item() == pytest.approx(expected, rel=1e-3)
    levels = {round(float(noisy.lattice_level), 5) for noisy in model.network.asked}
    assert levels == {0.1, 0.2, 0.3} and len(model.network.asked) == 6


class Springs(Calculator):
    """Energy that rises with the distance from known positions, eV; fails on request."""

    implemented_properties = ["energy"]

    def __init__(self, true: Structure) -> None:
        super().__init__()
        self.true = true

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.get_scaled_positions() - self.true.frac_coords
        away -= np.round(away)
        self.results["energy"] = -3.0 * len(self.true) + float(
            ((away @ self.true.lattice.matrix) ** 2).sum()
        )
        if self.atoms.get_volume() > 1.01 * self.true.volume:
            raise RuntimeError("the cell is too large for me")


@pytest.fixture
def springs(monkeypatch: pytest.MonkeyPatch) -> Structure:
    true = rutile()

    class Named:
        def calculator(self) -> Calculator:
            return Springs(true)

    monkeypatch.setattr(potentials, "get_potential", lambda name: Named())
    return true


def test_energies(springs: Structure, caplog: pytest.LogCaptureFixture) -> None:
    scorer = EnergyScorer("diep")
    assert_true_first(scorer, springs)
    large = springs.copy()
    large.scale_lattice(1.2 * springs.volume)
    with caplog.at_level(logging.WARNING):
        scores = scorer.score(from_noise(springs, shaken(springs, 0.1), large))
    assert scores[0] == pytest.approx(3.0)
    assert scores[0] > scores[1] > scores[2] == -np.inf
    assert "too large for me" in caplog.text


def test_energies_joined_to_the_learned_score(springs: Structure) -> None:
    assert_true_first(JoinedScorer(LearnedScorer(), EnergyScorer("diep")), springs)


def test_the_whole_way_of_a_trained_model(shipped: JointDiffusion) -> None:
    """A model of the user's own is judged by its residual: "score" puts the least first."""
    from crystal_diffusion.ranking.scorers import scorer_for

    true = copper_sulfate()
    model = knows(true)
    own = scorer_for("score", ResidualScorer(model), model)
    assert own is not None
    assert_true_first(own, true)
