"""`PropertyPredictor` of the original design: a linear head on the encoder of a denoiser.

It shares the encoder of any model here: the original U-Net, which sees positions alone, or a joint
model, which sees elements and cell too. It is the weaker of the two ways to a property: the
features of a denoiser foretell formation energies several times worse than the network made for
it (:class:`~crystal_diffusion.prediction.model.PropertyModel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.protocol import Denoiser, Encoded, NoisyCrystals
from crystal_diffusion.networks.unet import DenoisingNetwork
from crystal_diffusion.prediction.distribution import Floats

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Padded atoms in one batch.
ATOMS_AT_ONCE = 600
#: Penalties of the ridge that are tried when a head is fitted.
_PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0)


class PropertyPredictor(nn.Module):
    """One number for a crystal: the mean over atoms of a denoiser's features, then a linear map.

    Args:
        crystal_encoder: whose features are used; shared, not copied. A new original U-Net as in
            the original design when not given; its ``forward`` looks at positions alone.
    """

    def __init__(self, crystal_encoder: DenoisingNetwork | JointDiffusion | None = None) -> None:
        super().__init__()
        self.crystal_encoder = DenoisingNetwork() if crystal_encoder is None else crystal_encoder
        self.property_head = nn.Linear(_width(self.crystal_encoder), 1)

    def encode(
        self,
        positions: Tensor,
        lattice: Tensor,
        atom_types: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """``(crystals, features)`` mean over the atoms of what the encoder makes of them."""
        encoder = self.crystal_encoder
        present = positions.new_ones(positions.shape[:2]) if mask is None else mask
        if isinstance(encoder, DenoisingNetwork):
            times = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
            atoms = encoder.encode(positions, times, mask)
        else:
            if atom_types is None:
                raise InputError(
                    "the encoder of a joint model looks at elements; give atom_types too."
                )
            atoms = _clean(encoder, positions, lattice, atom_types * (present > 0)).atoms
        weight = (present > 0).to(atoms.dtype).unsqueeze(-1)
        out: Tensor = (atoms * weight).sum(1) / weight.sum(1).clamp_min(1)
        return out

    def forward(
        self,
        positions: Tensor,
        lattice: Tensor,
        atom_types: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """``(crystals, 1)`` the property.

        Args:
            positions: ``(crystals, atoms, 3)`` fractional; lattice: ``(crystals, 3, 3)`` Å.
            atom_types: ``(crystals, atoms)`` atomic numbers, 0 for padding; needed by the encoder
                of a joint model, not looked at by the original U-Net.
            mask: ``(crystals, atoms)``, 1 for atoms, 0 for padding; all atoms when not given.
        """
        out: Tensor = self.property_head(self.encode(positions, lattice, atom_types, mask))
        return out

    def features(self, structures: Sequence[Structure]) -> Floats:
        """``(crystals, features)`` of structures, without gradients."""
        sizes = np.array([len(structure) for structure in structures])
        found = np.zeros((len(structures), self.property_head.in_features))
        order = np.argsort(sizes, kind="stable")
        first = 0
        while first < len(order):
            last = first + 1
            while last < len(order) and (last + 1 - first) * sizes[order[last]] <= ATOMS_AT_ONCE:
                last += 1
            rows = order[first:last]
            batch = CrystalBatch.from_structures([structures[row] for row in rows])
            with torch.inference_mode():
                found[rows] = self.encode(
                    batch.frac_coords,
                    batch.lattice,
                    batch.atomic_numbers,
                    batch.mask.to(batch.frac_coords.dtype),
                ).numpy()
            first = last
        return found

    def fit_head(
        self, structures: Sequence[Structure], values: Sequence[float]
    ) -> PropertyPredictor:
        """Fit the head to labels with the encoder as it is; the penalty by cross-validation.

        Raises:
            InputError: fewer labels than ten, or not one a crystal.
        """
        y = np.asarray(values, dtype=float)
        if len(y) != len(structures) or len(y) < 10 or not np.isfinite(y).all():
            raise InputError(
                f"{len(y)} labels for {len(structures)} crystals; give one number for each of at "
                "least ten crystals."
            )
        x = self.features(structures)
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        z = (x - mean) / deviation
        penalty = min(_PENALTIES, key=lambda tried: _left(z, y, tried))
        best, offset = _ridge(z, y, penalty)
        weights = best / deviation
        with torch.no_grad():
            self.property_head.weight.copy_(torch.from_numpy(weights).float()[None])
            self.property_head.bias.fill_(offset - float(weights @ mean))
        return self


def _ridge(x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
    """Weights and offset of ridge regression."""
    mean, level = x.mean(0), float(y.mean())
    gram = (x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x - mean).T @ (y - level))
    return weights, level - float(weights @ mean)


def _left(x: Floats, y: Floats, penalty: float) -> float:
    """Sum of absolute errors on rows left out in turn, a fifth at a time."""
    fold, total = np.arange(len(y)) % 5, 0.0
    for k in range(5):
        weights, offset = _ridge(x[fold != k], y[fold != k], penalty)
        total += float(np.abs(x[fold == k] @ weights + offset - y[fold == k]).sum())
    return total


def _width(encoder: DenoisingNetwork | JointDiffusion) -> int:
    """Features of an atom in the encoder."""
    if isinstance(encoder, DenoisingNetwork):
        return int(encoder.out.in_features)
    # The first weight of the heads that every network of a joint model has.
    weights = dict(encoder.network.named_parameters())
    return int(weights["coords_out.weight"].shape[1])


def _clean(model: JointDiffusion, positions: Tensor, lattice: Tensor, numbers: Tensor) -> Encoded:
    """What a joint model makes of crystals without noise."""
    still = positions.new_zeros(len(positions))
    noisy = NoisyCrystals(
        frac_coords=positions,
        lattice_state=model.encode_lattice(lattice, (numbers > 0).sum(-1)),
        metric=lattice @ lattice.transpose(-1, -2),
        atomic_numbers=numbers,
        coord_level=positions.new_zeros(positions.shape[:2]),
        lattice_level=still,
        element_level=still,
    )
    network: Denoiser = model.network  # type: ignore[assignment]
    return network.encode(noisy)
