"""Formation energies and hull distances against published ones, for crystals of the data set.

Crystals (2 or more elements, at most 20 sites) with known formation energy and hull distance are
placed on the hulls of all known crystals: with the energies of the shipped table at the published
cells, or relaxed (--steps 60: about an hour of one core for 300). As in the published values, a
crystal is one of the phases of its hull. Published: older releases of the Materials Project (PBE
with corrections), a few hundredths of an eV/atom of noise; the potential is another functional.

``--unmet`` takes all crystals of formulas that the shipped property network never met and prints
what the potential, the network and the two together (`energy.published_hull`) say of them. The
weights of the two are fitted on half of these formulas (by a checksum) and judge the other half, in
turn, so no crystal is judged by weights that saw its formula; those fitted on all are printed last.

    python benchmarks/hull_check.py            # 300 crystals, the sample of earlier days
    python benchmarks/hull_check.py -n 10000
    python benchmarks/hull_check.py --unmet --data train_le20.parquet train_21_52.parquet
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.published_hull import (
    LIKELY,
    NEAR_EV,
    SHIPPED,
    PublishedWeights,
    evidence,
    published_hull,
)
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.known.index import KnownCrystals, load_known
from crystal_diffusion.prediction.formulas import formula_code
from crystal_diffusion.prediction.model import default_properties

DATA = Path("../shared/data/mp_2025/train_le20.parquet")


def interval(values: np.ndarray, statistic=np.mean, rounds: int = 2000) -> str:  # type: ignore[no-untyped-def]
    """95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = statistic(rng.choice(values, (rounds, len(values))), axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{statistic(values):.3f} [{low:.3f}, {high:.3f}]"


def energies(known: KnownCrystals, keys: list[str], steps: int) -> Iterator[tuple[str, float]]:
    """Energy per atom of each crystal, eV; those without one are left out."""
    rows = {key: known.row_of[key] for key in keys if key in known.row_of}
    if not steps:
        for key, row in rows.items():
            if np.isfinite(known.energy[row]):
                yield key, float(known.energy[row])
        return
    pairs = [(key, known.structure(row)) for key, row in rows.items()]
    for key, result in relax_many(pairs, known.potential, limits=RelaxLimits(max_steps=steps)):
        if not result.problem:
            yield key, result.energy_per_atom


def chosen_rows(options: argparse.Namespace, known: KnownCrystals) -> pd.DataFrame:
    """Crystals of the tables that are asked for: at least two elements, all known, with labels."""
    import pyarrow.parquet
    from ase.data import chemical_symbols

    potential = get_potential(known.potential)
    assert potential.elements is not None
    tables = [pyarrow.parquet.read_table(path).to_pandas() for path in options.data]
    table = pd.concat(tables, ignore_index=True)
    kinds = [{chemical_symbols[z] for z in numbers} for numbers in table.atomic_numbers]
    fits = np.array([len(own) >= 2 and own <= potential.elements for own in kinds])
    fits &= (table.e_above_hull.notna() & table.formation_energy_per_atom.notna()).to_numpy()
    table = table[fits]
    if options.unmet:
        return table[[formula_code(z) == 0 for z in table.atomic_numbers]]
    return table.sample(min(options.n, len(table)), random_state=options.seed)


def verdicts(name: str, near: np.ndarray, there: np.ndarray) -> None:
    """How often a verdict on "within 0.1 eV/atom" is the published one."""
    stable = there <= NEAR_EV
    print(f"{name}: agreement {interval((near == stable).astype(float))}")
    print(
        f"  published stable {stable.sum()}, found {(near & stable).sum()}; published not "
        f"{(~stable).sum()}, found {(~near & ~stable).sum()}"
    )


def fitted(
    here: np.ndarray, said: np.ndarray, inside: np.ndarray, there: np.ndarray
) -> PublishedWeights:
    """The weights of `energy.published_hull` for these crystals."""
    from scipy.optimize import minimize

    both = np.stack([np.maximum(here, 0), np.maximum(said, 0), np.ones(len(here))], 1)
    told = np.array([(1.0, *evidence(d, q)) for d, q in zip(here, inside, strict=True)])
    sign = np.where(there <= NEAR_EV, 1.0, -1.0)

    def error(weights: np.ndarray) -> float:
        return float(np.abs(np.maximum(both @ weights, 0) - there).mean())

    def surprise(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (told @ weights)).mean() + 1e-4 * weights[2] ** 2)

    estimate = minimize(error, np.array([0.5, 0.5, 0.0]), method="Nelder-Mead").x
    odds = minimize(surprise, np.zeros(3), method="BFGS").x
    return PublishedWeights(tuple(estimate.round(3).tolist()), tuple(odds.round(2).tolist()))


def joined(known: KnownCrystals, keys: list[str], here: np.ndarray, there: np.ndarray) -> None:
    """What the network says of these crystals, and the two together."""
    structures = [known.structure(known.row_of[key]) for key in keys]
    predicted = default_properties().predict(structures)
    said = predicted.values[:, predicted.names.index("energy_above_hull")]
    inside = predicted.probability_inside({"energy_above_hull": (-np.inf, NEAR_EV)})[:, 0]
    half = np.array([formula_code(np.array(s.atomic_numbers), 2, "half") for s in structures])
    rows = np.stack([here, said, inside, there, half], 1)[np.isfinite(said)]
    here, said, inside, there, half = rows.T
    above, chance = np.zeros(len(rows)), np.zeros(len(rows))
    for side in (0, 1):
        weights = fitted(*rows[half != side, :4].T)
        for place in np.flatnonzero(half == side):
            answer = published_hull(here[place], said[place], inside[place], weights)
            assert answer is not None
            above[place], chance[place] = answer.above, answer.near_probability
    print(f"-- {len(here)} crystals of formulas that the network never met")
    for name, values in (("potential", np.maximum(here, 0)), ("network", said), ("joined", above)):
        print(f"{name}: energy above hull, MAE eV/atom: {interval(np.abs(values - there))}")
    verdicts("potential, at most 0.1", here <= NEAR_EV, there)
    verdicts("network, at most 0.1", said <= NEAR_EV, there)
    verdicts("joined estimate, at most 0.1", above <= NEAR_EV, there)
    verdicts(f"joined probability, {LIKELY} or more", chance >= LIKELY, there)
    edges = (0, 0.25, 0.5, LIKELY, 0.9, 0.97, 1.001)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        own = (chance >= low) & (chance < high)
        if own.any():
            true = (there[own] <= NEAR_EV).mean()
            print(f"  said {chance[own].mean():.2f}, true {true:.2f} (n = {own.sum()})")
    print(f"fitted on all: {fitted(here, said, inside, there)}")
    print(f"shipped:       {SHIPPED}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA])
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--steps", type=int, default=0, help="0: energies of the published cells")
    parser.add_argument("--unmet", action="store_true", help="formulas the network never met")
    options = parser.parse_args()

    began = time.process_time()
    known = load_known()
    potential = get_potential(known.potential)
    rows = chosen_rows(options, known)
    references = ReferenceEnergies.load(potential, Path("nowhere"), known)
    hull = HullBuilder(references)
    formation, above, phases, keys = [], [], [], []
    labels = rows.set_index("material_id")
    for key, energy in energies(known, list(labels.index), options.steps):
        place = hull.place(known.composition(known.row_of[key]), energy)
        if place.formation_energy is None or place.energy_above_hull is None:
            print(f"failed: {key}: {place.problem}")
            continue
        label = labels.loc[key]
        keys.append(key)
        formation.append((place.formation_energy, float(label.formation_energy_per_atom)))
        above.append((place.energy_above_hull, float(label.e_above_hull)))
        phases.append(place.n_competing)

    ours, theirs = np.array(formation).T
    here, there = np.array(above).T
    print(known.title)
    print(f"relaxation: at most {options.steps} steps (0: cells as published)")
    print(f"potential: {potential.name} {potential.version} ({potential.functional})")
    print(f"crystals: {len(ours)} of {len(rows)}, {time.process_time() - began:.0f} s of one core")
    print(f"competing phases per system: mean {np.mean(phases):.1f}, none for {phases.count(0)}")
    print(f"formation energy, MAE eV/atom: {interval(np.abs(ours - theirs))}")
    print(f"formation energy, mean difference: {interval(ours - theirs)}")
    print(f"formation energy, sign errors: {int((np.sign(ours) != np.sign(theirs)).sum())}")
    print(f"energy above hull, MAE eV/atom: {interval(np.abs(np.maximum(here, 0) - there))}")
    verdicts("'stable within 0.1 eV/atom'", here <= NEAR_EV, there)
    if options.unmet:
        joined(known, keys, here, there)


if __name__ == "__main__":
    main()
