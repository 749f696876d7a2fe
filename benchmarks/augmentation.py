"""Do more descriptions of few crystals help? Equivalent cells, supercells, descent to subgroups.

    python benchmarks/augmentation.py MP20_VAL --family nitrides --sizes 10,30,100 --judged 60

The pretrained weights get thin matrices (the candidate "low rank" of ``train``) on N crystals of a
family, with and without copies of them, and are judged by their denoising error on other crystals
of the family. The crystals are split before anything is copied. Paired differences of the error to
the same training without copies; below 0 is better.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import describe

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.tables import CrystalArrays, parquet_arrays
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.generation.loading import load
from crystal_diffusion.networks.adapters import adapted_weights, add_low_rank
from crystal_diffusion.ranking.residual import denoising_residual
from crystal_diffusion.symmetry.cells import Cell
from crystal_diffusion.symmetry.detection import symmetry_dataset
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit
from crystal_diffusion.workflows.adapt import LOW_RANK, steps_for
from crystal_diffusion.workflows.estimate import batch_of
from crystal_diffusion.workflows.small import FAMILIES

#: Copies of each crystal, atoms of the largest copy, Å and strain of a step into a subgroup.
COPIES, LARGEST, SHAKE, STRAIN = 3, 20, 0.08, 0.01


def equivalent_cell(crystal: PlainCrystal, rng: np.random.Generator) -> PlainCrystal:
    """The same lattice in another basis: edges in another order, one of them sheared."""
    change = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)[:, None]
    if rng.random() < 0.5:
        i, j = rng.permutation(3)[:2]
        change[i] += rng.choice([-1, 1]) * change[j]
    change *= np.sign(np.linalg.det(change))
    return replace(
        crystal,
        lattice=change @ crystal.lattice,
        frac_coords=crystal.frac_coords @ np.linalg.inv(change) % 1.0,
    )


def supercell(crystal: PlainCrystal, rng: np.random.Generator) -> PlainCrystal | None:
    """Two or three cells in a row along a random lattice vector, Niggli-reduced."""
    times = int(rng.integers(2, 4))
    if times * len(crystal.atomic_numbers) > LARGEST:
        return None
    change = np.eye(3, dtype=int)
    change[2, 2] = times
    change[2, :2] = rng.integers(0, times, 2)
    structure = crystal.to_structure() * change[rng.permutation(3)][:, rng.permutation(3)]
    reduced = structure.get_reduced_structure("niggli")
    return replace(
        crystal,
        lattice=np.array(reduced.lattice.matrix),
        frac_coords=np.array(reduced.frac_coords) % 1.0,
        atomic_numbers=np.array(reduced.atomic_numbers),
    )


def subgroup(crystal: PlainCrystal, rng: np.random.Generator) -> PlainCrystal | None:
    """A step into a random subgroup: the freedom that it allows is used a little.

    Translationengleiche in the cell itself, klassengleiche in a supercell of it.
    """
    larger = supercell(crystal, rng) if rng.random() < 0.5 else None
    crystal = larger or crystal
    cell = Cell(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
    found = symmetry_dataset(cell, symprec=0.1).operations
    every = list(zip(np.array(found.rotations), np.array(found.translations), strict=True))
    if len(every) < 2:
        return None
    kept = _closed([every[i] for i in rng.permutation(len(every))[: rng.integers(1, 3)]], every)
    if len(kept) == len(every):
        return None
    images = np.array([_images(cell, *operation) for operation in kept])
    shift = rng.normal(size=cell.frac_coords.shape) * SHAKE @ np.linalg.inv(cell.lattice)
    mean = np.zeros_like(shift)
    for (rotation, _), image in zip(kept, images, strict=True):
        mean[image] += shift @ rotation.T
    strain = np.eye(3) + STRAIN * rng.normal(size=(3, 3))
    bent = cell.lattice @ strain
    metric = np.mean([r.T @ (bent @ bent.T) @ r for r, _ in kept], axis=0)
    return replace(
        crystal,
        lattice=np.linalg.cholesky(metric),
        frac_coords=(cell.frac_coords + mean / len(kept)) % 1.0,
    )


def _closed(some: list, every: list) -> list:
    """The subgroup that some operations of a group generate."""
    names = {_name(*operation): operation for operation in every}
    kept = {_name(np.eye(3, dtype=int), np.zeros(3)): (np.eye(3, dtype=int), np.zeros(3))}
    fresh = list(some)
    while fresh:
        rotation, translation = fresh.pop()
        name = _name(rotation, translation)
        if name in kept:
            continue
        kept[name] = names.get(name, (rotation, translation))
        for r, t in list(kept.values()):
            fresh.append((r @ rotation, r @ translation + t))
            fresh.append((rotation @ r, rotation @ t + translation))
    return list(kept.values())


def _name(rotation: np.ndarray, translation: np.ndarray) -> tuple:
    rest = np.round(np.asarray(translation) % 1.0 * 24) % 24
    return (*np.asarray(rotation).ravel().astype(int).tolist(), *rest.astype(int).tolist())


def _images(cell: Cell, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    moved = cell.frac_coords @ rotation.T + translation
    away = moved[:, None] - cell.frac_coords
    distance = np.linalg.norm((away - np.round(away)) @ cell.lattice, axis=-1)
    distance[cell.numbers[:, None] != cell.numbers] = np.inf
    return np.argmin(distance, 1)


KINDS: dict[str, Callable[[PlainCrystal, np.random.Generator], PlainCrystal | None]] = {
    "equivalent cells": equivalent_cell,
    "supercells": supercell,
    "subgroups": subgroup,
}


def copied(crystals: list[PlainCrystal], kind: str, seed: int) -> list[PlainCrystal]:
    """The crystals and up to COPIES variants of each."""
    rng = np.random.default_rng((seed, 41))
    out = list(crystals)
    for crystal in crystals:
        for number in range(COPIES):
            made = KINDS[kind](crystal, rng)
            if made is not None:
                out.append(replace(made, id=f"{crystal.id} {kind} {number}"))
    return out


def error_of(
    base: JointDiffusion, crystals: list[PlainCrystal], judged: CrystalArrays, steps: int, seed: int
) -> np.ndarray:
    """Denoising error of each judged crystal after training on some crystals."""
    model = JointDiffusion(base.config)
    model.load_state_dict(base.state_dict())
    add_low_rank(model, LOW_RANK.width, seed)
    config = TrainingConfig(
        steps=steps,
        tokens=256,
        seed=seed,
        learning_rate=LOW_RANK.learning_rate,
        weight_decay=LOW_RANK.pull,
        warmup=20,
        decay=steps // 3,
        ema=0.99,
        checkpoint_seconds=1e9,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(model, batch_of(CrystalArrays.from_crystals(crystals)), config, Path(folder))
    tuned = JointDiffusion(base.config)
    tuned.load_state_dict(base.state_dict())
    tuned.load_state_dict(adapted_weights(model), strict=False)
    tuned.eval().requires_grad_(False)
    out = np.zeros(len(judged))
    for size in np.unique(judged.num_atoms):
        rows = np.flatnonzero(judged.num_atoms == size)
        batch = CrystalBatch.from_structures([judged.crystal(int(r)).to_structure() for r in rows])
        out[rows] = denoising_residual(tuned, batch, draws=4).numpy()
    return out


def main() -> None:
    """Parse, split, train with and without copies, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--family", default="nitrides", choices=sorted(FAMILIES))
    parser.add_argument("--sizes", default="10,30,100")
    parser.add_argument("--judged", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="with commas")
    options = parser.parse_args()
    print(describe())
    arrays = parquet_arrays(options.split)
    belongs = FAMILIES[options.family]
    family = [
        row
        for row in range(len(arrays))
        if belongs(frozenset(arrays.crystal(row).atomic_numbers.tolist()))
    ]
    base = load(None, "cpu").model
    for size in (int(text) for text in options.sizes.split(",")):
        order = np.random.default_rng((options.seed, size)).permutation(family)
        own = [arrays.crystal(int(row)) for row in order[:size]]
        judged = arrays.take(np.sort(order[size : size + options.judged]))
        steps, began = steps_for(size), time.process_time()
        plain = error_of(base, own, judged, steps, options.seed)
        print(f"{size} {options.family}, {steps} steps: error {plain.mean():.4f} without copies")
        for kind in options.kinds.split(","):
            crystals = copied(own, kind, options.seed)
            change = error_of(base, crystals, judged, steps, options.seed) - plain
            span = ratio("", "", change)
            print(
                f"  {kind} ({len(crystals) - size} copies): {span.value:+.4f} "
                f"({span.low:+.4f} to {span.high:+.4f}), n {len(change)}, "
                f"{time.process_time() - began:.0f} s of one core so far",
                flush=True,
            )


if __name__ == "__main__":
    main()
