"""What networks are told of properties: intervals that say nothing but that the label is inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.conditions import (
    ConditionScale,
    even_quantiles,
    random_conditions,
)
from crystal_diffusion.properties import PropertyRange

INF = float("inf")


def labels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    gap = np.maximum(0, rng.normal(0, 2, 4000))
    modulus = 10 ** rng.normal(1.9, 0.4, 4000)
    modulus[::2] = np.nan
    return {"band_gap": gap, "bulk_modulus": modulus}


def test_labels_lie_in_the_interval_that_is_told() -> None:
    scale = ConditionScale.from_labels(labels())
    values = scale.encode_all(labels())
    told = random_conditions(values, even_quantiles(values), torch.Generator().manual_seed(1))
    inside = (told.low <= values) & (values < told.high)
    assert bool(inside[told.asked].all())
    assert not bool(told.asked[torch.isnan(values)].any())
    assert 0.3 < float(told.asked[:, 0].float().mean()) < 0.6
    assert bool(torch.isinf(told.low[told.asked]).any())
    assert bool(torch.isinf(told.high[told.asked]).any())


def test_an_interval_says_nothing_about_where_inside_it_the_label_is() -> None:
    """Among crystals told a piece, labels are distributed as those of all crystals in it.

    With intervals drawn around the label the middle of the piece would be near it.
    """
    g = torch.Generator().manual_seed(2)
    values = torch.rand(60_000, 1, generator=g)
    told = random_conditions(values, even_quantiles(values), g)
    both = told.asked[:, 0] & torch.isfinite(told.low[:, 0]) & torch.isfinite(told.high[:, 0])
    low, high, own = told.low[both, 0], told.high[both, 0], values[both, 0]
    place = (own - low) / (high - low)
    # Even over each piece: mean 1/2, variance 1/12, also where pieces are narrow.
    for chosen in (high - low < 0.2, high - low >= 0.2):
        count = int(chosen.sum())
        assert count > 1000
        assert float(place[chosen].mean()) == pytest.approx(0.5, abs=4 * 0.29 / count**0.5)
        assert float(place[chosen].var()) == pytest.approx(1 / 12, abs=0.005)


def test_requests_become_the_numbers_of_training() -> None:
    scale = ConditionScale.from_labels(labels())
    asked = {"band_gap": PropertyRange(1.0, 2.0), "bulk_modulus": PropertyRange(low=100.0)}
    told = scale.conditions(asked, crystals=3)
    assert told.low.shape == (3, 2)
    assert bool(told.asked.all())
    ends = scale.encode("band_gap", np.array([1.0, 2.0]))
    assert told.low[0, 0].item() == pytest.approx(ends[0], rel=1e-6)
    assert told.high[0, 0].item() == pytest.approx(ends[1], rel=1e-6)
    assert told.high[0, 1].item() == INF
    assert told.low[0, 1].item() == pytest.approx(
        (2.0 - scale.centre[1]) / scale.spread[1], rel=1e-6
    )
    other = scale.conditions({"my_own": PropertyRange(1, 2)})
    assert not bool(other.asked.any())


def test_nothing_below_zero_is_the_open_end_of_a_logarithm() -> None:
    scale = ConditionScale.from_labels(labels())
    told = scale.conditions({"bulk_modulus": PropertyRange(0.0, 50.0)})
    assert told.low[0, 1].item() == -INF


def test_ranges_without_any_label_are_named() -> None:
    scale = ConditionScale.from_labels(labels())
    assert scale.outside({"band_gap": PropertyRange(50, 60)})["band_gap"][1] == max(
        labels()["band_gap"]
    )
    assert not scale.outside({"band_gap": PropertyRange(1, 60)})


def test_a_property_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="no label"):
        ConditionScale.from_labels({"band_gap": np.full(3, np.nan)})
