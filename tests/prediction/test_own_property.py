"""A property of the user's own: what is refused, what is chosen, what it is worth."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.prediction.model import default_properties, load_properties
from crystal_diffusion.prediction.own import OWN_FILE, learn_property, read_own, save_own

CATIONS, ANIONS = ("Li", "Na", "K", "Ag", "Cu", "Rb"), ("F", "Cl", "Br", "I")


@functools.cache
def crystals() -> list[Structure]:
    """72 compounds in three types, the edges not those of nature."""
    rng = np.random.default_rng(0)
    faces = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    types = ((faces, 0.5), (np.eye(3) * 0.73, 0.5), (faces, 0.25))
    return [
        Structure(np.array(cell) * rng.uniform(4.0, 6.5), [cation, anion], [[0, 0, 0], [where] * 3])
        for cell, where in types
        for cation in CATIONS
        for anion in ANIONS
    ]


def value(structure: Structure) -> float:
    """A smooth function of density and electronegativity."""
    composition = structure.composition
    return float(2.0 * np.log(structure.density) + composition.average_electroneg**2)


def dataset(
    structures: list[Structure], values: list[float], name: str = "mine"
) -> CrystalStructureDataset:
    plain = [
        PlainCrystal(
            str(i),
            np.array(s.lattice.matrix),
            np.array(s.frac_coords),
            np.array(s.atomic_numbers),
            {name: v},
        )
        for i, (s, v) in enumerate(zip(structures, values, strict=True))
    ]
    return CrystalStructureDataset.from_arrays(CrystalArrays.from_crystals(plain))


def test_a_smooth_property_is_learned_from_sixty_crystals(tmp_path: Path) -> None:
    known, new = crystals()[:60], crystals()[60:]
    own = learn_property(dataset(known, [value(s) for s in known]), "mine", default_properties())
    assert own.worth.error < 0.4 * own.worth.baseline
    assert own.worth.inside > 0.7
    save_own(tmp_path, [own])
    model = load_properties(tmp_path)
    assert model.names[-1] == "mine" and model.unit("mine") == ""
    predicted = model.predict(new)
    column = predicted.names.index("mine")
    truth = np.array([value(s) for s in new])
    errors = np.abs(predicted.values[:, column] - truth)
    assert errors.mean() < 0.5 * np.abs(truth - truth.mean()).mean()
    low, _ = model.label_range("mine")
    assert low == pytest.approx(min(value(s) for s in known))
    chance = predicted.probability_inside({"mine": (low, np.inf)})
    assert chance.shape == (len(new), 1) and ((chance >= 0) & (chance <= 1)).all()
    assert "the mean of the labels" in own.summary()


def test_noise_is_said_to_be_no_better_than_the_mean() -> None:
    """By chance one draw of noise can look learned; not most of them."""
    found = [
        learn_property(
            dataset(crystals(), np.random.default_rng(seed).normal(size=72).tolist()),
            "mine",
            default_properties(),
        )
        for seed in range(3)
    ]
    middle = sorted(found, key=lambda own: own.worth.better)[1]
    assert middle.worth.error > 0.85 * middle.worth.baseline
    assert middle.worth.better < 0.1 and "do not rely on it" in middle.summary()


def test_labels_of_many_sizes_stay_positive(tmp_path: Path) -> None:
    known = crystals()[:48]
    values = [float(10 ** (0.8 * value(s) - 4)) for s in known]
    own = learn_property(dataset(known, values), "mine", default_properties())
    assert own.fitted.recipe.logarithmic
    save_own(tmp_path, [own])
    predicted = load_properties(tmp_path).predict(crystals()[48:])
    assert (predicted.low[:, -1] > 0).all()


def test_too_few_equal_and_missing_labels_are_refused() -> None:
    some = crystals()
    with pytest.raises(InputError, match="29 crystals carry a label, and at least 30"):
        labels = [1.0 * i if i < 29 else np.nan for i in range(60)]
        learn_property(dataset(some[:60], labels), "mine", default_properties())
    with pytest.raises(InputError, match="all 40 labels are 3"):
        learn_property(dataset(some[:40], [3.0] * 40), "mine", default_properties())
    with pytest.raises(InputError, match="no column of numbers in the data; found are mine"):
        learn_property(dataset(some[:40], [3.0] * 40), "yours", default_properties())


def test_what_was_learned_with_another_network_is_refused(tmp_path: Path) -> None:
    """The numbers that networks make of a crystal have nothing to do with each other."""
    some, model = crystals()[:40], default_properties()
    own = learn_property(dataset(some, [value(s) for s in some]), "mine", model)
    seen = replace(
        own, fitted=replace(own.fitted, recipe=replace(own.fitted.recipe, features="network"))
    )
    save_own(tmp_path, [replace(seen, network=model.fingerprint)])
    assert load_properties(tmp_path).names[-1] == "mine"
    for other in ("0123456789abcdef", ""):
        save_own(tmp_path, [replace(seen, network=other)])
        with pytest.raises(CheckpointError, match="mine was learned with the property network of"):
            load_properties(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_own(tmp_path) == ()
    (tmp_path / OWN_FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=OWN_FILE):
        load_properties(tmp_path)
