"""The U-Net for a whole reverse chain: the same numbers as the module with half the operations.

With 8 atoms a step is bound by the number of operations, not by arithmetic. All crystals of a
chain share the time, so what depends on it goes into the bias of the layer norms beforehand; the
skip connection and the output of the attention are folded into the first matrix behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

if TYPE_CHECKING:
    from crystal_diffusion.networks.unet_body import UNetBlock, UNetBody


class _Level:
    """``silu(norm(first) + time)``; the caller does the product."""

    def __init__(self, block: UNetBlock, terms: Tensor) -> None:
        self.width = (block.norm.normalized_shape[0],)
        self.weight = block.norm.weight
        self.biases = (block.norm.bias + terms.flatten(0, 1)).unbind(0)
        self.eps = block.norm.eps

    def __call__(self, first: Tensor, step: int) -> Tensor:
        x = layer_norm(first, self.width, self.weight, self.biases[step], self.eps)
        return torch.nn.functional.silu(x, True)


class UNetChain:
    """Features of atoms at each step of a chain; valid while the weights stay as they are.

    Args:
        body: the network.
        terms: its ``time_terms`` for all steps, ``(steps, 1, width)`` each.
        padding: ``(crystals, atoms)``, true where there is no atom; None if nowhere.
    """

    def __init__(
        self, body: UNetBody, terms: tuple[Tensor, Tensor, Tensor, Tensor], padding: Tensor | None
    ) -> None:
        blocks = (body.encoder1, body.encoder2, body.decoder1, body.decoder2)
        self._blocks = [_Level(block, term) for block, term in zip(blocks, terms, strict=True)]
        wide = body.attended.weight.shape[0]
        self._heads, self._size = body.heads, wide // body.heads
        self._in, self._in_bias = body.encoder1.first.weight.t(), body.encoder1.first.bias
        self._down, self._down_bias = body.encoder2.first.weight.t(), body.encoder2.first.bias
        # Keys need no bias (softmax removes it); the scale of the scores goes into the queries.
        scale = torch.ones(3 * wide, 1, device=terms[0].device)
        scale[:wide] = self._size**-0.5
        qkv = body.qkv.weight * scale
        self._qkv = (qkv * body.norm.weight).t().contiguous()
        self._qkv_bias = body.qkv.bias * scale[:, 0] + qkv @ body.norm.bias
        self._norm_eps = body.norm.eps
        # first([h2 + W a + b, h2]) = (A + B) h2 + A W a + A b + c, of h2 and attention a.
        left, right = body.decoder1.first.weight.split(wide, 1)
        self._skip = (left + right).t().contiguous()
        self._attended = (left @ body.attended.weight).t().contiguous()
        self._up_bias = body.decoder1.first.bias + left @ body.attended.bias
        above, across = body.decoder2.first.weight.split([wide, len(self._in_bias)], 1)
        self._above, self._across = above.t().contiguous(), across.t().contiguous()
        self._last_bias = body.decoder2.first.bias
        self._padding = None
        if padding is not None:
            self._padding = (padding.float() * -1e9)[:, None, None, :]

    def __call__(self, x: Tensor, step: int) -> Tensor:
        """``(crystals, atoms, width_in)`` to ``(crystals · atoms, hidden_dim)``."""
        crystals, atoms, _ = x.shape
        encoder1, encoder2, decoder1, decoder2 = self._blocks
        h1 = encoder1(torch.addmm(self._in_bias, x.flatten(0, 1), self._in), step)
        h2 = encoder2(torch.addmm(self._down_bias, h1, self._down), step)
        flat = layer_norm(h2, (h2.shape[1],), None, None, self._norm_eps)
        qkv = torch.addmm(self._qkv_bias, flat, self._qkv)
        q, k, v = qkv.view(crystals, atoms, 3, self._heads, self._size).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, self._padding, scale=1.0)
        mixed = mixed.transpose(1, 2).reshape(crystals * atoms, -1)
        up = torch.addmm(self._up_bias, h2, self._skip).addmm_(mixed, self._attended)
        h4 = decoder1(up, step)
        return decoder2(
            torch.addmm(self._last_bias, h4, self._above).addmm_(h1, self._across), step
        )
