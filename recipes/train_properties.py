"""Train the shipped property network on labelled crystals, and calibrate what it says.

    python recipes/train_properties.py sites mp_2025/train_le20.parquet mp_2025/train_21_52.parquet
        --out sites.npz
    python recipes/train_properties.py network sites.npz --minutes 19 --hidden 128 --message 48
        --layers 3 --large 0.25 --bf16 --out network.safetensors
    python recipes/train_properties.py network sites.npz --start network.safetensors --minutes 6
        --lr 1e-3 --hidden 128 --message 48 --layers 3 --large 0.33 --bf16 --out more.safetensors
    python recipes/train_properties.py calibrate network.safetensors sites.npz
        mp_2025/train_le20.parquet mp_2025/train_21_52.parquet --validation mp_20/val.parquet

Formation energies of the tables are put on the corrections of the Materials Project of 2021
(``energy_corrections.py``). Labels that are not known are left out of the loss, crystal by crystal.
Reduced formulas are put in twentieths by a checksum: the first twentieth is never trained on, the
next two keep their elastic moduli back (there are few of these). Minutes are those of the
processor; the learning rate falls with them. A checkpoint is written each few minutes, and the same
command goes on from it (``--piece``: stop after so many minutes, to go on later).
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crystal_diffusion.crystal import MAX_ATOMIC_NUMBER
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.networks.properties import (
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
from crystal_diffusion.prediction.sites import SiteGraph, site_batch, sites
from crystal_diffusion.ranking.learned import default_ranker

sys.path.insert(0, str(Path(__file__).parent))
from energy_corrections import label_change

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


def make_sites(paths: list[Path], out: Path) -> None:
    """Reduce every labelled crystal to what the network sees, once."""
    found: list[SiteGraph] = []
    labels, codes, source = [], [], []
    for index, path in enumerate(paths):
        arrays = CrystalStructureDataset(path).arrays
        known = np.stack([arrays.properties[name] for name in COLUMNS], 1)
        for row in np.flatnonzero(np.isfinite(known).any(1)):
            span = slice(arrays.offsets[row], arrays.offsets[row + 1])
            numbers = arrays.atomic_numbers[span]
            volume = abs(np.linalg.det(arrays.lattice[row]))
            found.append(sites(arrays.lattice[row], arrays.frac_coords[span], numbers))
            formula = reduced_counts(numbers)
            label = known[row] / np.array([1, 1, 1, volume, 1, 1])
            if np.isfinite(label[0]):
                label[0] += label_change(formula)
            labels.append(label)
            codes.append(formula_code(numbers))
            source.append(index)
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


class Crystals:
    """What ``make_sites`` wrote, and which rows are for what."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        ends = np.cumsum(stored["sizes"])
        names = ("numbers", "share", "neighbour", "vector", "cutoff")
        flat = [stored[name] for name in names]
        self.sites = [
            SiteGraph(*(part[end - size : end] for part in flat))
            for size, end in zip(stored["sizes"], ends, strict=True)
        ]
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
        """SiteGraph of some crystals."""
        return site_batch([self.sites[row] for row in rows])

    def additive(self) -> Tensor:
        """``(kinds, outputs)`` formation energy and hull distance as sums over elements."""
        out = torch.zeros(KINDS, self.targets.shape[1])
        for column in (0,):
            rows = self.train[np.isfinite(self.seen[self.train, column])]
            parts = np.zeros((len(rows), KINDS))
            for place, row in enumerate(rows):
                np.add.at(parts[place], self.sites[row].numbers, self.sites[row].share)
            gram = parts.T @ parts + np.eye(KINDS)
            fit = np.linalg.solve(gram, parts.T @ self.seen[rows, column])
            out[:, column] = torch.from_numpy(fit).float()
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
    for column, (weight, delta) in enumerate(zip(WEIGHTS, DELTAS, strict=True)):
        known = torch.isfinite(targets[:, column])
        if not known.any():
            continue
        said, true = outputs[known, column], targets[known, column]
        if delta == 0:
            errors = nn.functional.binary_cross_entropy_with_logits(said, true, reduction="none")
        else:
            if column in (3, 5):
                said = nn.functional.softplus(said)
            errors = nn.functional.huber_loss(said, true, delta=delta, reduction="none") / delta
        total = total + weight * errors.sum() / max(len(errors), 8)
    return total


def judge(network: PropertyNetwork, crystals: Crystals, rows: np.ndarray) -> str:
    """Mean errors on some crystals."""
    network.eval()
    with torch.inference_mode():
        parts = np.array_split(rows, max(1, len(rows) // 128))
        said = torch.cat([network(crystals.batch(part)) for part in parts]).numpy()
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


def train(crystals: Crystals, args: argparse.Namespace) -> None:
    """Until the minutes are over; goes on from ``--state`` where there is one."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    network = fresh(crystals, args)
    mean = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=args.lr, weight_decay=0.01, betas=(0.9, 0.99)
    )
    passed, step, state = 0.0, 0, args.out.with_suffix(".state")
    if state.exists():
        kept = torch.load(state, weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        mean, passed, step = kept["mean"], kept["passed"], kept["step"]
        rng = np.random.default_rng(args.seed + step)
    elastic = crystals.train[np.isfinite(crystals.seen[crystals.train, 6])]
    large = crystals.source[crystals.train] > 0
    judging = PropertyNetwork(network.config)
    processor, losses = time.process_time(), []
    begun, saved = processor - passed, processor
    until = min(args.minutes * 60, passed + args.piece * 60)

    def save() -> None:
        judging.load_state_dict(mean)
        rows = rng.choice(crystals.held, min(1500, len(crystals.held)), replace=False)
        print(
            f"{passed / 60:.1f} min, step {step}, loss {np.mean(losses):.4f}; "
            f"held: {judge(judging, crystals, rows)}; "
            f"elastic: {judge(judging, crystals, crystals.held_elastic)}",
            flush=True,
        )
        part = state.with_suffix(".part")
        torch.save(
            {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "mean": mean,
                "passed": passed,
                "step": step,
            },
            part,
        )
        part.replace(state)
        save_file({k: v.contiguous() for k, v in mean.items()}, args.out)

    while passed < until:
        keep = ~large | (rng.random(len(large)) < args.large)
        order = np.concatenate([crystals.train[keep], elastic])
        rng.shuffle(order)
        for first in range(0, len(order) - args.batch + 1, args.batch):
            rows = order[first : first + args.batch]
            batch, targets = crystals.batch(rows), torch.from_numpy(crystals.seen[rows])
            stretch = 1 + STRETCH * torch.randn(len(rows))[batch.crystal]
            batch.vector.mul_(stretch[:, None, None])
            batch.cutoff.mul_(stretch)
            done = min(1.0, passed / (args.minutes * 60))
            rate = args.lr * min(1.0, (step + 1) / 500) * (0.5 * (1 + np.cos(np.pi * done)) + 0.003)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                outputs = network(batch)
            loss = loss_of(outputs.float(), targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            decay = min(0.999, (step + 1) / (step + 10))
            names = list(mean)
            now = network.state_dict()
            torch._foreach_lerp_([mean[n] for n in names], [now[n] for n in names], 1 - decay)
            losses.append(float(loss.detach()))
            losses = losses[-500:]
            step, passed = step + 1, time.process_time() - begun
            if passed + begun - saved > args.every * 60 or passed >= until:
                save()
                saved = time.process_time()
            if passed >= until:
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
                    label[0] += label_change(formula)
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
    config = PropertyNetworkConfig(
        outputs=len(WEIGHTS),
        elements=weights["element"].shape[1],
        hidden=weights["inward.weight"].shape[0],
        message=weights["rounds.0.own.weight"].shape[0] // 2,
        layers=sum(name.endswith("own.weight") for name in weights),
    )
    network = PropertyNetwork(config)
    network.load_state_dict({name: value.half().float() for name, value in weights.items()})
    return network.eval().requires_grad_(False)


def calibrate(args: argparse.Namespace) -> None:
    """Heads with intervals on a trained network, written as the shipped file."""
    network = read_network(args.network)
    trained = Crystals(args.sites)
    elements = {int(z) for row in trained.train for z in np.unique(trained.sites[row].numbers)}
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
    making.add_argument("--out", type=Path, required=True)
    training = steps.add_parser("network")
    training.add_argument("sites", type=Path)
    training.add_argument("--minutes", type=float, default=65)
    training.add_argument("--piece", type=float, default=np.inf, help="minutes in this run")
    training.add_argument("--start", type=Path, default=None, help="weights to go on from")
    training.add_argument("--every", type=float, default=4, help="minutes between checkpoints")
    training.add_argument("--hidden", type=int, default=128)
    training.add_argument("--message", type=int, default=64)
    training.add_argument("--layers", type=int, default=4)
    training.add_argument("--batch", type=int, default=64)
    training.add_argument("--large", type=float, default=0.33, help="part of large cells a pass")
    training.add_argument("--lr", type=float, default=2e-3)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--bf16", action="store_true")
    training.add_argument("--out", type=Path, required=True)
    calibrating = steps.add_parser("calibrate")
    calibrating.add_argument("network", type=Path)
    calibrating.add_argument("sites", type=Path)
    calibrating.add_argument("tables", type=Path, nargs="+")
    calibrating.add_argument("--validation", type=Path, required=True)
    calibrating.add_argument("--out", type=Path, default=default_properties_path())
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step == "sites":
        make_sites(args.tables, args.out)
    elif args.step == "calibrate":
        calibrate(args)
    else:
        train(Crystals(args.sites), args)


if __name__ == "__main__":
    main()
