"""Time from the shell: `--help`, and `generate` of one structure, imports included.

Run: python benchmarks/startup.py [model]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from machine import describe


def best(command: list[str], repeats: int) -> tuple[float, float]:
    """Best wall and best processor seconds of a command that must succeed."""
    wall, cpu = [], []
    for _ in range(repeats):
        before = os.times()
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall.append(time.perf_counter() - began)
        after = os.times()
        cpu.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(wall), min(cpu)


def main() -> None:
    """Measure and print."""
    print(describe())
    tool = [sys.executable, "-m", "crystal_diffusion"]
    wall, cpu = best([*tool, "--help"], 5)
    print(f"--help: {wall:.2f} s wall, {cpu:.2f} s processor, best of 5 (goal 0.3)")
    model = sys.argv[1:2]
    with tempfile.TemporaryDirectory() as folder:
        common = ["--seed", "1", "--overwrite", "--quiet", "--out", folder + "/run"]
        wall, cpu = best(
            [*tool, "generate", *model, "--formula", "NaCl", "--z", "1", "-n", "1", *common], 3
        )
        print(
            f"generate one structure: {wall:.2f} s wall, {cpu:.2f} s processor, best of 3 (goal 4)"
        )
        if not model:
            wall, cpu = best([*tool, "generate", "--formula", "LiFeSiO4", "-n", "20", *common], 3)
            print(
                f"20 candidates of one formula: {wall:.2f} s wall, {cpu:.2f} s processor (goal 5)"
            )
            wall, cpu = best([*tool, "generate", "--formula", "LiFeSiO4", "-n", "1000", *common], 1)
            print(
                f"1,000 structures in one call: {wall:.2f} s wall, {cpu:.2f} s processor (goal 60)"
            )


if __name__ == "__main__":
    main()
