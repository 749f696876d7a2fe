"""The learned distribution of skeletons: space group, Wyckoff letters, elements on them.

The names below are imported when first used, so importing the room costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_diffusion.skeletons.adapting import Adapted, adapt
    from crystal_diffusion.skeletons.distribution import Drawn, SkeletonModel, SkeletonWish
    from crystal_diffusion.skeletons.tokens import canonical_skeleton, skeleton_of

_HOME = {
    "Adapted": "adapting",
    "adapt": "adapting",
    "Drawn": "distribution",
    "SkeletonModel": "distribution",
    "SkeletonWish": "distribution",
    "canonical_skeleton": "tokens",
    "skeleton_of": "tokens",
}

__all__ = [
    "Adapted",
    "Drawn",
    "SkeletonModel",
    "SkeletonWish",
    "adapt",
    "canonical_skeleton",
    "skeleton_of",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
