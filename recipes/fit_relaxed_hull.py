"""Learn what unrelaxed candidates come to, from candidates that were relaxed, and write it.

    python recipes/fit_relaxed_hull.py candidates.npz labels.npz \\
        --out crystal_diffusion/pretrained/relaxed_hull.safetensors

Candidates are those of ``make_candidates.py``, labels those of ``label_candidates.py``. Energies
above hull are by the shipped table of known crystals. Cross-validation leaves whole formulas out
and says what the answer is worth; deviations are widened to fit the candidates left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_candidates import jobs_of
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from scipy.stats import spearmanr
from torch import nn

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.known.index import load_known
from crystal_diffusion.prediction.model import default_properties
from crystal_diffusion.prediction.relaxed_hull import (
    RANGE,
    RelaxedHull,
    candidate_features,
    save_relaxed_hull,
)

#: Of training; chosen by cross-validation.
NETWORKS, INSIDE, DROPPED, DECAY, RATE, EPOCHS, FOLDS = 6, 128, 0.4, 0.05, 2e-3, 40, 5
#: "Near the hull", eV/atom.
NEAR = (-0.1, 0.1)


def labelled(
    table: Path, labels: Sequence[Path]
) -> tuple[list[Structure], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Candidates with an energy: as made, the energy (eV/atom), their source, their guess."""
    with np.load(table) as opened:
        columns = dict(opened)
    energy = np.full(len(columns["counts"]), np.nan)
    for path in labels:
        with np.load(path) as opened:
            energy[opened["row"]] = opened["energy"]
    jobs = jobs_of(columns)
    rows = np.flatnonzero(np.isfinite(energy))
    made = [Structure(Lattice(jobs[r][2]), jobs[r][1].tolist(), jobs[r][3]) for r in rows]
    return made, energy[rows], columns["source"][rows], columns["guess"][rows]


def trained(
    features: NDArray[Any], above: NDArray[Any], networks: int, seed: int
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Layers of several networks, each from a start and an order of its own."""
    torch.manual_seed(seed)
    x = torch.from_numpy(features).float().expand(networks, *features.shape)
    y = torch.from_numpy(np.clip(above, *RANGE)).float()
    shapes = ((features.shape[1], INSIDE), (INSIDE, INSIDE), (INSIDE, 2))
    layers = [
        (
            nn.Parameter(torch.randn(networks, *shape) / shape[0] ** 0.5),
            nn.Parameter(torch.zeros(networks, shape[1])),
        )
        for shape in shapes
    ]
    with torch.no_grad():
        layers[-1][0].mul_(0.1)
        layers[-1][1].copy_(torch.tensor([float(y.mean()), -1.5]).expand(networks, 2))
    parameters = [p for layer in layers for p in layer]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * max(1, len(y) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(y), (networks, 128))
        state = torch.gather(x, 1, rows[..., None].expand(-1, -1, x.shape[2]))
        for place, (weight, constant) in enumerate(layers):
            state = state @ weight + constant[:, None]
            if place + 1 < len(layers):
                state = nn.functional.dropout(nn.functional.silu(state), DROPPED)
        spread = state[..., 1].clamp(-4.0, -0.5)
        error = (y[rows] - state[..., 0]).abs()
        # Laplace's likelihood: a few candidates run far away and must not decide.
        loss = (error * torch.exp(-spread) + spread).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return [(w.detach().numpy(), c.detach().numpy()) for w, c in layers]


def fitted(
    features: NDArray[Any], above: NDArray[Any], widened: float = 1.0, seed: int = 0
) -> RelaxedHull:
    """The model of these candidates."""
    centre = features.mean(0).astype(np.float32)
    scale = (features.std(0) + 1e-6).astype(np.float32)
    seen = np.clip((features - centre) / scale, -5.0, 5.0)
    layers = trained(seen, above, NETWORKS, seed)
    potential = get_potential("diep")
    return RelaxedHull(
        centre,
        scale,
        tuple(layers),
        widened,
        (potential.name, potential.version),
        default_properties().fingerprint,
    )


def left_out(
    features: NDArray[Any], above: NDArray[Any], formulas: Sequence[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is said of each candidate by models that met no crystal of its formula."""
    _, group = np.unique(np.array(formulas), return_inverse=True)
    fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    mean, deviation = np.zeros(len(above)), np.zeros(len(above))
    for each in range(FOLDS):
        out = fold == each
        model = fitted(features[~out], above[~out], seed=each)
        mean[out], deviation[out] = model.expected(features[out])
    return mean, deviation


def hits(score: NDArray[Any], above: NDArray[Any], share: float) -> str:
    """Of the best share by a score (low is good): how many are near the hull, and on it."""
    best = np.argsort(score, kind="stable")[: max(1, round(share * len(score)))]
    near = (above[best] <= NEAR[1]) & (above[best] >= NEAR[0])
    stable = near & (above[best] <= 0)
    return f"{100 * near.mean():.1f} / {100 * stable.mean():.1f}"


def main() -> None:
    """Fit, cross-validate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("labels", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="what was said of those left out (npz)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    made, energy, source, guess = labelled(args.table, args.labels)
    table = load_known()
    hull = HullBuilder(ReferenceEnergies(table.potential, table.potential_version, table=table))
    features = candidate_features(made, hull, default_properties())
    lowest = [hull.mixture(s.composition.get_el_amt_dict())[0] for s in made]
    above = energy - np.array(lowest)
    usable = np.isfinite(features).all(1)
    formulas = [s.composition.reduced_formula for s in made]
    print(f"{len(made)} candidates, {usable.sum()} usable, {len(set(formulas))} formulas")
    made, formulas = [
        [v for v, u in zip(x, usable, strict=True) if u]  # type: ignore[misc]
        for x in (made, formulas)
    ]
    features, above, source, guess = (v[usable] for v in (features, above, source, guess))
    mean, deviation = left_out(features, above, formulas)
    cut = np.clip(above, *RANGE)
    widened = float(np.sqrt((((cut - mean) / deviation) ** 2).clip(max=9.0).mean()))
    print(f"error {np.abs(cut - mean).mean():.3f} eV/atom, deviations times {widened:.2f}")
    for kind in np.unique(source):
        own = source == kind
        network, learned = (spearmanr(v[own], cut[own]).statistic for v in (guess, mean))
        all_of, by_network, by_learned = (
            hits(score[own], above[own], share)
            for score, share in ((mean, 1.0), (guess, 0.05), (mean, 0.05))
        )
        print(
            f"source {kind}: n {own.sum()}, near / on the hull {all_of} %; rank correlation "
            f"network {network:.2f}, learned {learned:.2f}; best twentieth by the network "
            f"{by_network} %, by what was learned {by_learned} %"
        )
    if args.keep:
        np.savez_compressed(
            args.keep, mean=mean, deviation=deviation, above=above, source=source, guess=guess,
            features=features.astype(np.float32), formulas=np.array(formulas),
        )  # fmt: skip
    if args.out:
        model = fitted(features, above, widened)
        save_relaxed_hull(args.out, model, {"candidates": len(above)})
        print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
