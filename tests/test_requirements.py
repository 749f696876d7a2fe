"""The file with hashes holds the versions of the constraints, one hash each."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_hashed_requirements_are_those_of_the_constraints() -> None:
    wanted = {
        normal(m[1]): m[2]
        for m in re.finditer(r"(?m)^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text())
    }
    lines = (ROOT / "requirements-hashed.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if line.startswith("#") or not line:
            continue
        match = re.fullmatch(r"([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line)
        assert match is not None, line
        found[normal(match[1])] = match[2]
    # It is built with a compiler and libxc, so there is no file to be hashed.
    wanted.pop("gpaw")
    assert found == wanted, "run recipes/hash_requirements.py"
