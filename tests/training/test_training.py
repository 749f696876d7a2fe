"""Training: exact resume after any kill, checkpoints that explain themselves, clear failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.errors import CheckpointError, InputError, TrainingError
from crystal_diffusion.testing import named_crystals
from crystal_diffusion.training.batches import (
    BatchPlan,
    Upcoming,
    bucketed_batches,
    draw_levels,
    made_by_processes,
)
from crystal_diffusion.training.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    load_model,
    read_header,
    read_tensors,
    write_tensors,
)
from crystal_diffusion.training.config import DEFAULT_TASKS, TrainingConfig
from crystal_diffusion.training.loop import fit, use_bfloat16
from crystal_diffusion.training.symmetry import find_symmetry
from crystal_diffusion.workflows.train import defaults_for

TINY = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 16, "frequencies": 2}
CONFIG = TrainingConfig(
    steps=12, tokens=16, warmup=3, decay=4, learning_rate=3e-3, log_every=1, precision="float32"
)


def crystals() -> CrystalBatch:
    return CrystalBatch.concatenate(list(named_crystals().values()) * 3)


def fresh() -> JointDiffusion:
    torch.manual_seed(0)
    statistics = LatticeStatistics.from_batch(crystals())
    return JointDiffusion(JointConfig(network_options=TINY, statistics=statistics))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / MODEL_FILE)


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_slice_at_a_time_ends_with_the_same_weights(tmp_path: Path) -> None:
    fit(fresh(), crystals(), CONFIG, tmp_path / "whole")
    for _ in range(30):
        if fit(fresh(), crystals(), CONFIG, tmp_path / "parts", stop_after_seconds=0.0).steps >= 12:
            break
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    lines = [json.loads(x) for x in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))


def test_training_learns(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=120, decay=40, tokens=96, tasks={"composition": 1.0})
    result = fit(fresh(), crystals(), config, tmp_path)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert result.stopped == "finished"
    lattice = [line["lattice"] for line in lines]
    assert sum(lattice[-20:]) < 0.8 * sum(lattice[:20])


_CHILD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from dataclasses import replace
from test_training import CONFIG, crystals, fresh
from crystal_diffusion.training.loop import fit
print("ready", flush=True)
fit(fresh(), crystals(), replace(CONFIG, steps=60, checkpoint_seconds=0.0), Path({out!r}))
"""


def test_sigkill_loses_nothing(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = _CHILD.format(root=root, tests=str(Path(__file__).parent), out=str(tmp_path / "killed"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    deadline = time.monotonic() + 60
    state = tmp_path / "killed" / STATE_FILE
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    _, header = read_tensors(state)
    assert header["step"] < 60
    config = replace(CONFIG, steps=60)
    fit(fresh(), crystals(), config, tmp_path / "killed")
    fit(fresh(), crystals(), config, tmp_path / "whole")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_other_settings_are_refused_on_resume(tmp_path: Path) -> None:
    fit(fresh(), crystals(), replace(CONFIG, steps=2), tmp_path)
    with pytest.raises(CheckpointError, match="other settings .learning_rate."):
        fit(fresh(), crystals(), replace(CONFIG, learning_rate=1e-5), tmp_path)
    assert fit(fresh(), crystals(), replace(CONFIG, steps=4), tmp_path).steps == 4


def test_accumulation_is_the_same_step(tmp_path: Path) -> None:
    fit(fresh(), crystals(), replace(CONFIG, steps=3), tmp_path / "one")
    fit(fresh(), crystals(), replace(CONFIG, steps=3, accumulate=3), tmp_path / "three")
    assert losses(tmp_path / "three") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_nan_stops_with_step_batch_and_remedy(tmp_path: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.network.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"at step \d+, crystals \[.*Lower the learning rate"):
        fit(model, crystals(), CONFIG, tmp_path)


def test_checkpoint_explains_itself(tmp_path: Path) -> None:
    model = fresh()
    fit(model, crystals(), replace(CONFIG, steps=2), tmp_path, header={"trained_on": "six"})
    header = read_header(tmp_path / MODEL_FILE)
    assert header["trained_on"] == "six" and header["steps"] == 2
    loaded, _ = load_model(tmp_path)
    for (name, a), b in zip(loaded.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_broken_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_model(tmp_path / "nothing")
    fit(fresh(), crystals(), replace(CONFIG, steps=1), tmp_path)
    file = tmp_path / MODEL_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_model(tmp_path)
    write_tensors(file, {"a": torch.zeros(1)}, {"format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        load_model(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_model(tmp_path)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.safetensors"
    write_tensors(file, {"a": torch.ones(2)}, {"format": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crystal_diffusion.files.os.replace", full)
    with pytest.raises((CheckpointError, OSError)):
        write_tensors(file, {"a": torch.zeros(2)}, {"format": 1})
    assert torch.equal(load_file(file)["a"], torch.ones(2))


def test_batches_cover_an_epoch_once_and_waste_little() -> None:
    atoms = np.random.default_rng(0).integers(1, 21, 5000)
    batches = bucketed_batches(atoms, 512, seed=3, epoch=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    padded = sum(len(b) * (atoms[b].max() + 1) for b in batches)
    assert (atoms + 1).sum() / padded > 0.97
    assert max(len(b) * (atoms[b].max() + 1) for b in batches) <= 512
    plan = BatchPlan(atoms, 512, 3)
    again = BatchPlan(atoms, 512, 3)
    assert np.array_equal(plan.batch(plan.per_epoch + 5), again.batch(plan.per_epoch + 5))


def test_levels_ask_every_question() -> None:
    batch = CrystalBatch.concatenate([named_crystals()["triclinic"]] * 3000)
    levels = draw_levels(batch, DEFAULT_TASKS, torch.Generator().manual_seed(0))
    free_elements = (levels.elements > 0).float().mean().item()
    wanted = sum(DEFAULT_TASKS[k] for k in ("nothing", "decoration", "independent"))
    assert free_elements == pytest.approx(wanted, abs=0.03)
    composition = (levels.elements == 0) & (levels.lattice > 0) & (levels.coords > 0).all(-1)
    assert composition.float().mean().item() == pytest.approx(
        DEFAULT_TASKS["composition"], abs=0.03
    )
    assert levels.coords.max() <= 1 and levels.coords.min() >= 0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="precision 'half'"):
        TrainingConfig(precision="half")
    with pytest.raises(InputError, match="tasks"):
        TrainingConfig(tasks={"guess": 1.0})
    assert use_bfloat16("bfloat16", torch.device("cpu"))
    assert not use_bfloat16("float32", torch.device("cpu"))


@pytest.mark.parametrize("network", ["transformer", "unet"])
@pytest.mark.parametrize("physics_weight", [0.0, 0.1])
def test_training_in_bfloat16_gives_nearly_the_same_losses(
    tmp_path: Path, network: str, physics_weight: float
) -> None:
    """Machines with bf16 choose it by themselves; cells have no decompositions in it."""

    def run(precision: str) -> list[float]:
        torch.manual_seed(0)
        statistics = LatticeStatistics.from_batch(crystals())
        options = TINY if network == "transformer" else {"hidden_dim": 32}
        model = JointDiffusion(
            JointConfig(network=network, network_options=options, statistics=statistics)
        )
        # Heads start at zero; with that, both precisions would answer the same.
        for head in (model.network.coords_out, model.network.lattice_out):
            torch.nn.init.normal_(head.weight, std=0.1)
        config = replace(CONFIG, precision=precision, physics_weight=physics_weight)
        fit(model, crystals(), config, tmp_path / precision)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        return losses(tmp_path / precision)

    rough, exact = run("bfloat16"), run("float32")
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.02)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """torchrun with two processes gives the losses and weights of one process."""
    root = str(Path(__file__).parents[2])
    script = tmp_path / "child.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = [{root!r}, {str(Path(__file__).parent)!r}]\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from dataclasses import replace\n"
        "from test_training import CONFIG, crystals, fresh\n"
        "from crystal_diffusion.training.loop import fit\n"
        f"fit(fresh(), crystals(), replace(CONFIG, steps=4), Path({str(tmp_path / 'two')!r}))\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--standalone",
            str(script),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    fit(fresh(), crystals(), replace(CONFIG, steps=4), tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_steps_made_beforehand_are_the_same_steps(ahead: int) -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return step * step

    upcoming = Upcoming(make, 4, 9, ahead)
    assert [upcoming(step) for step in range(4, 9)] == [16, 25, 36, 49, 64]
    assert made == [4, 5, 6, 7, 8]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_steps_prepared_by_processes_train_the_same_weights(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=4, symmetric=0.5)
    alone, helped = fresh(), fresh()
    fit(alone, crystals(), config, tmp_path / "alone")
    fit(helped, crystals(), config, tmp_path / "helped", processes=2)
    for one, other in zip(alone.parameters(), helped.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_symmetry_found_beforehand_is_used(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=3, symmetric=1.0)
    data, table = find_symmetry(crystals())
    alone, given = fresh(), fresh()
    fit(alone, crystals(), config, tmp_path / "alone")
    fit(given, data, config, tmp_path / "given", symmetry=table)
    for one, other in zip(alone.parameters(), given.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_error_while_a_step_is_made_beforehand_reaches_the_loop() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("row 7 has no atoms")
        return step

    upcoming = Upcoming(make, 0, 5, 2)
    assert [upcoming(0), upcoming(1)] == [0, 1]
    with pytest.raises(ValueError, match="row 7"):
        upcoming(2)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_an_error_in_a_process_that_prepares_steps_reaches_the_loop() -> None:
    def make(step: int) -> int:
        if step == 5:
            raise ValueError("row 7 has no atoms")
        return step * step

    upcoming = made_by_processes(make, 3, 9, 2)
    assert [upcoming(3), upcoming(4)] == [9, 16]
    with pytest.raises(ValueError, match="row 7"):
        upcoming(5)


def test_an_accelerator_gets_larger_batches_and_as_many_steps() -> None:
    for crystals in (5_000, 60_000):
        small, large = defaults_for(crystals, "cpu"), defaults_for(crystals, "cuda")
        assert large.tokens > 4 * small.tokens
        assert large.epochs / large.tokens == small.epochs / small.tokens
    assert defaults_for(24, "cuda") == defaults_for(24, "cpu")
