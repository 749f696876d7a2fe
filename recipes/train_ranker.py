"""Train what the prototype proposals learn, on the crystals of the shipped library only.

    python recipes/train_ranker.py similarity --epochs 2
    python recipes/train_ranker.py examples --out examples.npz
    python recipes/train_ranker.py network examples.npz

``similarity`` learns one vector per element and standing so that crystals of other formulas
foretell the structure type of a crystal, and fits atomic volumes. ``examples`` makes candidates
for library crystals, with every crystal of the same formula left out. ``network`` trains the
scoring network on formation energies, then with a softmax over the candidates of each composition.
Formulas whose code is divisible by 20 (5 %) are never trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from train_ranker_examples import make_examples, read_examples
from train_ranker_network import train_networks
from train_ranker_similarity import train_similarity

from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.ranking.learned import Ranker, default_ranker_path


def main() -> None:
    """One of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    similar = steps.add_parser("similarity")
    similar.add_argument("--epochs", type=int, default=2)
    making = steps.add_parser("examples")
    making.add_argument("--n", type=int, default=100_000, help="lists at most; all by default")
    making.add_argument("--options", type=int, default=16)
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--out", type=Path, required=True)
    training = steps.add_parser("network")
    training.add_argument("examples", type=Path)
    training.add_argument("--energy-epochs", type=int, default=12)
    training.add_argument("--epochs", type=int, default=4)
    training.add_argument("--networks", type=int, default=1)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--hidden", type=int, default=64)
    training.add_argument("--layers", type=int, default=3)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--lr", type=float, default=2e-3)
    training.add_argument("--decay", type=float, default=0.02)
    training.add_argument("--drop", type=float, default=0.1)
    training.add_argument("--beside", type=float, default=0.1, help="weight of energies in lists")
    training.add_argument("--again", type=int, default=1, help="further sights of lists near hull")
    training.add_argument("--held", type=int, default=3000, help="lists kept out of training")
    training.add_argument("--out", type=Path, default=default_ranker_path())
    for step in (making, training):
        step.add_argument("--library", type=Path, default=None, help="the shipped one by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step == "similarity":
        train_similarity(args.epochs)
        return
    if args.step == "examples":
        library = CrystalLibrary.load(args.library)
        make_examples(args.n, args.options, args.seed, args.out, library)
        return
    networks = train_networks(read_examples(args.examples), args)
    weights = tuple(
        {name: value.detach().numpy() for name, value in network.state_dict().items()}
        for network in networks
    )
    Ranker(weights).save(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
