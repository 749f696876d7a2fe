"""Shipped weights and reference library; each has a card beside it that names data and licence."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """The weights in the box."""
    return Path(__file__).parent / "model.safetensors"
