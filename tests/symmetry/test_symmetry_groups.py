"""The table of space groups against group theory, spglib and moyopy."""

from __future__ import annotations

import moyopy
import numpy as np
import pytest
import spglib

from crystal_diffusion.errors import RequestError
from crystal_diffusion.symmetry.groups import (
    CRYSTAL_SYSTEMS,
    SpaceGroup,
    groups_of,
    orbit_maps,
    wrap,
)

SOME = (1, 2, 5, 14, 38, 43, 62, 88, 142, 146, 161, 167, 186, 194, 205, 216, 225, 227, 230)


def operation_keys(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    rows = np.concatenate(
        [rotations.reshape(-1, 9), np.round(translations * 24).astype(int) % 24], axis=1
    )
    return {tuple(int(x) for x in row) for row in rows}


@pytest.mark.parametrize("number", SOME)
def test_operations_close_as_a_group(number: int) -> None:
    group = SpaceGroup.from_number(number)
    keys = operation_keys(group.rotations, group.translations)
    assert len(keys) == len(group.rotations)
    products = group.rotations[:, None] @ group.rotations[None]
    shifts = (
        np.einsum("nij,mj->nmi", group.rotations, group.translations) + group.translations[:, None]
    )
    assert operation_keys(products.reshape(-1, 3, 3), wrap(shifts.reshape(-1, 3))) == keys


@pytest.mark.parametrize("number", SOME)
def test_operations_are_those_of_moyopy(number: int) -> None:
    group = SpaceGroup.from_number(number)
    theirs = moyopy.operations_from_number(number)
    assert operation_keys(group.rotations, group.translations) == operation_keys(
        np.array(theirs.rotations), np.array(theirs.translations)
    )


def test_every_group_has_its_symbol_and_point_group_in_spglib() -> None:
    kinds = {}
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        kinds.setdefault(kind.number, kind)
    for number in range(1, 231):
        group = SpaceGroup.from_number(number)
        assert group.point_group == kinds[number].pointgroup_international
        assert group.centring in "PACIFR"
        assert group.crystal_system in CRYSTAL_SYSTEMS


@pytest.mark.parametrize("number", SOME)
def test_orbits_have_the_tabulated_multiplicity(number: int) -> None:
    group = SpaceGroup.from_number(number)
    back = np.linalg.inv(group.to_primitive.T)
    for position in group.positions:
        linear, offset = position.images()
        assert len(linear) == position.multiplicity
        # A generic point of the position has that many different images.
        point = np.array([0.1234, 0.2718, 0.3141])
        images = wrap(linear @ point + offset)
        assert len(np.unique(np.round(images, 6), axis=0)) == position.multiplicity
        rotations, translations = group.primitive_operations
        primitive, _, _ = orbit_maps(
            rotations, translations, back @ position.linear, back @ position.offset
        )
        assert len(primitive) * group.centring_size == position.multiplicity


@pytest.mark.parametrize("number", SOME)
def test_primitive_operations_are_integer_and_one_a_point_group_element(number: int) -> None:
    group = SpaceGroup.from_number(number)
    rotations, translations = group.primitive_operations
    change = group.to_primitive.T
    exact = np.linalg.inv(change) @ group.rotations @ change
    assert np.abs(exact - np.round(exact)).max() < 1e-12
    assert len(rotations) * group.centring_size == len(group.rotations)
    assert np.array_equal(rotations[0], np.eye(3)) and not translations[0].any()
    assert np.allclose(np.abs(np.linalg.det(rotations)), 1)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (225, 225),
        ("225", 225),
        ("Fm-3m", 225),
        ("F m -3 m", 225),
        ("Fm3m", 225),
        ("fm-3m", 225),
        (r"Fm\bar{3}m", 225),
        ("P2_1/c", 14),
        ("P21/c", 14),
        ("P2₁/c", 14),
        ("P21/n", 14),
        ("Pbnm", 62),
        ("Pnma", 62),
        ("pnma", 62),
        ("P1", 1),
        ("P-1", 2),
        ("R3m", 160),
        ("R-3m", 166),
        ("Cmca", 64),
        ("Cmce", 64),
        ("I4/mmm", 139),
        ("Ia3d", 230),
    ],
)
def test_names(name: str | int, number: int) -> None:
    assert SpaceGroup.from_any(name).number == number


def test_every_symbol_finds_its_own_group() -> None:
    for number in range(1, 231):
        symbol = SpaceGroup.from_number(number).symbol
        assert SpaceGroup.from_any(symbol).number == number
        assert SpaceGroup.from_any(symbol.replace("_", "")).number == number


@pytest.mark.parametrize("name", ["Fm-4m", "Quux", "", "0", "231", "-3", 231])
def test_unknown_names_are_refused_with_a_remedy(name: str | int) -> None:
    with pytest.raises(RequestError, match="Fm-3m"):
        SpaceGroup.from_any(name)


def test_nearest_names_are_offered() -> None:
    with pytest.raises(RequestError, match="Fm-3m, F-43m"):
        SpaceGroup.from_any("Fm-4m")


def test_groups_of() -> None:
    assert len(groups_of()) == 230
    assert [g.number for g in groups_of("cubic")] == list(range(195, 231))
    assert [g.number for g in groups_of(point_group="m3m")] == list(range(221, 231))
    assert [g.number for g in groups_of("trigonal", "32")] == list(range(149, 156))
    sizes = [len(groups_of(name)) for name in CRYSTAL_SYSTEMS]
    assert sizes == [2, 13, 59, 68, 25, 27, 36]


@pytest.mark.parametrize(
    ("system", "point_group", "message"),
    [
        ("qubic", None, "choose triclinic"),
        (None, "5m", "point group '5m' is not known"),
        ("cubic", "mm2", "drop one"),
    ],
)
def test_groups_of_refuses(system: str | None, point_group: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        groups_of(system, point_group)


def test_unknown_letter_lists_the_known_ones() -> None:
    with pytest.raises(RequestError, match="4a, 4b, 4c, 8d"):
        SpaceGroup.from_any(62).position("z")


@pytest.mark.parametrize(
    ("number", "letter", "site_symmetry"),
    [(225, "a", "m-3m"), (225, "e", "4m.m"), (194, "c", "-6m2"), (62, "c", ".m."), (2, "i", "1")],
)
def test_site_symmetry(number: int, letter: str, site_symmetry: str) -> None:
    assert SpaceGroup.from_any(number).position(letter).site_symmetry == site_symmetry
