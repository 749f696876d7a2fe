"""``distill``: a student that needs 1, 2 or 4 network calls where its teacher needs 8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.training_set import TRAINING_SET_FILE, save_training_set
from crystal_diffusion.diffusion.distillation import student_of
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import locked, make_folder
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.training.checkpoint import checksum
from crystal_diffusion.training.config import TrainingConfig
from crystal_diffusion.training.loop import TrainingResult, fit
from crystal_diffusion.training.run_state import RunState
from crystal_diffusion.training.steps import distillation_objective
from crystal_diffusion.workflows.estimate import batch_of


@dataclass(frozen=True)
class DistillationSummary:
    """How a distillation ended, and where the student is."""

    result: TrainingResult
    out: Path


def distill(
    model: str | Path | None,
    out: str | Path,
    *,
    data: Any = None,
    steps: int = 3000,
    learning_rate: float = 3e-4,
    share: float = 0.6,
    tokens: int = 768,
    symmetric_noise: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[CrystalGenerator, DistillationSummary]:
    """Teach a copy of a model steps of 1/4, 1/2 and the whole way; the same call resumes.

    The student goes on learning the ordinary velocity beside, so it answers with 8 or 20 steps as
    before. Asked for at most 4 steps, the sampler tells it where each of them leads.

    Args:
        model: model folder; None for the pretrained one.
        out: folder of the student.
        data: crystals to learn on; the model's own training set when not given.
        steps: optimiser steps.
        share: of the crystals that learn long steps; the others learn the velocity.
        on_step: called with steps done, steps in all and the running loss.

    Raises:
        InputError: for a model that cannot be distilled, or without crystals to learn on.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; give at least 1.")
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; give more than 0 and at most 1.")
    generator = load(model, device)
    arrays = generator.training if data is None else _crystals(data).arrays
    if arrays is None:
        raise InputError(
            f"{model or 'the pretrained model'} brings no training crystals; say with --data which "
            "crystals the student shall learn on."
        )
    teacher = generator.model
    student = student_of(teacher)
    crystals = batch_of(arrays)
    config = TrainingConfig(
        steps=steps,
        tokens=tokens,
        learning_rate=learning_rate,
        warmup=min(100, max(1, steps // 10)),
        decay=max(1, steps // 3),
        seed=seed,
        precision=precision,
        symmetric=symmetric_noise,
        long_steps=share,
        checkpoint_seconds=60.0,
    )
    identity = {"teacher": checksum(teacher.state_dict())}
    header = {k: v for k, v in generator.header.items() if k in _KEPT}
    header["distilled"] = {**identity, "steps": steps, "share": share}
    folder = make_folder(Path(out))
    with locked(folder):
        RunState(folder, config, crystals, identity).check()
        save_training_set(folder / TRAINING_SET_FILE, arrays)
        result = fit(
            student,
            crystals,
            config,
            folder,
            header=header,
            identity=identity,
            objective=distillation_objective(teacher),
            on_step=(lambda step, loss: on_step(step, steps, loss)) if on_step else None,
        )
    return load(out, device), DistillationSummary(result, Path(out))


#: What a student inherits of its teacher's header.
_KEPT = ("sizes", "data", "names", "licenses", "provenance", "base")


def _crystals(data: Any) -> CrystalStructureDataset:
    if isinstance(data, CrystalStructureDataset):
        return data
    return CrystalStructureDataset(data, reduce=True)
