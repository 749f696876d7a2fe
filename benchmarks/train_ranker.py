"""Train what the prototype proposals learn, on the crystals of the shipped library only.

    python benchmarks/train_ranker.py similarity --epochs 2
    python benchmarks/train_ranker.py examples --n 4000 --options 16 --out examples.npz
    python benchmarks/train_ranker.py network examples.npz --epochs 12 --networks 3

``similarity`` learns one vector per element and standing so that crystals of other formulas
foretell the structure type of a crystal, and fits atomic volumes. ``examples`` builds candidates
for library crystals, with every crystal of the same formula left out, and labels them by structure
matching. ``network`` trains the scoring network with a softmax over the candidates of each
composition. Formulas whose code is divisible by 20 (5 %) are never trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from train_ranker_examples import Example, collate, make_examples, read_examples
from train_ranker_similarity import train_similarity

from crystal_diffusion.proposals import scoring_network as shape
from crystal_diffusion.proposals.ranker import Ranker, default_ranker_path
from crystal_diffusion.proposals.similarity import default_tables


class ScoringNetwork(nn.Module):
    """The PyTorch twin of ``crystal_diffusion.proposals.scoring_network`` (same names)."""

    emb: Tensor
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
        self.head = nn.Sequential(
            nn.Linear(len(means) + hidden, 64), nn.SiLU(), nn.Linear(64, 32), nn.SiLU(),
            nn.Linear(32, 1),
        )  # fmt: skip
        self.register_buffer("fm", torch.tensor(means, dtype=torch.float32))
        self.register_buffer("fs", torch.tensor(deviations, dtype=torch.float32))

    def forward(self, batch: dict[str, Any], drop: float = 0.0) -> Tensor:
        """``(candidates,)`` scores; ``drop`` is the share of candidates without features."""
        numbers, near, distance = batch["numbers"], batch["neighbour"], batch["distance"]
        state = self.inp(self.emb[numbers])
        ratio = distance / (self.rad[numbers][:, None] + self.rad[near]).clamp(min=0.5)
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
        pooled = torch.zeros(batch["candidates"], self.hidden)
        pooled = pooled.index_add(0, batch["candidate"], read)
        limit = shape.FEATURE_LIMIT
        features = ((batch["features"] - self.fm) / self.fs).clamp(-limit, limit)
        if drop:
            features = features * (torch.rand(len(features), 1) > drop)
        out: Tensor = self.head(torch.cat([features, pooled], 1))[:, 0]
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


def answered(networks: list[ScoringNetwork], lists: list[Example]) -> float:
    """Share of lists whose best-scored candidate matches."""
    hits = 0
    with torch.no_grad():
        for example in lists:
            batch = collate([example])
            total = sum(torch.log_softmax(network(batch), 0) for network in networks)
            hits += bool(example.right[int(torch.as_tensor(total).argmax())])
    return hits / max(len(lists), 1)


def train_network(
    lists: list[Example], held: list[Example], args: argparse.Namespace, seed: int
) -> ScoringNetwork:
    """One network; prints the loss of each pass and the held-out figure."""
    torch.manual_seed(seed)
    features = np.concatenate([example.features for example in lists])
    network = ScoringNetwork(features.mean(0), features.std(0) + 1e-3, args.hidden, args.layers)
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=args.decay)
    steps = args.epochs * (len(lists) // args.batch) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, args.lr, total_steps=steps, pct_start=0.1
    )
    rng = np.random.default_rng(seed)
    start = time.process_time()
    for epoch in range(args.epochs):
        order = rng.permutation(len(lists))
        losses = []
        for first in range(0, len(lists) - args.batch + 1, args.batch):
            batch = collate([lists[row] for row in order[first : first + args.batch]])
            loss = list_loss(network(batch, args.drop), batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss))
        row = {"seed": seed, "epoch": epoch, "loss": float(np.mean(losses))}
        row["cpu_s"] = time.process_time() - start
        if epoch % 3 == 2 or epoch == args.epochs - 1:
            row["held_out_answered"] = answered([network], held)
        print(json.dumps({key: round(value, 4) for key, value in row.items()}), flush=True)
    return network


def main() -> None:
    """One of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    similar = steps.add_parser("similarity")
    similar.add_argument("--epochs", type=int, default=2)
    making = steps.add_parser("examples")
    making.add_argument("--n", type=int, default=4000)
    making.add_argument("--options", type=int, default=16)
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--out", type=Path, required=True)
    training = steps.add_parser("network")
    training.add_argument("examples", type=Path, nargs="+")
    training.add_argument("--epochs", type=int, default=12)
    training.add_argument("--networks", type=int, default=3)
    training.add_argument("--hidden", type=int, default=64)
    training.add_argument("--layers", type=int, default=2)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--lr", type=float, default=2e-3)
    training.add_argument("--decay", type=float, default=0.02)
    training.add_argument("--drop", type=float, default=0.1)
    training.add_argument("--held", type=int, default=200, help="lists kept out of training")
    training.add_argument("--out", type=Path, default=default_ranker_path())
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step == "similarity":
        train_similarity(args.epochs)
        return
    if args.step == "examples":
        make_examples(args.n, args.options, args.seed, args.out)
        return
    lists = [example for path in args.examples for example in read_examples(path)]
    held, lists = lists[: args.held], lists[args.held :]
    print(f"{len(lists)} lists to train on, {len(held)} held out")
    print(f"held out, first by votes: {np.mean([bool(e.right[0]) for e in held]):.3f}")
    networks = [train_network(lists, held, args, seed) for seed in range(args.networks)]
    print(f"held out, {len(networks)} networks together: {answered(networks, held):.3f}")
    weights = tuple(
        {name: value.detach().numpy() for name, value in network.state_dict().items()}
        for network in networks
    )
    Ranker(weights).save(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
