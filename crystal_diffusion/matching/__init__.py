"""Matching: are two crystals the same, which of many are duplicates, which known one is nearest.

The names below are loaded when they are first used, so importing this room costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crystal_diffusion.matching.grouping import group_near, group_structures
    from crystal_diffusion.matching.matcher import StructureMatch
    from crystal_diffusion.matching.radial import fingerprint, fingerprints
    from crystal_diffusion.matching.references import NearestKnown, ReferenceIndex, nearest

_HOMES = {
    "NearestKnown": "references",
    "ReferenceIndex": "references",
    "StructureMatch": "matcher",
    "fingerprint": "radial",
    "fingerprints": "radial",
    "group_near": "grouping",
    "group_structures": "grouping",
    "nearest": "references",
}

__all__ = [
    "NearestKnown",
    "ReferenceIndex",
    "StructureMatch",
    "fingerprint",
    "fingerprints",
    "group_near",
    "group_structures",
    "nearest",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
