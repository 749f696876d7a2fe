"""The monitor and its verdict on models that copy, that are right, and that know nothing."""

from __future__ import annotations

import pytest
import torch
from pymatgen.core import Structure

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data import CrystalStructureDataset
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.testing import ExactTorusDenoiser
from crystal_diffusion.training.loop import TrainingResult
from crystal_diffusion.workflows.monitor import Monitor, verdict
from tests.crystals import caesium_chloride, rock_salt
from tests.models import Scripted, tiny_model

SALT = rock_salt().get_primitive_structure()
OTHER_SALT = caesium_chloride("Na", "Cl", 3.5)


def leads_to(structure: Structure) -> JointDiffusion:
    """A perfect model of one crystal."""
    model = tiny_model()
    batch = CrystalBatch.from_structures([structure])
    target = batch.frac_coords[0] - batch.frac_coords[0, :1]
    model.network = ExactTorusDenoiser(
        target, model.encode_lattice(batch.lattice, batch.num_atoms)[0]
    )
    return model


def collapses() -> JointDiffusion:
    """A model that puts all atoms on one place in a cell that is much too small."""
    model = tiny_model()
    exact = ExactTorusDenoiser(torch.zeros(2, 3), torch.tensor([-6.0, -6, -6, 0, 0, 0]))
    model.network = Scripted(lambda noisy: exact(noisy).coords, lambda noisy: exact(noisy).lattice)
    return model


def arrays(*structures: Structure):  # type: ignore[no-untyped-def]
    return CrystalStructureDataset(list(structures)).arrays


def test_a_model_that_copies() -> None:
    monitor = Monitor(arrays(SALT), None, seed=0)
    figures = monitor(10, leads_to(SALT))
    assert figures == {
        "validity": 1.0,
        "agreement": 1.0,
        "copies": 1.0,
        "score": 1.0,
        "samples": 1.0,
    }


def test_a_model_that_is_right_about_what_it_never_saw() -> None:
    monitor = Monitor(arrays(OTHER_SALT), arrays(SALT), seed=0)
    figures = monitor(10, leads_to(SALT))
    assert figures == {
        "validity": 1.0,
        "agreement": 1.0,
        "copies": 0.0,
        "score": 2.0,
        "samples": 1.0,
    }
    # Repeating the training crystal where another one was held out is a copy and no agreement.
    repeats = monitor(10, leads_to(OTHER_SALT))
    assert repeats == {
        "validity": 1.0,
        "agreement": 0.0,
        "copies": 1.0,
        "score": 1.0,
        "samples": 1.0,
    }


def test_a_model_that_knows_nothing() -> None:
    monitor = Monitor(arrays(SALT), arrays(OTHER_SALT), seed=0)
    figures = monitor(10, collapses())
    assert figures == {
        "validity": 0.0,
        "agreement": 0.0,
        "copies": 0.0,
        "score": 0.0,
        "samples": 1.0,
    }
    right = monitor(10, leads_to(OTHER_SALT))
    assert right["score"] > figures["score"]


@pytest.mark.parametrize(
    ("stopped", "valid", "found", "copies", "words"),
    [
        ("slice", 14, 8, 2, "Not finished: 70 of 100 steps"),
        ("finished", 7, 0, 0, "Too short: 7 of 16 samples are valid (8 by the untrained network)"),
        ("finished", 15, 0, 0, "Learning: 15 of 16 samples are valid (8 by the untrained"),
        ("finished", 9, 8, 2, "and 8 find the known crystal of their composition again (0 by"),
        ("finished", 9, 1, 1, "Not shown: 9 of 16 samples are valid (8 by the untrained"),
        ("finished", 7, 7, 7, "Too short"),
        ("finished", 16, 16, 13, "Copying: 16 of 16"),
        ("finished", 16, 16, 12, "Learning: 16 of 16"),
        ("finished", 16, 16, 12, "12 repeat a training crystal closely."),
        ("early", 16, 16, 12, "Stopped early: no further gain."),
    ],
)
def test_the_verdict(stopped: str, valid: int, found: int, copies: int, words: str) -> None:
    result = TrainingResult(70, 0.1, stopped, 1.0)
    said = verdict(result, shares(8, 0, 0), shares(valid, found, copies), 100)
    assert words in said
    assert ("early" in said) == (stopped == "early")


def test_a_model_that_was_good_before_is_compared_with_itself() -> None:
    result, good = TrainingResult(70, 0.1, "finished", 1.0), shares(15, 9, 3)
    said = verdict(result, good, shares(16, 10, 3), 100, started=True)
    assert said.startswith("Not shown: 16 of 16 samples are valid (15 by the model it started")


def test_a_network_from_nothing_is_compared_with_the_pretrained_model_too() -> None:
    result = TrainingResult(70, 0.1, "finished", 1.0)
    said = verdict(result, shares(8, 0, 0), shares(15, 9, 3), 100, box=shares(16, 12, 0))
    assert said.startswith(
        "Learning: 15 of 16 samples are valid (8 by the untrained network, 16 by"
    )
    assert "and 9 find the known crystal of their composition again (0 by the untrained" in said
    assert "12 by the pretrained model)" in said


def test_a_crystal_like_a_known_one_is_no_copy() -> None:
    strained = SALT.copy()
    strained.apply_strain([0.1, -0.1, 0.0])
    figures = Monitor(arrays(SALT), None, seed=0)(10, leads_to(strained))
    assert figures["agreement"] == 1.0
    assert figures["copies"] == 0.0


def figures_of_one(
    validity: float, agreement: float, copies: float, score: float
) -> dict[str, float]:
    rates = {"validity": validity, "agreement": agreement, "copies": copies}
    return rates | {"score": score, "samples": 1.0}


def shares(valid: int, found: int, copies: int) -> dict[str, float]:
    counts = {"validity": valid, "agreement": found, "copies": copies}
    return {name: count / 16 for name, count in counts.items()} | {"samples": 16.0}
