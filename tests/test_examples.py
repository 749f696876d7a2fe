"""Every example runs as it stands, and the public names are all there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crystal_diffusion

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if path.name == "usage_guide.py":
        losses = [float(x) for x in re.findall(r"Loss: ([0-9.]+)", done.stdout)]
        assert len(losses) == 5 and losses[-1] < losses[0]
        assert "After correction: True" in done.stdout
        page = (tmp_path / "usage_guide.html").read_text()
        assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")
    if path.name == "extensions.py":
        losses = [float(x) for x in re.findall(r"Conditional loss: ([0-9.]+)", done.stdout)]
        assert len(losses) == 4 and losses[-1] < losses[0]
        moved = re.search(r"\(4, 2, 3\), moved by ([0-9.]+)", done.stdout)
        assert moved is not None and float(moved[1]) > 0.001
        words = re.search(r"words: \(4, 2, 3\), moved by ([0-9.]+)", done.stdout)
        assert words is not None and float(words[1]) > 0.0005
        alike = re.search(r"NaCl: (\d+) of \d+ samples alike", done.stdout)
        spread = re.search(r"Spread of a site: (nan|[0-9.]+)", done.stdout)
        assert alike is not None and spread is not None
        assert (int(alike[1]) == 1) == (spread[1] == "nan")
        before, after = re.findall(r"positions alone: ([0-9.]+)", done.stdout)
        assert float(after) < float(before)
        head = re.search(r"encoder: ([0-9.]+) g/cm3 off, the mean ([0-9.]+)", done.stdout)
        assert head is not None and float(head[1]) < float(head[2])


@pytest.mark.parametrize("name", crystal_diffusion.__all__)
def test_public_names(name: str) -> None:
    assert getattr(crystal_diffusion, name).__doc__


def test_importing_costs_nothing() -> None:
    code = "import sys, crystal_diffusion; print('torch' in sys.modules, 'pymatgen' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = crystal_diffusion.nothing
