"""Embeddings of time, elements and atom pairs, shared by the networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crystal_diffusion import geometry
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.shapes import Float, Int, Shaped

#: Atomic numbers that open each period of the periodic table.
_PERIOD_STARTS = (1, 3, 11, 19, 37, 55, 87, 119)


class SinusoidalPositionEmbeddings(nn.Module):
    """Sine and cosine of a scalar at geometrically spaced frequencies (Vaswani et al. 2017).

    Args:
        dim: number of features, even.
        max_period: the longest period, in units of the input.
    """

    def __init__(self, dim: int, max_period: float = 10_000.0) -> None:
        super().__init__()
        if dim % 2 or dim < 2:
            raise ValueError(f"dim must be even and at least 2, got {dim}.")
        self.dim = dim
        half = dim // 2
        frequencies = torch.exp(-math.log(max_period) * torch.arange(half) / max(half - 1, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor

    def forward(self, time: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape features"]:
        """``(...,)`` to ``(..., dim)``."""
        angles = time.unsqueeze(-1).float() * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)


class ConditionEmbedding(nn.Module):
    """What is asked of properties, and a text, as one vector a crystal; zero until it is trained.

    The last layer starts at zero, so weights trained without conditions answer as before.

    Args:
        properties: how many can be asked for.
        dim: size of the vector.
        text: size of the vectors of texts, 0 for a network that is told none.
    """

    def __init__(self, properties: int, dim: int, text: int = 0) -> None:
        super().__init__()
        self.properties = properties
        self.first = nn.Parameter(torch.randn(properties, 5, dim) * 5**-0.5)
        self.last = nn.Parameter(torch.zeros(properties, dim, dim))
        self.words: nn.Sequential | None = None
        if text:
            # Without offsets: a text of zeros, nothing said, adds nothing.
            into, onto = nn.Linear(text, dim, bias=False), nn.Linear(dim, dim, bias=False)
            nn.init.normal_(into.weight)  # vectors of texts have length 1
            nn.init.zeros_(onto.weight)
            self.words = nn.Sequential(into, nn.SiLU(), onto)

    def forward(self, conditions: Conditions) -> Float[Tensor, "crystals features"]:
        """``(crystals, dim)``, the sum over the properties that are asked for and the text."""
        if conditions.text is not None and self.words is None:
            raise ValueError("this network was made for properties, not for texts.")
        if conditions.low.shape[-1] != self.properties:
            raise ValueError(
                f"conditions hold {conditions.low.shape[-1]} properties, this network knows "
                f"{self.properties}."
            )
        low_open, high_open = torch.isinf(conditions.low), torch.isinf(conditions.high)
        asked = conditions.asked.to(self.first.dtype)
        numbers = torch.stack(
            [
                conditions.low.masked_fill(low_open, 0.0),
                conditions.high.masked_fill(high_open, 0.0),
                low_open.to(asked.dtype),
                high_open.to(asked.dtype),
                torch.ones_like(asked),
            ],
            -1,
        ).to(self.first.dtype)
        hidden = nn.functional.silu(torch.einsum("cpf,pfd->cpd", numbers, self.first))
        out: Tensor = torch.einsum("cpd,pde,cp->ce", hidden, self.last, asked)
        if conditions.text is not None and self.words is not None:
            out = out + self.words(conditions.text.to(out.dtype))
        return out


def periodic_table_features() -> Float[Tensor, "102 features"]:
    """``(102, features)`` one-hot period, group and block of each atomic number; 0 and 101 blank.

    Elements of one column share features, so what is learned for one helps the rarer others.
    """
    rows = torch.zeros(102, 8 + 18 + 3 + 2)
    for number in range(1, 101):
        period = sum(number >= start for start in _PERIOD_STARTS)
        offset = number - _PERIOD_STARTS[period - 1]
        length = _PERIOD_STARTS[period] - _PERIOD_STARTS[period - 1]
        from_end = length - 1 - offset
        f_block = length == 32 and 2 <= offset <= 15
        if f_block:
            group, block = 2, 2
        elif offset < 2 and number != 2:
            group, block = offset, 0
        elif from_end <= 5 or number == 2:
            group, block = 17 - from_end, 0
        else:
            group, block = 17 - from_end, 1
        rows[number, period] = 1.0
        rows[number, 8 + group] = 1.0
        rows[number, 26 + block] = 1.0
        # Where in the period, and where in the f block: smooth trends such as contraction.
        rows[number, 29] = offset / length
        rows[number, 30] = (offset - 2) / 14 if f_block else 0.0
    return rows


class ElementEmbedding(nn.Module):
    """A learned vector per element plus a linear map of its place in the periodic table."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        table = periodic_table_features()
        self.table = nn.Embedding(len(table), dim)
        self.place = nn.Linear(table.shape[1], dim, bias=False)
        self.register_buffer("features", table, persistent=False)
        self.features: Tensor

    def forward(self, atomic_numbers: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape features"]:
        """``(...,)`` int64 to ``(..., dim)``."""
        weight = self.table.weight + self.place(self.features)
        return nn.functional.embedding(atomic_numbers, weight)


class PairGeometry(nn.Module):
    """Features of atom pairs that no translation and no choice of periodic image can change.

    sin and cos of 2πk·(f_j - f_i) for k = 1..frequencies, Gaussian radial features of the
    shortest distance under the current lattice, and the same divided by the atomic spacing.
    """

    def __init__(self, frequencies: int = 6, radial: int = 24, cutoff: float = 9.0) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.dim = 6 * frequencies + 2 * radial
        centres = torch.linspace(0.0, cutoff, radial)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("scaled_centres", torch.linspace(0.0, 3.0, radial), persistent=False)
        self.register_buffer(
            "wave_numbers", 2 * math.pi * torch.arange(1, frequencies + 1), persistent=False
        )
        self.centres: Tensor
        self.scaled_centres: Tensor
        self.wave_numbers: Tensor
        self.inverse_width = float(1.0 / (centres[1] - centres[0]))
        self.scaled_inverse_width = float((radial - 1) / 3.0)

    def forward(
        self,
        frac_coords: Float[Tensor, "crystals atoms 3"],
        metric: Float[Tensor, "crystals 3 3"],
        num_atoms: Int[Tensor, " crystals"],
    ) -> Float[Tensor, "crystals atoms atoms features"]:
        """``(crystals, atoms, atoms, dim)``."""
        displacement = geometry.pair_displacements(frac_coords)
        angles = displacement.unsqueeze(-1) * self.wave_numbers
        distance = geometry.near_image_distances(displacement, metric).unsqueeze(-1)
        # det of the metric is the squared volume; the spacing is the cube root of V/N.
        squared_volume = torch.linalg.det(metric).clamp_min(1e-6)
        spacing = (squared_volume.sqrt() / num_atoms).pow(1.0 / 3.0)[:, None, None, None]
        radial = _bell((distance - self.centres) * self.inverse_width)
        scaled = _bell((distance / spacing - self.scaled_centres) * self.scaled_inverse_width)
        return torch.cat([angles.sin().flatten(-2), angles.cos().flatten(-2), radial, scaled], -1)


def _bell(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp(-z²), not followed below 1e-35: there a processor's exponential is 6 times slower."""
    return torch.exp(-z.clamp(-9.0, 9.0).square())
