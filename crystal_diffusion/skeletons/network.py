"""The network of the skeletons: a small transformer over what is asked and what was chosen.

First come the tokens of the question (one for the whole, one for each element), which see each
other; then the choices so far, each of which sees the question and the choices before it.
Space groups and Wyckoff positions are described by what they have in common with others (system,
point group, centring; multiplicity, site symmetry, freedom) besides an own vector, so that rare
ones share what is learned of frequent ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, scaled_dot_product_attention

from crystal_diffusion import chemistry
from crystal_diffusion.networks.embeddings import ConditionEmbedding, periodic_table_features
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.skeletons.tokens import (
    ELEMENTS,
    LARGEST_COUNT,
    LETTERS,
    element_order,
    position_starts,
)
from crystal_diffusion.symmetry.groups import CRYSTAL_SYSTEMS, SpaceGroup

#: Numbers that later conditions (properties, words) may use; zero where nothing is asked.
CONDITIONS = 16
#: A count that is not given.
UNKNOWN = LARGEST_COUNT + 1


@dataclass(frozen=True)
class SkeletonConfig:
    """Size of the network.

    Attributes:
        dim: width of a token.
        layers: blocks.
        heads: attention heads.
        dropout: while training.
        properties: how many can be asked for.
    """

    dim: int = 128
    layers: int = 4
    heads: int = 4
    dropout: float = 0.1
    properties: int = 0


@dataclass(frozen=True)
class Question:
    """What is asked, as tensors.

    Attributes:
        elements: ``(crystals, asked)`` atomic numbers, 0 for padding.
        counts: ``(crystals, asked)`` atoms, :data:`UNKNOWN` where free.
        total: ``(crystals,)`` atoms of the primitive cell, :data:`UNKNOWN` where free.
        units: ``(crystals,)`` greatest common divisor of the counts, 0 where they are free.
        condition: ``(crystals, CONDITIONS)``.
        properties: what is asked of properties; None for nothing.
    """

    elements: Tensor
    counts: Tensor
    total: Tensor
    units: Tensor
    condition: Tensor
    properties: Conditions | None = None


class _SkeletonBlock(nn.Module):
    """Attention and MLP, normalised before (Xiong et al. 2020)."""

    def __init__(self, config: SkeletonConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_attention = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim),
            nn.SiLU(),
            nn.Linear(4 * dim, dim),
            nn.Dropout(config.dropout),
        )

    def forward(
        self, x: Tensor, mask: Tensor | None, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``(crystals, new, dim)``; keys and values ``(2, crystals, heads, new, width)``.

        Args:
            mask: ``(crystals, 1, new, new)``, true where a token is seen.
            seen: keys and values of the tokens before and room for the new ones, which are
                written there.
        """
        crystals, new, dim = x.shape
        parts = self.qkv(self.norm_attention(x)).view(crystals, new, 3, self.heads, -1)
        q, *own = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if seen is None:
            k, v = own
        else:
            for kept, fresh in zip(seen, own, strict=True):
                kept[:, :, -new:] = fresh
            k, v = seen
        mixed = _attention(q, k, v, mask)
        mixed = self.out(mixed.transpose(1, 2).reshape(crystals, new, dim))
        x = x + dropout(mixed, self.dropout, self.training)
        return x + self.mlp(self.norm_mlp(x)), torch.stack(own) if seen is None else seen


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention; in float32 where the rest is bfloat16 on a processor, which is slow at it."""
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)


class SkeletonNetwork(nn.Module):
    """Scores of the next choice; see :class:`Question` and ``tokens.Sequence`` for shapes."""

    group_features: Tensor
    position_features: Tensor
    position_symmetry: Tensor
    position_group: Tensor
    position_table: Tensor
    element_features: Tensor

    def __init__(self, config: SkeletonConfig) -> None:
        super().__init__()
        self.config = config
        self._vectors: tuple[Tensor, Tensor, Tensor] | None = None
        dim = config.dim
        groups = _group_features()
        features, symmetry, owner, names = _position_features()
        self.register_buffer("group_features", groups, persistent=False)
        self.register_buffer("position_features", features, persistent=False)
        self.register_buffer("position_symmetry", symmetry, persistent=False)
        self.register_buffer("position_group", owner, persistent=False)
        self.register_buffer("position_table", _position_table(), persistent=False)
        self.register_buffer("element_features", _element_features(), persistent=False)
        self.group_own = nn.Embedding(231, dim)
        self.group_in = nn.Linear(groups.shape[1], dim)
        self.group_out = nn.Linear(dim, dim)
        self.position_own = nn.Embedding(len(features), dim)
        self.site_symmetry = nn.Embedding(names, dim)
        self.position_in = nn.Sequential(
            nn.Linear(features.shape[1], dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.position_out = nn.Linear(dim, dim)
        self.element_own = nn.Embedding(ELEMENTS, dim)
        self.element_in = nn.Linear(self.element_features.shape[1], dim)
        self.element_out = nn.Linear(dim, dim)
        self.count = nn.Embedding(LARGEST_COUNT + 2, dim)
        self.count_left = nn.Embedding(LARGEST_COUNT + 2, dim)
        self.total = nn.Embedding(LARGEST_COUNT + 2, dim)
        self.units = nn.Embedding(LARGEST_COUNT + 2, dim)
        self.condition = nn.Linear(CONDITIONS, dim, bias=False)
        properties = config.properties
        self.asked = ConditionEmbedding(properties, dim) if properties else None
        self.kind = nn.Embedding(5, dim)
        self.place = nn.Embedding(64, dim)
        self.blocks = nn.ModuleList(_SkeletonBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.count_out = nn.Sequential(
            nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, LARGEST_COUNT + 1)
        )
        for table in (self.group_own, self.position_own, self.site_symmetry, self.element_own,
                      self.count, self.count_left, self.total, self.units, self.kind,
                      self.place):  # fmt: skip
            nn.init.normal_(table.weight, std=0.05)
        nn.init.zeros_(self.condition.weight)
        for linear in self.modules():
            if isinstance(linear, _SkeletonBlock):
                nn.init.normal_(linear.out.weight, std=0.02 / math.sqrt(2 * config.layers))

    def freeze(self) -> SkeletonNetwork:
        """Work in double precision with vectors that are made once; no more training."""
        self.double().eval().requires_grad_(False)
        self._vectors = (self.group_vectors(), self.position_vectors(), self.element_vectors())
        return self

    def group_vectors(self) -> Tensor:
        """``(231, dim)``, row 0 for none."""
        if self._vectors is not None:
            return self._vectors[0]
        return self.group_own.weight + self.group_in(self.group_features)

    def position_vectors(self) -> Tensor:
        """``(1 + positions, dim)`` of all Wyckoff positions of all groups, row 0 for none."""
        if self._vectors is not None:
            return self._vectors[1]
        return (
            self.position_own.weight
            + self.site_symmetry(self.position_symmetry)
            + self.position_in(self.position_features)
        )

    def element_vectors(self) -> Tensor:
        """``(ELEMENTS, dim)``, row 0 for none."""
        if self._vectors is not None:
            return self._vectors[2]
        return self.element_own.weight + self.element_in(self.element_features)

    def question_tokens(self, asked: Question) -> tuple[Tensor, Tensor]:
        """``(crystals, 1 + asked, dim)`` and ``(crystals, 1 + asked)`` which of them are real."""
        whole = (
            self.total(asked.total.clamp(max=UNKNOWN))
            + self.units(asked.units.clamp(max=UNKNOWN))
            + self.condition(asked.condition.to(self.condition.weight.dtype))
            + self.kind.weight[4]
        )
        if asked.properties is not None:
            if self.asked is None:
                raise ValueError("this network was trained without properties; ask for none.")
            whole = whole + self.asked(asked.properties).to(whole.dtype)
        of_elements = (
            embedding(asked.elements, self.element_vectors())
            + self.count(asked.counts.clamp(max=UNKNOWN))
            + self.units(asked.units.clamp(max=UNKNOWN))[:, None]
        )
        real = torch.cat([torch.ones_like(asked.total[:, None]), asked.elements], 1) > 0
        return torch.cat([whole[:, None], of_elements], 1), real

    def choice_tokens(self, inputs: Tensor, first: int = 0) -> Tensor:
        """``(crystals, positions, dim)`` of ``tokens.Sequence.inputs`` from position ``first``."""
        kind, element, left, position, group = inputs.unbind(-1)
        places = torch.arange(first, first + inputs.shape[1], device=inputs.device)
        out: Tensor = (
            self.kind(kind)
            # Unlike indexing it adds up the gradients of many equal indices side by side.
            + embedding(element, self.element_vectors())
            + self.count_left(left.clamp(max=LARGEST_COUNT))
            + embedding(position, self.position_vectors())
            + embedding(group, self.group_vectors())
            + self.place(places.clamp(max=63))
        )
        return out

    def forward(self, asked: Question, inputs: Tensor) -> Tensor:
        """``(crystals, positions, dim)`` states from which all choices are scored."""
        question, real = self.question_tokens(asked)
        x = torch.cat([question, self.choice_tokens(inputs)], 1)
        x = dropout(x, self.config.dropout, self.training)
        asked_len, positions = question.shape[1], inputs.shape[1]
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        seen[:asked_len, :asked_len] = True
        keys = torch.cat([real, real.new_ones(len(real), positions)], 1)
        mask = (seen & keys[:, None])[:, None]
        for block in self.blocks:
            x, _ = block(x, mask)
        out: Tensor = self.norm(x[:, asked_len:])
        return out

    def read_question(self, asked: Question) -> Tensor:
        """Keys and values of one question, ``(layers, 2, 1, heads, 1 + asked, width)``."""
        x, _ = self.question_tokens(asked)
        kept = []
        for block in self.blocks:
            x, own = block(x, None)
            kept.append(own)
        return torch.stack(kept)

    def step(self, inputs: Tensor, place: int, seen: Tensor) -> Tensor:
        """``(crystals, dim)`` states after one more position for sequences of the same length.

        Args:
            inputs: ``(crystals, 5)``.
            place: number of the position.
            seen: ``(layers, 2, crystals, heads, tokens, width)`` keys and values of the tokens
                before; those of the new position are written into the last place.
        """
        x = self.choice_tokens(inputs[:, None], place)
        for block, own in zip(self.blocks, seen, strict=True):
            x, _ = block(x, None, own)
        out: Tensor = self.norm(x[:, 0])
        return out

    def group_scores(self, states: Tensor) -> Tensor:
        """``(..., 230)``."""
        return self.group_out(states) @ self.group_vectors()[1:].T

    def letter_scores(self, states: Tensor, groups: Tensor) -> Tensor:
        """``(..., LETTERS)``; letters the group does not have get what letter a has."""
        hidden, vectors = self.position_out(states), self.position_vectors()
        if self._vectors is not None:  # few rows: only the letters of their groups
            own = vectors[self.position_table[groups]]
            return torch.einsum("...d,...ld->...l", hidden, own)
        return (hidden @ vectors.T).gather(-1, self.position_table[groups])

    def element_scores(self, states: Tensor) -> Tensor:
        """``(..., ELEMENTS)``, index 0 for the end."""
        return self.element_out(states) @ self.element_vectors().T

    def count_scores(self, states: Tensor, elements: Tensor) -> Tensor:
        """``(..., LARGEST_COUNT + 1)`` for the count of the next element."""
        following = embedding(elements, self.element_vectors())
        out: Tensor = self.count_out(torch.cat([states, following], -1))
        return out


def _group_features() -> Tensor:
    """``(231, features)``: system, point group, centring, orders."""
    groups = [SpaceGroup.from_number(n) for n in range(1, 231)]
    systems = list(CRYSTAL_SYSTEMS)
    points = sorted({g.point_group for g in groups})
    rows = torch.zeros(231, len(systems) + len(points) + 6 + 3)
    for row, g in zip(rows[1:], groups, strict=True):
        row[systems.index(g.crystal_system)] = 1.0
        row[len(systems) + points.index(g.point_group)] = 1.0
        row[len(systems) + len(points) + "PACIFR".index(g.centring)] = 1.0
        rotations, _ = g.primitive_operations
        centric = any((rotation == -torch.eye(3).numpy()).all() for rotation in rotations)
        row[-3] = math.log2(len(rotations)) / 4
        row[-2] = float(centric)
        row[-1] = float(g.positions[0].freedom > 0)
    return rows


def _position_features() -> tuple[Tensor, Tensor, Tensor, int]:
    """Features ``(1 + positions, f)``, index of the site symmetry, group; number of symmetries."""
    groups = [SpaceGroup.from_number(n) for n in range(1, 231)]
    names = sorted({p.site_symmetry for g in groups for p in g.positions})
    features = [torch.zeros(4 + 6 + LETTERS + 3)]
    symmetry, owner = [0], [0]
    for g in groups:
        general = g.positions[-1].multiplicity
        for index, p in enumerate(g.positions):
            row = torch.zeros_like(features[0])
            size = p.multiplicity // g.centring_size
            row[p.freedom] = 1.0
            row[4 + min(int(math.log2(size)), 5)] = 1.0
            row[10 + index] = 1.0
            row[-3] = math.log2(size) / 3
            row[-2] = math.log2(general // p.multiplicity) / 3
            row[-1] = float(size % 3 == 0)
            features.append(row)
            symmetry.append(names.index(p.site_symmetry) + 1)
            owner.append(g.number)
    return torch.stack(features), torch.tensor(symmetry), torch.tensor(owner), len(names) + 1


def _position_table() -> Tensor:
    """``(231, LETTERS)`` index of each letter among the positions of all groups, 0 for none."""
    out = torch.zeros(231, LETTERS, dtype=torch.int64)
    starts = position_starts()
    for number in range(1, 231):
        count = len(SpaceGroup.from_number(number).positions)
        out[number, :count] = torch.arange(starts[number], starts[number] + count) + 1
    return out


def _element_features() -> Tensor:
    """``(ELEMENTS, features)``: period, column, block, electronegativity, radius, order."""
    table = periodic_table_features()
    rows = torch.zeros(ELEMENTS, table.shape[1] + 3)
    rows[: min(len(table), 101), :-3] = table[:101]
    for column, values in enumerate((chemistry.ELECTRONEGATIVITY, chemistry.COVALENT_RADII)):
        known = torch.nan_to_num(torch.tensor(values, dtype=torch.float32))[:ELEMENTS]
        rows[: len(known), -3 + column] = known - 1.5 * (known > 0)
    rows[:, -1] = torch.tensor(element_order(), dtype=torch.float32) / ELEMENTS
    return rows
