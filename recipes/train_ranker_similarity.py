"""Learn element vectors and atomic volumes from the structure types of the shipped library.

Part of ``train_ranker.py``; ``crystal_diffusion/proposals/similarity.py`` describes the model.
The vectors start from period, group, electronegativity, radius, Mendeleev number and three flags.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from crystal_diffusion.proposals.clustering import role_permutations
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.similarity import ElementTables, default_tables_path

FEATURES = 16
#: Lookups per batch: queries x permutations x members x roles.
BATCH_LOOKUPS = 2.5e6
NOTHING = -1e4


def tabulated() -> tuple[np.ndarray, np.ndarray]:
    """``(101, 8)`` standardised element properties, and ``(101,)`` electronegativities."""
    from pymatgen.core import Element

    rows = []
    values = np.zeros(101)
    for number in range(1, 101):
        element = Element.from_Z(number)
        values[number] = element.X if element.X == element.X else 1.0
        f_block = 57 <= number <= 71 or number >= 89
        radius = element.atomic_radius_calculated or element.atomic_radius or 1.8
        rows.append(
            [
                element.row,
                3 if f_block else element.group,
                values[number],
                float(radius),
                float(element.mendeleev_no or 50) / 20,
                float(element.is_transition_metal),
                float(f_block),
                float(element.is_metal),
            ]
        )
    table = np.array(rows)
    table = (table - table.mean(0)) / table.std(0) * [0.5, 0.7, 1.2, 0.8, 1, 0.5, 0.5, 0.7]
    return np.concatenate([np.zeros((1, 8)), table]), values


@dataclass(frozen=True, eq=False)
class Family:
    """All library crystals with the same numbers of atoms per role."""

    key: tuple[int, ...]
    index: Tensor
    kind: Tensor
    permutations: Tensor
    code: Tensor
    hull: Tensor
    hull_known: Tensor
    same: Tensor
    queries: np.ndarray


def families(library: CrystalLibrary, tables: ElementTables) -> list[Family]:
    """Families with at least two types; queries are crystals whose type has another member."""
    found = []
    codes = library.composition_codes
    for key, (first, after) in library.keys.items():
        if after - first < 2:
            continue
        rows = slice(int(library.type_start[first]), int(library.type_start[after]))
        kind = library.entry_type[rows] - first
        permutations = role_permutations(key)
        place = {permutation: row for row, permutation in enumerate(permutations)}
        same = np.zeros((after - first, len(permutations)), dtype=bool)
        same[:, 0] = True
        for row in range(first, after):
            for swap in library.type_swaps.get(row, ()):
                same[row - first, place[swap]] = True
        hull = library.e_above_hull[rows]
        queries = np.flatnonzero((np.bincount(kind)[kind] > 1) & (codes[rows] % 20 != 0))
        found.append(
            Family(
                key,
                torch.tensor(tables.indices(library.elements[rows, : len(key)])),
                torch.tensor(kind),
                torch.tensor(permutations),
                torch.tensor(codes[rows]),
                torch.tensor(np.clip(np.nan_to_num(hull), 0, 1)),
                torch.tensor(np.isfinite(hull)).float(),
                torch.tensor(same),
                queries,
            )
        )
    return found


class Similarity(nn.Module):
    """Votes of crystals for the types of others."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        vectors = 0.02 * torch.randn(2, 101, FEATURES)
        vectors[:, :, : start.shape[1]] += 0.8 * torch.tensor(start, dtype=torch.float32)
        self.vectors = nn.Parameter(vectors.reshape(202, FEATURES))
        self.scalars = nn.Parameter(torch.tensor([0.3, -8.0, 3.0, 0.0]))

    def loss(self, family: Family, query: Tensor) -> Tensor:
        """``(queries,)`` minus log of the votes for the right type and assignment."""
        exponent, log_floor, slope, known = self.scalars
        table = torch.cdist(self.vectors, self.vectors).square()
        share = torch.tensor([count / sum(family.key) for count in family.key])
        weights = share**exponent
        weights = weights / weights.mean()
        placed = family.index[query][:, family.permutations]
        votes = torch.zeros(())
        for role in range(len(family.key)):
            votes = votes - weights[role] * table[placed[:, :, role]][:, :, family.index[:, role]]
        votes = torch.logaddexp(votes, log_floor.expand_as(votes))
        votes = votes - slope * family.hull - known * family.hull_known
        own = family.code[query][:, None] == family.code[None]
        votes = votes.masked_fill(own[:, None], NOTHING)
        kind = family.kind[query]
        right = (family.kind[None] == kind[:, None])[:, None] & family.same[kind][:, :, None]
        wanted = torch.logsumexp(votes.masked_fill(~right, NOTHING).flatten(1), 1)
        return (torch.logsumexp(votes.flatten(1), 1) - wanted)[wanted > NOTHING / 2]


def fit_volumes(library: CrystalLibrary, tables: ElementTables) -> np.ndarray:
    """``(2, 101)`` Å3 per atom by standing, Huber loss on log volume per atom."""
    counts = torch.tensor(library.type_counts[library.entry_type].astype(float))
    index = torch.tensor(tables.indices(library.elements))
    share = torch.where(index % 101 > 0, counts, 0.0)
    share = share / share.sum(1, keepdim=True)
    wanted = torch.log(torch.tensor(library.volume_per_atom))
    log_volumes = torch.full((202,), 2.9, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.Adam([log_volumes], lr=0.02)
    for _ in range(600):
        guess = torch.log((torch.exp(log_volumes)[index] * share).sum(1))
        loss = nn.functional.huber_loss(guess, wanted, delta=0.1)
        loss = loss + 1e-5 * (log_volumes - 2.9).square().sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return np.exp(log_volumes.detach().numpy()).reshape(2, 101)


def train_similarity(epochs: int) -> None:
    """Train, print the loss, write the shipped tables."""
    warnings.filterwarnings("ignore", module="pymatgen")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    start, electronegativity = tabulated()
    plain = ElementTables(
        np.zeros((2, 101, FEATURES)), electronegativity, 0.3, 0.0, 0.0, 0.0, np.ones((2, 101))
    )
    library = CrystalLibrary.load()
    groups = families(library, plain)
    model = Similarity(start)
    optimiser = torch.optim.Adam(
        [{"params": [model.vectors], "lr": 0.01}, {"params": [model.scalars], "lr": 0.02}]
    )
    began = time.process_time()
    for epoch in range(epochs):
        batches = []
        for family in groups:
            cost = len(family.kind) * len(family.permutations) * len(family.key)
            size = max(2, min(64, int(BATCH_LOOKUPS / cost)))
            order = rng.permutation(family.queries)
            batches += [(family, order[row : row + size]) for row in range(0, len(order), size)]
        losses: list[float] = []
        for row in rng.permutation(len(batches)):
            family, query = batches[row]
            loss = model.loss(family, torch.tensor(query))
            if not len(loss):
                continue
            optimiser.zero_grad()
            (loss.sum() / 32).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            losses += loss.tolist()
        for group in optimiser.param_groups:
            group["lr"] *= 0.5
        print(f"epoch {epoch}: {np.mean(losses[-8000:]):.4f}, {time.process_time() - began:.0f} s")
    exponent, log_floor, slope, known = (float(value) for value in model.scalars.detach())
    tables = replace(
        plain,
        vectors=model.vectors.detach().double().numpy().reshape(2, 101, FEATURES),
        role_exponent=exponent,
        floor=math.exp(log_floor),
        hull_slope=slope,
        hull_known=known,
    )
    replace(tables, volumes=fit_volumes(library, tables)).save(default_tables_path())
