"""Adaptation of trained weights that can always be taken back: small changes beside the base.

Every weight W becomes W₀ + Δ, where W₀ stays as it is and only Δ is trained, either whole or as a
product of two thin matrices (Hu et al. 2021, LoRA: Δ = (α/r)·B·A with B = 0 at the start).
Decoupled weight decay on Δ is then the pull towards the base of L2-SP (Li et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: α of LoRA: the product of the thin matrices is multiplied by this over the rank.
LOW_RANK_SCALE = 8.0


class _Difference(nn.Module):
    """W₀ + Δ."""

    def __init__(self, base: Tensor) -> None:
        super().__init__()
        self.register_buffer("base", base.detach().clone())
        self.base: Tensor

    def forward(self, difference: Tensor) -> Tensor:
        """The weight in use."""
        return self.base + difference

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The change that makes this weight."""
        return weight - self.base


class _LowRank(nn.Module):
    """W₀ + (α/r)·B·A for a matrix ``(out, in)``."""

    def __init__(self, base: Tensor, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("base", base.detach().clone())
        self.base: Tensor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The weight in use."""
        return self.base + (LOW_RANK_SCALE / self.width) * (b @ a)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A at random and B zero: the base itself."""
        rows, columns = weight.shape
        a = torch.randn(self.width, columns, device=weight.device) / columns**0.5
        return a, weight.new_zeros(rows, self.width)


def add_differences(model: nn.Module) -> None:
    """Train the change of every parameter instead of the parameter; starts at no change."""
    for module, name, parameter in _parameters(model):
        parametrize.register_parametrization(module, name, _Difference(parameter))


def add_low_rank(model: nn.Module, width: int = 8, seed: int = 0) -> None:
    """Train thin matrices beside those of the linear layers; all else is frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module, name, parameter in _parameters(model):
            if isinstance(module, nn.Linear) and name == "weight" and min(parameter.shape) > width:
                parametrize.register_parametrization(module, name, _LowRank(parameter, width))
            else:
                value = parameter.detach()
                delattr(module, name)
                module.register_buffer(name, value)


def adapted_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights in use by their usual names, base and change added up."""
    found: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for name in module.parametrizations:
                found[f"{prefix}.{name}"] = getattr(module, name).detach().clone()
    return found


def _parameters(model: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Every parameter with the module that holds it."""
    return [
        (module, name, parameter)
        for module in list(model.modules())
        for name, parameter in list(module.named_parameters(recurse=False))
    ]
