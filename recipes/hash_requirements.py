"""Write requirements-hashed.txt: each package of constraints.txt with the hash of its file.

Usage: python recipes/hash_requirements.py        (x86-64 Linux, Python 3.11)

Lines whose version is still that of the constraints stay; for the others pip downloads the file
that it would install. What was written is tried out by an installation (docs/reliability.md).
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HASHED, CONSTRAINTS = ROOT / "requirements-hashed.txt", ROOT / "constraints.txt"
#: Not in it: built with a compiler and libxc, for benchmarks/dft_proof.py alone.
_BUILT = ("gpaw",)
_PIN = re.compile(r"([A-Za-z0-9_.-]+==[^\s;]+)")


def pins(file: Path) -> list[str]:
    """``name==version`` of each line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [found[1] for line in lines if (found := _PIN.match(line))]


def hash_of(pin: str) -> str:
    """SHA-256 of the file that pip installs for a pin."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, pin], check=True)
        (file,) = Path(folder).iterdir()
        return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """Write the file anew."""
    lines = HASHED.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    known = {found[1]: line for line in lines if (found := _PIN.match(line))}
    wanted = [pin for pin in pins(CONSTRAINTS) if pin.partition("==")[0] not in _BUILT]
    rows = [known.get(pin) or f"{pin} --hash=sha256:{hash_of(pin)}" for pin in wanted]
    text = "\n".join([*head, "", *sorted(rows, key=lambda row: row.split("==")[0].lower())]) + "\n"
    HASHED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
