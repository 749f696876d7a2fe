"""`PropertyPredictor` of the original design: shapes, sharing, masks, and a fitted head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from crystal_diffusion import DenoisingNetwork, JointConfig, JointDiffusion, PropertyPredictor
from crystal_diffusion.errors import InputError
from tests.crystals import caesium_chloride, rock_salt, triclinic_batch


def small_joint() -> JointDiffusion:
    torch.manual_seed(0)
    options = {"dim": 32, "layers": 2, "heads": 4, "pair_dim": 8}
    return JointDiffusion(JointConfig(network="transformer", network_options=options)).eval()


def test_as_the_original_design_writes_it() -> None:
    predictor = PropertyPredictor()
    positions, lattice = torch.rand(4, 8, 3), torch.eye(3).expand(4, 3, 3)
    found = predictor(positions, lattice)
    assert found.shape == (4, 1)
    found.sum().backward()
    assert predictor.crystal_encoder.body is not None
    assert any(p.grad is not None for p in predictor.crystal_encoder.parameters())


def test_the_encoder_is_shared_not_copied() -> None:
    denoiser = DenoisingNetwork(hidden_dim=32)
    assert PropertyPredictor(denoiser).crystal_encoder is denoiser
    joint = small_joint()
    assert PropertyPredictor(joint).crystal_encoder is joint


@pytest.mark.parametrize("encoder", [DenoisingNetwork(hidden_dim=32), small_joint()])
def test_padding_does_not_count(encoder: DenoisingNetwork | JointDiffusion) -> None:
    predictor = PropertyPredictor(encoder).eval()
    batch = triclinic_batch(2, 5)
    plain = predictor(batch.frac_coords, batch.lattice, batch.atomic_numbers)
    pad = torch.zeros(2, 3, 3)
    numbers = torch.cat([batch.atomic_numbers, torch.zeros(2, 3, dtype=torch.long)], 1)
    padded = predictor(
        torch.cat([batch.frac_coords, pad], 1), batch.lattice, numbers, (numbers > 0).float()
    )
    torch.testing.assert_close(plain, padded, atol=1e-5, rtol=1e-4)


def test_a_joint_model_needs_elements() -> None:
    predictor = PropertyPredictor(small_joint())
    with pytest.raises(InputError, match="give atom_types too"):
        predictor(torch.rand(1, 2, 3), torch.eye(3)[None])


def test_a_head_is_fitted_to_labels() -> None:
    crystals: list[Structure] = [
        caesium_chloride(cation, anion, edge)
        for cation in ("Li", "Na", "K", "Rb", "Cs")
        for anion in ("F", "Cl", "Br")
        for edge in (3.6, 4.2, 4.8)
    ]
    labels = [float(np.mean(s.atomic_numbers)) for s in crystals]
    predictor = PropertyPredictor(small_joint()).fit_head(crystals, labels)
    batch = crystals[5]
    said = predictor(
        torch.tensor(batch.frac_coords[None], dtype=torch.float32),
        torch.tensor(np.array(batch.lattice.matrix)[None], dtype=torch.float32),
        torch.tensor([batch.atomic_numbers]),
    )
    features = predictor.features(crystals)
    weights = predictor.property_head.weight.detach().numpy()[0].astype(float)
    fitted = features @ weights + predictor.property_head.bias.item()
    assert fitted[5] == pytest.approx(said.item(), abs=1e-2)
    assert np.abs(fitted - labels).mean() < 0.5 * np.abs(labels - np.mean(labels)).mean()
    with pytest.raises(InputError, match="3 labels for 1 crystals"):
        predictor.fit_head([rock_salt()], [1.0, 2.0, 3.0])
