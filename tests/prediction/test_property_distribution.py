"""Intervals hold as often as they say, and probabilities are those of the distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystal_diffusion.prediction.distribution import Calibration, Guess, calibrated, tail_for


def guess(centre: np.ndarray, scale: float = 1.0, nonzero: float = 1.0) -> Guess:
    n = len(centre)
    return Guess(centre, np.full(n, scale), np.full(n, nonzero), np.zeros(n, dtype=int))


def drawn(n: int, seed: int, zeros: float = 0.0) -> tuple[Guess, np.ndarray]:
    """Predictions with skewed errors, twice as large in one half; zeros with known odds."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(1.0, 5.0, n)
    scale = np.where(centre > 3, 2.0, 1.0)
    values = centre + scale * (rng.exponential(0.5, n) - 0.4)
    nonzero = rng.beta(0.4, 0.4, n) if zeros else np.ones(n)
    values = np.where(rng.random(n) < nonzero, np.maximum(values, 0.01), 0.0)
    group = np.digitize(nonzero, (0.25, 0.9)) if zeros else (centre > 3).astype(int)
    return Guess(centre, scale, nonzero, group), values


@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_nine_of_ten_new_crystals_lie_inside(zeros: float) -> None:
    lowest = 0.0 if zeros else -math.inf
    made = calibrated(*drawn(3000, 1, zeros), *drawn(3000, 2, zeros), lowest=lowest, groups=3)
    new, values = drawn(20000, 3, zeros)
    low, high = made.interval(new)
    inside = (values >= low) & (values <= high)
    assert 0.88 <= inside.mean() <= 0.92
    for group in np.unique(new.group):
        assert inside[new.group == group].mean() >= 0.84
    assert (low <= high).all() and (low >= lowest).all()


def test_probabilities_come_true() -> None:
    made = calibrated(*drawn(4000, 1, 0.5), *drawn(4000, 2, 0.5), lowest=0.0, groups=3)
    new, values = drawn(20000, 3, 0.5)
    for low, high in ((0.5, 2.0), (-math.inf, 1.5), (3.0, math.inf), (0.0, 0.0)):
        said = made.inside(new, low, high)
        true = (values >= low) & (values <= high)
        assert abs(said.mean() - true.mean()) < 0.03
        likely = said > 0.5
        if likely.sum() > 500:
            assert abs(said[likely].mean() - true[likely].mean()) < 0.06
    assert (made.inside(new, 0.0, math.inf) == 1.0).all()


def test_the_tail_is_the_finite_sample_quantile() -> None:
    depths = np.arange(1, 20) / 40  # 19 values: floor(20 * 0.1) = 2nd least
    assert tail_for(depths) == pytest.approx(2 / 40)
    assert tail_for(depths[:5]) == 0.0


def test_a_logarithmic_property_is_positive_and_round() -> None:
    errors = np.linspace(-0.2, 0.2, 81)
    made = Calibration(errors, (0.05,), True, 0.0, 1.0, 500.0)
    said = guess(np.array([2.0]))
    low, high = made.interval(said)
    assert made.value(said) == pytest.approx([100.0])
    assert low[0] == pytest.approx(10**1.82, rel=1e-6) and high[0] == pytest.approx(10**2.18)
    assert made.inside(said, 100.0, math.inf)[0] == pytest.approx(0.5)
    again = Calibration.from_dict(made.as_dict())
    np.testing.assert_allclose(again.interval(said), (low, high))


def test_a_clear_metal_has_the_point_zero() -> None:
    made = Calibration(np.linspace(-0.5, 0.5, 81), (0.1,), False, 0.0, 0.0, 9.0)
    metal = guess(np.array([1.0]), nonzero=0.02)
    low, high = made.interval(metal)
    assert made.value(metal)[0] == low[0] == high[0] == 0.0
    assert made.inside(metal, 0.5, 3.0)[0] == pytest.approx(0.02, abs=1e-9)
