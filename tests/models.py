"""Small models for the tests: untrained, with random weights everywhere, or with one answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from crystal_diffusion import geometry
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
from crystal_diffusion.networks.protocol import NoisyCrystals, Prediction

#: The smallest transformer that has every part.
TINY = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 16, "frequencies": 2}


def tiny_model(**changes: Any) -> JointDiffusion:
    """An untrained joint model; its answers are zero, as its heads are."""
    torch.manual_seed(0)
    model = JointDiffusion(JointConfig(network_options=TINY, **changes))
    return model.eval().requires_grad_(False)


def randomised(network: nn.Module, scale: float = 0.2, seed: int = 5) -> nn.Module:
    """Random weights everywhere, so that heads that begin at zero hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network.eval()


class Scripted(nn.Module):
    """A network whose answer is a function of what it is asked; it remembers every question.

    What the function leaves out is zero.
    """

    def __init__(
        self,
        coords: Callable[[NoisyCrystals], Tensor] | None = None,
        lattice: Callable[[NoisyCrystals], Tensor] | None = None,
        elements: Callable[[NoisyCrystals], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.coords, self.lattice, self.elements = coords, lattice, elements
        self.asked: list[NoisyCrystals] = []

    def forward(self, noisy: NoisyCrystals) -> Prediction:
        """The scripted answer."""
        self.asked.append(noisy)
        crystals, atoms = noisy.atomic_numbers.shape
        like = noisy.lattice_state
        return Prediction(
            coords=self.coords(noisy) if self.coords else like.new_zeros(crystals, atoms, 3),
            lattice=self.lattice(noisy) if self.lattice else like.new_zeros(crystals, 6),
            element_logits=(
                self.elements(noisy) if self.elements else like.new_zeros(crystals, atoms, 100)
            ),
        )


def attraction(noisy: NoisyCrystals) -> Tensor:
    """Coordinates pulled towards near atoms: depends on positions, elements and the metric."""
    away = geometry.pair_displacements(noisy.frac_coords)
    near = torch.exp(-geometry.near_image_distances(away, noisy.metric) / 2)
    weight = near * (1 + (noisy.atomic_numbers == 8).to(near.dtype)).unsqueeze(-2)
    field = (weight.unsqueeze(-1) * torch.sin(2 * torch.pi * away)).sum(-2)
    return field * noisy.mask.unsqueeze(-1)


def breathing(noisy: NoisyCrystals) -> Tensor:
    """A cell on its way to another shape, each component at its own pace."""
    pace = torch.linspace(0.2, 1.2, 6, dtype=noisy.lattice_state.dtype)
    return torch.sin(noisy.lattice_state) * pace + 0.3


def opinionated_model(**changes: Any) -> JointDiffusion:
    """A model whose answers depend on all they should depend on."""
    model = tiny_model(**changes)
    model.network = Scripted(attraction, breathing)
    return model
