"""How far atoms moved, against displacements that were put in and against pymatgen."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.util.coord import pbc_shortest_vectors

from crystal_diffusion.generation.rows import distance_moved
from tests.crystals import copper_sulfate, rock_salt

EVERYTHING = slice(None)


def displaced(start: Structure, steps: np.ndarray, shift: np.ndarray) -> Structure:
    frac = start.frac_coords + (steps + shift) @ start.lattice.inv_matrix
    return Structure(start.lattice, start.species, frac % 1.0)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.98])
def test_it_is_the_displacement_that_was_put_in(share: float) -> None:
    """Whatever the common shift of all atoms: a crystal moved as a whole did not move."""
    start = copper_sulfate()
    steps = np.random.default_rng(1).normal(scale=0.2, size=(4, 3))
    steps -= steps.mean(0)
    shift = share * start.lattice.matrix.sum(0)
    moved = distance_moved(start, displaced(start, steps, shift), EVERYTHING)
    assert moved == pytest.approx(np.sqrt((steps**2).sum(1).mean()), rel=1e-9)


def test_it_is_what_pymatgen_measures() -> None:
    start = copper_sulfate()
    rng = np.random.default_rng(4)
    end = displaced(start, rng.normal(scale=0.15, size=(4, 3)), np.zeros(3))
    vectors = pbc_shortest_vectors(start.lattice, start.frac_coords, end.frac_coords)
    own = vectors[np.arange(4), np.arange(4)]
    expected = np.sqrt(((own - own.mean(0)) ** 2).sum(1).mean())
    assert distance_moved(start, end, EVERYTHING) == pytest.approx(expected, rel=1e-6)


def test_only_what_was_free_counts_and_other_crystals_have_no_distance() -> None:
    start = copper_sulfate()
    steps = np.zeros((4, 3))
    steps[2], steps[3] = [0.3, 0.0, 0.0], [-0.3, 0.0, 0.0]
    end = displaced(start, steps, np.zeros(3))
    assert distance_moved(start, end, slice(2, None)) == pytest.approx(0.3)
    assert distance_moved(start, end, EVERYTHING) == pytest.approx(0.3 / np.sqrt(2))
    assert distance_moved(start, start, EVERYTHING) == 0.0
    assert distance_moved(None, end, EVERYTHING) is None
    assert distance_moved(start, rock_salt(), EVERYTHING) is None
