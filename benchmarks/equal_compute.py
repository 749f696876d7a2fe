"""The open questions of the method at equal compute: what is trained for the same processor time.

    OMP_NUM_THREADS=1 python benchmarks/equal_compute.py TRAIN.parquet VAL.parquet \
        --minutes 4 --subset 10000 --variants flow wrapped

Each variant gets the same processor minutes of one core (steps are counted out from forty measured
ones, the last quarter decays), then answers the compositions of ``--n`` validation crystals with
one candidate from noise. Match: StructureMatch(ltol=0.3, stol=0.5, angle_tol=10), unfiltered;
interval: 95 %, bootstrap over targets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import moyopy
import numpy as np
import torch
from machine import describe

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import InputError
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.seeding import CrystalStreams, stream_seed
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit
from crystal_diffusion.workflows.train import batch_of

SIZE = {"dim": 128, "layers": 6, "heads": 8}
#: Settings of a variant: process of the coordinates, network, exchange of noise, cell.
VARIANTS: dict[str, dict[str, object]] = {
    "flow": {},
    "wrapped": {"coordinates": "wrapped"},
    "no-exchange": {"exchange": False},
    "cosine-lattice": {"lattice": "cosine"},
    "small": {"size": {"dim": 96, "layers": 4, "heads": 8}},
    "large": {"size": {"dim": 192, "layers": 6, "heads": 8}},
    "standard-cell": {"cell": "standard"},
}


def standard_cells(batch: CrystalBatch) -> CrystalBatch:
    """The primitive standard cell of each crystal, half of them; the others stay as they are."""
    fractions, cells, numbers = [], [], []
    for row in range(len(batch)):
        z = batch.atomic_numbers[row]
        n = int((z > 0).sum())
        frac, cell, z_list = batch.frac_coords[row, :n], batch.lattice[row], z[:n].tolist()
        if row % 2:
            given = moyopy.Cell(cell.tolist(), frac.tolist(), z_list)
            standard = moyopy.MoyoDataset(given, symprec=0.01).prim_std_cell
            if len(standard.numbers) == n:
                frac, cell = np.array(standard.positions), np.array(standard.basis)
                z_list = standard.numbers
        fractions.append(np.asarray(frac, np.float64))
        cells.append(np.asarray(cell, np.float64))
        numbers.append(np.array(z_list))
    return CrystalBatch.from_arrays(fractions, np.array(cells), numbers)


def read(path: Path, rows: int | None, seed: int) -> CrystalBatch:
    """Reduced crystals of a file, a random part of them."""
    arrays = CrystalStructureDataset(str(path), reduce=True).arrays
    chosen = np.random.default_rng(seed).permutation(len(arrays))[: rows or len(arrays)]
    return batch_of(arrays.take(np.sort(chosen)))


def train(
    data: CrystalBatch, variant: dict[str, object], minutes: float, tokens: int, seed: int
) -> object:
    """The model after this many processor minutes, with its steps and the minutes spent."""
    torch.manual_seed(seed)
    model = JointDiffusion(
        JointConfig(
            network_options=variant.get("size", SIZE),  # type: ignore[arg-type]
            coordinates=str(variant.get("coordinates", "flow")),
            lattice=str(variant.get("lattice", "flow")),
            statistics=LatticeStatistics.from_batch(data),
            max_train_atoms=int(data.num_atoms.max()),
            elements=tuple(int(z) for z in np.unique(data.atomic_numbers.numpy()) if z),
        )
    )
    start = {k: v.clone() for k, v in model.state_dict().items()}
    options = {"tokens": tokens, "exchange": bool(variant.get("exchange", True))}
    options["seed"] = seed + 1
    with tempfile.TemporaryDirectory() as folder:
        # The first steps are slower than the rest; the second call goes on from the first.
        for length in (10, 40):
            began = time.process_time()
            measured = TrainingConfig(steps=length, **options)  # type: ignore[arg-type]
            fit(model, data, measured, Path(folder) / "measure")
            each = (time.process_time() - began) / (10 if length == 10 else 30)
        steps = max(100, int(60 * minutes / each))
        model.load_state_dict(start)
        config = TrainingConfig(
            steps=steps, decay=steps // 4, warmup=min(200, steps // 10), **options
        )  # type: ignore[arg-type]
        began = time.process_time()
        fit(model, data, config, Path(folder) / "run")
        spent = time.process_time() - began
    return model.eval(), steps, spent


def match_rate(model: JointDiffusion, targets: CrystalBatch) -> np.ndarray:
    """RMS displacement of the first candidate for each target, nan where nothing matches."""
    matcher = StructureMatch()
    found = []
    order = np.argsort(targets.num_atoms.numpy(), kind="stable")
    for first in range(0, len(order), 50):
        part = targets[torch.from_numpy(order[first : first + 50])]
        streams = CrystalStreams(
            [stream_seed(5, int(i)) for i in order[first : first + 50]], part.num_atoms.tolist()
        )
        made = sample(model, Start.noise(part.atomic_numbers), streams, SamplerSettings(steps=20))
        for mine, true in zip(made.to_structures(), part.to_structures(), strict=True):
            try:
                rms = matcher.rms(mine, true)
            except InputError:  # a cell that cannot be compared is a miss
                rms = None
            found.append(np.nan if rms is None else rms)
    return np.array(found)


def main() -> None:
    """Train, ask, print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--subset", type=int, default=None)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--seed", type=int, default=0, help="of weights and noise in training")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=sorted(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    data, targets = read(options.train, options.subset, 0), read(options.val, options.n, 1)
    print(f"{options.train.name}: {len(data)} crystals; {options.val.name}: {len(targets)} targets")
    for name in options.variants:
        variant = VARIANTS[name]
        mine = standard_cells(data) if variant.get("cell") == "standard" else data
        model, steps, spent = train(  # type: ignore[misc]
            mine, variant, options.minutes, options.tokens, options.seed
        )
        rms = match_rate(model, targets)
        hit = np.isfinite(rms)
        rng = np.random.default_rng(0)
        means = 100 * hit[rng.integers(0, len(hit), (1000, len(hit)))].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        print(
            f"{name:15s} {parameters:.2f} M parameters, {steps} steps, {spent / 60:.1f} min: match "
            f"{100 * hit.mean():.1f} % ({low:.1f} to {high:.1f}), RMSE {np.nanmean(rms):.3f}, "
            f"n = {len(hit)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
