"""Shapes in annotations, ``Float[Tensor, "crystals atoms 3"]``, checked where tests run.

Axes have fixed names: crystals, atoms, pairs, elements, features, steps, properties. An axis that
is named twice in one signature, or in one dataclass, has one length there. Annotations are text
that nothing reads, so they cost nothing; tests load jaxtyping first and let beartype read them
(`tests/conftest.py`). jaxtyping is therefore needed for tests alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Shaped
else:
    Bool = Float = Int = Shaped = None

__all__ = ["Bool", "Float", "Int", "Shaped"]
