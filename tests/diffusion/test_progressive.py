"""Progressive distillation of the original model: one step where the teacher takes two."""

from __future__ import annotations

import pytest
import torch

from crystal_diffusion import CrystalDiffusionModel
from crystal_diffusion.diffusion.progressive import (
    ProgressiveDistillation,
    progressive_distillation,
)
from crystal_diffusion.errors import InputError


def teacher(**options: object) -> CrystalDiffusionModel:
    model = CrystalDiffusionModel(timesteps=64, hidden_dim=16, time_dim=16, device="cpu", **options)
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=g)
    return model


def batch(crystals: int = 16) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    mask = torch.ones(crystals, 4)
    mask[::2, 3] = 0
    return {"positions": torch.rand(crystals, 4, 3, generator=g) * mask.unsqueeze(-1), "mask": mask}


def test_the_wanted_noise_leads_in_one_step_where_two_steps_lead() -> None:
    """The target of the loss, followed by the model's own DDIM sampler formula."""
    model = teacher()
    halving = ProgressiveDistillation(model, 4)
    data = batch()
    high, middle, low = (torch.full((16,), t) for t in (48, 40, 32))
    x = torch.randn(16, 4, 3, generator=torch.Generator().manual_seed(0)) * data["mask"][..., None]
    wanted = halving.wanted_noise(x, high, middle, low, data["mask"])
    bar = model.schedule.alpha_bar.double()

    def ddim(x: torch.Tensor, noise: torch.Tensor, t: int, s: int) -> torch.Tensor:
        clean = (x.double() - (1 - bar[t]).sqrt() * noise.double()) / bar[t].sqrt()
        return bar[s].sqrt() * clean + (1 - bar[s]).sqrt() * noise.double()

    with torch.no_grad():
        first = ddim(x, model.model(x, high, data["mask"]), 48, 40)
        second = ddim(first, model.model(first.float(), middle, data["mask"]), 40, 32)
    once = ddim(x, wanted, 48, 32)
    torch.testing.assert_close(once.float(), second.float(), atol=1e-4, rtol=1e-4)


def test_the_student_learns_it_and_samples_with_half_the_steps() -> None:
    halving = ProgressiveDistillation(teacher(), 4, hidden_dim=24, learning_rate=3e-3)
    data = batch()
    losses = [halving.train_step(data) for _ in range(120)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert halving.times == [64, 48, 32, 16]
    made = halving.student.sample(
        3, 4, 5 * torch.eye(3).unsqueeze(0), sampler="ddim", steps=halving.times, seed=1
    )
    assert made.shape == (3, 4, 3) and bool(((made >= 0) & (made < 1)).all())


def test_halvings_follow_each_other() -> None:
    student, times = progressive_distillation(
        teacher(), [batch()], start=8, end=2, epochs=2, hidden_dim=8
    )
    assert student.model.hidden_dim == 8
    assert times == [64, 32]


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(InputError, match="fixed"):
        ProgressiveDistillation(teacher(variance="learned"), 4)
    with pytest.raises(InputError, match="1 to 32"):
        ProgressiveDistillation(teacher(), 40)
    with pytest.raises(InputError, match="end"):
        progressive_distillation(teacher(), [batch()], start=2, end=4)
