"""The networks move as they must, answer in the right shapes, and ignore padding."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystal_diffusion.networks import NETWORKS
from crystal_diffusion.networks.embeddings import (
    PairGeometry,
    SinusoidalPositionEmbeddings,
    periodic_table_features,
)
from crystal_diffusion.networks.protocol import NoisyCrystals
from crystal_diffusion.networks.transformer import CrystalTransformer
from crystal_diffusion.networks.unet import DenoisingNetwork
from crystal_diffusion.testing import assert_moves_as_it_must
from tests.crystals import triclinic_batch


def noisy_crystals(dtype: torch.dtype = torch.float32, atoms: int = 5) -> NoisyCrystals:
    g = torch.Generator().manual_seed(3)
    lattice = torch.eye(3, dtype=dtype) * 5 + 0.3 * torch.randn(3, 3, 3, generator=g, dtype=dtype)
    numbers = torch.randint(1, 95, (3, atoms), generator=g)
    return NoisyCrystals(
        frac_coords=torch.rand(3, atoms, 3, generator=g, dtype=dtype),
        lattice_state=torch.randn(3, 6, generator=g, dtype=dtype),
        metric=lattice @ lattice.transpose(1, 2),
        atomic_numbers=numbers,
        coord_level=torch.rand(3, 1, generator=g, dtype=dtype).expand(3, atoms).contiguous(),
        lattice_level=torch.rand(3, generator=g, dtype=dtype),
        element_level=torch.zeros(3, dtype=dtype),
    )


def trained_like(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, so that zero-initialised heads do not hide a broken symmetry."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=g))
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transformer_symmetries(dtype: torch.dtype) -> None:
    network = trained_like(CrystalTransformer(32, 2, 4, 16, 3)).to(dtype)
    tolerance = 2e-3 if dtype == torch.float32 else 1e-9
    with torch.no_grad():
        assert_moves_as_it_must(network, noisy_crystals(dtype), tolerance)


def test_transformer_depends_on_geometry_and_elements() -> None:
    network = trained_like(CrystalTransformer(32, 2, 4, 16, 3))
    noisy = noisy_crystals()
    with torch.no_grad():
        before = network(noisy).coords
        swapped = replace(noisy, atomic_numbers=noisy.atomic_numbers % 94 + 1)
        stretched = replace(noisy, metric=noisy.metric * 1.5)
        assert (network(swapped).coords - before).abs().max() > 1e-3
        assert (network(stretched).coords - before).abs().max() > 1e-3


def test_pair_features_are_the_formula() -> None:
    """Waves of f_j - f_i, bells of the shortest distance in Å and in atomic spacings."""
    batch = triclinic_batch(crystals=2, atoms=4)
    geometry = PairGeometry(frequencies=3, radial=5, cutoff=8.0)
    found = geometry(batch.frac_coords, batch.lattice @ batch.lattice.mT, batch.num_atoms)
    for row, structure in enumerate(batch.to_structures()):
        distances = structure.distance_matrix
        spacing = (structure.volume / 4) ** (1 / 3)
        for i, j in itertools.permutations(range(4), 2):
            away = structure.frac_coords[j] - structure.frac_coords[i]
            angles = 2 * np.pi * np.outer(away, [1, 2, 3]).ravel()
            bells = np.exp(-(((distances[i, j] - np.linspace(0, 8, 5)) / 2.0) ** 2))
            near = np.exp(-(((distances[i, j] / spacing - np.linspace(0, 3, 5)) / 0.75) ** 2))
            expected = np.concatenate([np.sin(angles), np.cos(angles), bells, near])
            np.testing.assert_allclose(found[row, i, j].numpy(), expected, atol=2e-3)


def test_a_pair_knows_the_elements_of_both_its_atoms() -> None:
    """In one block with atoms that do not tell their element, only pairs can pass it on."""
    network = trained_like(CrystalTransformer(32, 1, 4, 16, 3))
    with torch.no_grad():
        network.elements.table.weight.zero_()
        network.elements.place.weight.zero_()
        noisy = noisy_crystals()
        numbers = noisy.atomic_numbers.clone()
        numbers[:, 0] = numbers[:, 0] % 94 + 1
        before, after = network(noisy), network(replace(noisy, atomic_numbers=numbers))
    changes = (after.coords - before.coords).abs().amax(-1)
    assert (changes[:, 1:] > 1e-4).all()
    assert (changes[:, 0] > 1e-4).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing(name: str) -> None:
    options = {
        "transformer": {"dim": 32, "layers": 2, "heads": 4},
        "unet": {"hidden_dim": 32},
        "equivariant": {"dim": 16, "layers": 2},
    }[name]
    network = trained_like(NETWORKS[name](**options))
    noisy = noisy_crystals()

    def pad(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x.new_zeros(x.shape[0], 2, *x.shape[2:])], 1)

    padded = replace(
        noisy,
        frac_coords=pad(noisy.frac_coords),
        atomic_numbers=pad(noisy.atomic_numbers),
        coord_level=pad(noisy.coord_level),
    )
    with torch.no_grad():
        plain, wide = network(noisy), network(padded)
    torch.testing.assert_close(wide.coords[:, :5], plain.coords, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(wide.lattice, plain.lattice, atol=1e-4, rtol=1e-3)
    assert wide.coords[:, 5:].abs().max() == 0


def test_reference_network_shapes_and_mask() -> None:
    network = DenoisingNetwork(hidden_dim=32, learned_variance=True)
    x, t = torch.randn(2, 4, 3), torch.tensor([1, 900])
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    answer = network(x, t, mask)
    assert answer.shape == (2, 4, 6)
    assert answer[1, 2:].abs().max() == 0
    other = x.clone()
    other[1, 2:] = 7.0
    torch.testing.assert_close(network(other, t, mask)[1, :2], answer[1, :2])


def test_embeddings_tell_times_apart() -> None:
    embed = SinusoidalPositionEmbeddings(16)
    values = embed(torch.arange(1000))
    assert values.shape == (1000, 16)
    distances = torch.cdist(values, values) + 10 * torch.eye(1000)
    assert distances.min() > 1e-3
    with pytest.raises(ValueError, match="even"):
        SinusoidalPositionEmbeddings(7)


@pytest.mark.parametrize(
    ("element", "period", "group"),
    [
        (1, 1, 0),
        (2, 1, 17),
        (6, 2, 13),
        (11, 3, 0),
        (26, 4, 7),
        (35, 4, 16),
        (57, 6, 2),
        (64, 6, 2),
        (72, 6, 3),
        (79, 6, 10),
        (92, 7, 2),
    ],
)
def test_periodic_table(element: int, period: int, group: int) -> None:
    row = periodic_table_features()[element]
    assert row[:8].argmax() == period
    assert row[8:26].argmax() == group
