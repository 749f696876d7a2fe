"""Networks that can stand in the joint model, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from crystal_diffusion.networks.transformer import CrystalTransformer

NETWORKS: dict[str, Callable[..., nn.Module]] = {"transformer": CrystalTransformer}
