"""Figures of generation from nothing agree with a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.stats import wasserstein_distance

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation import evaluate_generation
from crystal_diffusion.evaluation.coverage import nearest_distances
from crystal_diffusion.evaluation.metrics import ratio, wasserstein


@pytest.fixture(scope="module")
def made(targets) -> dict[str, Structure]:
    """Two copies of a known crystal, a squeezed cell, a swap, and something else."""
    known = list(targets.values())
    moved = known[0].copy()
    moved.perturb(0.01)
    odd = Structure(
        Lattice.orthorhombic(5, 6, 7), ["Na", "Xe", "Fe"], [[0] * 3, [0.5] * 3, [0.3] * 3]
    )
    needle = Structure(Lattice.orthorhombic(0.4, 5, 5), ["Fe"], [[0, 0, 0]])
    return {"copy": known[0].copy(), "moved": moved, "odd": odd, "needle": needle}


def test_counts_by_hand(made, targets) -> None:
    table = evaluate_generation(made, targets, processes=1)

    def value(name: str) -> float:
        return table.metric(name).value

    assert value("valid, structure") == 0.75
    assert value("valid, structure, published") == 1.0
    assert value("valid, composition") == 0.75
    assert value("valid") == 0.5
    assert value("unique") == 0.75
    assert value("novel") == 0.5
    assert value("valid, unique and novel") == 0.0
    rows = {row["id"]: row for row in table.rows}
    assert rows["copy"]["known"] and rows["copy"]["nearest_id"] == "t0"
    assert rows["copy"]["unique"] and not rows["moved"]["unique"]
    assert rows["copy"]["group"] == rows["moved"]["group"] != rows["odd"]["group"]
    assert table.metric("unique").n == 4
    densities = [s.density for s in made.values()], [s.density for s in targets.values()]
    assert value("Wasserstein, density") == pytest.approx(wasserstein_distance(*densities))


def test_a_set_covers_itself(targets) -> None:
    table = evaluate_generation(targets, targets, processes=1)
    assert table.metric("COV-R").value == 1 and table.metric("COV-P").value == 1
    assert table.metric("novel").value == 0
    assert table.metric("Wasserstein, elements").value == 0


def test_energies_are_compared_when_given(made, targets) -> None:
    energies = {name: -float(i) for i, name in enumerate(made)}
    table = evaluate_generation(
        made, targets, energies=energies, reference_energies=[-1.0, -2.0], processes=1
    )
    assert table.metric("Wasserstein, energy").unit == "eV/atom"
    assert table.metric("Wasserstein, energy").value == pytest.approx(
        wasserstein_distance([0, -1, -2, -3], [-1, -2])
    )


def test_bad_input(made, targets) -> None:
    with pytest.raises(InputError, match="no structures to evaluate"):
        evaluate_generation({}, targets)
    with pytest.raises(InputError, match="reference has no crystals"):
        evaluate_generation(made, {})


def test_nearest_distances_is_the_plain_minimum() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 5)), rng.normal(size=(40, 5))
    b[3] = np.nan
    plain = np.sqrt(((a[:, None] - np.delete(b, 3, 0)[None]) ** 2).mean(-1)).min(1)
    assert nearest_distances(a, b) == pytest.approx(plain, abs=1e-5)
    assert np.isinf(nearest_distances(a, np.full((2, 5), np.nan))).all()


def test_the_interval_is_that_of_a_binomial() -> None:
    """For a rate the bootstrap must give the known deviation sqrt(p (1 - p) / n)."""
    hits = np.arange(400) % 4 == 0
    result = ratio("rate", "a quarter", hits)
    spread = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert result.value == 0.25 and result.n == 400
    assert result.low == pytest.approx(0.25 - spread, abs=0.01)
    assert result.high == pytest.approx(0.25 + spread, abs=0.01)


def test_a_mean_over_matches_only() -> None:
    result = ratio("rmse", "mean", [0.1, 0.0, 0.3], [1, 0, 1], unit="1")
    assert result.value == pytest.approx(0.2) and result.n == 2
    nothing = ratio("rmse", "mean", [0.0, 0.0], [0, 0], unit="1")
    assert np.isnan(nothing.value) and nothing.n == 0 and nothing.to_dict()["value"] is None


def test_wasserstein_leaves_out_what_is_not_finite() -> None:
    result = wasserstein("w", "d", [1.0, np.nan, 2.0], [1.0, 2.0, np.inf])
    assert result.value == 0 and result.n == 2
    assert np.isnan(wasserstein("w", "d", [], [1.0]).value)


def test_an_interval_holds_ninety_five_percent() -> None:
    """Of a share of one half of 400 it is 1.96 standard errors to each side."""
    found = ratio("share", "", np.tile([0.0, 1.0], 200))
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.025, rel=0.08)
