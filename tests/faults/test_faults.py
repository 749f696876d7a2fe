"""The short form of the fault campaign (`make faults` is the long one): a kill of each verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "faults.py"


def campaign(*words: str) -> None:
    """Run it in a process of its own, which may fork."""
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_fetch_that_is_stopped_ends_like_one_that_is_not() -> None:
    campaign("--kills", "2", "--verbs", "fetch")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "generate", "screen", "discover"])
def test_what_is_stopped_ends_like_what_is_not(verb: str) -> None:
    campaign("--kills", "1", "--verbs", verb)
