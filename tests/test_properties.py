"""Ranges of properties as users write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.properties import (
    BY_NAME,
    PROPERTIES,
    PropertyRange,
    parse_property,
    property_named,
    range_of,
)

INF = math.inf


@pytest.mark.parametrize(
    ("text", "name", "low", "high"),
    [
        ("band_gap=1.5..2.5", "band_gap", 1.5, 2.5),
        ("band gap = 1.5 - 2.5 eV", "band_gap", 1.5, 2.5),
        ("gap=1.5 to 2.5", "band_gap", 1.5, 2.5),
        ("band_gap=1500..2500 meV", "band_gap", 1.5, 2.5),
        ("band-gap=3±0.5", "band_gap", 2.5, 3.5),
        ("BandGap=3+-0.5eV", "band_gap", 2.5, 3.5),
        ("Eg=3000 +/- 500 meV", "band_gap", 2.5, 3.5),
        ("band_gap=3 eV ± 500 meV", "band_gap", 2.5, 3.5),
        ("density<4", "density", -INF, 4),
        ("density<=4 g/cm³", "density", -INF, 4),
        ("density < 4000 kg/m^3", "density", -INF, 4),
        ("energy_above_hull<0.05", "energy_above_hull", -INF, 0.05),
        ("e_above_hull<50 meV/atom", "energy_above_hull", -INF, 0.05),
        ("formation_energy=-3..-2", "formation_energy", -3, -2),
        ("formation_energy=-3--2", "formation_energy", -3, -2),
        ("formation_energy<-2 eV per atom", "formation_energy", -INF, -2),
        ("K>=200", "bulk_modulus", 200, INF),
        ("K ≥ 2 Mbar", "bulk_modulus", 200, INF),
        ("K_VRH>200 GPa", "bulk_modulus", 200, INF),
        ("1.5 < band_gap <= 2.5 eV", "band_gap", 1.5, 2.5),
        ("shear modulus: 50..60", "shear_modulus", 50, 60),
        ("bulk_modulus=200", "bulk_modulus", 180, 220),
        ("band_gap=2", "band_gap", 1.75, 2.25),
        ("formation_energy=\u22122.0..\u22121.0", "formation_energy", -2, -1),
        ("hull=0..1e-1", "energy_above_hull", 0, 0.1),
    ],
)
def test_written_ranges(text: str, name: str, low: float, high: float) -> None:
    found, wanted = parse_property(text)
    assert found == name
    assert wanted.low == pytest.approx(low)
    assert wanted.high == pytest.approx(high)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("band_gap", "does not parse"),
        ("", "does not parse"),
        ("band_gap=", "does not parse"),
        ("band_gap=wide", "no number or range"),
        ("band_gap=1..2..3", "no number or range"),
        ("band_gap=2.5..1.5", "empty"),
        ("bandgpa=1..2", "did you mean band_gap"),
        ("colour=1..2", "Known are formation_energy"),
        ("band_gap=1..2 GPa", "no unit of band_gap"),
        ("band_gap<-1", "impossible"),
        ("density=-3..-1", "impossible"),
        ("band_gap=3±-1", "negative"),
        ("my_own=3..4", "not known"),
    ],
)
def test_refused_with_the_reason(text: str, part: str) -> None:
    with pytest.raises(RequestError, match=part):
        parse_property(text)


def test_own_properties_come_first() -> None:
    assert parse_property("My Own > 3", ("my_own",)) == ("my_own", PropertyRange(3, INF))
    assert property_named("K", ("k",)) == "k"
    with pytest.raises(RequestError, match="Known are my_own, formation_energy"):
        property_named("zzz", ("my_own",))
    with pytest.raises(RequestError, match="bare number"):
        parse_property("my_own > 3 GPa", ("my_own",))


def test_ranges_from_python() -> None:
    assert range_of("band_gap", (1.5, 2.5)) == PropertyRange(1.5, 2.5)
    assert range_of("band_gap", (None, 2.5)) == PropertyRange(-INF, 2.5)
    assert range_of("band_gap", "<2.5") == PropertyRange(-INF, 2.5)
    assert range_of("band_gap", "1..2") == PropertyRange(1, 2)
    assert range_of("density", 4).low == pytest.approx(3.8)
    for wrong in (None, True, (1,), ("a", "b"), object(), (None, None), (math.nan, 1)):
        with pytest.raises(InputError):
            range_of("band_gap", wrong)


def test_names_and_aliases_are_of_one_property_each() -> None:
    aliases = [alias for known in PROPERTIES for alias in known.aliases]
    assert len(set(aliases)) == len(aliases)
    for known in PROPERTIES:
        assert property_named(known.name) == known.name
        for alias in known.aliases:
            assert property_named(alias) == known.name
        for unit, factor in known.units:
            assert known.worth(unit) == factor
        assert known.worth(known.unit) == 1


@given(
    st.sampled_from(sorted(BY_NAME)),
    st.floats(0, 1e4, allow_nan=False),
    st.floats(0, 1e4, allow_nan=False),
)
def test_a_range_is_read_as_it_is_written(name: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    _, wanted = parse_property(f"{name}={low!r}..{high!r}")
    assert (wanted.low, wanted.high) == (low, high)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_property(text)
    except RequestError as error:
        assert str(error)
