"""Train the model of skeletons in the box and write it.

    python recipes/train_skeletons.py ../shared/data/mp_2025/train_le20.parquet \\
        ../shared/data/mp_2025/train_21_52.parquet --work SKELETONS --steps 3800

Groups and Wyckoff letters are found with moyopy at 0.1 Å and kept in the work folder, where the
training state is written every two minutes: the same command goes on after a stop. 1,000 crystals
are held out for monitoring, and to fit how far the table of known patterns is trusted beside the
network: for that a table is counted without them. Averaged weights are looked at on those of the
1,000 whose composition is not among the others, and the best are kept. They are written in half
precision to ``crystal_diffusion/pretrained/skeletons.safetensors``.

On a GPU, with batches that suit it, and once more as a smaller network that learns from two others:

    python recipes/train_skeletons.py TABLES --work SKELETONS --device cuda --tokens 16384 \\
        --steps 8000 --layers 6 --dim 256 --dropout 0.15
    python recipes/train_skeletons.py TABLES --work SKELETONS --device cuda --tokens 16384 \\
        --steps 12000 --teachers ONE.safetensors TWO.safetensors

``--fitted`` takes weights that were fitted elsewhere and only works out the trust in the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from crystal_diffusion.files import atomic_write
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.skeletons.fitting import (
    FitSettings,
    Skeletons,
    Taught,
    fit,
    mean_nats,
    nats,
)
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.patterns import Trust, known_skeletons
from crystal_diffusion.skeletons.tokens import (
    ELEMENT,
    composition_of,
    from_letters,
    to_sequence,
)
from crystal_diffusion.skeletons.weights import SHIPPED, load_network, save_network
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.equivalents import letter_index
from crystal_diffusion.symmetry.prior import WyckoffPrior

HELD_OUT = 1000
#: Share of the averaged weights that a step keeps, and steps between looks at crystals held out.
AVERAGE, CHECK_EVERY = 0.999, 250


#: Group number and the letters of each element, as ``make_wyckoff_table`` reads them.
Rows = list[tuple[int, dict[int, str]]]


def rows_of(path: Path, work: Path) -> Rows:
    """Groups and letters of a table, from the work folder where they are there already."""
    stored = work / f"{path.stem}.json"
    if not stored.is_file():
        from make_wyckoff_table import read_rows

        with atomic_write(stored) as part:
            part.write_text(json.dumps(read_rows(path)))
    found = json.loads(stored.read_text())
    return [(number, {int(z): word for z, word in words.items()}) for number, words in found]


def skeleton(row: tuple[int, dict[int, str]]) -> Assignment:
    """The canonical skeleton of a row."""
    number, words = row
    return from_letters(number, {z: map(letter_index, word) for z, word in words.items()})


def skeletons_of(path: Path, work: Path) -> Skeletons:
    """All skeletons of a table, likewise."""
    stored = work / f"{path.stem}.npz"
    if not stored.is_file():
        rows = rows_of(path, work)
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


@dataclass(frozen=True)
class Split:
    """Crystals to learn from and crystals held out.

    Attributes:
        hold: rows of ``held`` among all crystals.
        unmet: of the crystals held out those whose composition ``data`` does not have.
    """

    data: Skeletons
    held: Skeletons
    hold: np.ndarray
    unmet: Skeletons

    @classmethod
    def of(cls, everything: Skeletons) -> Split:
        """The same crystals are held out each time."""
        hold = np.random.default_rng(17).choice(len(everything), HELD_OUT, replace=False)
        rest = np.setdiff1d(np.arange(len(everything)), hold)
        names = compositions(everything)
        met = {names[i] for i in rest}
        new = hold[[names[i] not in met for i in hold]]
        take = everything.take
        return cls(take(rest), take(hold), hold, take(new))


def compositions(data: Skeletons) -> list[bytes]:
    """Elements and ratio of their atoms of each crystal, as a key."""
    out = []
    for low, high in itertools.pairwise(data.start):
        rows = data.inputs[low:high]
        mine = rows[rows[:, 0] == ELEMENT, 1:3].astype(np.int64)
        mine[:, 1] //= np.gcd.reduce(mine[:, 1])
        out.append(mine.tobytes())
    return out


def fit_network(
    network: SkeletonNetwork,
    split: Split,
    settings: FitSettings,
    *,
    state: Path | None = None,
    teachers: Sequence[SkeletonNetwork] = (),
) -> SkeletonNetwork:
    """Fit, tell now and then how far it is, and keep what was best on crystals held out."""
    began = time.monotonic()
    device, last = settings.device, [math.inf]

    def check(looked_at: SkeletonNetwork) -> float:
        last[0] = mean_nats(looked_at, split.unmet, device=device)
        return last[0]

    def tell(step: int, loss: float) -> None:
        if step % 500 == 0:
            spent = time.monotonic() - began
            print(
                f"step {step}, loss {loss:.4f}, held out {last[0]:.4f}, {spent:.0f} s", flush=True
            )

    taught = None
    if teachers:
        for teacher in teachers:
            teacher.to(device).eval().requires_grad_(False)
        taught = Taught(teachers, 0.8)
    return fit(
        network, split.data, settings, state=state, progress=tell, check=check, taught=taught
    )


def figures(network: SkeletonNetwork, split: Split, device: str) -> dict[str, object]:
    """What the weights say of crystals held out."""
    found, new = nats(network, split.held, device=device), nats(network, split.unmet, device=device)
    return {
        "held_out_nats": [round(float(x.mean()), 4) for x in (found.group, found.letters)],
        "held_out_nats_new": [
            len(split.unmet),
            *(round(float(x.mean()), 4) for x in (new.group, new.letters)),
        ],
    }


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
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--teachers", type=Path, nargs="*", default=[])
    parser.add_argument("--fitted", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    work, tables = arguments.work, arguments.tables
    split = Split.of(Skeletons.join([skeletons_of(path, work) for path in tables]))
    known: dict[str, object] = {}
    if arguments.fitted:
        network, header = load_network(arguments.fitted)
        known = {name: header[name] for name in ("steps", "tokens", "teachers") if name in header}
    else:
        torch.manual_seed(0)
        config = SkeletonConfig(arguments.dim, arguments.layers, 4, arguments.dropout)
        network = SkeletonNetwork(config)
        size = sum(p.numel() for p in network.parameters())
        print(f"{len(split.data)} crystals, {HELD_OUT} held out, {size} parameters", flush=True)
        settings = FitSettings(
            arguments.steps,
            arguments.tokens,
            arguments.learning_rate,
            200,
            bfloat16=arguments.device != "cpu",
            device=arguments.device,
            average=AVERAGE,
            check_every=CHECK_EVERY,
        )
        teachers = [load_network(path)[0] for path in arguments.teachers]
        state = work / "state.safetensors"
        fit_network(network, split, settings, state=state, teachers=teachers).to("cpu")
        known = {"steps": arguments.steps, "tokens": arguments.tokens}
        known |= {"teachers": [path.name for path in arguments.teachers]} if teachers else {}
    known |= figures(network, split, "cpu")
    first_rows = rows_of(tables[0], work)
    first = {int(i) for i in split.hold if i < len(first_rows)}
    trust, both = fit_trust(network, first_rows, first)
    written = {
        **known,
        "crystals": len(split.data),
        "trained_on": ", ".join(path.stem for path in tables),
        "trust": [trust.offset, trust.slope],
        "held_out_nats_with_table": [len(first), round(both, 4)],
    }
    save_network(arguments.out, network, written)
    print(f"{arguments.out.name}: {arguments.out.stat().st_size / 1e6:.2f} MB, {written}")


if __name__ == "__main__":
    main()
