"""The U-Net of the original design: blocks, network, and its forms for chains and joint model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention, silu

from crystal_diffusion.networks.embeddings import ElementEmbedding, SinusoidalPositionEmbeddings
from crystal_diffusion.networks.protocol import Encoded, NoisyCrystals, Prediction
from crystal_diffusion.shapes import Bool, Float, Shaped


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

    def forward(
        self,
        x: Float[Tensor, "crystals atoms features"],
        time_term: Float[Tensor, "times 1 wide_features"],
    ) -> Float[Tensor, "crystals atoms wide_features"]:
        """Features of the next level, ``(..., width_out)``."""
        h = silu(self.norm(self.first(x)) + time_term)
        return h if self.second is None else silu(self.second(h))


class UNetBody(nn.Module):
    """Two encoder blocks, self-attention, two decoder blocks with skip connections.

    ``(crystals, atoms, width_in)`` to ``(crystals, atoms, hidden_dim)``; O(N·D² + N²·D). The
    blocks of the original model have one linear layer, those of the joint model two (``deep``).
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

    def time_terms(
        self, time: Float[Tensor, "times features"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What each block adds for a time embedding ``(times, time_dim)``; once per schedule."""
        blocks = (self.encoder1, self.encoder2, self.decoder1, self.decoder2)
        first, second, third, fourth = (block.time(time).unsqueeze(1) for block in blocks)
        return first, second, third, fourth

    def forward(
        self,
        x: Float[Tensor, "crystals atoms features"],
        terms: tuple[Tensor, Tensor, Tensor, Tensor],
        padding: Bool[Tensor, "crystals atoms"] | None,
    ) -> Float[Tensor, "crystals atoms hidden_features"]:
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


class _Level:
    """``silu(norm(first) + time)``; the caller does the product."""

    def __init__(self, block: UNetBlock, terms: Tensor) -> None:
        self.width = (block.norm.normalized_shape[0],)
        self.weight = block.norm.weight
        self.biases = (block.norm.bias + terms.flatten(0, 1)).unbind(0)
        self.eps = block.norm.eps

    def __call__(self, first: Tensor, step: int) -> Tensor:
        x = layer_norm(first, self.width, self.weight, self.biases[step], self.eps)
        return silu(x, True)


class UNetChain:
    """The body for a whole reverse chain: the same numbers with half the operations.

    With 8 atoms a step is bound by the number of operations, not by arithmetic. All crystals of a
    chain share the time, so what depends on it goes into the bias of the layer norms
    beforehand; the skip connection and the output of the attention are folded into the first
    matrix behind them.
    It is valid while the weights stay as they are.

    Args:
        body: the network.
        terms: its ``time_terms`` for all steps, ``(steps, 1, width)`` each.
        padding: ``(crystals, atoms)``, true where there is no atom; None if nowhere.
    """

    def __init__(
        self,
        body: UNetBody,
        terms: tuple[Tensor, Tensor, Tensor, Tensor],
        padding: Bool[Tensor, "crystals atoms"] | None,
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

    def __call__(
        self, x: Float[Tensor, "crystals atoms features"], step: int
    ) -> Float[Tensor, "rows hidden_features"]:
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

    def encode(
        self,
        x: Float[Tensor, "crystals atoms 3"],
        t: Shaped[Tensor, " crystals"],
        mask: Shaped[Tensor, "crystals atoms"] | None = None,
    ) -> Float[Tensor, "crystals atoms features"]:
        """Features of each atom before the output layer, ``(crystals, atoms, hidden_dim)``."""
        # Only build the padding mask where there is padding: attention is faster without.
        padding = None if mask is None or bool((mask > 0).all()) else mask <= 0
        features: Tensor = self.body(x, self.body.time_terms(self.time(t)), padding)
        return features

    def chain(
        self, times: Shaped[Tensor, " steps"], padding: Bool[Tensor, "crystals atoms"] | None
    ) -> UNetChain:
        """:meth:`encode` for the ``(steps,)`` times of a reverse chain, fewer operations each."""
        return UNetChain(self.body, self.body.time_terms(self.time(times)), padding)

    def forward(
        self,
        x: Float[Tensor, "crystals atoms 3"],
        t: Shaped[Tensor, " crystals"],
        mask: Shaped[Tensor, "crystals atoms"] | None = None,
    ) -> Float[Tensor, "crystals atoms columns"]:
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
