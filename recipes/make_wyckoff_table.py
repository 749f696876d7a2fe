"""Write the shipped tables of space groups and of how often their positions are used.

``crystal_diffusion/pretrained/wyckoff.npz`` holds the 230 groups.

The facts are those of International Tables for Crystallography A (standard setting: unique axis b,
origin choice 2, hexagonal axes), taken from pyxtal, which is needed here and nowhere else:

    python recipes/make_wyckoff_table.py

Operations are compared with spglib's default setting before anything is written; a difference ends
the script with an error. ``crystal_diffusion/pretrained/wyckoff.prior.npz`` holds frequencies of
Wyckoff patterns in a table of crystals:

    python recipes/make_wyckoff_table.py --prior ../shared/data/mp_2025/train_le20.parquet

``--equivalents`` works out which letters of a group mean the same and writes
``wyckoff.equivalents.npz``.

With ``--held-out 1500`` the frequencies are fitted without that many crystals, drawn at random, and
the mean log-probability of their true assignments, given group and composition, is printed beside
that of a uniform draw; nothing is written then.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import pyarrow.parquet as pq
import spglib
import torch

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.geometry import lattice_from_parameters
from crystal_diffusion.symmetry.assignments import Site, count_assignments, make_assignment
from crystal_diffusion.symmetry.cells import make_cell
from crystal_diffusion.symmetry.detection import wyckoff_letters
from crystal_diffusion.symmetry.equivalents import TABLE as EQUIVALENTS
from crystal_diffusion.symmetry.equivalents import find_renamings
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.prior import WyckoffPrior

TARGET = Path(__file__).parent.parent / "crystal_diffusion" / "pretrained" / "wyckoff.npz"
PRIOR_TARGET = TARGET.with_name("wyckoff.prior.npz")
#: Translations of the standard settings are multiples of 1/24.
GRID = 24


def as_integers(matrix: np.ndarray) -> np.ndarray:
    """An affine matrix ``(3, 4)`` with the translation in 24ths, wrapped to [0, 24)."""
    out = np.array(matrix, float)[:3, :4]
    translation = out[:, 3] * GRID
    if np.abs(translation - np.round(translation)).max() > 0.01:
        raise ValueError(f"translation {out[:, 3]} is no multiple of 1/{GRID}")
    if np.abs(out[:, :3] - np.round(out[:, :3])).max() > 1e-6:
        raise ValueError(f"linear part {out[:, :3]} is not integer")
    out[:, 3] = np.round(translation) % GRID
    return np.round(out).astype(np.int8)


def default_hall_numbers() -> dict[int, int]:
    """spglib's default Hall number of each group: its first entry, origin choice 2 where named."""
    chosen: dict[int, int] = {}
    for hall in range(1, 531):
        kind: Any = spglib.get_spacegroup_type(hall)
        number = int(kind.number)
        if number not in chosen or str(kind.choice) == "2":
            chosen.setdefault(number, hall)
            if str(kind.choice) == "2":
                chosen[number] = hall
    return chosen


def names_of(number: int) -> list[str]:
    """All Hermann-Mauguin names of all settings of a group that spglib's database lists."""
    names = []
    for hall in range(1, 531):
        entry = moyopy.HallSymbolEntry(hall)
        if entry.number == number:
            names += [entry.hm_short, entry.hm_full]
            if 3 <= number <= 15:  # "P 1 2_1/n 1" is written P2_1/n
                names.append(" ".join(part for part in entry.hm_full.split() if part != "1"))
    return names


def build() -> dict[str, np.ndarray]:
    """All arrays of the table."""
    from pyxtal.symmetry import Group

    halls = default_hall_numbers()
    names: dict[str, set[int]] = {}
    operations: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    operation_start, position_start = [0], [0]
    symbols, point_groups, multiplicities, site_symmetries = [], [], [], []
    for number in range(1, 231):
        group = Group(number)
        kind = moyopy.SpaceGroupType(number)
        symbols.append(kind.hm_short.replace(" ", ""))
        point_groups.append(kind.geometric_crystal_class)
        for name in names_of(number):
            names.setdefault(name.replace(" ", "").replace("_", ""), set()).add(number)
        wyckoffs = sorted(group, key=lambda w: (w.letter == "A", w.letter))
        general = {tuple(as_integers(op.affine_matrix).ravel()) for op in wyckoffs[-1].ops}
        database = spglib.get_symmetry_from_database(halls[number])
        expected = {
            tuple(as_integers(np.c_[w, t]).ravel())
            for w, t in zip(database["rotations"], database["translations"], strict=True)
        }
        if general != expected:
            raise ValueError(f"group {number}: the operations differ from spglib's default setting")
        ordered = [as_integers(op.affine_matrix) for op in wyckoffs[-1].ops]
        operations += ordered
        operation_start.append(len(operations))
        for wyckoff in wyckoffs:
            wyckoff.get_site_symmetry()
            positions.append(as_integers(wyckoff.ops[0].affine_matrix))
            multiplicities.append(wyckoff.multiplicity)
            site_symmetries.append(wyckoff.site_symm.replace(" ", ""))
        position_start.append(len(positions))
    unique = sorted((name, min(found)) for name, found in names.items() if len(found) == 1)
    return {
        "symbols": np.array(symbols),
        "point_groups": np.array(point_groups),
        "operations": np.array(operations, np.int8),
        "operation_start": np.array(operation_start, np.int32),
        "positions": np.array(positions, np.int8),
        "position_start": np.array(position_start, np.int32),
        "multiplicities": np.array(multiplicities, np.int16),
        "site_symmetries": np.array(site_symmetries),
        "names": np.array([name for name, _ in unique]),
        "name_numbers": np.array([number for _, number in unique], np.int16),
    }


def read_rows(path: Path) -> list[tuple[int, dict[int, str]]]:
    """Group number and Wyckoff letters by element of each crystal, moyopy at symprec 0.1 Å."""
    rows, failed = [], Counter[str]()
    columns = ["a", "b", "c", "alpha", "beta", "gamma", "atomic_numbers", "frac_coords"]
    for batch in pq.ParquetFile(path).iter_batches(1000, columns=columns):
        for row in batch.to_pylist():
            lattice = lattice_from_parameters(
                torch.tensor([row[name] for name in columns[:6]], dtype=torch.float64)
            )
            coords = np.reshape(row["frac_coords"], (-1, 3))
            try:
                cell = make_cell(lattice.numpy(), coords, row["atomic_numbers"])
                rows.append(wyckoff_letters(cell, 0.1))
            except InputError as error:
                failed[str(error)] += 1
    print(f"{path.name}: {len(rows)} crystals read, {sum(failed.values())} without a group")
    return rows


def held_out(rows: list[tuple[int, dict[int, str]]], n: int) -> None:
    """Print how likely true assignments of crystals not fitted on are."""
    order = np.random.default_rng(0).permutation(len(rows))
    prior = WyckoffPrior.from_rows([rows[i] for i in order[n:]])
    ours, uniform = [], []
    for index in order[:n]:
        number, words = rows[index]
        sites = [Site(z, letter) for z, word in words.items() for letter in word]
        assignment = make_assignment(SpaceGroup.from_number(number), sites)
        ours.append(prior.log_probability(assignment))
        uniform.append(-math.log(count_assignments(number, assignment.counts())))
    print(f"fitted on {len(rows) - n} other crystals of the same table; {machine()}")
    for name, values in (("prior", ours), ("uniform", uniform)):
        half = 1.96 * np.std(values) / math.sqrt(n)
        print(
            f"mean log-probability of the true assignment, {name}: {np.mean(values):.2f} "
            f"(95 % interval {np.mean(values) - half:.2f} to {np.mean(values) + half:.2f}), n = {n}"
        )


def write_equivalents() -> None:
    """Work out and write which letters of each group mean the same."""
    start, found = [0], []
    for number in range(1, 231):
        renamings = find_renamings(SpaceGroup.from_number(number))
        found.append(renamings.astype(np.int8).ravel())
        start.append(start[-1] + renamings.size)
    with atomic_write(EQUIVALENTS) as part, part.open("wb") as stream:
        np.savez_compressed(
            stream, start=np.array(start, np.int32), renamings=np.concatenate(found)
        )
    print(f"{EQUIVALENTS.name}: {EQUIVALENTS.stat().st_size / 1024:.0f} KiB")


def machine() -> str:
    """What this runs on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    """Build, write and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--prior", type=Path, help="table of crystals to fit frequencies on")
    parser.add_argument("--equivalents", action="store_true", help="which letters mean the same")
    parser.add_argument("--held-out", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.equivalents:
        write_equivalents()
        return
    if arguments.prior:
        rows = read_rows(arguments.prior)
        if arguments.held_out:
            held_out(rows, arguments.held_out)
            return
        prior = WyckoffPrior.from_rows(rows)
        prior.save(PRIOR_TARGET)
        size = PRIOR_TARGET.stat().st_size / 1024
        print(f"{PRIOR_TARGET.name}: {len(prior.patterns)} patterns, {size:.0f} KiB")
        return
    table = build()
    part = arguments.out.with_suffix(arguments.out.suffix + ".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **table)  # type: ignore[arg-type]
    os.replace(part, arguments.out)
    print(
        f"{arguments.out.name}: {len(table['symbols'])} groups, {len(table['operations'])} "
        f"operations, {len(table['positions'])} Wyckoff positions, {len(table['names'])} names, "
        f"{arguments.out.stat().st_size / 1024:.0f} KiB"
    )


if __name__ == "__main__":
    main()
