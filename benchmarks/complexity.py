"""The original design's table of complexity, measured: exponents over B, N, D and T.

    python benchmarks/complexity.py --out docs/pictures/complexity.png
    python benchmarks/complexity.py --scaling          # its table of data set sizes, 50 epochs

Each operation runs over a range of one variable, the others fixed; the exponent is the slope of a
line through the upper half of log time against log size, the constant the time at the largest.
Processor time of one thread, best of three repeats of at least 20 ms.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import describe

from crystal_diffusion import CrystalDiffusionModel, CrystalStructureDataset, PhysicsValidator
from crystal_diffusion.geometry import wrap
from crystal_diffusion.networks.unet import DenoisingNetwork
from crystal_diffusion.physics import distances


@dataclass(frozen=True)
class Series:
    """One operation over one variable."""

    operation: str
    variable: str
    stated: float
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], object]]


def seconds(action: Callable[[], object]) -> float:
    """Best processor time of one call."""
    action()
    best = np.inf
    for _ in range(3):
        began, calls = time.process_time(), 0
        while time.process_time() - began < 0.02:
            action()
            calls += 1
        best = min(best, (time.process_time() - began) / calls)
    return best


def model(width: int = 64, steps: int = 1000) -> CrystalDiffusionModel:
    """The original model of this project."""
    return CrystalDiffusionModel(timesteps=steps, hidden_dim=width, device="cpu")


def positions(crystals: int, atoms: int) -> torch.Tensor:
    """Uniform fractional coordinates."""
    return torch.rand(crystals, atoms, 3, generator=torch.Generator().manual_seed(0))


def forward_diffusion(crystals: int, atoms: int) -> Callable[[], object]:
    """q_sample of a batch."""
    found, x = model(), positions(crystals, atoms)
    return partial(found.q_sample, x, torch.full((crystals,), 500), torch.randn_like(x))


@torch.no_grad()
def network(crystals: int, atoms: int, width: int) -> Callable[[], object]:
    """One call of the U-Net."""
    net = DenoisingNetwork(width).eval()
    x, t = positions(crystals, atoms), torch.full((crystals,), 500)

    def call() -> object:
        with torch.no_grad():
            return net(x, t)

    return call


def attention(atoms: int, width: int) -> Callable[[], object]:
    """softmax(Q Kᵀ/√D) V of one crystal."""
    q, k, v = (torch.randn(1, atoms, width) for _ in range(3))

    def call() -> object:
        return torch.softmax(q @ k.mT / width**0.5, -1) @ v

    return call


def reverse(steps: int, atoms: int, width: int) -> Callable[[], object]:
    """A whole chain of ``steps`` ancestral steps for one crystal."""
    found = model(width, steps)
    cell = 5 * torch.eye(3).unsqueeze(0)
    return partial(found.sample, 1, atoms, cell, seed=0)


def epoch(crystals: int, atoms: int, width: int) -> Callable[[], object]:
    """One training step on a batch."""
    found = model(width)
    batch = {"positions": positions(crystals, atoms), "mask": torch.ones(crystals, atoms)}
    return partial(found.train_step, batch)


def crystal(atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and cell of 15 Å3 per atom."""
    rng = np.random.default_rng(0)
    return rng.random((atoms, 3)), np.eye(3) * (15.0 * atoms) ** (1 / 3)


def distance(atoms: int, method: str) -> Callable[[], object]:
    """All pairs within 3.5 Å."""
    frac, cell = crystal(atoms)
    return partial(distances.neighbour_pairs, frac, cell, 3.5, method)


def wrapping(atoms: int) -> Callable[[], object]:
    """Periodic boundaries."""
    return partial(wrap, 3 * positions(1, atoms) - 1)


def correction(atoms: int) -> Callable[[], object]:
    """Ten iterations at most that push close atoms apart."""
    frac, cell = crystal(atoms)
    validator = PhysicsValidator(min_distance=0.7)
    mask = np.ones(atoms)
    return partial(validator.correct_structure, frac, cell, mask, max_iterations=10)


def all_series() -> Iterator[Series]:
    """Every row of the table; ``stated`` is the exponent the original design gives."""
    small, large = (8, 16, 32, 64, 128, 256), (64, 128, 256, 512, 1024, 2048)
    yield Series(
        "forward diffusion", "B", 1, (64, 256, 1024, 4096), lambda n: forward_diffusion(n, 20)
    )
    yield Series(
        "forward diffusion", "N", 1, (2048, 8192, 32768, 131072), lambda n: forward_diffusion(16, n)
    )
    yield Series("U-Net forward", "B", 1, small, lambda n: network(n, 20, 64))
    yield Series("U-Net forward", "N", 2, large, lambda n: network(1, n, 32))
    yield Series("U-Net forward", "D", 2, (64, 128, 256, 512), lambda n: network(16, 20, n))
    yield Series("self-attention", "N", 2, (*large, 4096), lambda n: attention(n, 64))
    yield Series("self-attention", "D", 1, (64, 128, 256, 512, 1024), lambda n: attention(512, n))
    yield Series("reverse diffusion", "T", 1, (50, 100, 200, 400), lambda n: reverse(n, 20, 64))
    yield Series("reverse diffusion", "N", 1, (16, 64, 256, 512), lambda n: reverse(20, n, 64))
    yield Series("reverse diffusion", "D", 2, (64, 128, 256, 512), lambda n: reverse(20, 64, n))
    yield Series(
        "distances, all pairs", "N", 2, (32, 64, 128, 256, 512), lambda n: distance(n, "all pairs")
    )
    yield Series(
        "distances, cell list",
        "N",
        1,
        (256, 512, 1024, 2048, 4096),
        lambda n: distance(n, "cell list"),
    )
    yield Series("wrapping", "N", 1, (10**4, 10**5, 10**6), wrapping)
    yield Series("correction", "N", 2, (64, 128, 256, 512), correction)
    yield Series("training step", "B", 1, small, lambda n: epoch(n, 20, 64))
    yield Series("training step", "D", 2, (64, 128, 256, 512), lambda n: epoch(16, 20, n))


def slope(sizes: tuple[int, ...], times: list[float]) -> float:
    """Exponent over the upper half of the range, where constants no longer hide it."""
    half = len(sizes) // 2 - (len(sizes) % 2 == 0 and len(sizes) <= 4)
    x, y = np.log(sizes[half:]), np.log(times[half:])
    return float(np.polyfit(x, y, 1)[0])


def table(out: Path | None) -> None:
    """Measure, print, and draw."""
    print(f"{'operation':22s} over  stated  measured  largest size: time")
    found = []
    for series in all_series():
        times = [seconds(series.make(size)) for size in series.sizes]
        exponent = slope(series.sizes, times)
        found.append((series, times, exponent))
        print(
            f"{series.operation:22s} {series.variable:4s}  {series.stated:g}       "
            f"{exponent:5.2f}     {series.sizes[-1]}: {times[-1] * 1e3:.3f} ms",
            flush=True,
        )
    if out is not None:
        draw(found, out)


def draw(found: list[tuple[Series, list[float], float]], out: Path) -> None:
    """Log-log lines, one panel a variable."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {"B": "crystals in a batch", "N": "atoms", "D": "width", "T": "steps"}
    figure, axes = plt.subplots(1, 4, figsize=(16, 4.2), constrained_layout=True)
    for axis, (variable, label) in zip(axes, names.items(), strict=True):
        for series, times, exponent in found:
            if series.variable == variable:
                axis.loglog(
                    series.sizes, times, "o-", ms=3, label=f"{series.operation}: {exponent:.2f}"
                )
        axis.set(xlabel=label, title=f"over {variable}")
        axis.legend(fontsize=7, frameon=False)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("processor time, s")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)


def scaling() -> None:
    """Time and memory of 50 epochs of the original model, batch size 4 as in the design."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), -1).reshape(8, 3)
    print("crystals   50 epochs (s)   memory (MB)")
    for crystals in (10, 100, 1000, 10_000):
        data = [
            {
                "positions": corners + 0.1 * rng.random((8, 3)),
                "atom_types": np.full(8, 14),
                "lattice": 5.4 * np.eye(3),
            }
            for _ in range(crystals)
        ]
        dataset = CrystalStructureDataset(data)
        loader = torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)
        found = CrystalDiffusionModel(device="cpu")
        # Epochs of large sets cost the same each; a part of one is measured and scaled.
        began, steps = time.process_time(), 0
        for batch in loader:
            found.train_step(batch)
            steps += 1
            if steps >= 250:
                break
        took = (time.process_time() - began) / steps * len(loader) * 50
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{crystals:8d}   {took:10.1f}   {memory:10.0f}", flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None, help="Picture.")
    parser.add_argument("--scaling", action="store_true", help="Data set sizes instead.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    scaling() if options.scaling else table(options.out)


if __name__ == "__main__":
    main()
