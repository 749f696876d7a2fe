"""A run in parts: the same crystals under every executor, and a lost part named."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystal_diffusion import GenerationSettings, Request, SamplerSettings, load
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation import spread
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.result import GenerationResult
from crystal_diffusion.generation.spread import run_spread
from crystal_diffusion.parallel.executors import HereExecutor, Outcome

FAST = GenerationSettings(sampler=SamplerSettings(steps=3), max_attempts=3)
SALT = Request(formula="NaCl", z=(1, 2))


@pytest.fixture(scope="module")
def generator() -> CrystalGenerator:
    return load(None, "cpu")


@pytest.fixture(scope="module")
def whole(generator: CrystalGenerator) -> GenerationResult:
    return generator.run(SALT, 7, seed=3, settings=FAST)


EXACT = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, primitive_cell=False, scale=False)


def same(one: GenerationResult, other: GenerationResult) -> None:
    assert sorted(one.structures) == sorted(other.structures)
    assert one.missing.keys() == other.missing.keys()
    assert one.rejected == other.rejected
    for name, structure in one.structures.items():
        twin = other.structures[name]
        # A reduced cell with equal edges can be written with its axes in any order: the last bit,
        # which depends on the size of the batch, decides.
        assert np.allclose(sorted(structure.lattice.abc), sorted(twin.lattice.abc), atol=1e-3)
        assert EXACT.fit(structure, twin)
    rows = [{row["id"]: row["group"] for row in run.rows} for run in (one, other)]
    assert rows[0] == rows[1]


def test_parts_are_the_undivided_run(
    generator: CrystalGenerator, whole: GenerationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "PART", 3)
    seen: list[int] = []
    parts = run_spread(
        generator, SALT, 7, seed=3, settings=FAST, executor="here", progress=seen.append
    )
    assert len(parts) == 7 and seen == [3, 6, 7]
    same(parts, whole)


def test_worker_processes_make_the_same(
    generator: CrystalGenerator, whole: GenerationResult
) -> None:
    local = run_spread(generator, SALT, 7, seed=3, settings=FAST, executor="local", processes=1)
    same(local, whole)


def test_ray_makes_the_same(generator: CrystalGenerator, whole: GenerationResult) -> None:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # sandboxes without shared memory or sockets
        pytest.skip(f"a local Ray cluster cannot be started here: {error}")
    try:
        found = run_spread(generator, SALT, 7, seed=3, settings=FAST, executor="ray")
    finally:
        ray.shutdown()
    same(found, whole)


def test_a_lost_part_is_named_and_the_rest_kept(
    generator: CrystalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "PART", 2)

    class Losing(HereExecutor):
        def __call__(self, function, tasks):  # type: ignore[no-untyped-def]
            for key, outcome in super().__call__(function, tasks):
                yield key, Outcome(None, "the worker process died") if key == "2" else outcome

    monkeypatch.setattr("crystal_diffusion.parallel.executors.make_executor", lambda *_: Losing())
    result = run_spread(generator, SALT, 5, seed=3, settings=FAST)
    assert set(result.missing) == {2, 3}
    assert sorted(result.structures) == ["cd0000", "cd0001", "cd0004"]
    assert set(result.missing.values()) == {"the worker process died"}


def test_a_model_in_no_file_is_refused(generator: CrystalGenerator) -> None:
    loose = CrystalGenerator(generator.model, {})
    with pytest.raises(InputError, match="save it"):
        run_spread(loose, SALT, 1)
    with pytest.raises(InputError, match="not known"):
        run_spread(generator, SALT, 1, executor="cloud")
