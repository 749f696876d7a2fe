"""Looking at crystals: one in three dimensions, many in a gallery, a whole run in a report."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_diffusion.viewer.report import write_report
    from crystal_diffusion.viewer.view import (
        CrystalView,
        gallery_html,
        gallery_page,
        visualize_crystal,
    )

_HOMES = {
    "CrystalView": "view",
    "gallery_html": "view",
    "gallery_page": "view",
    "visualize_crystal": "view",
    "write_report": "report",
}

__all__ = ["CrystalView", "gallery_html", "gallery_page", "visualize_crystal", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
