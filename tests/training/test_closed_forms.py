"""The loop against closed forms: averaged weights, learning rate, early stop, loss, levels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from crystal_diffusion import geometry
from crystal_diffusion.crystal import MASK_ELEMENT, CrystalBatch
from crystal_diffusion.diffusion.joint import (
    JointConfig,
    JointDiffusion,
    LatticeStatistics,
    Levels,
)
from crystal_diffusion.networks.protocol import NoisyCrystals
from crystal_diffusion.training.batches import draw_levels
from crystal_diffusion.training.checkpoint import MODEL_FILE
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit, prepare_step
from tests.crystals import triclinic_batch
from tests.models import TINY, Scripted, tiny_model

CONFIG = TrainingConfig(
    steps=14, tokens=64, warmup=4, decay=5, learning_rate=3e-3, log_every=1, precision="float32"
)


def data() -> CrystalBatch:
    return triclinic_batch(crystals=12, atoms=4)


def fresh() -> JointDiffusion:
    torch.manual_seed(0)
    statistics = LatticeStatistics.from_batch(data())
    return JointDiffusion(JointConfig(network_options=TINY, statistics=statistics))


def weights(model: JointDiffusion) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def averaged(history: Sequence[Mapping[str, Tensor]], ema: float) -> dict[str, Tensor]:
    """The average written out: after step n it keeps min(ema, (1 + n)/(10 + n)) of itself."""
    mean = {name: value.double() for name, value in history[0].items()}
    for number, now in enumerate(history[1:], start=1):
        keep = min(ema, (1 + number) / (10 + number))
        mean = {k: keep * mean[k] + (1 - keep) * now[k].double() for k in mean}
    return {name: value.float() for name, value in mean.items()}


@pytest.mark.parametrize("ema", [0.999, 0.3])
def test_averaged_weights_are_the_closed_form(tmp_path: Path, ema: float) -> None:
    model = fresh()
    history = [weights(model)]
    fit(
        model, data(), replace(CONFIG, ema=ema), tmp_path,
        on_step=lambda step, loss: history.append(weights(model)),
    )  # fmt: skip
    expected = averaged(history, ema)
    saved = load_file(tmp_path / MODEL_FILE)
    assert largest(expected, saved) < 1e-6
    # What comes back is the average too, and it is not the last weights.
    assert largest(expected, weights(model)) < 1e-6
    assert largest(history[-1], saved) > 1e-4


def test_the_monitor_sees_averaged_weights_and_leaves_no_trace(tmp_path: Path) -> None:
    model = fresh()
    history = [weights(model)]
    seen: list[tuple[int, dict[str, Tensor]]] = []

    def monitor(step: int, shown: JointDiffusion) -> Mapping[str, float]:
        assert not shown.training
        seen.append((step, weights(shown)))
        return {"score": 0.0}

    config = replace(CONFIG, ema=0.6, monitor_every=5)
    fit(
        model, data(), config, tmp_path / "watched", monitor=monitor,
        on_step=lambda step, loss: history.append(weights(model)),
    )  # fmt: skip
    assert [step for step, _ in seen] == [5, 10]
    for step, shown in seen:
        assert largest(averaged(history[: step + 1], 0.6), shown) < 1e-6
    plain = fresh()
    fit(plain, data(), replace(config, monitor_every=0), tmp_path / "plain")
    assert largest(weights(plain), weights(model)) == 0


def test_learning_rate_rises_holds_and_falls() -> None:
    config = TrainingConfig(steps=100, warmup=10, decay=20, learning_rate=0.5)
    rates = np.array([config.rate(step) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 0.5 * np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:81], 0.5)
    np.testing.assert_allclose(rates[80:], 0.5 * np.arange(20, 0, -1) / 20)
    # Where rise and fall meet, the smaller of the two holds.
    short = TrainingConfig(steps=6, warmup=4, decay=4, learning_rate=1.0)
    expected = [1 / 4, 2 / 4, 3 / 4, 3 / 4, 2 / 4, 1 / 4]
    np.testing.assert_allclose([short.rate(step) for step in range(6)], expected)


def test_the_loop_uses_the_rate_of_its_step(tmp_path: Path) -> None:
    """Adam's first step moves every weight with a gradient by the learning rate itself."""
    model = fresh()
    config = replace(CONFIG, steps=2, warmup=4, decay=1, weight_decay=0.0, clip=1e9)
    history = [weights(model)]
    fit(
        model, data(), config, tmp_path,
        on_step=lambda step, loss: history.append(weights(model)),
    )  # fmt: skip
    assert largest(history[1], history[0]) == pytest.approx(config.learning_rate / 4, rel=1e-2)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx(
        [config.rate(0), config.rate(1)]
    )


def test_every_step_is_that_of_adamw_at_the_rate_of_its_step(tmp_path: Path) -> None:
    """Loshchilov and Hutter (2019), algorithm 2, replayed with the gradients of the run."""
    model = fresh()
    gradients: list[dict[str, Tensor]] = []
    expected = {name: value.double() for name, value in weights(model).items()}

    def keep(step: int, loss: float) -> None:
        gradients.append(
            {
                name: p.grad.double().clone()
                for name, p in model.named_parameters()
                if p.grad is not None
            }
        )
        history.append(weights(model))

    history: list[dict[str, Tensor]] = []
    config = replace(CONFIG, steps=6, warmup=3, decay=2, weight_decay=0.1, clip=0.5)
    fit(model, data(), config, tmp_path, on_step=keep)
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    rates = [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 0.5]
    for number, given in enumerate(gradients, start=1):
        norm = math.sqrt(sum(float(g.square().sum()) for g in given.values()))
        assert norm <= 0.5 + 1e-4
        rate = config.learning_rate * rates[number - 1]
        for name, gradient in given.items():
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.98 * second[name] + 0.02 * gradient**2
            step = first[name] / (1 - 0.9**number)
            step = step / (torch.sqrt(second[name] / (1 - 0.98**number)) + 1e-8)
            expected[name] = expected[name] * (1 - rate * 0.1) - rate * step
        for name in given:
            error = (history[number - 1][name].double() - expected[name]).abs().max()
            assert float(error) < 2e-5, (number, name)


def test_a_gradient_clipped_to_nothing_moves_nothing(tmp_path: Path) -> None:
    model = fresh()
    before = weights(model)
    fit(model, data(), replace(CONFIG, steps=3, clip=0.0, weight_decay=0.0), tmp_path)
    assert largest(weights(model), before) == 0


def run_with(scores: Sequence[float], patience: int, out: Path, steps: int = 24) -> tuple[int, str]:
    told = iter(scores)

    def monitor(step: int, model: JointDiffusion) -> Mapping[str, float]:
        return {"score": next(told)}

    config = replace(CONFIG, steps=steps, monitor_every=2, patience=patience, tokens=8)
    result = fit(fresh(), data(), config, out, monitor=monitor)
    return result.steps, result.stopped


@pytest.mark.parametrize(
    ("scores", "patience", "expected"),
    [
        # Best at step 6; three more do not rise, but the first half always runs.
        ([0.1, 0.2, 0.3] + [0.3] * 9, 3, (14, "early")),
        # Best at step 16; patience ends three monitorings later.
        ([0.1 * k for k in range(1, 9)] + [0.5] * 4, 3, (22, "early")),
        # A late rise starts the count anew.
        ([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5, 0.7, 0.6, 0.6, 0.6], 3, (24, "early")),
        ([0.1 * k for k in range(1, 13)], 3, (24, "finished")),
        ([0.5] * 12, 0, (24, "finished")),
        ([-1.0 * k for k in range(12)], 8, (18, "early")),
    ],
)
def test_early_stop_follows_the_script(
    tmp_path: Path, scores: list[float], patience: int, expected: tuple[int, str]
) -> None:
    assert run_with(scores, patience, tmp_path) == expected


def asked_for(task: str, atoms: int = 4) -> Levels:
    batch = triclinic_batch(crystals=400, atoms=atoms)
    return draw_levels(batch, {task: 1.0}, torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("task", "coords", "lattice", "elements"),
    [
        ("composition", True, True, False),
        ("nothing", True, True, True),
        ("lattice", True, False, False),
        ("decoration", False, False, True),
    ],
)
def test_a_question_noises_its_fields_together(
    task: str, coords: bool, lattice: bool, elements: bool
) -> None:
    levels = asked_for(task)
    common = torch.stack([levels.coords[:, 0], levels.lattice, levels.elements]).amax(0)
    for wanted, found in (
        (coords, levels.coords[:, 0]),
        (lattice, levels.lattice),
        (elements, levels.elements),
    ):
        torch.testing.assert_close(found, common if wanted else torch.zeros_like(common))
    assert (levels.coords == levels.coords[:, :1]).all()
    # Stratified: one level in each of 400 equal parts of [0, 1].
    np.testing.assert_allclose(np.sort(common.numpy()), (np.arange(400) + 0.5) / 400, atol=0.004)


def test_levels_of_hosts_and_of_independent_fields() -> None:
    host = asked_for("host", atoms=20)
    assert (host.lattice == 0).all() and (host.elements == 0).all()
    frozen = host.coords == 0
    assert 0.4 < frozen.float().mean() < 0.6
    moving = torch.where(frozen, torch.nan, host.coords)
    level = moving.nanmedian(-1, keepdim=True).values
    assert (frozen | (host.coords == level) | level.isnan()).all()
    free = asked_for("independent")
    fields = torch.stack([free.coords[:, 0], free.lattice, free.elements])
    assert (fields > 0).all()
    assert (torch.corrcoef(fields) - torch.eye(3)).abs().max() < 0.2


def noisy_levels(batch: CrystalBatch) -> Levels:
    crystals, atoms = batch.atomic_numbers.shape
    return Levels(
        torch.full((crystals, atoms), 0.5),
        torch.full((crystals,), 0.7),
        torch.full((crystals,), 0.5),
    )


def noises(batch: CrystalBatch) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    crystals, atoms = batch.atomic_numbers.shape
    return (
        torch.rand(crystals, atoms, 3, generator=g) - 0.5,
        torch.randn(crystals, 6, generator=g),
        torch.rand(crystals, atoms, generator=g),
    )


def test_the_loss_of_cells_and_elements_is_the_formula() -> None:
    model = tiny_model()
    batch = triclinic_batch()
    logits = torch.randn(3, 6, 100, generator=torch.Generator().manual_seed(1))
    cells = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    model.network = Scripted(lattice=lambda noisy: cells, elements=lambda noisy: logits)
    noise = noises(batch)
    terms = model.loss(batch, noisy_levels(batch), *noise, 0.3, 0.7, per_crystal=True)
    (noisy,) = model.network.asked
    clean = model.encode_lattice(batch.lattice, batch.num_atoms)
    torch.testing.assert_close(noisy.lattice_state, 0.3 * clean + 0.7 * noise[1])
    torch.testing.assert_close(terms.lattice, (cells - (noise[1] - clean)).square().mean(-1))
    lost = noise[2] < 0.5
    assert ((noisy.atomic_numbers == MASK_ELEMENT) == lost).all()
    for row in range(3):
        costs = [
            -math.log(
                float(torch.softmax(logits[row, k], -1)[int(batch.atomic_numbers[row, k]) - 1])
            )
            for k in range(6)
            if lost[row, k]
        ]
        assert terms.elements[row].item() == pytest.approx(np.mean(costs), rel=1e-4)
    total = terms.coords + 0.3 * terms.lattice + 0.7 * terms.elements
    torch.testing.assert_close(terms.total, total)
    means = model.loss(batch, noisy_levels(batch), *noise, 0.3, 0.7)
    torch.testing.assert_close(means.total, total.mean())
    torch.testing.assert_close(means.lattice, terms.lattice.mean())


def test_the_network_sees_the_noisy_crystal_that_the_process_makes() -> None:
    model = tiny_model()
    batch = triclinic_batch()
    seen: list[NoisyCrystals] = []
    model.network = Scripted(coords=lambda noisy: seen.append(noisy) or torch.ones(3, 6, 3))
    noise = noises(batch)
    terms = model.loss(batch, noisy_levels(batch), *noise, per_crystal=True)
    velocity = noise[0] - noise[0].mean(1, keepdim=True)
    torch.testing.assert_close(
        geometry.wrap_displacement(seen[0].frac_coords - batch.frac_coords), 0.5 * velocity
    )
    cell = model.decode_lattice(seen[0].lattice_state, batch.num_atoms)
    torch.testing.assert_close(seen[0].metric, cell @ cell.mT, rtol=1e-4, atol=1e-3)
    # An answer that moves all atoms alike moves nothing: the loss is that of the answer zero.
    model.network = Scripted()
    torch.testing.assert_close(
        terms.coords, model.loss(batch, noisy_levels(batch), *noise, per_crystal=True).coords
    )


def test_padding_and_given_atoms_have_no_part_in_the_loss() -> None:
    model = tiny_model()
    batch = triclinic_batch(crystals=1, atoms=4)
    noise = noises(batch)
    levels = noisy_levels(batch)
    plain = model.loss(batch, levels, *noise)
    wide = CrystalBatch.concatenate([batch, triclinic_batch(crystals=1, atoms=7, seed=3)])[[0, 1]]

    def pad(tensor: Tensor) -> Tensor:
        extra = torch.rand(1, 3, *tensor.shape[2:], generator=torch.Generator().manual_seed(8))
        return torch.cat([tensor, extra], 1)

    first = CrystalBatch(wide.frac_coords[:1], wide.lattice[:1], wide.atomic_numbers[:1])
    padded = model.loss(
        first,
        Levels(pad(levels.coords) * first.mask, levels.lattice, levels.elements),
        pad(noise[0]),
        noise[1],
        pad(noise[2]),
    )
    for name in ("total", "coords", "lattice", "elements"):
        torch.testing.assert_close(getattr(padded, name), getattr(plain, name))
    coords = levels.coords.clone()
    coords[0, 1] = 0.0
    held = model.loss(batch, replace(levels, coords=coords), *noise)
    # The untrained network answers zero; nothing is given its mean velocity back.
    free = torch.tensor([0, 2, 3])
    velocity = noise[0][0, free] * math.sqrt(12)
    scale = geometry.volume(batch.lattice) ** (1 / 3)
    expected = (velocity @ batch.lattice[0] / scale).square().sum() / 9
    assert held.coords.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_step_moves_each_crystal_as_a_whole_and_nothing_else() -> None:
    model = tiny_model()
    batch = data()
    rows = np.array([3, 0, 7])
    inputs = prepare_step(model, batch, rows, CONFIG, 5)
    again = prepare_step(model, batch, rows, replace(CONFIG, translate=False), 5)
    torch.testing.assert_close(again.batch.frac_coords, batch[rows].frac_coords)
    moved = geometry.wrap_displacement(inputs.batch.frac_coords - batch[rows].frac_coords)
    spread = geometry.wrap_displacement(moved - moved[:, :1])
    assert spread.abs().max() < 1e-5
    assert moved[:, 0].abs().min(0).values.max() > 0.01
    torch.testing.assert_close(inputs.batch.lattice, batch[rows].lattice)
