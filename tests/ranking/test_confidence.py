"""Confidence: calibrated where the truth is made up, and monotone where it must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystal_diffusion.errors import InputError
from crystal_diffusion.ranking.confidence import (
    POOL_FEATURES,
    AnsweredList,
    ConfidenceModel,
    columns_of,
    default_calibration,
    first_for,
    fit,
    grouped,
)


def rows(count: int, seed: int) -> list[AnsweredList]:
    """Lists whose first candidate is right as often as the share of it, halved, says."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        scores = np.sort(rng.normal(0, 2, 6))[::-1]
        shares = np.exp(scores) / np.exp(scores).sum()
        match = [False] * 6
        if rng.random() < 0.5:
            match[int(rng.choice(6, p=shares))] = True
        features = dict.fromkeys(POOL_FEATURES, 0.0) | {"atoms": float(rng.normal())}
        made.append(AnsweredList(tuple(scores.tolist()), tuple(range(6)), tuple(match), features))
    return made


def first(row: AnsweredList, calibration: ConfidenceModel) -> float:
    _, held, members, entropy = grouped(np.array(row.scores), row.groups)
    return float(calibration.probabilities(columns_of(held, members, entropy, row.features))[0])


def test_a_fit_is_calibrated_on_other_rows() -> None:
    calibration = fit(rows(1500, 1))
    others = rows(2000, 2)
    sure = np.array([first(row, calibration) for row in others])
    right = np.array([row.match[0] for row in others])
    raw = np.array([grouped(np.array(r.scores), r.groups)[1][0] for r in others])
    assert abs(sure.mean() - right.mean()) < 0.03
    for low, high in ((0.0, 0.3), (0.3, 0.6)):
        inside = (sure >= low) & (sure < high)
        assert abs(sure[inside].mean() - right[inside].mean()) < 0.05
    assert raw.mean() - right.mean() > 0.2


def test_a_fit_is_the_minimum_of_the_penalised_likelihood() -> None:
    """By a loss written anew and its slopes by differences, with a penalty that matters."""
    made, penalty = rows(200, 5), 0.05
    fitted = fit(made, penalty)
    tables, right = [], []
    for row in made:
        _, held, members, entropy = grouped(np.array(row.scores), row.groups)
        tables.append(columns_of(held, members, entropy, row.features))
        right += row.match
    scaled = ((np.concatenate(tables) - fitted.means) / fitted.deviations).clip(-3, 3)
    columns = list(scaled.T)
    count = len(columns)
    columns += [columns[i] * columns[j] for i in range(count) for j in range(i, count)]

    def loss(weights: list[float]) -> float:
        odds = weights[0] + sum(w * c for w, c in zip(weights[1:], columns, strict=True))
        chance = 1 / (1 + np.exp(-np.asarray(odds)))
        missed = -np.log(np.where(right, chance, 1 - chance)).sum() / len(made)
        return float(missed + penalty * sum(w**2 for w in weights[1:]))

    found = list(fitted.weights)
    assert max(abs(w) for w in found[1:]) > 0.05
    step = 1e-4
    for k in range(len(found)):
        above, below = (
            loss([w + shift * (i == k) for i, w in enumerate(found)]) for shift in (step, -step)
        )
        assert abs(above - below) / (2 * step) < 1e-3


def test_calibrations_are_kept_and_damaged_ones_refused(tmp_path: Path) -> None:
    calibration = fit(rows(100, 3))
    (tmp_path / "confidence.json").write_text(calibration.to_json())
    assert ConfidenceModel.load(tmp_path / "confidence.json") == calibration
    (tmp_path / "confidence.json").write_text("{}")
    with pytest.raises(InputError, match="no calibration"):
        ConfidenceModel.load(tmp_path / "confidence.json")
    with pytest.raises(InputError, match="at least 50"):
        fit(rows(10, 4))


def test_the_shipped_one_believes_a_clear_winner_more_than_a_tie() -> None:
    features = dict.fromkeys(POOL_FEATURES, 0.0) | {"atoms": 1.8, "elements": 3.0}
    sure = []
    for scores in ([0.0, -6.0, -7.0, -8.0], [0.0, -0.1, -0.2, -0.3]):
        _, held, members, entropy = grouped(np.array(scores), [0, 1, 2, 3])
        columns = columns_of(held, members, entropy, features)
        sure.append(float(default_calibration().probabilities(columns)[0]))
    assert sure[0] > 0.6 > sure[1]


def test_how_many_to_take() -> None:
    assert first_for([0.2, 0.6, 0.5], 0.5) == 1
    assert first_for([0.2, 0.6, 0.5], 0.8) == 2
    assert first_for([0.2, 0.1], 0.8) is None


def test_the_rival_of_a_group_is_the_best_of_the_others() -> None:
    table = columns_of(
        np.array([0.6, 0.3, 0.05]), [2, 1, 1], 1.0, dict.fromkeys(POOL_FEATURES, 0.0)
    )
    assert table[:, 1] == pytest.approx(np.log(np.array([0.3, 0.6, 0.6]) + 1e-4))
    assert table[:, 0] == pytest.approx(np.log([0.6 / 0.4, 0.3 / 0.7, 0.05 / 0.95]))
    assert table[:, 4].tolist() == [1.0, 0.0, 0.0]
