"""SIGKILL in the middle of relaxation, twice; the end result must be that of an uninterrupted run.

Crystals of the demonstration set, shaken and strained, are screened once without interruption and
once with `crystal-diffusion screen` killed after a third and after two thirds of the relaxations
(the moment is read from the log on the disk), then started once more. Each of the two has a cache
of reference energies of its own, empty at the start. Prints whether the tables, the relaxed
structures, the hull and the database hold the same, and whether workers outlived their parent; the
last line is True or False.

    python benchmarks/kill_screening.py --potential diep -n 12
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe
from pymatgen.core import Structure

from crystal_diffusion.data import CrystalStructureDataset, create_demo_dataset
from crystal_diffusion.runs.folder import cif_text
from crystal_diffusion.screening.store import Store

FILES = ("screening.jsonl", "screening.csv", "relaxed.extxyz", "structures.extxyz", "hull.json")


def make_folder(folder: Path, count: int, most_atoms: int) -> None:
    """Small crystals with 2 % of strain and atoms moved by 0.05 Å."""
    rng = np.random.default_rng(0)
    arrays = CrystalStructureDataset(create_demo_dataset()).arrays
    rows = [row for row in range(len(arrays)) if arrays.num_atoms[row] <= most_atoms]
    if len(rows) < count:
        raise SystemExit(f"the demonstration set has {len(rows)} crystals so small")
    for row in rows[:count]:
        known = arrays.crystal(row).to_structure()
        cell = known.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        coords = known.frac_coords @ cell + rng.normal(0, 0.05, (len(known), 3))
        moved = Structure(cell, known.species, coords, coords_are_cartesian=True)
        (folder / f"c{row:03d}.cif").write_text(cif_text(moved, f"c{row:03d}"))


def start(folder: Path, out: Path, cache: Path, options: argparse.Namespace) -> subprocess.Popen:  # type: ignore[type-arg]
    """The verb in a process of its own."""
    command = [sys.executable, "-m", "crystal_diffusion", "screen", str(folder), "--out", str(out)]
    command += ["--potentials", options.potential, "--relax-steps", str(options.steps)]
    command += ["--processes", str(options.processes), "--competing", "3", "--quiet"]
    command += ["--profile", "permissive"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def workers_of(process: int) -> list[int]:
    """Process numbers of the children, where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def lines_in(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_at(process: subprocess.Popen, log: Path, reached: int) -> int:  # type: ignore[type-arg]
    """Kill when that many relaxations are on the disk; returns how many workers outlived it."""
    while lines_in(log) < reached:
        if process.poll() is not None:
            raise SystemExit(f"the screening ended ({process.returncode}) before it was killed")
        time.sleep(0.01)
    children = workers_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = sum(alive(child) for child in children)
    print(f"killed with {lines_in(log)} relaxations on the disk; {len(children)} children, "
          f"{left} alive 30 s later", flush=True)  # fmt: skip
    return left


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--potential", default="diep")
    parser.add_argument("-n", type=int, default=12)
    parser.add_argument("--atoms", type=int, default=6, help="most atoms of a crystal")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = root / "cifs"
        folder.mkdir()
        make_folder(folder, options.n, options.atoms)
        whole, killed = root / "whole", root / "killed"
        began = time.perf_counter()
        code = start(folder, whole, root / "cache-whole", options).wait()
        log = whole / "screening" / "relax.jsonl"
        total = lines_in(log)
        print(f"uninterrupted: exit code {code}, {total} relaxed of {options.n} crystals, "
              f"{options.potential}, {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        log = killed / "screening" / "relax.jsonl"
        left = 0
        for reached in (max(total // 3, 1), max(2 * total // 3, 2)):
            process = start(folder, killed, root / "cache-killed", options)
            left += kill_at(process, log, reached)
        last = start(folder, killed, root / "cache-killed", options).wait()
        print(f"started again: exit code {last}")
        same = [(whole / name).read_bytes() == (killed / name).read_bytes() for name in FILES]
        for name, equal in zip(FILES, same, strict=True):
            print(f"  {name}: {'same bytes' if equal else 'DIFFERENT'}")
        stored = [
            {key: row for key, _, row in Store(where / "screening.db").rows()}
            for where in (whole, killed)
        ]
        print(f"  screening.db: {'same rows' if stored[0] == stored[1] else 'DIFFERENT'}")
        print(all(same) and stored[0] == stored[1] and code == last and not left and total > 2)


if __name__ == "__main__":
    main()
