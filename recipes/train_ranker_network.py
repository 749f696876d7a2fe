"""Train the scoring network: formation energies of library crystals, then lists of candidates.

Part of ``train_ranker.py``. Formulas whose code is divisible by 20 are never trained on: their
formation energies are the held-out error, and no list asks for them. The lists' own held-out part
is the first of them.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from train_ranker_examples import Crystals, Lists

from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.similarity import default_tables
from crystal_diffusion.ranking import network as shape

#: eV/atom beyond which a formation energy is not trained on.
LARGEST_ENERGY = 5.0
#: eV/atom above the hull below which a crystal counts as near it.
NEAR_HULL = 0.1


class ScoringNetwork(nn.Module):
    """The PyTorch twin of ``crystal_diffusion.ranking.network`` (same names)."""

    fm: Tensor
    fs: Tensor

    def __init__(self, means: np.ndarray, deviations: np.ndarray, hidden: int, layers: int) -> None:
        super().__init__()
        tables = default_tables()
        vectors = np.concatenate([tables.vectors[0], tables.vectors[1]], 1)
        self.hidden = hidden
        self.emb = nn.Parameter(torch.tensor(vectors / vectors.std() * 0.5, dtype=torch.float32))
        radii = np.clip((tables.volumes.mean(0) * 3 / 4 / np.pi) ** (1 / 3), 0.8, 2.6)
        self.rad = nn.Parameter(torch.tensor(radii, dtype=torch.float32))
        self.inp = nn.Linear(vectors.shape[1], hidden)
        radial = len(shape.RATIO_CENTRES) + len(shape.DISTANCE_CENTRES)
        self.wi = nn.ModuleList(nn.Linear(hidden, 2 * hidden) for _ in range(layers))
        self.wj = nn.ModuleList(nn.Linear(hidden, 2 * hidden, bias=False) for _ in range(layers))
        self.we = nn.ModuleList(nn.Linear(radial, 2 * hidden, bias=False) for _ in range(layers))
        self.wo = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.read = nn.Linear(hidden, hidden)
        self.en = nn.Linear(hidden, 1)
        self.eel = nn.Parameter(torch.zeros(len(vectors)))
        self.head = nn.Sequential(
            nn.Linear(len(means) + hidden + 1, 64), nn.SiLU(), nn.Linear(64, 32), nn.SiLU(),
            nn.Linear(32, 1),
        )  # fmt: skip
        self.register_buffer("fm", torch.tensor(means, dtype=torch.float32))
        self.register_buffer("fs", torch.tensor(deviations, dtype=torch.float32))

    def vectors(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """``(candidates, hidden)`` and formation energies ``(candidates,)``, eV/atom."""
        numbers, near, distance = batch["numbers"], batch["neighbour"], batch["distance"]
        state = self.inp(self.emb[numbers])
        radii = self.rad[numbers]
        ratio = distance / (radii[:, None] + radii[near]).clamp(min=0.5)
        off = ratio[..., None] - torch.tensor(shape.RATIO_CENTRES)
        far = distance[..., None] - torch.tensor(shape.DISTANCE_CENTRES)
        radial = torch.cat(
            [
                torch.exp(-((off / shape.RATIO_WIDTH) ** 2)),
                torch.exp(-((far / shape.DISTANCE_WIDTH) ** 2)),
            ],
            -1,
        )
        fade = torch.sigmoid((shape.FADE_AT - ratio) * shape.FADE_STEEPNESS)[..., None]
        for wi, wj, we, wo in zip(self.wi, self.wj, self.we, self.wo, strict=True):
            message = wi(state)[:, None] + wj(state)[near] + we(radial)
            gate, value = message[..., : self.hidden], message[..., self.hidden :]
            total = (torch.sigmoid(gate) * nn.functional.silu(value) * fade).sum(1)
            state = state + nn.functional.silu(wo(total / shape.MESSAGE_SCALE))
        read = nn.functional.silu(self.read(state)) * batch["share"][:, None]
        count, owner = batch["candidates"], batch["candidate"]
        pooled = torch.zeros(count, self.hidden).index_add(0, owner, read)
        elements = torch.zeros(count).index_add(0, owner, self.eel[numbers] * batch["share"])
        return pooled, self.en(pooled)[:, 0] + elements

    def forward(self, batch: dict[str, Any], drop: float = 0.0) -> Tensor:
        """``(candidates,)`` scores; ``drop`` is the share of candidates without features."""
        pooled, energies = self.vectors(batch)
        limit, group = shape.FEATURE_LIMIT, batch["list"]
        features = ((batch["features"] - self.fm) / self.fs).clamp(-limit, limit)
        if drop:
            features = features * (torch.rand(len(features), 1) > drop)
        lowest = torch.full((batch["lists"],), 1e9).scatter_reduce(0, group, energies, "amin")
        above = ((energies - lowest[group]) * shape.ENERGY_SCALE).clamp(0.0, limit)
        out: Tensor = self.head(torch.cat([features, pooled, above[:, None]], 1))[:, 0]
        return out


def log_sum(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """``(groups,)`` log of the sum of exponentials in each group."""
    top = torch.full((groups,), -1e9).scatter_reduce(0, group, scores, "amax")
    total = torch.zeros(groups).index_add(0, group, torch.exp(scores - top[group]))
    return top + torch.log(total + 1e-20)


def list_loss(scores: Tensor, batch: dict[str, Any]) -> Tensor:
    """Mean of minus the log of the probability given to all matching candidates of a list."""
    groups, group = batch["lists"], batch["list"]
    right = torch.where(batch["right"], scores, scores - 1e4)
    return (log_sum(scores, group, groups) - log_sum(right, group, groups)).mean()


class Trainer:
    """Crystals, lists and what is held out of both."""

    def __init__(self, lists: Lists, args: argparse.Namespace) -> None:
        self.library, self.lists, self.args = CrystalLibrary.load(args.library), lists, args
        self.crystals = Crystals(self.library)
        energy = self.library.formation_energy
        usable = np.isfinite(energy) & (np.abs(energy) < LARGEST_ENERGY)
        held = self.library.composition_codes % 20 == 0
        self.known, self.unseen = np.flatnonzero(usable & ~held), np.flatnonzero(usable & held)
        self.energy = torch.tensor(energy, dtype=torch.float32)
        order = np.arange(len(lists.size))
        # What is asked for is mostly near the hull: these lists are seen more than once a pass.
        near = self.library.e_above_hull[lists.target] < NEAR_HULL
        self.held, self.train = order[: args.held], order[args.held :]
        self.train = np.concatenate([self.train] + [self.train[near[self.train]]] * args.again)
        self.held = self.held[near[self.held]]
        starts = np.cumsum(lists.size) - lists.size
        print(
            f"{len(self.known)} formation energies, {len(self.train)} lists a pass, "
            f"{len(self.held)} near the hull held out, of these first by votes "
            f"{lists.right[starts[self.held]].mean():.3f}",
            flush=True,
        )

    def fresh(self) -> ScoringNetwork:
        """A network with random weights."""
        features = self.lists.features
        means, deviations = features.mean(0), features.std(0) + 1e-3
        return ScoringNetwork(means, deviations, self.args.hidden, self.args.layers)

    def energy_loss(self, network: ScoringNetwork, entries: np.ndarray) -> Tensor:
        """Huber loss of formation energies, tenths of an eV."""
        _, energies = network.vectors(self.crystals.batch(entries))
        return 10 * nn.functional.huber_loss(energies, self.energy[entries], delta=0.1)

    def energies(self, network: ScoringNetwork, rng: np.random.Generator) -> None:
        """Train on formation energies; prints the mean error on formulas not trained on."""
        batch, rate = 64, 3e-3
        steps = self.args.energy_epochs * (len(self.known) // batch)
        step = _Step(network, rate, 0.01, steps)
        for epoch in range(self.args.energy_epochs):
            order = rng.permutation(self.known)
            for first in range(0, len(order) - batch + 1, batch):
                step(self.energy_loss(network, order[first : first + batch]))
            with torch.no_grad():
                errors = [
                    (network.vectors(self.crystals.batch(part))[1] - self.energy[part]).abs()
                    for part in np.array_split(self.unseen, max(1, len(self.unseen) // 200))
                ]
            print(
                f"energies {epoch}: held-out error {torch.cat(errors).mean():.4f} eV/atom, "
                f"{step.seconds():.0f} s",
                flush=True,
            )

    def rank(self, network: ScoringNetwork, rng: np.random.Generator) -> None:
        """Train on the lists, formation energies beside."""
        size = self.args.batch
        steps = self.args.epochs * (len(self.train) // size)
        step = _Step(network, self.args.lr, self.args.decay, steps)
        for epoch in range(self.args.epochs):
            order, losses = rng.permutation(self.train), []
            for first in range(0, len(order) - size + 1, size):
                batch = self.lists.batch(order[first : first + size], self.crystals, self.library)
                loss = list_loss(network(batch, self.args.drop), batch)
                losses.append(float(loss.detach()))
                if self.args.beside:
                    entries = rng.choice(self.known, 48)
                    loss = loss + self.args.beside * self.energy_loss(network, entries)
                step(loss)
            hit, held = self.judge([network])
            print(
                f"lists {epoch}: loss {np.mean(losses):.4f}, held out {held:.4f}, first right "
                f"{hit:.3f}, {step.seconds():.0f} s",
                flush=True,
            )

    def judge(self, networks: list[ScoringNetwork]) -> tuple[float, float]:
        """Share of held-out lists whose best-scored candidate is right, and their loss."""
        hits, losses = 0, []
        with torch.no_grad():
            for row in self.held:
                batch = self.lists.batch(np.array([row]), self.crystals, self.library)
                scores = torch.stack([torch.log_softmax(n(batch), 0) for n in networks]).mean(0)
                hits += bool(batch["right"][int(scores.argmax())])
                losses.append(float(list_loss(scores, batch)))
        return hits / max(1, len(self.held)), float(np.mean(losses))


class _Step:
    """AdamW with clipping and a one-cycle rate."""

    def __init__(self, network: nn.Module, rate: float, decay: float, steps: int) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, rate, total_steps=steps + 2, pct_start=0.1
        )
        self._start = time.process_time()

    def __call__(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()

    def seconds(self) -> float:
        """Processor seconds so far."""
        return time.process_time() - self._start


def train_networks(lists: Lists, args: argparse.Namespace) -> list[ScoringNetwork]:
    """All networks; prints what each reaches on what was held out."""
    trainer = Trainer(lists, args)
    networks = []
    for seed in range(args.seed, args.seed + args.networks):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        network = trainer.fresh()
        trainer.energies(network, rng)
        trainer.rank(network, rng)
        networks.append(network)
    hit, loss = trainer.judge(networks)
    print(f"{len(networks)} networks together: first right {hit:.3f}, loss {loss:.4f}")
    return networks
