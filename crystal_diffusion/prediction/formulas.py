"""Which formulas the shipped network learned from, by a checksum of the formula alone."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

#: Formulas of code 0 of so many are never trained on.
FORMULA_CODES = 20


Formula = tuple[tuple[int, int], ...]


def reduced_counts(numbers: NDArray[np.integer]) -> Formula:
    """Pairs of atomic number and count, by number, without a common factor."""
    kinds, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return tuple(zip(kinds.tolist(), counts.tolist(), strict=True))


def formula_code(numbers: NDArray[np.integer], codes: int = FORMULA_CODES, salt: str = "") -> int:
    """A number in [0, codes) that only depends on the reduced formula.

    Args:
        numbers: atomic number of every atom.
        codes: how many there are.
        salt: another word makes another, independent number.
    """
    formula = repr([*reduced_counts(numbers)])
    return zlib.crc32((formula + salt).encode()) % codes
