"""The default network: a dense transformer with periodic pair geometry, in plain PyTorch.

One token per atom and one for the lattice. Attention is biased by features of atom pairs, and
the same features enter the values. The softmax is written out: on processors its backward pass
is faster than the fused one, and a pair bias costs nothing extra.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crystal_diffusion.networks.embeddings import (
    ConditionEmbedding,
    ElementEmbedding,
    PairGeometry,
    SinusoidalPositionEmbeddings,
)
from crystal_diffusion.networks.protocol import Encoded, NoisyCrystals, Prediction
from crystal_diffusion.shapes import Float


class _TransformerBlock(nn.Module):
    """Attention with pair features in bias and values, then an MLP; adaptive layer norm."""

    def __init__(self, dim: int, heads: int, pair_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(condition_dim, 6 * dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.pair_bias = nn.Linear(pair_dim, heads, bias=False)
        self.pair_values = nn.Parameter(torch.zeros(heads, pair_dim, dim // heads))
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
        # adaLN-zero (Peebles and Xie 2023): every block starts as the identity.
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.normal_(self.pair_values, std=pair_dim**-0.5)

    def forward(
        self,
        tokens: Float[Tensor, "crystals tokens features"],
        pairs: Float[Tensor, "crystals tokens tokens pair_features"],
        condition: Float[Tensor, "crystals condition_features"],
        bias: Float[Tensor, "heads crystals tokens tokens"],
    ) -> Float[Tensor, "crystals tokens features"]:
        """Shapes: tokens (C, T, D), pairs (C, T, T, P), condition (C, K), bias (H, C, T, T)."""
        crystals, count, dim = tokens.shape
        heads, width = self.heads, dim // self.heads
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            self.modulation(condition).view(crystals, 6, 1, dim).unbind(1)
        )
        x = torch.addcmul(shift_a, self.norm_attention(tokens), 1 + scale_a)
        # Heads before crystals: what follows is then products of views, without copies between.
        q, k, v = (
            self.qkv(x)
            .view(crystals, count, 3, heads, width)
            .permute(2, 3, 0, 1, 4)
            .reshape(3, heads * crystals, count, width)
            .unbind(0)
        )
        scores = torch.baddbmm(
            bias.view(heads * crystals, count, count),
            q,
            k.transpose(1, 2),
            alpha=1 / math.sqrt(width),
        )
        weights = torch.softmax(scores, -1)
        mixed = torch.bmm(weights, v).view(heads, crystals * count, width)
        # Σ_j w_ij p_ij first, then one small matrix per head: N² work stays in the pair width.
        gathered = torch.bmm(
            weights.view(heads, crystals * count, count).transpose(0, 1),
            pairs.view(crystals * count, count, -1),
        )
        mixed = torch.baddbmm(mixed, gathered.transpose(0, 1), self.pair_values).transpose(0, 1)
        mixed = self.out(mixed.reshape(crystals, count, dim))
        tokens = torch.addcmul(tokens, gate_a, mixed)
        x = torch.addcmul(shift_m, self.norm_mlp(tokens), 1 + scale_m)
        return torch.addcmul(tokens, gate_m, self.mlp(x))


class CrystalTransformer(nn.Module):
    """Predicts the clean crystal from a noisy one; see ``method.md`` section 2.

    Translation and the choice of periodic image do not change the answer; permuting the atoms
    permutes it. Rotations never enter: the lattice is its six log-strain numbers.

    Args:
        dim: width of a token.
        layers: number of blocks.
        heads: attention heads.
        pair_dim: width of the pair features after their embedding.
        frequencies: Fourier frequencies of the fractional differences.
        properties: properties that conditions may ask for; 0 for none.
        long_steps: whether the network is told the level that its step leads to.
    """

    def __init__(
        self,
        dim: int = 256,
        layers: int = 6,
        heads: int = 8,
        pair_dim: int = 64,
        frequencies: int = 6,
        properties: int = 0,
        long_steps: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads}).")
        self.level = SinusoidalPositionEmbeddings(64, max_period=1000.0)
        self.elements = ElementEmbedding(dim)
        self.atom_level = nn.Linear(64, dim)
        self.lattice_in = nn.Linear(6, dim)
        self.condition = nn.Sequential(
            nn.Linear(3 * 64 + 6 + 64, dim), nn.SiLU(), nn.Linear(dim, dim // 2), nn.SiLU()
        )
        self.asked = ConditionEmbedding(properties, dim // 2) if properties else None
        self.step_length = nn.Linear(64, dim // 2, bias=False) if long_steps else None
        self.geometry = PairGeometry(frequencies)
        self.pair_geometry = nn.Linear(self.geometry.dim, pair_dim)
        self.pair_element = ElementEmbedding(2 * pair_dim)
        self.pair_mlp = nn.Sequential(nn.SiLU(), nn.Linear(pair_dim, pair_dim))
        self.lattice_pair = nn.Parameter(0.1 * torch.randn(2, pair_dim))
        self.blocks = nn.ModuleList(
            _TransformerBlock(dim, heads, pair_dim, dim // 2) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.coords_out = nn.Linear(dim, 3)
        self.lattice_out = nn.Linear(dim, 6)
        self.elements_out = nn.Linear(dim, 100)
        for head in (self.coords_out, self.lattice_out, self.elements_out):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if self.step_length is not None:
            nn.init.zeros_(self.step_length.weight)

    def forward(self, noisy: NoisyCrystals) -> Prediction:
        """See :class:`NoisyCrystals` and :class:`Prediction` for shapes."""
        encoded = self.encode(noisy)
        return Prediction(
            coords=self.coords_out(encoded.atoms) * noisy.mask.unsqueeze(-1),
            lattice=self.lattice_out(encoded.crystal),
            element_logits=self.elements_out(encoded.atoms),
        )

    def _context(
        self, noisy: NoisyCrystals, waves: Float[Tensor, "crystals levels 64"]
    ) -> Float[Tensor, "crystals features"]:
        """``(crystals, dim/2)``: levels, cell, size, and what is asked for."""
        context: Tensor = self.condition(
            torch.cat([waves[:, :3].flatten(-2), noisy.lattice_state, waves[:, 3]], -1)
        )
        if noisy.conditions is not None:
            if self.asked is None:
                raise ValueError("this network was trained without properties; ask for none.")
            context = context + self.asked(noisy.conditions)
        if noisy.target_level is not None:
            if self.step_length is None:
                raise ValueError("this network knows no long steps; distill one that does.")
            level = torch.maximum(noisy.coord_level.amax(-1), noisy.lattice_level)
            # A step of no length leaves the network as it was before it learned long ones.
            length = (level - noisy.target_level).clamp_min(0)
            waves = self.level(length * 1000) - self.level(torch.zeros_like(length))
            context = context + self.step_length(waves)
        return context

    def encode(self, noisy: NoisyCrystals) -> Encoded:
        """Tokens after the last block: the heads are linear in them."""
        mask = noisy.mask
        crystals, atoms = mask.shape
        count = mask.sum(-1)
        real = mask.unsqueeze(-1)
        element = self.elements(noisy.atomic_numbers)
        # Levels are in [0, 1]; times 1000 they use the whole range of the sinusoidal table.
        mean_level = (noisy.coord_level * mask).sum(-1) / count.clamp_min(1)
        levels = torch.stack([mean_level, noisy.lattice_level, noisy.element_level], -1)
        size = count.to(levels.dtype).unsqueeze(-1) * 0.01
        waves = self.level(torch.cat([levels, size, noisy.coord_level], -1) * 1000)
        atom_tokens = (element + self.atom_level(waves[:, 4:])) * real
        condition = self._context(noisy, waves)
        lattice_token = self.lattice_in(noisy.lattice_state) + (
            atom_tokens.sum(1) / count.clamp_min(1).unsqueeze(-1)
        )
        tokens = torch.cat([lattice_token.unsqueeze(1), atom_tokens], 1)

        raw = self.geometry(noisy.frac_coords, noisy.metric, count.clamp_min(1))
        sender, receiver = self.pair_element(noisy.atomic_numbers).chunk(2, -1)
        hidden = self.pair_geometry(raw).add_(receiver.unsqueeze(2)).add_(sender.unsqueeze(1))
        atom_pairs = self.pair_mlp(hidden)
        pairs = atom_pairs.new_empty(crystals, atoms + 1, atoms + 1, atom_pairs.shape[-1])
        pairs[:, 1:, 1:] = atom_pairs
        pairs[:, 0] = self.lattice_pair[0]
        pairs[:, 1:, 0] = self.lattice_pair[1]

        padding = tokens.new_zeros(crystals, 1, atoms + 1)
        padding[:, 0, 1:].masked_fill_(~mask, -1e9)
        # The bias of all blocks in one product; heads before tokens, as attention wants them.
        layers = [block for block in self.blocks if isinstance(block, _TransformerBlock)]
        stack = torch.cat([block.pair_bias.weight for block in layers])
        bias = stack @ pairs.view(-1, pairs.shape[-1]).t()
        bias = bias.view(len(layers), -1, crystals, atoms + 1, atoms + 1).add_(padding)
        for block, own in zip(layers, bias.unbind(0), strict=True):
            tokens = block(tokens, pairs, condition, own)
        tokens = self.norm(tokens)
        return Encoded(tokens[:, 1:], tokens[:, 0])
