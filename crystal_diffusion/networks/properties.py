"""A network from a crystal to its properties: messages between the different atoms of it.

Each different atom starts as a learned vector of its element. In every round, messages from its
nearest neighbours arrive, gated by both elements and by the distance (as CGCNN does, Xie and
Grossman 2018); beside their sum, the network sees how strongly they come from directions of one
shape: the power spectrum of the first messages in real spherical harmonics up to degree 4
(Bartok, Kondor and Csanyi 2013, with learned weights). All of it is invariant to rotations,
mirrors, translations, order and the choice of the cell. The mean and the largest value over atoms
go to one small head for each property.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from crystal_diffusion.crystal import MAX_ATOMIC_NUMBER
from crystal_diffusion.errors import InputError
from crystal_diffusion.shapes import Float, Int

#: Centres (first, last, how many) and widths of the radial functions: of d / (r_i + r_j), and of d
#: in Å.
RATIO_CENTRES, RATIO_WIDTH = (0.5, 1.8, 14), 0.12
DISTANCE_CENTRES, DISTANCE_WIDTH = (1.2, 6.0, 10), 0.6
#: Messages fade over the last part of the way to the cut-off.
FADE_PART = 0.15
#: Sums over neighbours are divided by this.
MESSAGE_SCALE = 4.0
#: Degrees of the spherical harmonics, and how many functions each has.
DEGREES = (1, 2, 3, 4)


@dataclass(frozen=True)
class PropertyNetworkConfig:
    """Shape of a :class:`PropertyNetwork`.

    Attributes:
        hidden: numbers of an atom; message: numbers of a message; layers: rounds of messages.
        angular: messages whose directions are looked at; head: numbers inside a head.
        outputs: numbers that come out for a crystal.
        elements: features of an element.
    """

    outputs: int
    elements: int = 32
    hidden: int = 128
    message: int = 64
    layers: int = 4
    angular: int = 16
    head: int = 64

    def __post_init__(self) -> None:
        if self.angular > self.message:
            raise InputError(
                f"a property network with {self.message} numbers in a message cannot look at the "
                f"directions of {self.angular}; give an angular of {self.message} at most."
            )

    def as_dict(self) -> dict[str, int]:
        """Plain numbers, for a file."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class SiteBatch:
    """The different atoms of several crystals, one after the other.

    Attributes:
        numbers: ``(sites,)`` int64 atomic numbers; share: ``(sites,)`` part of its crystal.
        neighbour: ``(sites, neighbours)`` int64, which row a neighbour is like.
        vector: ``(sites, neighbours, 3)`` Å; cutoff: ``(sites,)`` Å where messages end.
        crystal: ``(sites,)`` int64, ascending; crystals: how many there are.
    """

    numbers: Int[Tensor, " atoms"]
    share: Float[Tensor, " atoms"]
    neighbour: Int[Tensor, "atoms neighbours"]
    vector: Float[Tensor, "atoms neighbours 3"]
    cutoff: Float[Tensor, " atoms"]
    crystal: Int[Tensor, " atoms"]
    crystals: int


def real_harmonics(unit: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 24"]:
    """``(..., 24)`` real spherical harmonics of degree 1 to 4 of unit vectors ``(..., 3)``.

    Scaled so that for each degree l the sum of products over its 2l + 1 functions is the Legendre
    polynomial P_l of the cosine between two vectors (the addition theorem).
    """
    x, y, z = unit.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    r3, r6, r10, r15 = math.sqrt(3), math.sqrt(6), math.sqrt(10), math.sqrt(15)
    r5, r35, r70 = math.sqrt(5), math.sqrt(35), math.sqrt(70)
    two = [
        r3 * x * y, r3 * y * z, (3 * zz - 1) / 2, r3 * x * z, r3 / 2 * (xx - yy),
    ]  # fmt: skip
    three = [
        r10 / 4 * y * (3 * xx - yy), r15 * x * y * z, r6 / 4 * y * (5 * zz - 1),
        z * (5 * zz - 3) / 2,
        r6 / 4 * x * (5 * zz - 1), r15 / 2 * z * (xx - yy), r10 / 4 * x * (xx - 3 * yy),
    ]  # fmt: skip
    four = [
        r35 / 2 * x * y * (xx - yy), r70 / 4 * y * z * (3 * xx - yy),
        r5 / 2 * x * y * (7 * zz - 1), r10 / 4 * y * z * (7 * zz - 3),
        (35 * zz * zz - 30 * zz + 3) / 8,
        r10 / 4 * x * z * (7 * zz - 3), r5 / 4 * (xx - yy) * (7 * zz - 1),
        r70 / 4 * x * z * (xx - 3 * yy), r35 / 8 * (xx * xx - 6 * xx * yy + yy * yy),
    ]  # fmt: skip
    return torch.stack([x, y, z, *two, *three, *four], -1)


class _Round(nn.Module):
    """One round of messages."""

    def __init__(self, config: PropertyNetworkConfig, radial: int) -> None:
        super().__init__()
        hidden, message = config.hidden, config.message
        self.angular = config.angular
        self.own = nn.Linear(hidden, 2 * message)
        self.other = nn.Linear(hidden, 2 * message, bias=False)
        self.edge = nn.Linear(radial, 2 * message, bias=False)
        seen = hidden + message + config.angular * len(DEGREES)
        self.norm = nn.LayerNorm(seen)
        self.update = nn.Sequential(
            nn.Linear(seen, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden)
        )

    def forward(
        self, state: Tensor, near: Tensor, radial: Tensor, fade: Tensor, harmonics: Tensor
    ) -> Tensor:
        # one flat gather: its gradient is a plain sum, fast on every device
        heard = self.other(state).index_select(0, near.flatten()).unflatten(0, near.shape)
        message = heard + self.own(state)[:, None] + self.edge(radial)
        gate, value = message.chunk(2, -1)
        gated = torch.sigmoid(gate) * nn.functional.silu(value) * fade.to(gate.dtype)
        # (sites, angular, 24): messages by the shape of where they come from
        moments = (gated[..., : self.angular].transpose(1, 2) @ harmonics.to(gated.dtype)).float()
        squares = (moments * moments).split([2 * degree + 1 for degree in DEGREES], -1)
        power = torch.stack([part.sum(-1) for part in squares], -1).flatten(1)
        shapes = torch.sqrt(power / MESSAGE_SCALE**2 + 1e-3)
        seen = torch.cat([state, gated.sum(1).float() / MESSAGE_SCALE, shapes], -1)
        out: Tensor = state + self.update(self.norm(seen)).float()
        return out


class PropertyNetwork(nn.Module):
    """Sites of crystals to one row of numbers each.

    Args:
        config: its shape.
        vectors: ``(elements, features)`` what is known of elements before training, by atomic
            number; radii: ``(elements,)`` Å. Random and 1.4 Å when not given.
    """

    ratios: Tensor
    distances: Tensor

    def __init__(
        self,
        config: PropertyNetworkConfig,
        vectors: Tensor | None = None,
        radii: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        kinds = MAX_ATOMIC_NUMBER + 1
        start = 0.5 * torch.randn(kinds, config.elements) if vectors is None else vectors
        self.element = nn.Parameter(start.clone())
        self.radius = nn.Parameter(torch.full((kinds,), 1.4) if radii is None else radii.clone())
        self.inward = nn.Linear(config.elements, config.hidden)
        for name, centres in (("ratios", RATIO_CENTRES), ("distances", DISTANCE_CENTRES)):
            self.register_buffer(name, torch.linspace(*centres), persistent=False)
        radial = RATIO_CENTRES[-1] + DISTANCE_CENTRES[-1]
        self.rounds = nn.ModuleList(_Round(config, radial) for _ in range(config.layers))
        self.read = nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(2 * config.hidden)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * config.hidden, config.head), nn.SiLU(), nn.Linear(config.head, 1)
            )
            for _ in range(config.outputs)
        )
        self.additive = nn.Parameter(torch.zeros(kinds, config.outputs))

    def encode(self, batch: SiteBatch) -> Float[Tensor, "crystals features"]:
        """``(crystals, 2 hidden)`` what the network makes of each crystal."""
        distance = batch.vector.norm(dim=-1)
        harmonics = real_harmonics(batch.vector / distance[..., None])
        radii = self.radius[batch.numbers].clamp(min=0.3)
        ratio = distance / (radii[:, None] + radii[batch.neighbour])
        radial = torch.cat(
            [
                torch.exp(-(((ratio[..., None] - self.ratios) / RATIO_WIDTH) ** 2)),
                torch.exp(-(((distance[..., None] - self.distances) / DISTANCE_WIDTH) ** 2)),
            ],
            -1,
        )
        room = ((1 - distance / batch.cutoff[:, None]) / FADE_PART).clamp(0.0, 1.0)
        fade = (room * room * (3 - 2 * room))[..., None]
        state = self.inward(self.element[batch.numbers]).float()
        for layer in self.rounds:
            state = layer(state, batch.neighbour, radial, fade, harmonics)
        read = nn.functional.silu(self.read(state).float())
        count, width = batch.crystals, read.shape[1]
        mean = read.new_zeros(count, width).index_add(0, batch.crystal, read * batch.share[:, None])
        owner = batch.crystal[:, None].expand(-1, width)
        largest = read.new_full((count, width), -1e4).scatter_reduce(0, owner, read, "amax")
        out: Tensor = self.norm(torch.cat([mean, largest], -1))
        return out

    def outputs(
        self, encoded: Float[Tensor, "crystals features"], batch: SiteBatch
    ) -> Float[Tensor, "crystals outputs"]:
        """``(crystals, outputs)`` from what :meth:`encode` gave; elements add their own part."""
        parts = self.additive[batch.numbers] * batch.share[:, None]
        own = parts.new_zeros(batch.crystals, parts.shape[1]).index_add(0, batch.crystal, parts)
        return torch.cat([head(encoded) for head in self.heads], -1) + own

    def forward(self, batch: SiteBatch) -> Float[Tensor, "crystals outputs"]:
        """``(crystals, outputs)``."""
        return self.outputs(self.encode(batch), batch)


class PropertyEnsemble(nn.Module):
    """Networks trained apart, asked together: their errors partly cancel in the mean.

    Args:
        members: one or more, with the same outputs.
    """

    def __init__(self, members: Sequence[PropertyNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.configs = tuple(member.config for member in members)
        if len({config.outputs for config in self.configs}) != 1:
            raise InputError("networks that are asked together must say the same labels.")

    def encode(self, batch: SiteBatch) -> Float[Tensor, "crystals features"]:
        """``(crystals, features)`` what each makes of each crystal, side by side."""
        return torch.cat([member.encode(batch) for member in self._each()], 1)

    def outputs(
        self, encoded: Float[Tensor, "crystals features"], batch: SiteBatch
    ) -> Float[Tensor, "crystals outputs"]:
        """``(crystals, outputs)`` mean of what they say, from what :meth:`encode` gave."""
        parts = encoded.split([2 * config.hidden for config in self.configs], 1)
        said = [
            member.outputs(part, batch) for member, part in zip(self._each(), parts, strict=True)
        ]
        return torch.stack(said).mean(0)

    def forward(self, batch: SiteBatch) -> Float[Tensor, "crystals outputs"]:
        """``(crystals, outputs)``."""
        return self.outputs(self.encode(batch), batch)

    def _each(self) -> list[PropertyNetwork]:
        return [member for member in self.members if isinstance(member, PropertyNetwork)]
