"""Mean and spread of samples: alignment first, other structures left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.uncertainty import spread_of
from crystal_diffusion.viewer.scene import make_scene


def rutile(shift: float, rng: np.random.Generator, sigma: float) -> Structure:
    """SnO2 with the origin elsewhere, atoms in another order, sites moved by ``sigma`` Å."""
    crystal = Structure.from_spacegroup(
        136, Lattice.tetragonal(4.74, 3.19), ["Sn", "O"], [[0, 0, 0], [0.306, 0.306, 0]]
    )
    crystal.translate_sites(range(6), [shift, -shift, 0.5 * shift])
    moved = crystal.cart_coords + rng.normal(0, sigma, (6, 3))
    order = rng.permutation(6)
    return Structure(
        crystal.lattice,
        [crystal.species[i] for i in order],
        moved[order],
        coords_are_cartesian=True,
    )


def test_samples_of_one_crystal_with_other_origins_and_orders_spread_by_their_noise() -> None:
    rng = np.random.default_rng(0)
    found = spread_of([rutile(s, rng, 0.05) for s in (0.0, 0.97, 0.3, 0.5, 0.71, 0.12)])
    assert found.together == 6
    assert found.share == 1.0
    # Three directions of 0.05 Å, less what the common translation and the mean take.
    assert 0.04 < float(np.sqrt((found.spread**2).mean())) < 0.1
    exact = Structure.from_spacegroup(
        136, Lattice.tetragonal(4.74, 3.19), ["Sn", "O"], [[0, 0, 0], [0.306, 0.306, 0]]
    )
    from crystal_diffusion.matching import StructureMatch

    assert (StructureMatch().rms(found.mean, exact) or 1.0) < 0.03


def test_equal_samples_have_no_spread() -> None:
    rng = np.random.default_rng(1)
    found = spread_of([rutile(s, rng, 0.0) for s in (0.0, 0.4, 0.9)])
    assert float(found.spread.max()) < 1e-3


def test_one_sample_alone_has_no_known_spread() -> None:
    rng = np.random.default_rng(3)
    fluorite = Structure.from_spacegroup(
        225, Lattice.cubic(4.9), ["Sn", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    found = spread_of([rutile(0.1, rng, 0.02), fluorite])
    assert (found.together, found.samples) == (1, 2)
    assert np.isnan(found.spread).all() and np.isnan(found.cell_spread).all()
    assert "1 of 2 alike" in found.view().html()


def test_another_structure_is_counted_and_not_averaged() -> None:
    rng = np.random.default_rng(2)
    fluorite = Structure.from_spacegroup(
        225, Lattice.cubic(4.9), ["Sn", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    found = spread_of([rutile(0.1, rng, 0.02), fluorite, rutile(0.8, rng, 0.02)])
    assert (found.together, found.samples) == (2, 3)
    assert found.mean.composition.reduced_formula == "SnO2"
    assert float(found.spread.max()) < 0.1


def test_halos_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    found = spread_of([rutile(0.0, rng, 0.1), rutile(0.2, rng, 0.1)])
    page = found.view(tmp_path / "spread.html")
    assert '"halos"' in (tmp_path / "spread.html").read_text()
    assert page.scene.halos is not None
    from crystal_diffusion.viewer.painting import render

    plain = render(make_scene(found.mean), 120, 100)
    assert not np.array_equal(plain, render(page.scene, 120, 100))
    with pytest.raises(InputError, match="halos"):
        make_scene(found.mean, halos=[0.1])
