"""The blocks of the U-Net, which the reference and the joint form share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class UNetBlock(nn.Module):
    """Linear, layer norm, time added, SiLU: one encoder or decoder block.

    Args:
        deep: a second linear layer and SiLU behind.
    """

    def __init__(self, width_in: int, width_out: int, time_dim: int, deep: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(width_in, width_out)
        self.norm = nn.LayerNorm(width_out)
        self.time = nn.Linear(time_dim, width_out)
        self.second = nn.Linear(width_out, width_out) if deep else None

    def forward(self, x: Tensor, time_term: Tensor) -> Tensor:
        """Features of the next level, ``(..., width_out)``."""
        h = silu(self.norm(self.first(x)) + time_term)
        return h if self.second is None else silu(self.second(h))


class UNetBody(nn.Module):
    """Two encoder blocks, self-attention, two decoder blocks with skip connections.

    ``(crystals, atoms, width_in)`` to ``(crystals, atoms, hidden_dim)``; O(N·D² + N²·D). The
    blocks of the reference model have one linear layer, those of the joint model two (``deep``).
    """

    def __init__(
        self, width_in: int, hidden_dim: int, time_dim: int, heads: int = 4, deep: bool = False
    ) -> None:
        super().__init__()
        wide = 2 * hidden_dim
        self.heads = heads
        self.encoder1 = UNetBlock(width_in, hidden_dim, time_dim, deep)
        self.encoder2 = UNetBlock(hidden_dim, wide, time_dim, deep)
        self.norm = nn.LayerNorm(wide)
        self.qkv = nn.Linear(wide, 3 * wide)
        self.attended = nn.Linear(wide, wide)
        self.decoder1 = UNetBlock(2 * wide, wide, time_dim, deep)
        self.decoder2 = UNetBlock(wide + hidden_dim, hidden_dim, time_dim, deep)

    def time_terms(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What each block adds for a time embedding ``(times, time_dim)``; once per schedule."""
        blocks = (self.encoder1, self.encoder2, self.decoder1, self.decoder2)
        first, second, third, fourth = (block.time(time).unsqueeze(1) for block in blocks)
        return first, second, third, fourth

    def forward(
        self, x: Tensor, terms: tuple[Tensor, Tensor, Tensor, Tensor], padding: Tensor | None
    ) -> Tensor:
        """``padding`` is ``(crystals, atoms)``, true where there is no atom; None if nowhere."""
        h1 = self.encoder1(x, terms[0])
        h2 = self.encoder2(h1, terms[1])
        crystals, atoms, wide = h2.shape
        qkv = self.qkv(self.norm(h2)).view(crystals, atoms, 3, self.heads, wide // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (wide // self.heads) ** -0.5
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], -1e9)
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(crystals, atoms, wide)
        h3 = h2 + self.attended(mixed)
        h4 = self.decoder1(torch.cat([h3, h2], -1), terms[2])
        out: Tensor = self.decoder2(torch.cat([h4, h1], -1), terms[3])
        return out
