"""Classifier-free guidance (Ho and Salimans 2022): what the sampler asks instead of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crystal_diffusion.diffusion.joint import JointDiffusion, Levels
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Conditions, Prediction
from crystal_diffusion.shapes import Float, Int


@dataclass(frozen=True, eq=False)
class Guided:
    """The model's answer, pushed from "anything" towards what is asked for.

    On torus and lattice v = v∅ + w (v_c - v∅), net translation removed from both; for elements the
    same on log-probabilities, before anything is drawn. w = 0 ignores the conditions, w = 1 is
    the conditional model, larger w exaggerates the difference.

    Attributes:
        model: a model whose network knows properties.
        conditions: what is asked for, one row a crystal of the batch.
        geometry: w of coordinates and lattice.
        elements: w of the elements.
    """

    model: JointDiffusion
    conditions: Conditions
    geometry: float = 1.0
    elements: float = 2.0

    def __post_init__(self) -> None:
        if min(self.geometry, self.elements) < 0:
            raise InputError(
                f"the guidance scale is {min(self.geometry, self.elements)}; give 0 or more."
            )

    def __call__(
        self,
        frac_coords: Float[Tensor, "crystals atoms 3"],
        lattice_state: Float[Tensor, "crystals 6"],
        atomic_numbers: Int[Tensor, "crystals atoms"],
        levels: Levels,
        lattice: Float[Tensor, "crystals 3 3"] | None = None,
        *,
        target_level: Float[Tensor, " crystals"] | None = None,
    ) -> Prediction:
        """As :meth:`JointDiffusion.predict`, in one call of twice the batch."""

        def twice(values: Tensor) -> Tensor:
            return torch.cat([values, values])

        answer = self.model.predict(
            twice(frac_coords),
            twice(lattice_state),
            twice(atomic_numbers),
            Levels(twice(levels.coords), twice(levels.lattice), twice(levels.elements)),
            None if lattice is None else twice(lattice),
            conditions=self.conditions.followed_by(self.conditions.none_asked()),
            target_level=None if target_level is None else twice(target_level),
        )

        def pushed(values: Tensor, weight: float) -> Tensor:
            asked, anything = values.chunk(2)
            return anything + weight * (asked - anything)

        return Prediction(
            pushed(answer.coords, self.geometry),
            pushed(answer.lattice, self.geometry),
            pushed(torch.log_softmax(answer.element_logits, -1), self.elements),
        )


def conditional_copy(base: JointDiffusion, properties: int) -> JointDiffusion:
    """The same network with an embedding of so many properties, which changes nothing yet.

    Where nothing is asked the embedding is not used, so the answers stay those of the base.
    """
    options = {**base.config.network_options, "properties": properties}
    model = JointDiffusion(replace(base.config, network_options=options)).to(base.device)
    model.load_state_dict(base.state_dict(), strict=False)
    return model.eval().requires_grad_(False)
