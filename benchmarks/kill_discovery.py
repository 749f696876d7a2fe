"""A discovery killed twice and resumed: nothing is lost, and it ends by itself.

python benchmarks/kill_discovery.py --out FOLDER -- --elements Na,Sb,S --budget 100
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, nargs="+", default=[23, 57], help="after so many")
    parser.add_argument("rest", nargs="+", help="options of discover, after --")
    options = parser.parse_args()
    command = [sys.executable, "-m", "crystal_diffusion", "discover", "--out", str(options.out)]
    command += options.rest
    log = options.out / "discovery" / "relaxed.jsonl"
    began = time.monotonic()
    for after in options.kills:
        child = subprocess.Popen(command)
        while child.poll() is None and lines(log) < after:
            time.sleep(0.5)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = lines(log)
        print(f"killed after {kept} relaxations, {time.monotonic() - began:.0f} s", flush=True)
    code = subprocess.run(command, check=False).returncode
    print(f"ended with code {code}: {lines(log)} relaxations, {time.monotonic() - began:.0f} s")
    text = log.read_text(encoding="utf-8").splitlines()
    keys = {line.split('"id": "')[1].split('"')[0] for line in text if '"id": "' in line}
    print(f"{len(keys)} different ids among them")


if __name__ == "__main__":
    main()
