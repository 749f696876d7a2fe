"""Does a text vector as condition do anything? Rock salt or zinc blende, asked in words.

    python benchmarks/text_condition.py --n 100

`ConditionalDiffusion` is trained on the demo crystals of up to ten atoms with one sentence each,
and asked for pairs of atoms in a cubic cell with sentences that it was never told, of compounds
that are not in the demo set. A pair counts as the type asked for where the second atom lies within
0.12 of that type's place in every coordinate, in fractions of the cell; evenly spread pairs do so
in 1.4 % (rock salt) and 2.8 % (zinc blende, which has two such places).
"""

from __future__ import annotations

import argparse
import time

import torch
from machine import describe
from torch.utils.data import DataLoader

from crystal_diffusion import (
    ConditionalDiffusion,
    CrystalStructureDataset,
    create_demo_dataset,
)
from crystal_diffusion.evaluation.metrics import wilson

LARGEST, NEAR = 10, 0.12
PROMPTS = {
    "rock salt": (
        "lithium fluoride with the rock salt structure",
        "cubic rock salt type calcium oxide",
        "a rock salt crystal of silver chloride",
    ),
    "zinc blende": (
        "gallium phosphide with the zinc blende structure",
        "cubic zinc blende type boron nitride",
        "a zinc blende crystal of copper chloride",
    ),
}


def shares(pairs: torch.Tensor) -> dict[str, int]:
    """How many pairs are of each type."""
    apart = pairs[:, 1] - pairs[:, 0]

    def at(place: float) -> torch.Tensor:
        off = apart - place
        return ((off - off.round()).abs() < NEAR).all(-1)

    return {
        "rock salt": int(at(0.5).sum()),
        "zinc blende": int((at(0.25) | at(-0.25)).sum()),
    }


def line(name: str, found: dict[str, int], made: int) -> None:
    parts = []
    for kind, hits in found.items():
        low, high = wilson(hits, made)
        share = f"{100 * hits / made:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
        parts.append(f"{kind} {hits} of {made}, {share}")
    print(f"{name}: {'; '.join(parts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100, help="pairs for each prompt")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    args = parser.parse_args()
    print(describe())
    crystals = [c for c in create_demo_dataset() if len(c["positions"]) <= LARGEST]
    texts = [f"{c['name']}, {c['formula']}, a crystal of {c['prototype']} type" for c in crystals]
    dataset = CrystalStructureDataset(crystals)
    batch = {**next(iter(DataLoader(dataset, batch_size=len(dataset)))), "text": texts}
    model = ConditionalDiffusion(
        text_encoder="sentence", timesteps=100, beta_end=0.1, hidden_dim=64, learning_rate=1e-3,
        device="cpu",
    )  # fmt: skip
    start = time.process_time()
    for step in range(args.steps):
        loss = model.train_step(batch)
        if step % 300 == 299:
            print(f"step {step + 1}, loss {loss:.3f}", flush=True)
    print(f"{len(crystals)} crystals, {time.process_time() - start:.0f} s of a core")
    made = {"max_atoms": 2, "lattice": 4.0 * torch.eye(3).unsqueeze(0)}
    free = model.sample(batch_size=3 * args.n, seed=1, **made)
    line("nothing asked", shares(free), len(free))
    for scale in args.guidance:
        for asked, prompts in PROMPTS.items():
            pairs = torch.cat(
                [
                    model.sample(
                        batch_size=args.n, seed=place, prompt=prompt, guidance_scale=scale, **made
                    )
                    for place, prompt in enumerate(prompts)
                ]
            )
            line(f"guidance {scale:g}, {asked} asked", shares(pairs), len(pairs))


if __name__ == "__main__":
    main()
