"""The short form of the fuzz campaign (`make fuzz` is the long one), in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crystal_diffusion.energy import potentials
from crystal_diffusion.known import index

sys.path.insert(0, str(Path(__file__).parent))

SHORT = {"readers": 400, "runs": 24, "models": 24, "arguments": 12, "folders": 24}


@pytest.mark.parametrize("target", list(SHORT))
def test_damaged_input_is_read_or_refused(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import targets

    # The campaign exchanges both for good, in a process of its own; here others come after it.
    monkeypatch.setattr(index, "load_known", index.load_known)
    monkeypatch.setattr(potentials, "POTENTIALS", dict(potentials.POTENTIALS))

    words = {targets.TARGETS[target](number, tmp_path) for number in range(SHORT[target])}
    assert words <= {"read", "refused"}
