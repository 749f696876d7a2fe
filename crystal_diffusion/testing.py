"""For tests, ours and yours: named crystals, exact denoisers, and what must hold of any batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crystal_diffusion import geometry
from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.networks.protocol import NoisyCrystals, Prediction


def named_crystals() -> dict[str, CrystalBatch]:
    """One crystal of each awkward kind: one atom, hexagonal, triclinic, very long, skewed."""

    def one(parameters: list[float], frac: list[list[float]], numbers: list[int]) -> CrystalBatch:
        lattice = geometry.lattice_from_parameters(torch.tensor(parameters, dtype=torch.float64))
        return CrystalBatch(
            torch.tensor([frac]), lattice.float().unsqueeze(0), torch.tensor([numbers])
        )

    return {
        "one atom": one([2.87, 2.87, 2.87, 109.47, 109.47, 109.47], [[0.0, 0.0, 0.0]], [26]),
        "rock salt": one([5.64] * 3 + [90] * 3, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]),
        "hexagonal": one(
            [3.25, 3.25, 5.2, 90, 90, 120],
            [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]],
            [30, 30, 8, 8],
        ),
        "triclinic": one(
            [5.1, 6.2, 7.3, 81, 95, 102],
            [[0.1, 0.2, 0.3], [0.6, 0.9, 0.45], [0.4, 0.5, 0.8]],
            [29, 8, 16],
        ),
        "very long": one([3.0, 3.0, 38.0, 90, 90, 90], [[0, 0, 0], [0.5, 0.5, 0.06]], [22, 7]),
        "skewed": one([4.0, 4.2, 5.0, 62, 64, 61], [[0.0, 0.0, 0.0], [0.9, 0.9, 0.6]], [14, 14]),
    }


def assert_valid_batch(batch: CrystalBatch) -> None:
    """What holds of every batch: shapes, wrapped coordinates, right cells, empty padding.

    Raises:
        AssertionError: naming what does not hold.
    """
    crystals, atoms = batch.atomic_numbers.shape
    if batch.frac_coords.shape != (crystals, atoms, 3) or batch.lattice.shape != (crystals, 3, 3):
        raise AssertionError("shapes do not fit each other")
    if not bool(torch.isfinite(batch.frac_coords).all() & torch.isfinite(batch.lattice).all()):
        raise AssertionError("a number is not finite")
    if not bool(((batch.frac_coords >= 0) & (batch.frac_coords < 1)).all()):
        raise AssertionError("a coordinate is outside [0, 1)")
    if bool((torch.linalg.det(batch.lattice) <= 0).any()):
        raise AssertionError("a cell has no volume or is left-handed")
    first_empty = (batch.atomic_numbers == 0).int().cummax(-1).values.bool()
    if bool((batch.atomic_numbers[first_empty] != 0).any()):
        raise AssertionError("an atom comes after padding")
    if bool((batch.frac_coords[~batch.mask] != 0).any()):
        raise AssertionError("padding has coordinates")


class ExactTorusDenoiser(nn.Module):
    """The perfect network for crystals that are all the same: its flow leads to that crystal.

    Args:
        target: ``(atoms, 3)`` fractional coordinates, first atom at the origin.
        lattice_state: ``(6,)`` standardised log-strain.
    """

    def __init__(self, target: Tensor, lattice_state: Tensor) -> None:
        super().__init__()
        self.target = target
        self.lattice_state = lattice_state

    def forward(self, noisy: NoisyCrystals) -> Prediction:
        """Velocity from the target to the state, relative to the first atom."""
        level = noisy.coord_level.unsqueeze(-1).clamp_min(1e-6)
        relative = noisy.frac_coords - noisy.frac_coords[:, :1]
        displacement = geometry.wrap_displacement(relative - self.target)
        lattice_level = noisy.lattice_level.unsqueeze(-1).clamp_min(1e-6)
        return Prediction(
            coords=displacement / level * 12**0.5,
            lattice=(noisy.lattice_state - self.lattice_state) / lattice_level,
            element_logits=torch.zeros(*noisy.atomic_numbers.shape, 100),
        )


def assert_moves_as_it_must(
    network: Callable[[NoisyCrystals], Prediction], noisy: NoisyCrystals, tolerance: float = 1e-4
) -> None:
    """Translation and periodic images change nothing; permuting atoms permutes the answer.

    Raises:
        AssertionError: naming the symmetry that is broken.
    """
    from dataclasses import replace

    before = network(noisy)
    shift = torch.tensor([0.37, -0.81, 0.22], dtype=noisy.frac_coords.dtype)
    moved = network(replace(noisy, frac_coords=geometry.wrap(noisy.frac_coords + shift)))
    images = network(replace(noisy, frac_coords=noisy.frac_coords + torch.tensor([1.0, -2, 3])))
    order = torch.randperm(
        noisy.atomic_numbers.shape[1], generator=torch.Generator().manual_seed(1)
    )
    permuted = network(
        replace(
            noisy,
            frac_coords=noisy.frac_coords[:, order],
            atomic_numbers=noisy.atomic_numbers[:, order],
            coord_level=noisy.coord_level[:, order],
        )
    )
    for name, answer, wanted in (
        ("translation", moved.coords, before.coords),
        ("periodic image", images.coords, before.coords),
        ("permutation", permuted.coords, before.coords[:, order]),
        ("lattice under permutation", permuted.lattice, before.lattice),
        ("elements under permutation", permuted.element_logits, before.element_logits[:, order]),
    ):
        error = float((answer - wanted).abs().max())
        if error > tolerance:
            raise AssertionError(f"{name} changes the answer by {error:.2e}")
