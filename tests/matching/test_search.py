"""The assignment of atoms is SciPy's; the search for a smaller cell is left out where none is."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import PathFinder

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from crystal_diffusion.matching import reduced, search
from tests.crystals import caesium_chloride, rock_salt


@pytest.fixture
def loader():  # type: ignore[no-untyped-def]
    search._linear_sum_assignment.cache_clear()
    yield search._linear_sum_assignment
    search._linear_sum_assignment.cache_clear()


@pytest.mark.parametrize("hidden", [False, True], ids=["compiled module alone", "all of SciPy"])
def test_the_assignment_is_that_of_scipy(
    hidden: bool, monkeypatch: pytest.MonkeyPatch, loader
) -> None:  # type: ignore[no-untyped-def]
    if hidden:
        monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    rng = np.random.default_rng(0)
    for _ in range(20):
        squares = rng.integers(0, 5, (6, 6)).astype(float)  # with ties
        rows, columns = loader()(squares)
        expected = linear_sum_assignment(squares)
        assert (rows == expected[0]).all() and (columns == expected[1]).all()
    assert (loader() is linear_sum_assignment) == hidden


def test_a_small_match_does_not_import_all_of_scipy_optimize() -> None:
    code = (
        "import sys, numpy as np; from crystal_diffusion.matching.search import _assign;"
        "print(_assign(np.array([[1.0, 2.0], [1.0, 5.0]]))[1].tolist(), 'scipy.optimize' in"
        " sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 0] False"


SHAPES = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 2]],
    [[2, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[1, 1, 0], [0, 2, 0], [0, 0, 1]],
    [[3, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[1, 1, 0], [0, 2, 1], [0, 0, 2]],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_pymatgen_makes_smaller_is_searched(shape: list[list[int]]) -> None:
    rng = np.random.default_rng(0)
    found = []
    for unit in (rock_salt().get_primitive_structure(), caesium_chloride("Na", "Cl", 4.5)):
        for size in (0.0, 0.05, 0.1, 0.12, 0.15, 0.2, 0.3):
            made = unit.make_supercell(np.array(shape), in_place=False)
            for site in range(len(made)):
                made.translate_sites(site, rng.uniform(-size, size, 3), frac_coords=False)
            is_smaller = len(made.get_primitive_structure()) < len(made)
            matrix, numbers = made.lattice.matrix, np.array(made.atomic_numbers)
            assert reduced._may_be_smaller(matrix, made.frac_coords, numbers) == is_smaller, size
            found.append(is_smaller)
    assert 2 < sum(found) < len(found) - 2
