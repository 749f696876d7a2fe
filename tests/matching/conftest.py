"""Real crystals and many variants of them: moved, strained, relabelled, repeated, permuted."""

from __future__ import annotations

import numpy as np
import pytest
from crystal_variants import displaced, known_crystals, permuted, repeated, shuffled
from pymatgen.core import Structure


@pytest.fixture(scope="session")
def crystals() -> list[Structure]:
    """Real crystals."""
    return known_crystals()


@pytest.fixture(scope="session")
def pairs(crystals: list[Structure]) -> list[tuple[Structure, Structure]]:
    """200 pairs of equal composition, alike and unlike."""
    rng = np.random.default_rng(1)
    small = [s for s in crystals if len(s) <= 10]
    found: list[tuple[Structure, Structure]] = []
    for _ in range(200):
        s = small[rng.integers(len(small))]
        kind = rng.integers(5)
        if kind == 0:
            other = displaced(s, float(rng.choice([0.01, 0.05, 0.15, 0.3, 0.5])), rng)
        elif kind == 1:
            other = permuted(displaced(s, 0.03, rng), rng)
        elif kind == 2:
            other = shuffled(s, rng)
        elif kind == 3:
            other = repeated(s, rng)
        else:
            other = small[rng.integers(len(small))]
        found.append((s, other) if rng.random() < 0.5 else (other, s))
    return found
