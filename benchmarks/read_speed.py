"""How fast a folder of CIFs is read: write CIFs from a Parquet table, read them, print the time.

    python benchmarks/read_speed.py ../shared/data/mp_2025/train_le20.parquet -n 10000

Half of the files list all atoms (P1), half list one atom per orbit and the symmetry operations,
as databases write them. The files are new, so the first reading comes from the page cache too.
With ``--earlier FOLDER``, a checkout of earlier code, both read the same files in turn, each in a
process of its own, and the ratio of their processor times is printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from crystal_diffusion.data.readers import iter_crystals, iter_plain
from crystal_diffusion.data.tables import parquet_arrays
from crystal_diffusion.parallel import usable_cores

#: Writing symmetrised CIFs takes pymatgen 13 ms each, so some are written and then copied.
SYMMETRISED = 500


def write_cifs(table: Path, folder: Path, count: int) -> int:
    """Write ``count`` CIFs of random rows of the table; half of them symmetrised."""
    from pymatgen.io.cif import CifWriter

    arrays = parquet_arrays(table)
    rows = np.random.default_rng(0).choice(len(arrays), min(count, len(arrays)), replace=False)
    texts: list[str] = []
    for place, row in enumerate(rows):
        structure = arrays.crystal(int(row)).to_structure()
        if place % 2 == 0:
            text = str(CifWriter(structure))
        elif len(texts) < SYMMETRISED:
            text = str(CifWriter(structure, symprec=0.1))
            texts.append(text)
        else:
            text = texts[place % len(texts)]
        (folder / f"{place:06d}.cif").write_text(text, encoding="utf-8")
    return len(rows)


def processor_seconds() -> float:
    """Processor time of this process and of the workers that have ended."""
    own, workers = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime


#: Reads the first files of a folder to import everything, then all of it against the clock.
_CHILD = """
import sys, time, warnings
from pathlib import Path
from crystal_diffusion.data.readers import iter_crystals
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
list(iter_crystals([str(path) for path in sorted(folder.iterdir())[:8]]))
start = time.process_time()
count = sum(1 for _ in iter_crystals(folder))
print(time.process_time() - start, count)
"""


def compare(folder: Path, earlier: Path, rounds: int) -> None:
    """Print the processor seconds of earlier code and of this, in turn, and their ratio."""
    here = Path(__file__).resolve().parent.parent
    seconds: dict[str, list[float]] = {"earlier": [], "now": []}
    for _ in range(rounds):
        for name, root in (("earlier", earlier.resolve()), ("now", here)):
            answer = subprocess.run(
                [sys.executable, "-c", _CHILD, str(folder)], check=True, capture_output=True,
                text=True, cwd=folder.parent, env={**os.environ, "PYTHONPATH": str(root)},
            )  # fmt: skip
            seconds[name].append(float(answer.stdout.split()[0]))
    for name, values in seconds.items():
        print(f"{name}: {', '.join(f'{value:.2f}' for value in values)} s of processor time")
    ratio = statistics.median(seconds["now"]) / statistics.median(seconds["earlier"])
    print(f"now / earlier, medians of {rounds}: {ratio:.2f}")


def main() -> None:
    """Print the seconds with one process and with all cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=usable_cores())
    parser.add_argument("--earlier", type=Path, help="checkout of earlier code to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    machine = f"{platform.machine()}, {usable_cores()} usable cores, Python "
    print(f"machine: {machine}{platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_cifs(options.table, folder, options.n)
        print(f"n = {count} CIFs from {options.table.name}, {SYMMETRISED} of them symmetrised anew")
        if options.earlier is not None:
            compare(folder, options.earlier, options.rounds)
            return
        for processes in sorted({1, options.processes}):
            for label, reader in (("arrays", iter_plain), ("structures", iter_crystals)):
                start, cpu = time.perf_counter(), processor_seconds()
                problems = sum(c.problem is not None for c in reader(folder, processes=processes))
                wall, used = time.perf_counter() - start, processor_seconds() - cpu
                print(
                    f"{label}, {processes} process(es): {wall:.1f} s "
                    f"({1e3 * wall / count:.2f} ms a file), {used:.1f} s of processor time, "
                    f"{problems} problems"
                )


if __name__ == "__main__":
    main()
