"""Ray: the same answers as in this process, also when a worker is killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy.pooled_relaxation import RelaxTask, relax_many, relax_task
from crystal_diffusion.energy.relaxation import RelaxLimits, RelaxResult
from crystal_diffusion.parallel.executors import HereExecutor, RayExecutor

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")


def shaken(seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
    coords = cell.frac_coords + rng.normal(0, 0.03, (2, 3))
    return Structure(cell.lattice, cell.species, coords)


def kill_once(task: tuple[RelaxTask, str | None]) -> RelaxResult:
    """Relax; where a marker file is named and not there yet, make it and kill this worker."""
    work, marker = task
    if marker is not None and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return relax_task(work)


def always_kill(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.fixture(scope="module")
def cluster() -> RayExecutor:
    """Two workers on this machine, shared by the tests of this file."""
    try:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100 * 2**20,
            runtime_env={
                "env_vars": {
                    "PYTHONPATH": os.pathsep.join([os.getcwd(), str(Path(__file__).parent)])
                }
            },
        )
    except Exception as error:  # sandboxes without shared memory or sockets
        pytest.skip(f"a local Ray cluster cannot be started here: {error}")
    yield RayExecutor(processes=2, retries=1)
    ray.shutdown()


def test_a_killed_worker_changes_no_answer(cluster: RayExecutor, tmp_path: Path) -> None:
    limits = RelaxLimits(max_steps=10)
    tasks = {str(i): RelaxTask(shaken(i), "pair", limits) for i in range(4)}
    marker = str(tmp_path / "killed")
    sent = [(key, (task, marker if key == "1" else None)) for key, task in tasks.items()]
    found = dict(cluster(kill_once, sent))
    assert Path(marker).exists()
    expected = dict(HereExecutor()(relax_task, tasks.items()))
    assert set(found) == set(expected)
    for key, outcome in found.items():
        assert outcome.value is not None, outcome.problem
        assert expected[key].value is not None
        assert outcome.value.energy == expected[key].value.energy
        assert outcome.value.structure == expected[key].value.structure


def test_a_task_that_always_kills_is_recorded_and_the_rest_goes_on(cluster: RayExecutor) -> None:
    found = dict(cluster(always_kill, [(str(i), i) for i in range(3)]))
    assert {key for key, outcome in found.items() if outcome.value is not None} == {"0", "2"}
    assert "Ray worker died 2 times" in found["1"].problem


def test_relax_many_does_not_depend_on_the_executor(cluster: RayExecutor) -> None:
    work = [(str(i), shaken(i)) for i in range(2)]
    here = dict(relax_many(work, "pair", executor=HereExecutor()))
    there = dict(relax_many(work, "pair", executor=cluster))
    assert {k: r.energy for k, r in here.items()} == {k: r.energy for k, r in there.items()}
