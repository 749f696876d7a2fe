"""The exact likelihood of structures under a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.likelihood import log_likelihood

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.generation.generator import CrystalGenerator


def likelihoods(
    generator: CrystalGenerator,
    structures: Mapping[str, Structure],
    *,
    steps: int = 32,
    probes: int = 2,
    seed: int = 0,
) -> dict[str, float]:
    """Log density in nats per atom of each structure, given its composition.

    Cells are Niggli reduced first, as in training. It ranks candidates badly (docs/evaluation.md):
    order by the score instead.

    Args:
        generator: whose flow it is.
        structures: by id.
        steps: of the integration.
        probes: random directions of the divergence at each step.
        seed: of the directions.

    Raises:
        InputError: for a model without flow.
    """
    found: dict[str, float] = {}
    for name, structure in structures.items():
        batch = CrystalBatch.from_structures([structure.get_reduced_structure()])
        total = log_likelihood(generator.model, batch, steps=steps, probes=probes, seed=seed)
        found[name] = float(total[0]) / len(structure)
    return found
