"""Train the model of skeletons in the box and write it.

    python recipes/train_skeletons.py ../shared/data/mp_2025/train_le20.parquet \\
        ../shared/data/mp_2025/train_21_52.parquet --work SKELETONS --steps 7000

Groups and Wyckoff letters are found with moyopy at 0.1 Å and kept in the work folder, where the
training state is written every two minutes: the same command goes on after a stop. 1,000 crystals
are held out for monitoring. The weights are written in half precision to
``crystal_diffusion/pretrained/skeletons.safetensors``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from make_wyckoff_table import machine, read_rows

from crystal_diffusion.skeletons.fitting import FitSettings, Skeletons, fit, nats
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.tokens import from_letters, to_sequence
from crystal_diffusion.skeletons.weights import SHIPPED, save_network
from crystal_diffusion.symmetry.equivalents import letter_index

HELD_OUT = 1000


def skeletons_of(path: Path, work: Path) -> Skeletons:
    """All skeletons of a table, from the work folder where they are there already."""
    stored = work / f"{path.stem}.npz"
    if stored.is_file():
        with np.load(stored, allow_pickle=False) as arrays:
            return Skeletons(**{name: arrays[name] for name in arrays.files})
    sequences = [
        to_sequence(from_letters(number, {z: map(letter_index, word) for z, word in words.items()}))
        for number, words in read_rows(path)
    ]
    data = Skeletons.from_sequences(sequences)
    part = stored.with_suffix(".part.npz")
    np.savez_compressed(part, **vars(data))
    part.replace(stored)
    return data


def main() -> None:
    """Detect, fit, write, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dim", type=int, default=128)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = Skeletons.join([skeletons_of(path, arguments.work) for path in arguments.tables])
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
    header = {
        "crystals": len(data),
        "steps": arguments.steps,
        "trained_on": ", ".join(path.stem for path in arguments.tables),
        "held_out_nats": [round(float(x.mean()), 4) for x in (found.group, found.letters)],
    }
    save_network(arguments.out, network, header)
    print(f"{arguments.out.name}: {arguments.out.stat().st_size / 1e6:.2f} MB, {header}")


if __name__ == "__main__":
    main()
