"""One screened run for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screened run."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")
