"""Confidence of trained models: moved where own crystals say so, kept where they are few."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.ranking.confidence import POOL_FEATURES, AnsweredList, default_calibration
from crystal_diffusion.ranking.own_confidence import (
    CONFIDENCE_FILE,
    FEWEST_ANSWERED,
    FEWEST_SAMPLED,
    AdjustedCalibration,
    SampledCalibration,
    adjust,
    fit_sampled,
    load_calibration,
    sampled_columns,
    save_calibration,
)

FEATURES = dict.fromkeys(POOL_FEATURES, 0.0) | {"atoms": 1.8, "elements": 3.0}


def lists(count: int, offset: float, slope: float, seed: int = 0) -> list[AnsweredList]:
    """Lists whose groups are right as often as the shipped calibration, moved so, says."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        scores = tuple(np.sort(rng.normal(0, 3, 12))[::-1].tolist())
        plain = AnsweredList(scores, tuple(range(12)), (False,) * 12, FEATURES)
        odds = offset + slope * default_calibration().log_odds(plain.columns_and_hits()[0])
        right = tuple((rng.random(12) < 1 / (1 + np.exp(-odds))).tolist())
        made.append(AnsweredList(scores, tuple(range(12)), right, FEATURES))
    return made


@pytest.mark.parametrize(("offset", "slope"), [(-1.0, 0.7), (0.8, 1.4), (0.0, 1.0)])
def test_many_crystals_move_the_calibration_where_the_truth_is(offset: float, slope: float) -> None:
    found = adjust(lists(3000, offset, slope))
    assert found.offset == pytest.approx(offset, abs=0.15)
    assert found.slope == pytest.approx(slope, abs=0.1)
    columns = lists(1, 0, 1)[0].columns_and_hits()[0]
    odds = default_calibration().log_odds(columns)
    moved = 1 / (1 + np.exp(-(found.offset + found.slope * odds)))
    assert found.probabilities(columns)[0] == pytest.approx(moved[0], abs=0.01)


def test_what_few_crystals_cannot_show_is_not_said() -> None:
    all_right = lists(12, 0.0, 1.0)
    all_right = [replace(each, match=(True, *[False] * 11)) for each in all_right]
    found = adjust(all_right)
    assert found.right == 12
    columns = lists(1, 0, 1)[0].columns_and_hits()[0]
    shipped = default_calibration().probabilities(columns)
    sure = found.probabilities(columns)
    assert shipped[0] < sure[0] < max(0.97, float(shipped[0]))
    assert sure.sum() <= 1 + 1e-9  # one of them is the answer, and it is not sure which
    more = adjust(all_right * 20).probabilities(columns)
    assert more[0] > sure[0]


def test_doubt_is_that_of_the_posterior() -> None:
    used = lists(30, -1.0, 0.7, seed=4)
    found = adjust(used)
    log_odds = np.concatenate(
        [default_calibration().log_odds(each.columns_and_hits()[0]) for each in used]
    )
    sign = np.where(np.concatenate([each.columns_and_hits()[1] for each in used]), 1.0, -1.0)
    offsets, slopes = np.meshgrid(np.linspace(-3, 1, 81), np.exp(np.linspace(-1.5, 0.5, 81)))
    margin = sign * (offsets[..., None] + slopes[..., None] * log_odds)
    logs = -np.logaddexp(0, -margin).sum(-1) - offsets**2 / 2 - (np.log(slopes) / 0.5) ** 2 / 2
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    # The width of the posterior of the moved log-odds, of likely and of unlikely candidates.
    for at in (-4.0, 3.0):
        moved = offsets + slopes * at
        mean = (weight * moved).sum()
        variance = (weight * (moved - mean) ** 2).sum()
        assert found.doubt(np.array([at])) == pytest.approx(variance, rel=0.15)


def test_few_crystals_stay_near_the_shipped_calibration() -> None:
    few, many = adjust(lists(10, -3.0, 0.5)), adjust(lists(1000, -3.0, 0.5))
    assert abs(few.offset) < abs(many.offset) and few.slope > many.slope
    too_few = adjust(lists(FEWEST_ANSWERED - 1, -3.0, 0.5))
    assert (too_few.offset, too_few.slope) == (0.0, 1.0)
    assert "too few" in too_few.source and "too few" not in few.source
    columns = lists(1, 0, 1)[0].columns_and_hits()[0]
    shipped = default_calibration().probabilities(columns)
    assert too_few.probabilities(columns) == pytest.approx(shipped)


def test_crystals_for_which_nothing_is_proposed_are_no_rows() -> None:
    nothing = [AnsweredList((), (), (), {})] * 20
    assert adjust(nothing) == AdjustedCalibration(lists=20)
    with_some = adjust([*nothing, *lists(50, -1.0, 1.0)])
    alone = adjust(lists(50, -1.0, 1.0))
    assert with_some.offset == alone.offset and with_some.lists == 70


def test_samples_that_agree_and_stand_still_are_believed() -> None:
    names, columns = sampled_columns(np.array([-1.0, -1.1, -3.0, -1.2]), [5, 5, 9, 5], 6)
    assert names == [5, 9]
    assert columns[0] == pytest.approx([np.log(3.5 / 1.5), -1.0, 2.0, np.log(6)])
    assert columns[1] == pytest.approx([np.log(1.5 / 3.5), -3.0, -2.0, np.log(6)])
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(400):
        groups = rng.integers(0, 4, 8).tolist()
        _, found = sampled_columns(rng.normal(-1, 0.5, 8), groups, 8)
        chance = 1 / (1 + np.exp(-(-1.0 + found[:, 0] + found[:, 1])))
        rows.append((found, rng.random(len(found)) < chance))
    calibration = fit_sampled(rows, 400)
    assert calibration.fitted and "400" in calibration.source
    sure = np.concatenate([calibration.probabilities(found) for found, _ in rows])
    right = np.concatenate([hits for _, hits in rows])
    assert sure.mean() == pytest.approx(right.mean(), abs=0.01)
    assert sure[right].mean() > sure[~right].mean() + 0.05
    several, one = calibration.probabilities(np.array([[1.0, -1, 0, 2], [-1.0, -1, 0, 2]]))
    assert several > one


def test_too_few_held_out_crystals_calibrate_nothing() -> None:
    _, columns = sampled_columns(np.array([-1.0, -2.0]), [0, 1], 4)
    calibration = fit_sampled([(columns, np.array([True, False]))] * (FEWEST_SAMPLED - 1), 19)
    assert not calibration.fitted and "not calibrated" in calibration.source


@pytest.mark.parametrize(
    "calibration",
    [
        AdjustedCalibration(-0.3, 0.8, 60, 40),
        SampledCalibration((0.0,) * 4, (1.0,) * 4, (0.0, 1.0, 0.5, 0.2, -0.1), 27, 9),
        SampledCalibration(lists=5),
    ],
)
def test_a_calibration_is_kept(
    tmp_path: Path, calibration: AdjustedCalibration | SampledCalibration
) -> None:
    assert load_calibration(tmp_path) is None
    save_calibration(tmp_path, calibration)
    assert load_calibration(tmp_path) == calibration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kind": "other"}',
        '{"kind": "adjusted", "offset": NaN}',
        '{"kind": "adjusted", "offset": "much"}',
        '{"kind": "adjusted", "lists": -1}',
        '{"kind": "sampled", "weights": [1.0, 2.0]}',
        '{"kind": "sampled", "extra": 1}',
        json.dumps(
            {
                "kind": "sampled",
                "weights": [0.0] * 5,
                "means": [0.0] * 4,
                "deviations": [0.0] * 4,
            }
        ),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIDENCE_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=CONFIDENCE_FILE):
        load_calibration(tmp_path)
