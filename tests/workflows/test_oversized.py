"""Crystals far larger than their elements are left out of training, and named."""

from __future__ import annotations

import logging

import pytest

from crystal_diffusion import CrystalStructureDataset
from crystal_diffusion.errors import InputError
from crystal_diffusion.workflows.data_card import without_oversized
from tests.crystals import rock_salt


def test_what_is_too_large_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    dataset = CrystalStructureDataset(
        [rock_salt(edge=5.64), rock_salt(edge=5.64 * 2.4), rock_salt(edge=6.5)]
    )
    with caplog.at_level(logging.WARNING):
        kept = without_oversized(dataset, 6.0)
    assert len(kept) == 2
    assert dataset.ids[1] in caplog.text and "1 of 3" in caplog.text
    assert without_oversized(dataset, 100.0) is dataset


def test_nothing_left_is_an_error_with_a_remedy() -> None:
    dataset = CrystalStructureDataset([rock_salt(edge=5.64 * 3)])
    with pytest.raises(InputError, match="--largest-volume"):
        without_oversized(dataset, 6.0)
