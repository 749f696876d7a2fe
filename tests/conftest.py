"""Shared fixtures: one thread, one trained model a session, and nothing skipped where it can run.

One thread, so that times and roundings do not depend on the machine. With the environment
variable ``NOTHING_SKIPPED`` set, as ``.ci/run`` does after it installed all that tests can use, a
test that is skipped for want of something fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Workers of Ray step back behind everything else, also behind the tests that wait for them.
os.environ.setdefault("RAY_worker_niceness", "0")

import jaxtyping
import pytest
import torch

from tests.shape_checks import shapes_only

torch.set_num_threads(1)

#: Where the shapes and types of every call, answer and dataclass are checked while tests run.
SHAPED = [
    f"crystal_diffusion.{name}"
    for name in ("crystal", "geometry", "seeding", "networks", "diffusion", "training.steps")
]
jaxtyping.install_import_hook(SHAPED, f"{shapes_only.__module__}.{shapes_only.__qualname__}")

if TYPE_CHECKING:
    from crystal_diffusion.generation.generator import CrystalGenerator

_MINUTES_LONG = "minutes long; run `make slow`"
#: Files that take long begin first, so that none of them is left alone at the end: a file's tests
#: run one after another, whatever the number of cores.
_LONG_FILES = (
    "test_tutorials",
    "test_axe",
    "test_app_server",
    "test_app_in_browser",
    "test_in_browser",
    "test_several_processes",
    "test_faults",
    "test_fuzz",
)


def pytest_xdist_auto_num_workers() -> int:
    """``-n auto`` takes the cores that this process may use, not all that the machine has."""
    from crystal_diffusion.parallel import usable_cores

    return usable_cores()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; leave the slow tests out unless they are asked for with ``-m slow``."""
    items.sort(key=lambda item: item.path.stem not in _LONG_FILES)
    if config.getoption("-m"):
        return
    skip = pytest.mark.skip(reason=_MINUTES_LONG)
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if _MINUTES_LONG not in reason and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} must not be skipped here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """A skipped test fails where everything is there that tests can use."""
    report = yield
    if report.skipped and os.environ.get("NOTHING_SKIPPED"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    """The same for a file that is skipped as a whole."""
    report = yield
    if report.skipped and os.environ.get("NOTHING_SKIPPED"):
        _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a few steps only: what is guaranteed must hold with it too.

    Test processes that run side by side share the one that the first of them trains.
    """
    from filelock import FileLock

    from crystal_diffusion.data.demo import create_demo_dataset
    from crystal_diffusion.workflows.train import train

    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder, done = shared / "trained-model", shared / "trained-model.done"
    with FileLock(shared / "trained-model.lock"):
        if not done.exists():
            train(create_demo_dataset(), folder, steps=12, dim=32, layers=2, patience=0)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def generator(model_folder: Path) -> CrystalGenerator:
    """The generator of that model."""
    from crystal_diffusion import load

    return load(model_folder, "cpu")
