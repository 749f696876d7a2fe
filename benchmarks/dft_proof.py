"""Real codes run the inputs that are generated, and their energies come back by id.

Silicon and rock salt, coarse settings (one energy each, 250 eV, few k-points): GPAW, and Quantum
ESPRESSO where its pseudopotentials allow. Prints energies, seconds and what could not run. Needs
gpaw with gpaw-data, and pw.x with a folder of UPF files (Debian: quantum-espresso).

    python benchmarks/dft_proof.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pymatgen.core import Lattice, Structure

from crystal_diffusion.dft.inputs import DftJob, DftSettings, write_inputs
from crystal_diffusion.dft.results import dft_rows, read_results

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
JOBS = [
    DftJob("silicon", SILICON.get_primitive_structure()),
    DftJob("rock-salt", SALT.get_primitive_structure()),
    DftJob("ref-si", SILICON.get_primitive_structure(), "reference"),
]


def prove(code: str, settings: DftSettings, folder: Path) -> None:
    problems = write_inputs(JOBS, folder, code, settings)
    for key, problem in problems.items():
        print(f"{code}: {key}: no input ({problem})")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for script in sorted(folder.glob("*/job.sh")):
        began = time.perf_counter()
        done = subprocess.run(
            ["bash", str(script)], capture_output=True, text=True, env=environment, timeout=170
        )
        seconds = time.perf_counter() - began
        print(f"{code}: {script.parent.name}: exit code {done.returncode}, {seconds:.1f} s")
        if done.returncode:
            print("  " + done.stderr.strip()[-400:])
    # folders renamed and moved about: ids come from inside them
    for number, path in enumerate(sorted(folder.glob("*/id.json"), reverse=True)):
        path.parent.rename(folder / f"moved-{number}")
    name, results = read_results(folder)
    for key, row in dft_rows(name, results).items():
        energy = row.get("dft_energy_per_atom_eV")
        formation = row.get("dft_formation_energy_eV_atom")
        print(f"{code}: {key}: {energy} eV/atom, formation {formation}; {row['dft_problem']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pseudo-dir", type=Path, default=Path("/usr/share/espresso/pseudo"))
    options = parser.parse_args()
    print(f"machine: {platform.processor() or platform.machine()}, one process")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        coarse = {"cutoff_eV": 250.0, "kpoint_density": 4.0, "relax": False}
        if importlib.util.find_spec("gpaw") is None:
            print("gpaw: not installed")
        else:
            command = f"{sys.executable} run.py"
            prove("gpaw", DftSettings(command=command, **coarse), Path(folder) / "gpaw")
        if shutil.which("pw.x") is None or not options.pseudo_dir.is_dir():
            print("espresso: pw.x or its pseudopotentials are not installed")
        else:
            settings = DftSettings(
                command="pw.x -in pw.in > pw.out", pseudo_dir=options.pseudo_dir, **coarse
            )
            prove("espresso", settings, Path(folder) / "espresso")
    print(f"total: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
