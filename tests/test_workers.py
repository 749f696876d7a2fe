"""Worker processes from a plain script, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLAIN = """
import pathlib, sys
marks = pathlib.Path(sys.argv[0]).parent / "runs"
with marks.open("a") as stream:
    stream.write("run\\n")
import crystal_diffusion as cd
from pymatgen.core import Lattice, Structure
salts = [
    Structure(Lattice.cubic(4 + i / 500), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for i in range(240)
]
print(len(cd.check(salts, processes=2).rows), "checked")
outcome = cd.screen(salts[:2], marks.parent / "screened", stages=("validate",), processes=2)
print(len(outcome.rows), "screened")
"""

OWN_FUNCTION = """
from crystal_diffusion.parallel import map_chunks
def doubled(items):
    return [2 * item for item in items]
GUARDprint(sum(map_chunks(doubled, list(range(400)), 2)))
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(text)
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, cwd=folder
    )


def test_a_script_without_guard_runs_once_and_gets_its_workers(tmp_path: Path) -> None:
    done = run(tmp_path, PLAIN)
    assert done.returncode == 0, done.stderr
    assert "240 checked" in done.stdout and "2 screened" in done.stdout
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_function_of_the_script_itself_needs_the_guard_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, OWN_FUNCTION.replace("GUARD", ""))
    assert done.returncode != 0
    assert "put the script's top level under if __name__ ==" in done.stderr
    assert "freeze_support" not in done.stderr and "BrokenProcessPool" not in done.stderr
    guarded = run(tmp_path, OWN_FUNCTION.replace("GUARD", 'if __name__ == "__main__": '))
    assert guarded.returncode == 0 and guarded.stdout.strip() == str(sum(range(400)) * 2)
