"""Write docs/licenses.md: each package of constraints.txt with its license, as it says itself.

Usage: python recipes/dependency_licenses.py        (in an environment with all extras installed)
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TROVE = "License :: "
_HEAD = """# Licenses of the packages this program stands on

Written by `recipes/dependency_licenses.py` from what each installed package says of itself; the
versions are those of `constraints.txt`. This program itself is MIT; the shipped files have cards of
their own in `crystal_diffusion/pretrained/`.

| package | version | license |
|---|---|---|
"""


def license_of(name: str) -> str:
    """The license expression of a package, else its classifiers, else the first line it gives."""
    about = metadata.metadata(name)
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    found = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if _TROVE in c]
    found = [c for c in found if c != "OSI Approved"]
    if found:
        return ", ".join(found)
    text = " ".join(str(about.get("License") or "").split())
    return text[:60] or "not said; see the package's own files"


def main() -> None:
    """Write the table."""
    rows = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9_.-]+)==(\S+)", line)
        if match is None:
            continue
        name, version = match.groups()
        try:
            text = license_of(name)
        except metadata.PackageNotFoundError:
            text = "not installed where this was written"
        rows.append(f"| {name} | {version} | {text.replace('|', '/')} |")
    (ROOT / "docs" / "licenses.md").write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
