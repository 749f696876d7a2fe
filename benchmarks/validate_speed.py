"""How long `crystal-diffusion validate` takes for 1,000 CIFs of 20 atoms.

    python benchmarks/validate_speed.py ../shared/data/mp_2025/train_le20.parquet [--n 1000]
        [--processes 2]

Writes random crystals of exactly 20 atoms as CIF files into a temporary folder and runs the command
on it as a user would, in a process of its own. Prints wall time, and the processor time of the
command with its workers, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe

from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.runs.folder import cif_text


def main() -> None:
    """Parse, write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystals", type=Path, help="Parquet file of crystals")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    arrays = parquet_arrays(options.crystals)
    rows = np.flatnonzero(arrays.num_atoms == options.atoms)
    if len(rows) < options.n:
        raise SystemExit(f"only {len(rows)} crystals have {options.atoms} atoms; ask for fewer.")
    chosen = np.random.default_rng(options.seed).choice(rows, options.n, replace=False)
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        for i in chosen:
            name = arrays.ids[int(i)]
            text = cif_text(arrays.crystal(int(i)).to_structure(), name)
            (Path(folder) / f"{name}.cif").write_text(text)
        command = [sys.executable, "-m", "crystal_diffusion", "validate", folder, "--rows", "0"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--processes", str(options.processes)],
            capture_output=True,
            text=True,
            check=False,
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(done.stdout.strip().splitlines()[0] if done.stdout else done.stderr)
    print(
        f"{options.n} CIFs of {options.atoms} atoms, {options.processes} processes: {wall:.1f} s "
        f"of wall time, {spent:.1f} s of processor time, load {os.getloadavg()[0]:.1f} at the end"
    )


if __name__ == "__main__":
    main()
