"""From twelve CIFs to sixteen checked crystals of a composition not among them, timed.

Run: python benchmarks/twelve_files.py ../shared/data/mp_2025/train_le20.parquet
Writes twelve oxides of Ca, Sr, Ba with Ti, Zr, Hf as CIFs, then runs check, train and generate as a
user would, and reads the results back with pymatgen and ASE.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
from machine import describe
from pymatgen.core import Structure

from crystal_diffusion.data.tables import parquet_arrays

ALKALINE, METALS = {20, 38, 56}, {22, 40, 72}
WANTED = "SrZrO3"


def write_cifs(table: str, folder: Path) -> list[str]:
    """Twelve crystals of the chemistry with at most 20 atoms, none of the wanted formula."""
    arrays = parquet_arrays(table)
    names: list[str] = []
    seen: set[tuple[str, int]] = set()
    for index in range(len(arrays)):
        crystal = arrays.crystal(index)
        elements = set(crystal.atomic_numbers.tolist())
        if len(elements) != 3 or 8 not in elements:
            continue
        if not (elements & ALKALINE and elements & METALS):
            continue
        structure = crystal.to_structure()
        formula = structure.composition.reduced_formula
        if formula == WANTED or (formula, len(structure)) in seen:
            continue
        seen.add((formula, len(structure)))
        structure.to(str(folder / f"{crystal.id}.cif"))
        names.append(f"{formula} ({len(structure)} atoms)")
        if len(names) == 12:
            break
    return names


def tool(*arguments: str, cwd: Path) -> str:
    """Run the command line; stop if it fails."""
    command = [sys.executable, "-m", "crystal_diffusion", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def smallest(lattice: np.ndarray, frac: np.ndarray) -> float:
    """Smallest distance by brute force over two shells of images, own images included."""
    grid = np.arange(-2, 3)
    shifts = np.stack(np.meshgrid(grid, grid, grid), -1).reshape(-1, 3)
    vectors = (frac[None, :, None] - frac[:, None, None] + shifts) @ lattice
    distances = np.linalg.norm(vectors, axis=-1)
    distances[distances < 1e-9] = np.inf
    return float(distances.min())


def main() -> None:
    """Do it and print what happened."""
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cifs").mkdir()
        print("training crystals:", ", ".join(write_cifs(sys.argv[1], folder / "cifs")))
        began = time.perf_counter()
        print(tool("check", "cifs", cwd=folder).strip().splitlines()[-1])
        lap = time.perf_counter()
        print(tool("train", "cifs", "--out", "model", cwd=folder).strip())
        trained = time.perf_counter()
        print(
            tool(
                "generate",
                "model",
                "--formula",
                WANTED,
                "-n",
                "16",
                "--seed",
                "1",
                "--out",
                "run",
                cwd=folder,
            ).strip()
        )
        ended = time.perf_counter()
        good = 0
        for path in sorted((folder / "run" / "cif").glob("*.cif")):
            structure, atoms = Structure.from_file(path), ase.io.read(path)
            ours = smallest(structure.lattice.matrix, structure.frac_coords)
            theirs = smallest(np.array(atoms.cell), atoms.get_scaled_positions())
            same = abs(ours - theirs) < 1e-4 and len(atoms) == len(structure)
            good += same and ours >= 0.7 and structure.composition.reduced_formula == WANTED
        print(f"{good} of 16 read back with pymatgen and ASE: {WANTED}, smallest distance >= 0.7 Å")
        print(
            f"check {lap - began:.0f} s, train {trained - lap:.0f} s, generate "
            f"{ended - trained:.0f} s, all {ended - began:.0f} s (goal 360)"
        )


if __name__ == "__main__":
    main()
