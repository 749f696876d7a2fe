"""The assignment of atoms is SciPy's, whichever way it was loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import PathFinder

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from crystal_diffusion.matching import search


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
