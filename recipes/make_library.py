"""Make the library of crystals that ships with the package.

    python recipes/make_library.py ../shared/data/mp_2025/train_le20.parquet \
        --out crystal_diffusion/pretrained/library.npz

Several files may be given. Cells are reduced to primitive standard cells, symmetrised at 0.1 Å,
grouped into structure types and quantised. Prints counts, size and times.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crystal_diffusion.proposals.clustering import Entry, group_entries, read_entry
from crystal_diffusion.proposals.library import MAX_ROLES, CrystalLibrary

CELL = ("a", "b", "c", "alpha", "beta", "gamma")


def known(value: float | None) -> float:
    """Not a number where the table has none."""
    return math.nan if value is None else float(value)


def entries_of(path: Path, limit: int | None) -> Iterator[Entry]:
    """Entries of one Parquet file; what cannot be read is printed with its id and left out."""
    import pyarrow.parquet as pq
    from pymatgen.core import Lattice

    table = pq.read_table(path).to_pydict()
    for row, name in enumerate(table["material_id"][:limit]):
        numbers = [int(number) for number in table["atomic_numbers"][row]]
        if len(set(numbers)) > MAX_ROLES:
            print(f"left out {name}: {len(set(numbers))} elements")
            continue
        try:
            yield read_entry(
                name,
                Lattice.from_parameters(*(table[key][row] for key in CELL)).matrix,
                np.array(table["frac_coords"][row], dtype=float).reshape(-1, 3),
                numbers,
                e_above_hull=known(table["e_above_hull"][row]),
                formation_energy=known(table["formation_energy_per_atom"][row]),
            )
        except Exception as problem:  # moyopy raises its own class, not exported by name
            print(f"left out {name}: {problem}")


def main() -> None:
    """Read, group, save, read again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="only the first rows of each file")
    args = parser.parse_args()

    start = time.process_time()
    entries = [entry for path in args.files for entry in entries_of(path, args.limit)]
    print(f"{len(entries)} crystals read in {time.process_time() - start:.0f} s (CPU)")
    types = group_entries(entries)
    print(f"{len(types)} structure types after {time.process_time() - start:.0f} s (CPU)")
    source = (
        "Materials Project v2025.02.12 ("
        + ", ".join(path.stem for path in args.files)
        + "), CC-BY 4.0, https://materialsproject.org"
    )
    CrystalLibrary.from_types(types, source).save(args.out)
    start = time.process_time()
    library = CrystalLibrary.load(args.out)
    seconds = time.process_time() - start
    size = os.path.getsize(args.out) / 1e6
    print(f"{len(library)} crystals, {size:.2f} MB, loads in {seconds:.2f} s (CPU)")


if __name__ == "__main__":
    main()
