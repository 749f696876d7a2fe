"""The reference U-Net of the original design, and its form for the joint model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crystal_diffusion.networks.embeddings import ElementEmbedding, SinusoidalPositionEmbeddings
from crystal_diffusion.networks.protocol import Encoded, NoisyCrystals, Prediction
from crystal_diffusion.networks.unet_body import UNetBody
from crystal_diffusion.networks.unet_chain import UNetChain


class DenoisingNetwork(nn.Module):
    """U-Net with self-attention over atoms (Ronneberger 2015; Vaswani 2017): positions to noise.

    Args:
        hidden_dim: width D of the first level; the second has 2 D.
        time_dim: size of the sinusoidal time embedding.
        learned_variance: also predict the interpolation between β_t and the posterior variance.
    """

    def __init__(
        self, hidden_dim: int = 128, time_dim: int = 64, learned_variance: bool = False
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.time_dim = time_dim
        self.learned_variance = learned_variance
        self.time = nn.Sequential(
            SinusoidalPositionEmbeddings(time_dim), nn.Linear(time_dim, time_dim), nn.SiLU()
        )
        self.body = UNetBody(3, hidden_dim, time_dim)
        self.out = nn.Linear(hidden_dim, 3)
        self.variance = nn.Linear(hidden_dim, 3) if learned_variance else None

    def encode(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of each atom before the output layer, ``(crystals, atoms, hidden_dim)``."""
        # Only build the padding mask where there is padding: attention is faster without.
        padding = None if mask is None or bool((mask > 0).all()) else mask <= 0
        features: Tensor = self.body(x, self.body.time_terms(self.time(t)), padding)
        return features

    def chain(self, times: Tensor, padding: Tensor | None) -> UNetChain:
        """:meth:`encode` for the ``(steps,)`` times of a reverse chain, fewer operations each."""
        return UNetChain(self.body, self.body.time_terms(self.time(times)), padding)

    def forward(self, x: Tensor, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predicted noise ``(crystals, atoms, 3)``; with learned variance 6 columns, noise first.

        Args:
            x: ``(crystals, atoms, 3)`` noisy positions.
            t: ``(crystals,)`` time steps.
            mask: ``(crystals, atoms)``, 1 for atoms, 0 for padding.
        """
        features = self.encode(x, t, mask)
        answer: Tensor = self.out(features)
        if self.variance is not None:
            answer = torch.cat([answer, self.variance(features)], -1)
        if mask is not None:
            answer = answer * (mask > 0).unsqueeze(-1)
        return answer


class CrystalUNet(nn.Module):
    """The same U-Net in the joint model: elements, lattice and levels join the positions.

    Positions enter as sin and cos of 2π·f, so that the torus has no seam; unlike the
    transformer it is not invariant to translations, which training has to teach it.
    """

    def __init__(self, hidden_dim: int = 128, time_dim: int = 64, element_dim: int = 32) -> None:
        super().__init__()
        self.level = SinusoidalPositionEmbeddings(time_dim, max_period=1000.0)
        self.time = nn.Sequential(nn.Linear(3 * time_dim, time_dim), nn.SiLU())
        self.elements = ElementEmbedding(element_dim)
        self.body = UNetBody(6 + element_dim + 6 + time_dim, hidden_dim, time_dim, deep=True)
        self.coords_out = nn.Linear(hidden_dim, 3)
        self.lattice_out = nn.Linear(hidden_dim, 6)
        self.elements_out = nn.Linear(hidden_dim, 100)

    def forward(self, noisy: NoisyCrystals) -> Prediction:
        """See :class:`NoisyCrystals` and :class:`Prediction` for shapes."""
        if noisy.conditions is not None or noisy.target_level is not None:
            raise ValueError("the U-Net knows neither conditions nor long steps.")
        encoded = self.encode(noisy)
        return Prediction(
            coords=self.coords_out(encoded.atoms) * noisy.mask.unsqueeze(-1),
            lattice=self.lattice_out(encoded.crystal),
            element_logits=self.elements_out(encoded.atoms),
        )

    def encode(self, noisy: NoisyCrystals) -> Encoded:
        """Features of atoms before the heads, and their mean."""
        mask = noisy.mask
        atoms = mask.shape[1]
        real = mask.unsqueeze(-1)
        count = mask.sum(-1).clamp_min(1)
        angles = 2 * torch.pi * noisy.frac_coords
        mean_level = (noisy.coord_level * mask).sum(-1) / count
        levels = torch.stack([mean_level, noisy.lattice_level, noisy.element_level], -1)
        x = torch.cat(
            [
                angles.sin(),
                angles.cos(),
                self.elements(noisy.atomic_numbers),
                noisy.lattice_state.unsqueeze(1).expand(-1, atoms, -1),
                self.level(noisy.coord_level * 1000),
            ],
            -1,
        )
        time = self.time(self.level(levels * 1000).flatten(-2))
        padding = None if bool(mask.all()) else ~mask
        features = self.body(x * real, self.body.time_terms(time), padding)
        pooled = (features * real).sum(1) / count.unsqueeze(-1)
        return Encoded(features, pooled)
