"""train() takes frozen settings; single keywords go on working and mean the same."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from safetensors.torch import load_file

import crystal_diffusion as cd
from crystal_diffusion.errors import InputError
from crystal_diffusion.workflows.training_settings import with_keywords


def test_settings_and_keywords_train_the_same_model(tmp_path: Path) -> None:
    crystals = cd.create_demo_dataset()[:6]
    training = cd.TrainingSettings(steps=3, seed=5, patience=0, precision="float32")
    model = cd.ModelSettings(dim=32, layers=2)
    cd.train(crystals, tmp_path / "a", training=training, model=model)
    cd.train(
        crystals,
        tmp_path / "b",
        steps=3,
        seed=5,
        patience=0,
        precision="float32",
        dim=32,
        layers=2,
    )
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all((first[name] == second[name]).all() for name in first)


def test_a_keyword_changes_one_field_of_given_settings() -> None:
    training, model, data = with_keywords(
        cd.TrainingSettings(steps=9, seed=2), None, None, {"seed": 3, "odd": "keep", "dim": 64}
    )
    assert training == cd.TrainingSettings(steps=9, seed=3)
    assert model == cd.ModelSettings(dim=64)
    assert data == cd.DataSettings(odd="keep")


def test_settings_cannot_be_changed_and_unknown_keywords_are_named() -> None:
    with pytest.raises(FrozenInstanceError):
        cd.TrainingSettings().steps = 3  # type: ignore[misc]
    with pytest.raises(InputError, match="no keyword 'epoch'; did you mean epochs"):
        with_keywords(None, None, None, {"epoch": 3})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cd.TrainingSettings(steps=0), "steps is 0"),
        (lambda: cd.TrainingSettings(minutes=float("nan")), "minutes is nan"),
        (lambda: cd.TrainingSettings(steps=1, epochs=1), "exclude each other"),
        (lambda: cd.ModelSettings(dim=33), "dim is 33"),
        (lambda: cd.ModelSettings(network="gnn"), "choose one of"),
        (lambda: cd.ModelSettings(start_from="box", from_scratch=True), "exclude each other"),
        (lambda: cd.ModelSettings(start_from="box", layers=2), "leave them out"),
        (lambda: cd.DataSettings(odd="drop"), "leave or keep"),
    ],
)
def test_what_no_training_can_use_is_refused_by_name(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
