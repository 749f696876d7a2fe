"""Run the tutorials as a reader would, command by command, and keep what was printed.

    python recipes/run_tutorials.py docs/tutorials/1-polymorphs.md
    python recipes/run_tutorials.py --write docs/tutorials/*.md

With ``--write`` the output goes into the page, in a ``text`` block below each command, and the
pictures that were made go to ``docs/pictures/tutorials/PAGE-NAME.png``. The tests run the same
without writing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A block that is run, and the block of output that may follow it.
_BLOCK = re.compile(
    r"```(bash|python)\n(?P<text>.*?)```\n(?:\n?```text\n(?P<told>.*?)```\n)?", re.DOTALL
)
#: Lines of output that are kept in the page.
_LINES = 24
#: What a command may end with: all well, something recorded as bad; nothing else.
_FINE = (0, 1)


@dataclass(frozen=True)
class Ran:
    """One block that was run.

    Attributes:
        text: what was run.
        told: what it printed, standard error last.
        code: exit code of its last command.
    """

    text: str
    told: str
    code: int


def run_page(page: Path, folder: Path) -> list[Ran]:
    """Run all blocks of a page, in their order, in one folder.

    Args:
        page: the tutorial.
        folder: an empty folder; the examples are copied there.
    """
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
    }
    ran = []
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        language, text = found.group(1), found.group("text")
        if language == "bash":
            text = text.replace("crystal-diffusion ", f"{sys.executable} -m crystal_diffusion ")
            words = ["bash", "-c", text]
        else:
            words = [sys.executable, "-c", text]
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
        )
        told = "\n".join(
            line.rstrip()
            for line in (done.stdout + done.stderr).replace(str(folder) + "/", "").splitlines()
            if line.strip() and "Warning" not in line
        )
        ran.append(Ran(found.group("text"), told, done.returncode))
    return ran


def written(page: Path, ran: list[Ran]) -> str:
    """The page with the output below each command."""
    told = iter(ran)

    def block(found: re.Match[str]) -> str:
        lines = next(told).told.splitlines()
        shown = [*lines[:_LINES], *(["…"] if len(lines) > _LINES else [])]
        output = "\n```text\n" + "\n".join(shown) + "\n```\n" if shown else ""
        return f"```{found.group(1)}\n{found.group('text')}```\n{output}"

    return _BLOCK.sub(block, page.read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    worst = 0
    for page in options.pages:
        with tempfile.TemporaryDirectory() as name:
            ran = run_page(page, Path(name))
            for one in ran:
                print(f"--- {page.name}, exit code {one.code}\n{one.text}\n{one.told}", flush=True)
                worst = max(worst, 0 if one.code in _FINE else one.code)
            if options.write:
                page.write_text(written(page, ran), encoding="utf-8")
                for picture in Path(name).glob("*.png"):
                    to = page.parents[1] / "pictures" / "tutorials"
                    shutil.copy(picture, to / f"{page.stem}-{picture.name}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
