"""The short form of the fault campaign (`make faults` is the long one): one kill of each verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "faults.py"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "generate", "screen"])
def test_what_is_stopped_ends_like_what_is_not(verb: str) -> None:
    words = [sys.executable, str(SCRIPT), "--rounds", "1", "--verbs", verb]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
