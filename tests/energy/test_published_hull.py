"""Two opinions on the published hull distance become one, and nothing comes of half of them."""

from __future__ import annotations

import math

import pytest

from crystal_diffusion.energy.hull import HullBuilder, hull_row
from crystal_diffusion.energy.published_hull import LIKELY, PublishedHull, published_hull
from crystal_diffusion.energy.reference_energies import ReferenceEnergies, ReferenceEntry
from tests.crystals import rock_salt


def said(above: float, predicted: float, inside: float) -> PublishedHull:
    answer = published_hull(above, predicted, inside)
    assert answer is not None
    return answer


def test_each_opinion_counts_and_in_the_right_direction() -> None:
    chances = [said(above, 0.05, 0.8).near_probability for above in (0.0, 0.05, 0.1, 0.2)]
    assert chances == sorted(chances, reverse=True) and len(set(chances)) == 4
    chances = [said(0.05, 0.05, inside).near_probability for inside in (0.1, 0.5, 0.9, 1.0)]
    assert chances == sorted(chances) and len(set(chances)) == 4
    assert said(0.2, 0.1, 0.5).above > said(0.1, 0.1, 0.5).above > said(0.1, 0.0, 0.5).above


def test_clear_cases_are_clear_and_numbers_stay_in_range() -> None:
    assert said(0.0, 0.0, 0.99).near_probability > 0.95 and said(0.0, 0.0, 0.99).likely
    assert said(0.4, 0.4, 0.01).near_probability < 0.02
    assert said(-0.3, 0.0, 1.0) == said(0.0, 0.0, 1.0)
    for above in (-5.0, 0.0, 50.0):
        for inside in (0.0, 1.0):
            answer = said(above, 0.3, inside)
            assert 0 <= answer.near_probability <= 1 and answer.above >= 0
            assert answer.likely == (answer.near_probability >= LIKELY)


@pytest.mark.parametrize("place", range(3))
def test_half_an_opinion_is_none(place: int) -> None:
    numbers = [0.1, 0.1, 0.5]
    numbers[place] = math.nan
    assert published_hull(*numbers) is None


def test_a_row_of_the_hull_has_it_only_where_the_network_was_asked() -> None:
    entries = {
        key: ReferenceEntry(key, {key: 1.0}, 0.0, True, "2026-01-01") for key in ("Na", "Cl")
    }
    hull = HullBuilder(ReferenceEnergies("diep", "1", entries))
    told = hull_row(rock_salt(), 0.05, hull, {}, {}, predicted=(0.02, 0.9))
    expected = said(0.05, 0.02, 0.9)
    assert told.published_above_hull_eV_atom == pytest.approx(expected.above, abs=1e-4)
    assert told.published_near_hull_probability == pytest.approx(
        expected.near_probability, abs=1e-4
    )
    without = hull_row(rock_salt(), 0.05, hull, {}, {})
    assert without.published_near_hull_probability is None
    silent = hull_row(rock_salt(), 0.05, hull, {}, {}, predicted=(math.nan, math.nan))
    assert silent.published_above_hull_eV_atom is None
