"""Train the shipped property network on labelled crystals, and calibrate what it says.

    python recipes/train_properties.py sites mp_2025/train_le20.parquet mp_2025/train_21_52.parquet
        --out sites.npz
    python recipes/train_properties.py network sites.npz --device cuda --minutes 9 --bf16
        --hidden 192 --message 96 --angular 24 --batch 512 --lr 3e-3 --decay 0.02 --warm 1000
        --large 0.6 --elastic 0.2 --off 0.25 --displace 0.08 --strain 0.012 --out a.safetensors
    (and beside it --seed 1 --lr 2e-3 --decay 0.1 --elastic 0.1 --off 0.4 --out b.safetensors)
    python recipes/train_properties.py calibrate a.safetensors sites.npz
        mp_2025/train_le20.parquet mp_2025/train_21_52.parquet --beside b.safetensors
        --validation mp_20/val.parquet

Formation energies of the tables are put on the corrections of the Materials Project of 2021
(``energy_corrections.py``). Labels that are not known are left out of the loss, crystal by crystal.
Reduced formulas are put in twentieths by a checksum: the first twentieth is never trained on, the
next two keep their elastic moduli back (there are few of these). Minutes are those of the
processor, with ``--device cuda`` those of the clock; the learning rate falls with them. A
checkpoint is written each few minutes, and the same command goes on from it (``--piece``: stop
after so many minutes, to go on later). On a machine without pymatgen, ``sites --changes FILE``
reads what the step ``changes`` wrote elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crystal_diffusion.crystal import MAX_ATOMIC_NUMBER
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.networks.properties import (
    DEGREES,
    PropertyEnsemble,
    PropertyNetwork,
    PropertyNetworkConfig,
    SiteBatch,
)
from crystal_diffusion.prediction.distribution import calibrated
from crystal_diffusion.prediction.formulas import Formula, formula_code, reduced_counts
from crystal_diffusion.prediction.model import (
    Head,
    NetworkAnswer,
    PropertyModel,
    default_properties_path,
    save_properties,
)
from crystal_diffusion.prediction.sites import SiteGraph, sites
from crystal_diffusion.ranking.learned import default_ranker

sys.path.insert(0, str(Path(__file__).parent))

#: Of the clock. Minutes on another device count from here, the reading of crystals included.
STARTED = time.monotonic()
#: Columns of the tables that are learned, in this order.
COLUMNS = (
    "formation_energy_per_atom",
    "e_above_hull",
    "band_gap",
    "total_magnetization",
    "K_VRH",
    "G_VRH",
)
#: eV and µB/Å3 above which a crystal is no metal, and is magnetic.
GAP_FROM, MAGNETIC_FROM = 0.01, 1e-3
#: µB/Å3 that the network counts as 1.
MAGNETIZATION_UNIT = 0.05
#: Rows of a table by atomic number.
KINDS = MAX_ATOMIC_NUMBER + 1
#: Part of the lengths of a crystal by which it is stretched at random in training: cells of
#: different functionals, and generated ones, differ by as much.
STRETCH = 0.01
#: Weights of: formation energy, hull distance, gap or not, gap, magnetic or not, magnetization,
#: log10 K, log10 G.
WEIGHTS = (6.0, 2.0, 0.4, 0.6, 0.2, 0.3, 1.5, 1.5)
#: eV/atom, ... within which errors count by their square.
DELTAS = (0.03, 0.03, 0.0, 0.2, 0.0, 0.1, 0.05, 0.05)


def make_changes(paths: list[Path], out: Path) -> None:
    """What the corrections of 2021 add to each labelled crystal, for a machine without pymatgen."""
    changes = [change_of(formula) for path in paths for _, _, formula in labelled(path)]
    np.savez_compressed(out, changes=np.array(changes, dtype=np.float32))


def change_of(formula: Formula) -> float:
    """eV/atom to add to a formation energy of the tables."""
    from energy_corrections import label_change

    return label_change(formula)


def labelled(path: Path) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray, Formula]]:
    """Cell, fractional coordinates and atomic numbers, labels and formula of labelled crystals."""
    arrays = CrystalStructureDataset(path).arrays
    known = np.stack([arrays.properties[name] for name in COLUMNS], 1)
    for row in np.flatnonzero(np.isfinite(known).any(1)):
        span = slice(arrays.offsets[row], arrays.offsets[row + 1])
        numbers = arrays.atomic_numbers[span]
        crystal = (arrays.lattice[row], arrays.frac_coords[span], numbers)
        yield crystal, known[row], reduced_counts(numbers)


def some_sites(crystals: list[tuple[np.ndarray, ...]]) -> list[SiteGraph]:
    """Of several crystals, in a worker process."""
    return [sites(*crystal) for crystal in crystals]


def make_sites(paths: list[Path], out: Path, changes: Path | None, processes: int) -> None:
    """Reduce every labelled crystal to what the network sees, once."""
    crystals: list[tuple[np.ndarray, ...]] = []
    labels, codes, source = [], [], []
    added = None if changes is None else np.load(changes)["changes"]
    for index, path in enumerate(paths):
        for crystal, known, formula in labelled(path):
            volume = abs(np.linalg.det(crystal[0]))
            label = known / np.array([1, 1, 1, volume, 1, 1])
            if added is not None:
                label[0] += added[len(labels)]
            elif np.isfinite(label[0]):
                label[0] += change_of(formula)
            crystals.append(crystal)
            labels.append(label)
            codes.append(formula_code(crystal[2]))
            source.append(index)
    if added is not None and len(added) != len(labels):
        raise SystemExit(f"{changes} is of {len(added)} crystals, the tables have {len(labels)}")
    parts = [crystals[first : first + 500] for first in range(0, len(crystals), 500)]
    if processes == 1:
        found = [graph for part in parts for graph in some_sites(part)]
    else:
        with Pool(processes) as pool:
            found = [graph for part in pool.imap(some_sites, parts) for graph in part]
    np.savez(
        out,
        sizes=np.array([len(c.numbers) for c in found]),
        numbers=np.concatenate([c.numbers for c in found]),
        share=np.concatenate([c.share for c in found]),
        neighbour=np.concatenate([c.neighbour for c in found]),
        vector=np.concatenate([c.vector for c in found]),
        cutoff=np.concatenate([c.cutoff for c in found]),
        labels=np.array(labels),
        codes=np.array(codes),
        source=np.array(source),
    )


class FlatSites:
    """The sites of all crystals one after the other on a device, to gather batches from."""

    def __init__(self, stored: Mapping[str, np.ndarray], device: torch.device) -> None:
        self.sizes = stored["sizes"].astype(np.int64)
        self.device = device
        self._sizes = torch.from_numpy(self.sizes).to(device)
        self._starts = torch.from_numpy(np.cumsum(self.sizes) - self.sizes).to(device)
        names = ("numbers", "share", "neighbour", "vector", "cutoff")
        self.numbers, self.share, self.neighbour, self.vector, self.cutoff = (
            torch.from_numpy(stored[name]).to(device) for name in names
        )

    def batch(self, rows: Tensor, total: int) -> SiteBatch:
        """Some crystals, made where the sites lie and without waiting for the device.

        Args:
            rows: ``(crystals,)`` int64 on the device; total: how many sites they have together.
        """
        sizes = self._sizes[rows]
        offsets = sizes.cumsum(0) - sizes
        order = torch.arange(len(rows), device=self.device)
        crystal = torch.repeat_interleave(order, sizes, output_size=total)
        shift = (self._starts[rows] - offsets).index_select(0, crystal)
        index = torch.arange(total, device=self.device) + shift
        near = self.neighbour.index_select(0, index).long()
        return SiteBatch(
            self.numbers.index_select(0, index).long(),
            self.share.index_select(0, index),
            near + offsets.index_select(0, crystal)[:, None],
            self.vector.index_select(0, index),
            self.cutoff.index_select(0, index),
            crystal,
            len(rows),
        )


class Crystals:
    """What ``make_sites`` wrote, and which rows are for what."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        stored = dict(np.load(path))
        self.flat = FlatSites(stored, torch.device(device))
        self.numbers, self.share = stored["numbers"], stored["share"]
        self.owner = np.repeat(np.arange(len(stored["sizes"])), stored["sizes"])
        labels, codes = stored["labels"], stored["codes"]
        self.source = stored["source"]
        self.held, self.train = np.flatnonzero(codes == 0), np.flatnonzero(codes != 0)
        energy, hull, gap, moment, bulk, shear = labels.T
        energy = np.where(np.abs(energy) < 6, energy, np.nan)
        moment = np.abs(moment) / MAGNETIZATION_UNIT
        magnetic = np.where(np.isnan(moment), np.nan, moment * MAGNETIZATION_UNIT > MAGNETIC_FROM)
        has_gap = np.where(np.isnan(gap), np.nan, gap > GAP_FROM)
        elastic = [np.where((x > 1) & (x < 700), np.log10(x), np.nan) for x in (bulk, shear)]
        self.held_elastic = np.flatnonzero((codes < 3) & np.isfinite(elastic[0]))
        self.targets = np.stack(
            [
                energy,
                hull,
                has_gap,
                np.where(has_gap == 1, gap, np.nan),
                magnetic,
                np.where(magnetic == 1, moment, np.nan),
                *elastic,
            ],
            1,
        ).astype(np.float32)
        self.seen = self.targets.copy()
        self.seen[codes < 3, 6:] = np.nan

    def batch(self, rows: np.ndarray) -> SiteBatch:
        """Sites of some crystals."""
        where = torch.from_numpy(rows).to(self.flat.device)
        return self.flat.batch(where, int(self.flat.sizes[rows].sum()))

    def additive(self) -> Tensor:
        """``(kinds, outputs)`` formation energy as a sum over elements, in the first column."""
        out = torch.zeros(KINDS, self.targets.shape[1])
        parts = np.zeros((len(self.targets), KINDS))
        np.add.at(parts, (self.owner, self.numbers), self.share)
        rows = self.train[np.isfinite(self.seen[self.train, 0])]
        gram = parts[rows].T @ parts[rows] + np.eye(KINDS)
        fit = np.linalg.solve(gram, parts[rows].T @ self.seen[rows, 0])
        out[:, 0] = torch.from_numpy(fit).float()
        return out


def fresh(crystals: Crystals, args: argparse.Namespace) -> PropertyNetwork:
    """A network that knows what the ranker learned about elements, and nothing else."""
    ranker = default_ranker().networks[0]
    known, sizes = ranker["emb"], ranker["rad"]
    vectors, radii = 0.1 * torch.randn(KINDS, known.shape[1]), torch.full((KINDS,), 1.4)
    vectors[: len(known)], radii[: len(sizes)] = torch.from_numpy(known), torch.from_numpy(sizes)
    config = PropertyNetworkConfig(
        outputs=len(WEIGHTS),
        elements=known.shape[1],
        hidden=args.hidden,
        message=args.message,
        layers=args.layers,
        angular=args.angular,
    )
    network = PropertyNetwork(config, vectors, radii)
    if args.start is not None:
        network.load_state_dict(load_file(args.start))
    with torch.no_grad():
        network.additive.copy_(crystals.additive())
    return network


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Weighted sum over labels of the mean over crystals that have it."""
    total = outputs.new_zeros(())
    known = torch.isfinite(targets)
    true = torch.where(known, targets, 0.0)
    for column, (weight, delta) in enumerate(zip(WEIGHTS, DELTAS, strict=True)):
        said = outputs[:, column]
        if delta == 0:
            errors = nn.functional.binary_cross_entropy_with_logits(
                said, true[:, column], reduction="none"
            )
        else:
            if column in (3, 5):
                said = nn.functional.softplus(said)
            errors = nn.functional.huber_loss(said, true[:, column], delta=delta, reduction="none")
            errors = errors / delta
        count = known[:, column].sum().clamp(min=8)
        total = total + weight * torch.where(known[:, column], errors, 0.0).sum() / count
    return total


def disturbed(batch: SiteBatch, args: argparse.Namespace) -> SiteBatch:
    """Crystals a little off their relaxed geometry, to which the labels belong all the same.

    All are stretched at random (`STRETCH`); a part of them is strained and has its atoms moved as
    well, as crystals are before they are relaxed.
    """
    device, crystals = batch.vector.device, batch.crystals
    strain = args.strain * torch.randn(crystals, 3, 3, device=device)
    off = torch.rand(crystals, 1, 1, device=device) < args.off
    strain = torch.where(off, (strain + strain.mT) / 2, 0.0)
    stretch = STRETCH * torch.randn(crystals, 1, 1, device=device)
    change = strain + (1 + stretch) * torch.eye(3, device=device)
    size = args.displace * torch.rand(crystals, 1, 1, device=device) * off
    of = batch.crystal
    moved = torch.randn(batch.vector.shape, device=device) * size.index_select(0, of)
    vector = torch.bmm(batch.vector, change.index_select(0, of)) + moved
    swelling = change.diagonal(dim1=1, dim2=2).mean(1)
    return replace(batch, vector=vector, cutoff=batch.cutoff * swelling.index_select(0, of))


def answer(network: PropertyNetwork, batch: SiteBatch, *, bf16: bool) -> Tensor:
    """``(crystals, outputs)``, messages in half the bits, the last numbers in full."""
    with torch.autocast(batch.vector.device.type, torch.bfloat16, enabled=bf16):
        encoded = network.encode(batch)
    return network.outputs(encoded.float(), batch)


def judge(network: PropertyNetwork | PropertyEnsemble, crystals: Crystals, rows: np.ndarray) -> str:
    """Mean errors on some crystals."""
    network.eval()
    with torch.inference_mode():
        parts = np.array_split(rows, max(1, len(rows) // 128))
        said = torch.cat([network(crystals.batch(part)) for part in parts]).cpu().numpy()
    network.train()
    true = crystals.targets[rows]
    gap = np.where(said[:, 2] > 0, np.log1p(np.exp(said[:, 3])), 0.0)
    true_gap = np.where(true[:, 2] == 1, true[:, 3], np.where(true[:, 2] == 0, 0.0, np.nan))
    near = true[:, 1] < 0.08
    both = {
        "E": np.abs(said[:, 0] - true[:, 0]),
        "E near hull": np.abs(said[:, 0] - true[:, 0])[near],
        "hull": np.abs(said[:, 1] - true[:, 1]),
        "gap": np.abs(gap - true_gap),
        "metal": np.where(np.isnan(true[:, 2]), np.nan, (said[:, 2] > 0) == true[:, 2]),
        "magnetic": np.where(np.isnan(true[:, 4]), np.nan, (said[:, 4] > 0) == true[:, 4]),
        "K": np.abs(said[:, 6] - true[:, 6]),
        "G": np.abs(said[:, 7] - true[:, 7]),
    }
    return ", ".join(f"{name} {np.nanmean(v):.4f}" for name, v in both.items())


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        network, optimiser: what is trained; mean: averaged weights, which are kept.
        seconds: passed so far, of the processor or, on another device, of the clock.
        step: how many were done; loss: on the device, averaged over some hundred steps.
    """

    network: PropertyNetwork
    optimiser: torch.optim.AdamW
    mean: dict[str, Tensor]
    loss: Tensor
    seconds: float = 0.0
    step: int = 0

    @classmethod
    def begun(cls, crystals: Crystals, args: argparse.Namespace) -> Progress:
        """A fresh one, or that of the last checkpoint."""
        device = crystals.flat.device
        network = fresh(crystals, args).to(device)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=args.lr, weight_decay=args.decay, betas=(0.9, 0.99),
            fused=device.type == "cuda",
        )  # fmt: skip
        mean = {name: value.clone() for name, value in network.state_dict().items()}
        progress = cls(network, optimiser, mean, torch.zeros((), device=device))
        if args.out.with_suffix(".state").exists():
            kept = torch.load(args.out.with_suffix(".state"), weights_only=True)
            network.load_state_dict(kept["network"])
            optimiser.load_state_dict(kept["optimiser"])
            progress.mean = {name: value.to(device) for name, value in kept["mean"].items()}
            progress.seconds, progress.step = kept["seconds"], kept["step"]
        return progress

    def save(self, crystals: Crystals, out: Path) -> None:
        """Print errors on crystals kept back, and write both files anew.

        Raises:
            SystemExit: the weights are no numbers any more; the files stay as they were.
        """
        if not all(bool(torch.isfinite(value).all()) for value in self.mean.values()):
            raise SystemExit("the training diverged; go on from the last files with a smaller --lr")
        device = crystals.flat.device
        judging, memory = PropertyNetwork(self.network.config).to(device), ""
        if device.type == "cuda":
            memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
        judging.load_state_dict(self.mean)
        print(
            f"{self.seconds / 60:.1f} min, step {self.step}, loss {float(self.loss):.4f}{memory}; "
            f"held: {judge(judging, crystals, crystals.held)}; "
            f"elastic: {judge(judging, crystals, crystals.held_elastic)}",
            flush=True,
        )
        state, part = out.with_suffix(".state"), out.with_suffix(".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "mean": self.mean,
                "seconds": self.seconds,
                "step": self.step,
            },
            part,
        )
        part.replace(state)
        save_file({k: v.contiguous().cpu() for k, v in self.mean.items()}, part)
        part.replace(out)


def train(crystals: Crystals, args: argparse.Namespace) -> None:
    """Until the minutes are over; goes on from the checkpoint where there is one."""
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    progress = Progress.begun(crystals, args)
    torch.manual_seed(args.seed + progress.step)
    rng = np.random.default_rng(args.seed + progress.step)
    network, device = progress.network, crystals.flat.device
    weights = network.state_dict()
    now, mean = list(weights.values()), [progress.mean[name] for name in weights]
    large = crystals.source[crystals.train] > 0
    seen = torch.from_numpy(crystals.seen).to(device)
    clock = time.monotonic if device.type == "cuda" else time.process_time
    begun = (STARTED if device.type == "cuda" else clock()) - progress.seconds
    saved, until = clock(), min(args.minutes * 60, progress.seconds + args.piece * 60)
    while progress.seconds < until:
        order = crystals.train[~large | (rng.random(len(large)) < args.large)]
        rng.shuffle(order)
        there = torch.from_numpy(order).to(device)
        for first in range(0, len(order) - args.batch + 1, args.batch):
            span = slice(first, first + args.batch)
            rows, total = there[span], int(crystals.flat.sizes[order[span]].sum())
            batch, targets = disturbed(crystals.flat.batch(rows, total), args), seen[rows]
            shown = torch.rand(len(rows), 1, device=device) < args.elastic
            targets[:, 6:] = torch.where(shown, targets[:, 6:], torch.nan)
            done = min(1.0, progress.seconds / (args.minutes * 60))
            warm = min(1.0, (progress.step + 1) / args.warm)
            for group in progress.optimiser.param_groups:
                group["lr"] = args.lr * warm * (0.5 * (1 + np.cos(np.pi * done)) + 0.003)
            loss = loss_of(answer(network, batch, bf16=args.bf16), targets)
            progress.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            progress.optimiser.step()
            decay = min(0.999, (progress.step + 1) / (progress.step + 10))
            torch._foreach_lerp_(mean, now, 1 - decay)
            progress.loss.lerp_(loss.detach(), max(0.005, 1 / (progress.step + 1)))
            progress.step, progress.seconds = progress.step + 1, clock() - begun
            if clock() - saved > args.every * 60 or progress.seconds >= until:
                progress.save(crystals, args.out)
                saved = clock()
            if progress.seconds >= until:
                return


class Labelled:
    """Crystals with labels as arrays, and what the network says of them."""

    def __init__(
        self, paths: list[Path], model: PropertyModel, codes: range, *, older: bool = False
    ) -> None:
        found, labels, even, sizes = [], [], [], []
        self.formulas: list[Formula] = []
        for path in paths:
            arrays = CrystalStructureDataset(path).arrays
            columns = [arrays.properties.get(name) for name in COLUMNS]
            known = np.stack([np.full(len(arrays), np.nan) if c is None else c for c in columns], 1)
            for row in np.flatnonzero(np.isfinite(known).any(1)):
                span = slice(arrays.offsets[row], arrays.offsets[row + 1])
                numbers = arrays.atomic_numbers[span]
                formula = reduced_counts(numbers)
                if formula_code(numbers) not in codes:
                    continue
                volume = abs(np.linalg.det(arrays.lattice[row]))
                found.append(sites(arrays.lattice[row], arrays.frac_coords[span], numbers))
                label = known[row].copy()
                if older and np.isfinite(label[0]):
                    label[0] += change_of(formula)
                label[3] = abs(label[3]) / volume if abs(label[3]) / volume > MAGNETIC_FROM else 0.0
                label[2] = label[2] if label[2] > GAP_FROM or np.isnan(label[2]) else 0.0
                if np.isnan(known[row, 3]):
                    label[3] = np.nan
                labels.append(label)
                sizes.append(len(numbers))
                self.formulas.append(formula)
                even.append(zlib.crc32(str(arrays.ids[row]).encode()) % 2 == 0)
        self.labels, self.even, self.sizes = np.array(labels), np.array(even), np.array(sizes)
        self.said = model.said(found)

    def take(self, column: int, rows: np.ndarray) -> tuple[NetworkAnswer, np.ndarray]:
        """What is said of the rows that have a label, and the label."""
        rows = np.flatnonzero(rows & np.isfinite(self.labels[:, column]))
        said = self.said
        return (
            NetworkAnswer(said.outputs[rows], said.encoded[rows], said.elements[rows]),
            self.labels[rows, column],
        )


#: Name, column of the labels, column of the outputs, column of the log-odds, what 1 is worth,
#: least value, whether in log10, and whether the validation set has labels.
PROPERTIES = (
    ("formation_energy", 0, 0, -1, 1.0, -np.inf, False, True),
    ("energy_above_hull", 1, 1, -1, 1.0, 0.0, False, True),
    ("band_gap", 2, 3, 2, 1.0, 0.0, False, True),
    ("magnetization", 3, 5, 4, MAGNETIZATION_UNIT, 0.0, False, False),
    ("bulk_modulus", 4, 6, -1, 1.0, 0.0, True, False),
    ("shear_modulus", 5, 7, -1, 1.0, 0.0, True, False),
)


def platt(odds: np.ndarray, nonzero: np.ndarray) -> tuple[float, float]:
    """Slope and offset of calibrated log-odds (Platt 1999), by Newton's method."""
    design, weights = np.stack([odds, np.ones(len(odds))], 1), np.array([1.0, 0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-design @ weights))
        bend = design.T @ (design * (p * (1 - p))[:, None]) + 1e-3 * np.eye(2)
        weights = weights - np.linalg.solve(bend, design.T @ (p - nonzero) + 1e-3 * weights)
    return float(weights[0]), float(weights[1])


def fit_scale(encoded: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """``(features + 1,)`` ridge for the log of the size of errors, penalty by cross-validation."""
    floor = 0.1 * np.median(np.abs(errors)) + 1e-6
    y = np.log(np.abs(errors) + floor)
    mean = encoded.mean(0)
    x, level = encoded - mean, y.mean()

    def ridge(rows: np.ndarray, penalty: float) -> np.ndarray:
        gram = x[rows].T @ x[rows] + penalty * np.eye(x.shape[1])
        return np.linalg.solve(gram, x[rows].T @ (y[rows] - level))

    fold = np.arange(len(y)) % 5
    losses = {}
    for penalty in (30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6):
        left = [
            ((y - level - x @ ridge(np.flatnonzero(fold != k), penalty)) ** 2)[fold == k].sum()
            for k in range(5)
        ]
        losses[penalty] = sum(left)
    weights = ridge(np.arange(len(y)), min(losses, key=lambda p: losses[p]))
    return np.append(weights, level - mean @ weights)


@dataclass(frozen=True)
class Asked:
    """One line of `PROPERTIES` with the range of its training labels."""

    name: str
    column: int
    zero: int
    unit: float
    lowest: float
    logarithmic: bool
    low: float
    high: float

    def fitted(self, said: NetworkAnswer, values: np.ndarray, held: NetworkAnswer | None = None,
               truth: np.ndarray | None = None) -> Head:  # fmt: skip
        """Head whose errors come from the first crystals, and its intervals from the second.

        Without a second set each fifth of the first is judged by a scale of the others.
        """
        nonzero = values > 0 if self.zero >= 0 else np.ones(len(values), dtype=bool)
        slope, offset = platt(said.outputs[:, self.zero], nonzero) if self.zero >= 0 else (1.0, 0.0)
        flat = np.zeros(said.encoded.shape[1] + 1)
        head = Head(self.name, self.column, self.zero, self.unit, slope, offset, flat)
        plain = head.guess(said)
        wrong = (np.log10(values) if self.logarithmic else values) - plain.centre
        head = replace(head, scale=fit_scale(said.encoded[nonzero], wrong[nonzero]))
        fit = head.guess(said)
        if held is None or truth is None:
            fold, scales = np.arange(len(values)) % 5, np.ones(len(values))
            for k in range(5):
                rows = nonzero & (fold != k)
                part = replace(head, scale=fit_scale(said.encoded[rows], wrong[rows]))
                scales[fold == k] = part.guess(said).scale[fold == k]
            fit = replace(fit, scale=scales)
        calibration = calibrated(
            fit, values, fit if held is None else head.guess(held),
            values if truth is None else truth, logarithmic=self.logarithmic, lowest=self.lowest,
            low=self.low, high=self.high, groups=0 if self.logarithmic else 3,
        )  # fmt: skip
        return replace(head, calibration=calibration)

    def left_out(self, said: NetworkAnswer, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors and whether values are inside, each fifth by a head fitted to the others."""
        fold = np.arange(len(values)) % 5
        wrong, inside = np.zeros(len(values)), np.zeros(len(values), dtype=bool)
        for k in range(5):
            head = self.fitted(some(said, fold != k), values[fold != k])
            assert head.calibration is not None
            guess = head.guess(some(said, fold == k))
            low, high = head.calibration.interval(guess)
            truth, found = values[fold == k], head.calibration.value(guess)
            inside[fold == k] = (truth >= low) & (truth <= high)
            if self.logarithmic:
                truth, found = np.log10(truth), np.log10(found)
            wrong[fold == k] = np.abs(truth - found)
        return wrong, inside


def some(said: NetworkAnswer, rows: np.ndarray) -> NetworkAnswer:
    """What is said of some of the crystals."""
    return NetworkAnswer(said.outputs[rows], said.encoded[rows], said.elements[rows])


def read_network(path: Path) -> PropertyNetwork:
    """Trained weights, as rounded as they are shipped."""
    weights = load_file(path)
    hidden = weights["inward.weight"].shape[0]
    message = weights["rounds.0.own.weight"].shape[0] // 2
    seen = weights["rounds.0.norm.weight"].shape[0]
    config = PropertyNetworkConfig(
        outputs=len(WEIGHTS),
        elements=weights["element"].shape[1],
        hidden=hidden,
        message=message,
        layers=sum(name.endswith("own.weight") for name in weights),
        angular=(seen - hidden - message) // len(DEGREES),
    )
    network = PropertyNetwork(config)
    network.load_state_dict({name: value.half().float() for name, value in weights.items()})
    return network.eval().requires_grad_(False)


def calibrate(args: argparse.Namespace) -> None:
    """Heads with intervals on a trained network, written as the shipped file."""
    network = PropertyEnsemble([read_network(path) for path in (args.network, *args.beside)])
    network.eval().requires_grad_(False)
    trained = Crystals(args.sites)
    inside = np.isin(trained.owner, trained.train)
    elements = {int(z) for z in np.unique(trained.numbers[inside])}
    bare = PropertyModel(network, (), frozenset(elements))
    kept = Labelled(args.tables, bare, range(1), older=True)
    elastic = Labelled(args.tables, bare, range(3), older=True)
    validation = Labelled([args.validation], bare, range(20))
    heads = []
    for name, label, column, zero, unit, lowest, logarithmic, in_validation in PROPERTIES:
        source = elastic if logarithmic else kept
        said, values = source.take(label, np.ones(len(source.even), dtype=bool))
        good = (values > 1) & (values < 700) if logarithmic else np.abs(values) < 6
        said, values = some(said, good), values[good]
        seen = trained.seen[trained.train][:, column]
        span = unit * seen[np.isfinite(seen)]
        span = 10.0**span if logarithmic else span
        low = 0.0 if zero >= 0 else float(span.min())
        asked = Asked(name, column, zero, unit, lowest, logarithmic, low, float(span.max()))
        if in_validation:
            heads.append(asked.fitted(said, values, *validation.take(label, validation.even)))
            print(f"{name}: {len(values)} rows for errors, even rows for intervals", flush=True)
            continue
        heads.append(asked.fitted(said, values))
        wrong, inside = asked.left_out(said, values)
        kind = "".join(
            f", {word} {100 * inside[part].mean():.1f} % (n {part.sum()})"
            for word, part in (("zero", values == 0), ("not zero", values > 0))
            if zero >= 0
        )
        print(
            f"{name}: n {len(values)}, each fifth by the others: error {wrong.mean():.4f}, "
            f"inside {100 * inside.mean():.1f} %{kind}",
            flush=True,
        )
    model = PropertyModel(network, tuple(heads), frozenset(elements))
    save_properties(args.out, model, {"trained_on": [path.name for path in args.tables]})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """One of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    making = steps.add_parser("sites")
    making.add_argument("tables", type=Path, nargs="+")
    making.add_argument("--changes", type=Path, default=None, help="what that step wrote")
    making.add_argument("--processes", type=int, default=1)
    making.add_argument("--out", type=Path, required=True)
    changing = steps.add_parser("changes")
    changing.add_argument("tables", type=Path, nargs="+")
    changing.add_argument("--out", type=Path, required=True)
    training = steps.add_parser("network")
    training.add_argument("sites", type=Path)
    training.add_argument("--minutes", type=float, default=65)
    training.add_argument("--piece", type=float, default=np.inf, help="minutes in this run")
    training.add_argument("--start", type=Path, default=None, help="weights to go on from")
    training.add_argument("--every", type=float, default=4, help="minutes between checkpoints")
    training.add_argument("--hidden", type=int, default=128)
    training.add_argument("--message", type=int, default=64)
    training.add_argument("--layers", type=int, default=4)
    training.add_argument("--angular", type=int, default=16)
    training.add_argument("--device", default="cpu", help="cpu, or cuda")
    training.add_argument("--batch", type=int, default=64)
    training.add_argument("--warm", type=int, default=500, help="steps until the rate is whole")
    training.add_argument("--decay", type=float, default=0.01, help="of weights")
    training.add_argument("--off", type=float, default=0.0, help="part that is not relaxed")
    training.add_argument("--strain", type=float, default=0.015, help="of that part")
    training.add_argument("--displace", type=float, default=0.1, help="most, in Å, of that part")
    training.add_argument("--elastic", type=float, default=1.0, help="part of moduli a pass")
    training.add_argument("--large", type=float, default=0.33, help="part of large cells a pass")
    training.add_argument("--lr", type=float, default=2e-3)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--bf16", action="store_true")
    training.add_argument("--out", type=Path, required=True)
    calibrating = steps.add_parser("calibrate")
    calibrating.add_argument("network", type=Path)
    calibrating.add_argument("sites", type=Path)
    calibrating.add_argument("tables", type=Path, nargs="+")
    calibrating.add_argument("--beside", type=Path, nargs="*", default=[], help="more networks")
    calibrating.add_argument("--validation", type=Path, required=True)
    calibrating.add_argument("--out", type=Path, default=default_properties_path())
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step == "sites":
        make_sites(args.tables, args.out, args.changes, args.processes)
    elif args.step == "changes":
        make_changes(args.tables, args.out)
    elif args.step == "calibrate":
        calibrate(args)
    else:
        train(Crystals(args.sites, args.device), args)


if __name__ == "__main__":
    main()
