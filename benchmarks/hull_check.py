"""Formation energies and hull distances against published ones, for crystals of the data set.

Crystals (2 or more elements, at most 20 sites) with known formation energy and hull distance are
placed on the hulls of all known crystals: with the energies of the shipped table at the published
cells, or relaxed (--steps 60: about an hour of one core for 300). As in the published values, a
crystal is one of the phases of its hull. Published: older releases of the Materials Project (PBE
with corrections), a few hundredths of an eV/atom of noise; the potential is another functional.

    python benchmarks/hull_check.py            # 300 crystals, the sample of earlier days
    python benchmarks/hull_check.py -n 10000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.reference_energies import ReferenceEnergies
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.known.index import KnownCrystals, load_known

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--steps", type=int, default=0, help="0: energies of the published cells")
    options = parser.parse_args()
    import pyarrow.parquet
    from ase.data import chemical_symbols

    began = time.process_time()
    known = load_known()
    potential = get_potential(known.potential)
    assert potential.elements is not None
    table = pyarrow.parquet.read_table(options.data).to_pandas()
    table["kinds"] = [len(set(numbers)) for numbers in table.atomic_numbers]
    inside = np.array(
        [
            all(chemical_symbols[z] in potential.elements for z in numbers)
            for numbers in table.atomic_numbers
        ]
    )
    fits = inside & table.e_above_hull.notna() & table.formation_energy_per_atom.notna()
    fits &= table.kinds >= 2
    rows = table[fits].sample(min(options.n, int(fits.sum())), random_state=options.seed)
    references = ReferenceEnergies.load(potential, Path("nowhere"), known)
    hull = HullBuilder(references)
    formation, above, phases = [], [], []
    labels = rows.set_index("material_id")
    for key, energy in energies(known, list(labels.index), options.steps):
        place = hull.place(known.composition(known.row_of[key]), energy)
        if place.formation_energy is None or place.energy_above_hull is None:
            print(f"failed: {key}: {place.problem}")
            continue
        label = labels.loc[key]
        formation.append((place.formation_energy, float(label.formation_energy_per_atom)))
        above.append((max(place.energy_above_hull, 0.0), float(label.e_above_hull)))
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
    print(f"energy above hull, MAE eV/atom: {interval(np.abs(here - there))}")
    agree = (here <= 0.1) == (there <= 0.1)
    print(f"'stable within 0.1 eV/atom', agreement: {interval(agree.astype(float))}")
    stable = there <= 0.1
    print(f"  published stable {stable.sum()}, of these ours stable {(here[stable] <= 0.1).sum()}")
    print(f"  published not {(~stable).sum()}, of these ours stable {(here[~stable] <= 0.1).sum()}")


if __name__ == "__main__":
    main()
