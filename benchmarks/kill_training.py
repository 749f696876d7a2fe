"""Kill training with SIGKILL at ten random moments; it must end with the weights of one whole run.

Run: python benchmarks/kill_training.py [seed]
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import describe
from pymatgen.core import Structure
from safetensors.torch import load_file

from crystal_diffusion.data.demo import create_demo_dataset

CHILD = """
import sys, torch
torch.set_num_threads(1)
import crystal_diffusion.workflows.train as workflow
from dataclasses import replace as original
def often(config, **changes):
    if "checkpoint_seconds" in changes:
        changes["checkpoint_seconds"] = 0.5
    return original(config, **changes)
workflow.replace = often
print("ready", flush=True)
workflow.train(sys.argv[1], sys.argv[2], steps=int(sys.argv[3]), dim=32, layers=2, patience=0)
"""


def start(source: Path, out: Path, steps: int) -> subprocess.Popen[str]:
    """Start training in a process of its own; returns when it begins to work."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(source), str(out), str(steps)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def main() -> None:
    """Do it and print what happened."""
    print(describe())
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cifs").mkdir()
        for number, crystal in enumerate(create_demo_dataset()[:24]):
            structure = Structure(crystal["lattice"], crystal["atom_types"], crystal["positions"])
            structure.to(str(folder / "cifs" / f"{number:02d}.cif"))
        steps = 600
        began = time.perf_counter()
        if start(folder / "cifs", folder / "whole", steps).wait():
            raise SystemExit("the uninterrupted run failed")
        whole = time.perf_counter() - began
        killed, finished = 0, 0
        while killed < 10:
            child = start(folder / "cifs", folder / "killed", steps)
            # At random over the time from the start to a little before the end of a whole run.
            time.sleep(rng.uniform(0.2, 0.2 * whole))
            if child.poll() is not None:
                # It reached the end before it could be killed: start over, counting on.
                finished += 1
                steps_done = load_file(folder / "killed" / "model.safetensors")
                same = compare(steps_done, load_file(folder / "whole" / "model.safetensors"))
                print(f"run finished after {killed} kills, weights identical: {same}")
                for path in (folder / "killed").iterdir():
                    path.unlink()
                continue
            child.send_signal(signal.SIGKILL)
            child.wait()
            killed += 1
            state = (folder / "killed" / "state.safetensors").exists()
            print(f"kill {killed}: checkpoint {'kept' if state else 'not yet written'}")
        if start(folder / "cifs", folder / "killed", steps).wait():
            raise SystemExit("the killed run did not resume")
        same = compare(
            load_file(folder / "whole" / "model.safetensors"),
            load_file(folder / "killed" / "model.safetensors"),
        )
        print(f"10 kills, resumed each time, final weights identical bit for bit: {same}")


def compare(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


if __name__ == "__main__":
    main()
