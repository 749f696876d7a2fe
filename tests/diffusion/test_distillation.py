"""Long steps: the student covers two of its teacher's, and forgets nothing before it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.distillation import (
    LENGTHS,
    LongStep,
    at_level,
    long_levels,
    student_of,
    two_short_steps,
)
from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion, Levels
from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Prediction
from crystal_diffusion.seeding import CrystalStreams
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import fit
from crystal_diffusion.training.steps import distillation_objective, prepare_step

SMALL = {"dim": 16, "layers": 1, "heads": 2, "pair_dim": 8}


def fresh(seed: int = 0, **options: object) -> JointDiffusion:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = JointDiffusion(JointConfig(network_options={**SMALL, **options}))
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def triclinic(count: int = 6, atoms: int = 3) -> CrystalBatch:
    g = torch.Generator().manual_seed(4)
    lattice = 4 * torch.eye(3) + 0.5 * torch.randn(count, 3, 3, generator=g)
    numbers = torch.randint(3, 60, (count, atoms), generator=g)
    return CrystalBatch(torch.rand(count, atoms, 3, generator=g), lattice, numbers)


def test_an_untrained_student_is_its_teacher() -> None:
    teacher = fresh()
    student = student_of(teacher)
    batch = triclinic()
    level = torch.rand(6, generator=torch.Generator().manual_seed(1))
    levels = Levels(level.unsqueeze(-1).expand(6, 3), level, torch.zeros(6))
    state = teacher.encode_lattice(batch.lattice, batch.num_atoms)
    a = teacher.predict(batch.frac_coords, state, batch.atomic_numbers, levels)
    for target in (None, torch.zeros(6)):
        b = student.predict(
            batch.frac_coords, state, batch.atomic_numbers, levels, target_level=target
        )
        torch.testing.assert_close(a.coords, b.coords)
        torch.testing.assert_close(a.lattice, b.lattice)


@pytest.mark.parametrize("length", LENGTHS)
def test_one_wanted_step_ends_where_two_short_ones_of_the_sampler_do(length: float) -> None:
    """Followed once, the wanted velocity leads to where the sampler gets in two steps."""
    teacher = fresh(1)
    student = fresh(2, long_steps=True)
    batch = triclinic()
    numbers = batch.atomic_numbers
    state = teacher.noisy_state(
        batch,
        Levels(torch.ones(6, 3), torch.ones(6), torch.zeros(6)),
        torch.rand(6, 3, 3) - 0.5,
        torch.randn(6, 6),
        torch.zeros(6, 3),
    )
    begin = torch.full((6,), length)
    levels = Levels(begin.unsqueeze(-1).expand(6, 3), begin, torch.zeros(6))
    step = LongStep(state, levels, torch.zeros(6))
    coords, lattice = two_short_steps(teacher, student, step, speedup=0.0)
    scale = 12**0.5
    once = geometry.wrap(state.frac_coords - length * coords / scale)
    cell = state.lattice_state - length * lattice

    frac, strain, level = state.frac_coords, state.lattice_state, begin
    for _ in range(2):
        low = level - length / 2
        here = at_level(levels, level)
        with torch.no_grad():
            if length / 2 >= 0.25:
                answer = student.predict(frac, strain, numbers, here, target_level=low)
            else:
                answer = teacher.predict(frac, strain, numbers, here)
        frac = geometry.wrap(frac - (length / 2) * answer.coords / scale)
        strain = strain - (length / 2) * answer.lattice
        level = low
    torch.testing.assert_close(
        geometry.wrap_displacement(once - frac), torch.zeros(6, 3, 3), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(cell, strain, atol=1e-5, rtol=0)


def test_long_levels_lie_on_the_grid() -> None:
    g = torch.Generator().manual_seed(2)
    count = 3000
    level = torch.rand(count, generator=g)
    levels = Levels(level.unsqueeze(-1).expand(count, 2).clone(), level, torch.zeros(count))
    levels.coords[0] = 0.0
    found, target = long_levels(
        levels, torch.rand(count, generator=g), torch.rand(count, generator=g)
    )
    length = found.lattice - target
    for wanted in LENGTHS:
        share = float((length - wanted).abs().lt(1e-6).float().mean())
        assert share == pytest.approx(1 / 3, abs=0.04)
    assert float(target.min()) == 0.0 and float(found.lattice.max()) == 1.0
    torch.testing.assert_close((target / length), torch.round(target / length))
    assert float(found.coords[0].abs().max()) == 0.0


class _Exact(torch.nn.Module):
    """Knows the one crystal there is; asked for a long step, the way to it in one go."""

    def __init__(self, clean: CrystalBatch, model: JointDiffusion) -> None:
        super().__init__()
        self.clean, self.model = clean, model

    def forward(self, noisy: object) -> Prediction:
        assert noisy.target_level is not None  # type: ignore[attr-defined]
        level = noisy.coord_level.amax(-1)[:, None, None]  # type: ignore[attr-defined]
        away = geometry.wrap_displacement(noisy.frac_coords - self.clean.frac_coords)  # type: ignore[attr-defined]
        cell = self.model.encode_lattice(self.clean.lattice, self.clean.num_atoms)
        strain = (noisy.lattice_state - cell) / noisy.lattice_level[:, None]  # type: ignore[attr-defined]
        return Prediction(away / level * 12**0.5, strain, torch.zeros(*away.shape[:2], 100))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_sampler_tells_where_each_step_leads(steps: int) -> None:
    model = fresh(3, long_steps=True)
    batch = triclinic()
    model.network = _Exact(batch, model)
    settings = SamplerSettings.without_physics(steps=steps)
    streams = CrystalStreams(list(range(6)), [3] * 6)
    made = sample(model, Start.noise(batch.atomic_numbers), streams, settings)
    # The whole crystal may be shifted: net translation is taken out of every answer.
    away = geometry.wrap_displacement(made.frac_coords - batch.frac_coords)
    away = geometry.wrap_displacement(away - away[:, :1])
    assert float(away.abs().max()) < 1e-4
    wanted = batch.lattice @ batch.lattice.mT
    torch.testing.assert_close(made.lattice @ made.lattice.mT, wanted, atol=1e-2, rtol=1e-3)


def test_distillation_brings_long_steps_nearer_to_two_short_ones(tmp_path: Path) -> None:
    """On steps that training did not meet, the error falls well below that of the teacher's own."""
    data = triclinic(32)
    teacher = fresh(7)
    for parameter in teacher.parameters():
        parameter.data *= 2.5
    student = student_of(teacher)
    config = TrainingConfig(
        steps=100, tokens=128, learning_rate=3e-3, warmup=5, decay=30, ema=0.9, long_steps=1.0,
        tasks={"composition": 1.0},
    )  # fmt: skip
    objective = distillation_objective(teacher)
    fresh_inputs = prepare_step(teacher, data, np.arange(32), config, 10_001)

    def error(model: JointDiffusion) -> float:
        with torch.no_grad():
            return float(objective(model, fresh_inputs, config, False).coords)

    before = error(student)
    fit(student, data, config, tmp_path, objective=objective)
    assert error(student) < 0.6 * before


def test_other_processes_cannot_be_distilled() -> None:
    model = JointDiffusion(JointConfig(coordinates="wrapped", network_options=SMALL))
    with pytest.raises(InputError, match="both flows"):
        student_of(model)


def test_long_steps_keep_their_rows_in_a_part() -> None:
    data = triclinic(8)
    config = TrainingConfig(long_steps=0.5, tasks={"composition": 1.0})
    inputs = prepare_step(fresh(), data, np.arange(8), config, 1)
    assert inputs.target_level is not None
    part = inputs.part(slice(2, 5), torch.device("cpu"))
    assert part.target_level is not None
    torch.testing.assert_close(part.target_level, inputs.target_level[2:5])
    long = inputs.target_level >= 0
    assert 0 < int(long.sum()) < 8
    begin = inputs.levels.lattice[long]
    torch.testing.assert_close(begin * 4, torch.round(begin * 4))


def test_a_long_step_begins_where_one_of_its_length_can() -> None:
    """Steps of one length tile the path: the first ends at zero, the last begins at one."""
    from crystal_diffusion.diffusion.distillation import LENGTHS, long_levels
    from crystal_diffusion.diffusion.joint import Levels

    for place, length in enumerate(LENGTHS):
        count = round(1 / length)
        where = (torch.arange(count) + 0.5) / count
        which = torch.full((count,), (place + 0.5) / len(LENGTHS))
        levels = Levels(*(torch.ones(s) for s in ((count, 2), (count,), (count,))))
        begins, ends = long_levels(levels, which, where)
        torch.testing.assert_close(begins.lattice, (torch.arange(count) + 1) * length)
        torch.testing.assert_close(ends, torch.arange(count) * length)
