"""Make the labels that ship beside the reference library.

    python recipes/make_library_labels.py mp_2025/train_le20.parquet mp_2025/train_21_52.parquet \\
        --out crystal_diffusion/pretrained/library_labels.npz

Labels not to be believed are left out (``train_conditions.py``); formation energies are
put on the corrections of 2021 (``energy_corrections.py``). Cells tell the density.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from energy_corrections import label_change
from train_conditions import joined, labels_of

from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.prediction.formulas import reduced_counts
from crystal_diffusion.proposals.labels import LibraryLabels


def main() -> None:
    """Read, convert, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    numbers, parts = [], []
    for path in args.tables:
        arrays = parquet_arrays(path)
        labels = labels_of(arrays)
        del labels["density"]
        energy = labels["formation_energy"]
        for row in np.flatnonzero(np.isfinite(energy)):
            span = slice(arrays.offsets[row], arrays.offsets[row + 1])
            energy[row] += label_change(reduced_counts(arrays.atomic_numbers[span]))
        names = [str(name).removeprefix("mp-") for name in arrays.ids]
        keep = np.array([name.isdigit() for name in names]) & np.any(
            [np.isfinite(values) for values in labels.values()], axis=0
        )
        numbers.append(np.array([int(names[row]) for row in np.flatnonzero(keep)], np.int32))
        parts.append({name: values[keep] for name, values in labels.items()})
    found, values = np.concatenate(numbers), joined(parts)
    order = np.argsort(found)
    labels = LibraryLabels(found[order], {name: v[order] for name, v in values.items()})
    labels.save(args.out)
    known = {name: int(np.isfinite(v).sum()) for name, v in labels.values.items()}
    print(f"{len(found)} crystals, {known}, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
