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
    assert figures == {"validity": 1.0, "agreement": 1.0, "copies": 1.0, "score": 1.0}


def test_a_model_that_is_right_about_what_it_never_saw() -> None:
    monitor = Monitor(arrays(OTHER_SALT), arrays(SALT), seed=0)
    figures = monitor(10, leads_to(SALT))
    assert figures == {"validity": 1.0, "agreement": 1.0, "copies": 0.0, "score": 2.0}
    # Repeating the training crystal where another one was held out is a copy and no agreement.
    repeats = monitor(10, leads_to(OTHER_SALT))
    assert repeats == {"validity": 1.0, "agreement": 0.0, "copies": 1.0, "score": 1.0}


def test_a_model_that_knows_nothing() -> None:
    monitor = Monitor(arrays(SALT), arrays(OTHER_SALT), seed=0)
    figures = monitor(10, collapses())
    assert figures == {"validity": 0.0, "agreement": 0.0, "copies": 0.0, "score": 0.0}
    right = monitor(10, leads_to(OTHER_SALT))
    assert right["score"] > figures["score"]


@pytest.mark.parametrize(
    ("stopped", "validity", "copies", "words"),
    [
        ("slice", 0.9, 0.1, "Not finished: 70 of 100 steps"),
        ("finished", 0.49, 0.0, "Too short: 49 %"),
        ("finished", 0.5, 0.0, "Learning: 50 %"),
        ("finished", 0.3, 1.0, "Too short"),
        ("finished", 1.0, 0.81, "Copying: 100 % of the samples are valid, and 81 %"),
        ("finished", 1.0, 0.8, "Learning: 100 % of the samples are valid, 80 % repeat"),
        ("early", 0.9, 0.25, "25 % repeat a training crystal (stopped early: no further gain)."),
    ],
)
def test_the_verdict(stopped: str, validity: float, copies: float, words: str) -> None:
    result = TrainingResult(70, 0.1, stopped, 1.0)
    said = verdict(result, {"validity": validity, "copies": copies}, 100)
    assert words in said
    assert ("early" in said) == (stopped == "early")
