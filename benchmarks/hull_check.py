"""Formation energies and hull distances against published ones, for crystals of the data set.

300 crystals (2 or more elements, at most 20 sites) with known formation energy and hull distance
get an energy from the potential at their published cells (or relaxed, with --steps 60: about an
hour of one core) and are placed on hulls of references of the same potential, computed on demand by
the library itself. Published values: older releases of the Materials Project (PBE with
corrections), a few hundredths of an eV/atom of noise; the potential is another functional.

    python benchmarks/hull_check.py --potential diep
    python benchmarks/hull_check.py --references FILE.part.jsonl   # of make_references.py
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from make_references import DATA, read_table, structure_of

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.pooled_relaxation import relax_many
from crystal_diffusion.energy.potentials import get_potential
from crystal_diffusion.energy.reference_energies import (
    ReferenceEnergies,
    ReferenceEntry,
    complete_references,
)
from crystal_diffusion.energy.relaxation import RelaxLimits
from crystal_diffusion.proposals.library import load_library


def interval(values: np.ndarray, statistic=np.mean, rounds: int = 2000) -> str:  # type: ignore[no-untyped-def]
    """95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = statistic(rng.choice(values, (rounds, len(values))), axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{statistic(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--potential", default="diep")
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--per-system", type=int, default=10)
    parser.add_argument("--references", type=Path, help="entries of make_references.py to use")
    parser.add_argument("--steps", type=int, default=0, help="0: energies of the published cells")
    parser.add_argument("--no-more-references", action="store_true", help="use what is there")
    options = parser.parse_args()
    began = time.perf_counter()

    potential = get_potential(options.potential)
    known = potential.elements
    assert known is not None
    table = read_table(options.data)
    from ase.data import chemical_symbols

    inside = np.array(
        [all(chemical_symbols[z] in known for z in numbers) for numbers in table.atomic_numbers]
    )
    rows = table[
        inside
        & table.e_above_hull.notna()
        & table.formation_energy_per_atom.notna()
        & (table.kinds >= 2)
    ].sample(options.n, random_state=options.seed)

    references = ReferenceEnergies.load(potential)
    references.cache = None  # a check leaves the user's cache as it is
    if options.references:
        for line in options.references.read_text().splitlines():
            e = json.loads(line)
            if not e["problem"] and e["max_force_eV_A"] < 0.3:
                references.entries[e["id"]] = ReferenceEntry(
                    e["id"], e["composition"], e["energy_per_atom_eV"], e["converged"], "today"
                )
    structures = {row.material_id: structure_of(row) for row in rows.itertuples()}
    limits = RelaxLimits(max_steps=options.steps)

    def relax_all(pairs):  # type: ignore[no-untyped-def]
        return relax_many(pairs, options.potential, limits=limits, processes=options.processes)

    if not options.no_more_references:
        systems = {frozenset(s.composition.get_el_amt_dict()) for s in structures.values()}
        made = complete_references(
            references,
            sorted(systems, key=sorted),
            load_library(),
            relax_all,
            per_system=options.per_system,
        )
        print(f"references relaxed for this check: {made}")
    hull = HullBuilder(references)
    formation, above, failed, phases = [], [], [], []
    labels = rows.set_index("material_id")
    for key, result in relax_all(structures.items()):
        place = hull.place(structures[key].composition.get_el_amt_dict(), result.energy_per_atom)
        if result.problem or place.formation_energy is None or place.energy_above_hull is None:
            failed.append(f"{key}: {result.problem or place.problem}")
            continue
        label = labels.loc[key]
        formation.append((place.formation_energy, float(label.formation_energy_per_atom)))
        # published distances count the crystal among the phases, so they are never negative
        above.append((max(place.energy_above_hull, 0.0), float(label.e_above_hull)))
        phases.append(place.n_competing)

    ours, theirs = np.array(formation).T
    here, there = np.array(above).T
    print(f"machine: {platform.processor() or platform.machine()}, {options.processes} processes")
    print(f"relaxation: at most {options.steps} steps (0: cells as published)")
    print(f"potential: {potential.name} {potential.version} ({potential.functional})")
    print(f"crystals: {len(ours)} of {len(rows)}, wall time {time.perf_counter() - began:.0f} s")
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
    for line in failed[:10]:
        print(f"failed: {line}")


if __name__ == "__main__":
    main()
