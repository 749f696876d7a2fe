"""Checks of chemistry: charges, bonds, coordination, dimension."""

from __future__ import annotations

from crystal_diffusion.physics.geometry_checks import Check

CHEMISTRY_CHECKS: dict[str, Check] = {}
