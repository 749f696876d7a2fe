"""Train the model of skeletons in the box and write it.

    python recipes/train_skeletons.py ../shared/data/mp_2025/train_le20.parquet \\
        ../shared/data/mp_2025/train_21_52.parquet --work SKELETONS --steps 3800

Groups and Wyckoff letters are found with moyopy at 0.1 Å and kept in the work folder, where the
training state is written every two minutes: the same command goes on after a stop. 1,000 crystals
are held out for monitoring, and to fit how far the table of known patterns is trusted beside the
network: for that a table is counted without them. The weights are written in half precision to
``crystal_diffusion/pretrained/skeletons.safetensors``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from make_wyckoff_table import machine, read_rows

from crystal_diffusion.files import atomic_write
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.skeletons.fitting import FitSettings, Skeletons, fit, nats
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.patterns import Trust, known_skeletons
from crystal_diffusion.skeletons.tokens import composition_of, from_letters, to_sequence
from crystal_diffusion.skeletons.weights import SHIPPED, save_network
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.equivalents import letter_index
from crystal_diffusion.symmetry.prior import WyckoffPrior

HELD_OUT = 1000


#: Group number and the letters of each element, as ``make_wyckoff_table`` reads them.
Rows = list[tuple[int, dict[int, str]]]


def rows_of(path: Path, work: Path) -> Rows:
    """Groups and letters of a table, from the work folder where they are there already."""
    stored = work / f"{path.stem}.json"
    if not stored.is_file():
        with atomic_write(stored) as part:
            part.write_text(json.dumps(read_rows(path)))
    found = json.loads(stored.read_text())
    return [(number, {int(z): word for z, word in words.items()}) for number, words in found]


def skeleton(row: tuple[int, dict[int, str]]) -> Assignment:
    """The canonical skeleton of a row."""
    number, words = row
    return from_letters(number, {z: map(letter_index, word) for z, word in words.items()})


def skeletons_of(path: Path, rows: Rows, work: Path) -> Skeletons:
    """All skeletons of a table, likewise."""
    stored = work / f"{path.stem}.npz"
    if not stored.is_file():
        data = Skeletons.from_sequences([to_sequence(skeleton(row)) for row in rows])
        with atomic_write(stored) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **vars(data))
    with np.load(stored, allow_pickle=False) as arrays:
        return Skeletons(**{name: arrays[name] for name in arrays.files})


def fit_trust(network: SkeletonNetwork, rows: Rows, held: set[int]) -> tuple[Trust, float]:
    """How far the table is trusted, and the mean nats of both together, on held-out rows.

    Args:
        network: fitted without the held-out rows.
        rows: of the table that the shipped prior is counted from.
        held: indices among them.
    """
    prior = WyckoffPrior.from_rows(row for i, row in enumerate(rows) if i not in held)
    true = [skeleton(rows[i]) for i in sorted(held)]
    alone = SkeletonModel(network)
    network_says = np.array([alone.log_probability(a) for a in true])
    known = [known_skeletons(prior, composition_of(a)) for a in true]
    table_says = np.array([k.chances.get(a, 0.0) for k, a in zip(known, true, strict=True)])
    best = (math.inf, Trust(0.0, 0.0))
    for offset in np.arange(-6.0, 4.1, 0.25):
        for slope in np.arange(0.0, 1.5, 0.1):
            trust = Trust(round(float(offset), 2), round(float(slope), 2))
            share = np.array([trust.share(k.support) for k in known])
            mixed = share * table_says + (1 - share) * np.exp(network_says)
            best = min(best, (float(-np.log(mixed).mean()), trust), key=lambda pair: pair[0])
    return best[1], best[0]


def main() -> None:
    """Detect, fit, write, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--steps", type=int, default=3800)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dim", type=int, default=128)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tables = [rows_of(path, arguments.work) for path in arguments.tables]
    data = Skeletons.join(
        [
            skeletons_of(path, rows, arguments.work)
            for path, rows in zip(arguments.tables, tables, strict=True)
        ]
    )
    hold = np.random.default_rng(17).choice(len(data), HELD_OUT, replace=False)
    held, data = data.take(hold), data.take(np.setdiff1d(np.arange(len(data)), hold))
    torch.manual_seed(0)
    network = SkeletonNetwork(SkeletonConfig(arguments.dim, arguments.layers, 4, 0.05))
    size = sum(p.numel() for p in network.parameters())
    print(f"{len(data)} crystals, {HELD_OUT} held out, {size} parameters; {machine()}", flush=True)
    began = time.process_time()

    def tell(step: int, loss: float) -> None:
        line = f"step {step}, loss {loss:.4f}, {time.process_time() - began:.0f} s of a core"
        if step % 1000 == 0:
            found = nats(network.eval(), held)
            network.train()
            line += f", held out: group {found.group.mean():.4f}, "
            line += f"letters {found.letters.mean():.4f} nats"
        print(line, flush=True)

    settings = FitSettings(arguments.steps, arguments.tokens, arguments.learning_rate, 200)
    fit(network, data, settings, state=arguments.work / "state.safetensors", progress=tell)
    found = nats(network, held)
    first = {int(i) for i in hold if i < len(tables[0])}
    trust, both = fit_trust(network, tables[0], first)
    header = {
        "crystals": len(data),
        "steps": arguments.steps,
        "trained_on": ", ".join(path.stem for path in arguments.tables),
        "held_out_nats": [round(float(x.mean()), 4) for x in (found.group, found.letters)],
        "trust": [trust.offset, trust.slope],
        "held_out_nats_with_table": [len(first), round(both, 4)],
    }
    save_network(arguments.out, network, header)
    print(f"{arguments.out.name}: {arguments.out.stat().st_size / 1e6:.2f} MB, {header}")


if __name__ == "__main__":
    main()
