"""Are known polymorphs kept apart, and distorted copies of one crystal kept together?

From the index of known crystals: pairs of one reduced formula and one number of atoms in the
primitive cell, in different structure types and space groups, both with an energy; and copies of
single crystals with atoms and cell displaced as two relaxations of one crystal differ
(atoms 0.03 Å, cell 0.5 %, energies 1 meV/atom, root mean squares), in another cell and order.
Grouping as after relaxation (tight, with energies) and as before (generous, without).

    python benchmarks/polymorphs.py -n 200 --seed 1
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
from pymatgen.core import Lattice, Structure

from crystal_diffusion.known.index import KnownCrystals, load_known
from crystal_diffusion.matching import group_structures
from crystal_diffusion.matching.grouping import group_relaxed


def polymorphs(known: KnownCrystals, number: int, rng: np.random.Generator) -> list[list[int]]:
    """Pairs of rows, each formula at most once."""
    size = len(known.library)
    usable = np.flatnonzero(np.isfinite(known.energy[:size]))
    codes, groups = known.composition_codes, known.space_group
    sites = known.counts.sum(1, dtype=np.int64)
    order = usable[np.argsort(codes[usable], kind="stable")]
    blocks = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    pairs = []
    for block in (blocks[i] for i in rng.permutation(len(blocks))):
        choices = [
            [int(a), int(b)]
            for a, b in itertools.combinations(block.tolist(), 2)
            if sites[a] == sites[b] <= 20
            and groups[a] != groups[b]
            and known.library.entry_type[a] != known.library.entry_type[b]
        ]
        if choices:
            pairs.append(choices[int(rng.integers(len(choices)))])
        if len(pairs) == number:
            break
    return pairs


def distorted(structure: Structure, rng: np.random.Generator) -> Structure:
    """Another relaxation of the same crystal: other cell, origin and order, small displacements."""
    strained = structure.lattice.matrix @ (np.eye(3) + rng.normal(size=(3, 3)) * 0.005)
    lattice = Lattice(strained)
    moved = structure.frac_coords + rng.normal(size=(len(structure), 3)) * 0.03 @ lattice.inv_matrix
    order = rng.permutation(len(structure))
    copy = Structure(lattice, [structure.species[i] for i in order], moved[order] + rng.random(3))
    copy.make_supercell([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    known, rng = load_known(), np.random.default_rng(options.seed)
    pairs = polymorphs(known, options.n, rng)
    apart = {"as after relaxation": 0, "as before": 0}
    unsymmetric, merged, began = 0, [], time.process_time()
    for one, two in pairs:
        both = [known.structure(one), known.structure(two)]
        energies = [float(known.energy[one]), float(known.energy[two])]
        forward = group_relaxed(both, energies)
        backward = group_relaxed(both[::-1], energies[::-1])
        unsymmetric += forward != backward
        apart["as after relaxation"] += forward == [0, 1]
        apart["as before"] += group_structures(both) == [0, 1]
        if forward != [0, 1]:
            merged.append((one, two))
    gaps = [abs(known.energy[a] - known.energy[b]) for a, b in pairs]
    print(f"{len(pairs)} pairs of polymorphs, seed {options.seed}; energies within 5 meV/atom in")
    print(f"{sum(gap <= 0.005 for gap in gaps)} of them")
    for name, count in apart.items():
        print(f"  told apart {name}: {count} of {len(pairs)}")
    print(f"  order of the two matters: {unsymmetric}")
    for one, two in merged:
        words = [f"{known.id_of(r)} ({known.space_group[r]})" for r in (one, two)]
        gap = 1000 * abs(known.energy[one] - known.energy[two])
        print(f"  merged: {known.composition(one)} {' and '.join(words)}, {gap:.2f} meV/atom")
    rows = rng.choice(np.flatnonzero(np.isfinite(known.energy[: len(known.library)])), options.n)
    together = {"as after relaxation": 0, "as before": 0}
    for row in rows.tolist():
        structure = known.structure(row)
        both = [structure, distorted(structure, rng)]
        energies = (known.energy[row] + rng.normal(size=2) * 0.001).tolist()
        together["as after relaxation"] += group_relaxed(both, energies) == [0, 0]
        together["as before"] += group_structures(both) == [0, 0]
    print(f"{options.n} distorted copies")
    for name, count in together.items():
        print(f"  together {name}: {count} of {options.n}")
    print(f"{time.process_time() - began:.0f} s of one core")


if __name__ == "__main__":
    main()
