"""Shared fixtures: one thread, so that times and roundings do not depend on the machine."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out unless they are asked for with ``-m slow``."""
    if config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason="minutes long; run `make slow`")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
