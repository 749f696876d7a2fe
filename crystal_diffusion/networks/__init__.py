"""Networks that can stand in the joint model, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from crystal_diffusion.networks.equivariant import EquivariantNetwork
from crystal_diffusion.networks.transformer import CrystalTransformer
from crystal_diffusion.networks.unet import CrystalUNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "transformer": CrystalTransformer,
    "unet": CrystalUNet,
    "equivariant": EquivariantNetwork,
}
