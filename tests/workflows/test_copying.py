"""Copying: a model that repeats one half is told from one that does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.evaluation.copying import Copying
from crystal_diffusion.generation.loading import load
from crystal_diffusion.workflows import copying
from crystal_diffusion.workflows.copying import measure_copying
from tests.proposals.conftest import caesium_chloride, rock_salt


def half(*salts: tuple[str, str, float]) -> CrystalArrays:
    made = [
        (rock_salt if i % 2 else caesium_chloride)(a, x, edge).get_primitive_structure()
        for i, (a, x, edge) in enumerate(salts)
    ]
    return CrystalStructureDataset(made).arrays


FIRST = half(
    ("Na", "Cl", 3.4), ("K", "Br", 6.6), ("Rb", "I", 4.4), ("Li", "F", 4.0), ("Cs", "Br", 4.3)
)
SECOND = half(
    ("Mg", "O", 2.7), ("Ca", "S", 5.7), ("Sr", "Se", 3.8), ("Ba", "Te", 7.0), ("Ti", "N", 2.7)
)


@pytest.mark.parametrize(("repeated", "share"), [(FIRST, 1.0), (SECOND, 0.0)])
def test_samples_that_repeat_a_half_are_seen(
    repeated: CrystalArrays, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = [repeated.crystal(i).to_structure() for i in range(len(repeated))]

    def parrot(model: object, start: object, streams: object, *_: object, **__: object) -> object:
        count = len(start.atomic_numbers)  # type: ignore[attr-defined]
        return CrystalBatch.from_structures([structures[i % len(structures)] for i in range(count)])

    monkeypatch.setattr(copying, "sample", parrot)
    found = measure_copying(load(None, "cpu").model, FIRST, SECOND)
    assert found.samples == copying.SAMPLES and found.share == share
    assert (found.found, found.unseen) == ((0, 5) if share else (5, 5))
    assert found.interval()[0] <= share <= found.interval()[1]


def test_the_pretrained_model_copies_neither_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "STEPS", 3)
    found = measure_copying(load(None, "cpu").model, FIRST, SECOND)
    assert found.samples == copying.SAMPLES and 0 < found.nearer < found.samples
    again = measure_copying(load(None, "cpu").model, FIRST, SECOND)
    assert again == found


def test_the_interval_is_the_exact_binomial_one() -> None:
    low, high = Copying(20, 40).interval()
    assert (low, high) == pytest.approx((0.3380, 0.6620), abs=1e-3)
    assert Copying(0, 10).interval()[0] == 0.0 and Copying(10, 10).interval()[1] == 1.0
    assert "50 % is no copying" in Copying(20, 40).sentence()


def test_small_halves_say_nothing() -> None:
    few = FIRST.take(np.arange(3))
    assert measure_copying(torch.nn.Identity(), few, SECOND) == Copying()  # type: ignore[arg-type]
