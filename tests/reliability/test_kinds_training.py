"""Training and models: kinds 1, 4, 8, 9, 12 and 15 of docs/reliability.md."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.data.training_set import load_training_set, save_training_set
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, LatticeStatistics
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.training.checkpoint import MODEL_FILE, load_model, read_header, save_model
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit
from crystal_diffusion.workflows.train import train


def batch(shift: float = 0.0) -> CrystalBatch:
    coords = [np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5 + shift]])] * 6
    lattice = np.stack([np.diag([4.0 + 0.1 * i, 4.2, 5.0]) for i in range(6)])
    return CrystalBatch.from_arrays(coords, lattice, [np.array([11, 17])] * 6)


def small_model(data: CrystalBatch) -> JointDiffusion:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointDiffusion(
            JointConfig(
                network="transformer",
                network_options={"dim": 16, "layers": 1, "heads": 2},
                statistics=LatticeStatistics.from_batch(data),
                max_train_atoms=2,
                elements=(11, 17),
            )
        )


def sources(count: int, edge: float) -> list[dict[str, Any]]:
    return [
        {
            "positions": [[0, 0, 0], [0.5, 0.5, 0.5]],
            "atom_types": [11, 17],
            "lattice": np.diag([edge, edge + 0.1 * i, edge]).tolist(),
        }
        for i in range(count)
    ]


def test_kind_01_training_does_not_go_on_with_other_data_of_the_same_number(
    tmp_path: Path,
) -> None:
    config = TrainingConfig(steps=4, tokens=32, precision="float32")
    fit(small_model(batch()), batch(), config, tmp_path)
    with pytest.raises(CheckpointError, match="data"):
        fit(small_model(batch()), batch(0.1), config, tmp_path)
    with pytest.raises(CheckpointError, match="network"):
        fit(small_model(batch()), batch(), config, tmp_path, identity={"network": 1})  # first run
        fit(small_model(batch()), batch(), config, tmp_path, identity={"network": 2})
    assert fit(small_model(batch()), batch(), config, tmp_path).steps == 4


def test_kind_04_a_refused_training_has_written_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dim": 16, "layers": 1, "steps": 20, "device": "cpu"}
    train(sources(4, 4.0), tmp_path, **options)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(CheckpointError, match="other settings"):
        train(sources(4, 4.5), tmp_path, **options)
    with pytest.raises(CheckpointError, match="other settings"):
        train(sources(4, 4.0), tmp_path, **{**options, "dim": 24})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    (tmp_path / "state.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no state.safetensors"):
        train(sources(4, 4.5), tmp_path, **options)


def test_kind_08_early_stopping_is_the_same_after_a_resume(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    kept = list(scores)

    def monitor(step: int, model: JointDiffusion) -> dict[str, float]:
        return {"score": kept[step // 2 - 1]}

    config = TrainingConfig(
        steps=16, tokens=32, precision="float32", monitor_every=2, patience=4, log_every=1
    )
    straight = fit(small_model(batch()), batch(), config, tmp_path / "a", monitor=monitor)
    assert straight.stopped == "early" and straight.steps == 12
    stops = iter([5, 9])
    for stop in stops:

        def on_step(step: int, loss: float, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            slow = TrainingConfig(**{**vars(config), "checkpoint_seconds": 0.0})
            fit(small_model(batch()), batch(), slow, tmp_path / "b", monitor=monitor,
                on_step=on_step)  # fmt: skip
    resumed = fit(small_model(batch()), batch(), config, tmp_path / "b", monitor=monitor)
    assert (resumed.stopped, resumed.steps) == ("early", 12)
    again = fit(small_model(batch()), batch(), config, tmp_path / "b", monitor=monitor)
    assert (again.stopped, again.steps) == ("early", 12)


def test_kind_09_one_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    model = small_model(batch())
    file = tmp_path / MODEL_FILE
    save_model(file, model, dict(model.named_parameters()), {})
    whole = file.read_bytes()
    load_model(file)
    start = int.from_bytes(whole[:8], "little") + 8
    rng = np.random.default_rng(0)
    for place in rng.integers(start, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match="damaged"):
            load_model(file)


def test_kind_12_model_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        model = small_model(batch())
        save_model(tmp_path / MODEL_FILE, model, dict(model.named_parameters()), {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / MODEL_FILE).stat().st_mode) == 0o644


def rewritten(file: Path, change: Any) -> None:
    """The model file with a changed header, its checksum as it was."""
    import json

    header = read_header(file)
    tensors = load_file(file)
    change(header, tensors)
    save_file(tensors, file, {"crystal_diffusion": json.dumps(header)})


@pytest.mark.parametrize("entry", ["model", "statistics", "network_options", "elements"])
@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [1, 2], {"dim": "wide"}])
def test_kind_15_headers_of_other_kinds(tmp_path: Path, entry: str, value: Any) -> None:
    model = small_model(batch())
    file = tmp_path / MODEL_FILE
    save_model(file, model, dict(model.named_parameters()), {})

    def change(header: dict[str, Any], tensors: Any) -> None:
        if entry == "model":
            header["model"] = value
        else:
            header["model"][entry] = value

    rewritten(file, change)
    if entry == "elements" and value in ([], [1, 2], {}):
        load_model(file)
        return
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(file)


def test_kind_15_weights_that_are_not_finite(tmp_path: Path) -> None:
    model = small_model(batch())
    weights = {k: v.clone() for k, v in model.named_parameters()}
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_model(tmp_path / MODEL_FILE, model, weights, {})
    with pytest.raises(CheckpointError, match="not finite"):
        load_model(tmp_path)


def test_kind_15_damaged_training_sets_are_one_sentence(tmp_path: Path) -> None:
    arrays = CrystalArrays(
        ("a", "b"),
        np.stack([np.eye(3) * 4.0] * 2),
        np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0.5]]),
        np.array([11, 17, 3]),
        np.array([0, 2, 3]),
        {"hardness": np.array([7.5, np.nan]), "a/b": np.array([1.0, 2.0])},
    )
    file = tmp_path / "training_set.npz"
    save_training_set(file, arrays)
    stored = load_training_set(file)
    assert stored.ids == ("a", "b") and stored.properties.keys() == {"hardness", "a/b"}
    np.testing.assert_array_equal(stored.properties["hardness"], [7.5, np.nan])
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), int(rng.integers(1, 6))):
            damaged[place] = int(rng.integers(256))
        file.write_bytes(bytes(damaged[: int(rng.integers(1, len(whole) + 1))]))
        try:
            load_training_set(file)
        except CheckpointError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 150
