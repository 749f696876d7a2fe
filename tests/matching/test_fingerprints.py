"""The fingerprint depends on the crystal only, and changes smoothly."""

from __future__ import annotations

import numpy as np
import pytest
from crystal_variants import displaced, permuted, repeated
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import CrystalArrays
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.radial import (
    LENGTH,
    composition_fingerprint,
    distance,
    fingerprint,
    fingerprints,
    fingerprints_of_arrays,
)


def test_cell_rotation_order_and_size_do_not_matter(crystals: list[Structure]) -> None:
    rng = np.random.default_rng(0)
    for s in crystals[:25]:
        large = Structure(Lattice(s.lattice.matrix * 1.7), s.species, s.frac_coords)
        for other in (permuted(s, rng), repeated(s, rng), large):
            assert fingerprint(other) == pytest.approx(fingerprint(s), abs=1e-6), s.formula


def test_it_changes_in_proportion_to_small_moves(crystals: list[Structure]) -> None:
    rng = np.random.default_rng(0)
    for s in crystals[:25]:
        small = distance(fingerprint(s), fingerprint(displaced(s, 1e-5, rng)))
        large = distance(fingerprint(s), fingerprint(displaced(s, 1e-2, rng)))
        assert small < 1e-4 and small < large < 0.1, s.formula


def test_different_crystals_are_far_apart(crystals: list[Structure]) -> None:
    rng = np.random.default_rng(0)
    vectors = fingerprints(crystals)
    moved = fingerprints([displaced(s, 0.01, rng) for s in crystals])
    own = distance(vectors, moved)
    gaps = distance(vectors[:, None], vectors[None])[np.triu_indices(len(crystals), 1)]
    assert np.median(gaps) > 5 * np.median(own)


def test_many_and_arrays_agree_and_bad_ones_are_nan(crystals: list[Structure]) -> None:
    flat = Structure(Lattice(np.diag([3.0, 3, 1e-9])), ["H"], [[0, 0, 0]])
    rows = fingerprints([crystals[0], flat])
    assert rows.shape == (2, LENGTH)
    assert np.isnan(rows[1]).all() and np.isfinite(rows[0]).all()
    plain = [
        PlainCrystal(str(i), s.lattice.matrix, s.frac_coords, np.array(s.atomic_numbers))
        for i, s in enumerate(crystals[:5])
    ]
    assert fingerprints_of_arrays(CrystalArrays.from_crystals(plain)) == pytest.approx(
        fingerprints(crystals[:5])
    )


def test_partial_occupancy_and_thin_cells_are_refused() -> None:
    mixed = Structure(Lattice.cubic(4.2), [{"Mg": 0.5, "Fe": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="partial occupancy"):
        fingerprint(mixed)
    thin = Structure(Lattice(np.diag([1e-6, 9e4, 9e4])), ["H"], [[0, 0, 0]])
    with pytest.raises(InputError, match="too flat or thin"):
        fingerprint(thin)


def test_composition_knows_like_elements() -> None:
    def of(*numbers: int) -> np.ndarray:
        return composition_fingerprint(np.array(numbers))

    salt = of(11, 17)
    assert distance(salt, of(17, 11)) == pytest.approx(0)
    assert distance(salt, of(19, 17)) < distance(salt, of(26, 17))
    assert distance(salt, of(19, 17)) > 0
    assert distance(salt, of(11, 11, 17, 17)) == pytest.approx(0)


def test_public_names_stay_functions_after_every_import() -> None:
    """No file of the room may have the name of a public function, or it would hide it."""
    import importlib
    import pkgutil

    import crystal_diffusion.matching as room

    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    assert all(callable(getattr(room, name)) for name in room.__all__)


def test_the_distance_is_the_root_of_the_mean_square() -> None:
    from crystal_diffusion.matching.radial import distance

    assert distance(np.array([0.0, 0.0, 0.0, 0.0]), np.array([4.0, 0.0, 0.0, 0.0])) == 2.0
    assert distance(np.zeros((2, 3)), np.array([3.0, 0.0, 0.0])).shape == (2,)


def test_far_away_the_density_is_that_of_the_crystal() -> None:
    """In units of the mean spacing it tends to one: shells grow with the square of the distance."""
    from crystal_diffusion.matching import radial

    lattice = Lattice.from_parameters(4.1, 5.2, 6.3, 81, 97, 102)
    coords = [[0, 0, 0], [0.5, 0.45, 0.1], [0.2, 0.6, 0.5], [0.7, 0.1, 0.6]]
    pairs = radial.fingerprint(Structure(lattice, ["Na"] * 4, coords))[: radial.BINS]
    assert pairs[-8:].mean() == pytest.approx(1.0, abs=0.06)
    assert pairs[:3].max() < 0.02  # nobody is nearer than the atoms are
