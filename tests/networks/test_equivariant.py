"""What an equivariant network must not depend on, in float64 to 1e-10; and what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from crystal_diffusion import geometry
from crystal_diffusion.networks.equivariant import (
    E3EquivariantLayer,
    EquivariantNetwork,
    log_strain_change,
    periodic_edges,
)
from crystal_diffusion.networks.protocol import NoisyCrystals
from crystal_diffusion.testing import assert_moves_as_it_must

TIGHT = 1e-10
SHEAR = torch.tensor([[1.0, 1, 0], [0, 1, 0], [1, 0, 1]], dtype=torch.float64)


def network(seed: int = 0) -> EquivariantNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = EquivariantNetwork(dim=16, layers=2, radial=8, cutoff=4.0).double()
        for parameter in found.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return found.eval()


def lattices(count: int = 2) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    return 4.5 * torch.eye(3).double() + 0.6 * torch.randn(count, 3, 3, generator=g).double()


def crystals(lattice: torch.Tensor | None = None, atoms: int = 4) -> NoisyCrystals:
    g = torch.Generator().manual_seed(1)
    cell = lattices() if lattice is None else lattice
    return NoisyCrystals(
        frac_coords=torch.rand(2, atoms, 3, generator=g).double(),
        lattice_state=torch.randn(2, 6, generator=g).double(),
        metric=cell @ cell.mT,
        atomic_numbers=torch.randint(3, 60, (2, atoms), generator=g),
        coord_level=torch.full((2, atoms), 0.4).double(),
        lattice_level=torch.full((2,), 0.4).double(),
        element_level=torch.zeros(2).double(),
    )


def cell_of(metric: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(metric)
    return (vectors * values.sqrt().unsqueeze(-2)) @ vectors.mT


def steps(model: EquivariantNetwork, noisy: NoisyCrystals) -> torch.Tensor:
    """Fractional steps without the units of the process."""
    return model(noisy).coords


def in_basis(noisy: NoisyCrystals, change: torch.Tensor) -> NoisyCrystals:
    """The same crystals described in the cells M @ L."""
    frac = noisy.frac_coords @ torch.linalg.inv(change)
    return replace(noisy, frac_coords=frac, metric=change @ noisy.metric @ change.mT)


def doubled(noisy: NoisyCrystals) -> NoisyCrystals:
    """2 × 1 × 1 supercells."""
    half = torch.tensor([0.5, 1.0, 1.0]).double()
    first = noisy.frac_coords * half
    second = first + torch.tensor([0.5, 0.0, 0.0]).double()
    scale = torch.diag(torch.tensor([2.0, 1.0, 1.0]).double())
    return replace(
        noisy,
        frac_coords=torch.cat([first, second], 1),
        metric=scale @ noisy.metric @ scale,
        atomic_numbers=torch.cat([noisy.atomic_numbers] * 2, 1),
        coord_level=torch.cat([noisy.coord_level] * 2, 1),
    )


def frames(noisy: NoisyCrystals, other: NoisyCrystals, change: torch.Tensor) -> torch.Tensor:
    """Rotation between the symmetric cells of two descriptions: M L = L' R."""
    return torch.linalg.inv(cell_of(other.metric)) @ change @ cell_of(noisy.metric)


def check_basis(model: EquivariantNetwork) -> None:
    noisy = crystals()
    other = in_basis(noisy, SHEAR)
    a, b = steps(model, noisy), steps(model, other)
    torch.testing.assert_close(b @ SHEAR, a, atol=TIGHT, rtol=0)
    turn = frames(noisy, other, SHEAR)
    strain = turn.mT @ model.strain(other) @ turn
    torch.testing.assert_close(strain, model.strain(noisy), atol=TIGHT, rtol=0)
    for x, y in zip(
        (model.encode(noisy).atoms, model(noisy).element_logits),
        (model.encode(other).atoms, model(other).element_logits),
        strict=True,
    ):
        torch.testing.assert_close(x, y, atol=TIGHT, rtol=0)


def check_supercell(model: EquivariantNetwork) -> None:
    noisy = crystals()
    other = doubled(noisy)
    a, b = steps(model, noisy), steps(model, other)
    wanted = torch.cat([a * torch.tensor([0.5, 1.0, 1.0]).double()] * 2, 1)
    torch.testing.assert_close(b, wanted, atol=TIGHT, rtol=0)
    torch.testing.assert_close(
        model.encode(other).crystal, model.encode(noisy).crystal, atol=TIGHT, rtol=0
    )
    change = torch.diag(torch.tensor([2.0, 1.0, 1.0]).double())
    turn = frames(noisy, other, change)
    torch.testing.assert_close(
        turn.mT @ model.strain(other) @ turn, model.strain(noisy), atol=TIGHT, rtol=0
    )


def check_moves(model: EquivariantNetwork) -> None:
    """Translation, periodic images, permutation."""
    assert_moves_as_it_must(model, crystals(), TIGHT)


def rotation(improper: bool) -> torch.Tensor:
    g = torch.Generator().manual_seed(8)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=g).double())
    q = q * torch.sign(r.diagonal())
    proper = q * torch.sign(torch.linalg.det(q))
    return -proper if improper else proper


def check_turned(layer: E3EquivariantLayer, improper: bool) -> None:
    """Rotating the lattice turns the steps, in periodic crystals and in molecules."""
    turn = rotation(improper)
    noisy = crystals()
    g = torch.Generator().manual_seed(2)
    features = torch.randn(2, 4, 16, generator=g).double()
    cell = lattices()
    a, f = layer(noisy.frac_coords, features, cell)
    b, h = layer(noisy.frac_coords, features, cell @ turn)
    torch.testing.assert_close(a, b, atol=TIGHT, rtol=0)
    torch.testing.assert_close(f, h, atol=TIGHT, rtol=0)
    points = noisy.frac_coords @ cell
    a, f = layer(points, features)
    b, h = layer(points @ turn, features)
    torch.testing.assert_close(a @ turn, b, atol=TIGHT, rtol=0)
    torch.testing.assert_close(f, h, atol=TIGHT, rtol=0)
    moved, _ = layer(points + 3.0, features)
    torch.testing.assert_close(a + 3.0, moved, atol=TIGHT, rtol=0)


NETWORK_CHECKS = {"basis": check_basis, "supercell": check_supercell, "moves": check_moves}


@pytest.mark.parametrize("name", sorted(NETWORK_CHECKS))
def test_network(name: str) -> None:
    NETWORK_CHECKS[name](network())
    assert float(steps(network(), crystals()).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("improper", [False, True])
def test_layer_turns_with_the_crystal(improper: bool) -> None:
    check_turned(network().layers[0], improper)  # type: ignore[arg-type]


class _NearestImage(EquivariantNetwork):
    """Broken: one image a pair, the nearest in the cell that happens to be given."""

    def _rounds(self, noisy):  # type: ignore[no-untyped-def]
        from crystal_diffusion.networks import equivariant

        original = equivariant.periodic_edges

        def nearest(frac, lattice, mask, cutoff):  # type: ignore[no-untyped-def]
            apart = geometry.wrap_displacement(frac.unsqueeze(1) - frac.unsqueeze(2))
            points = apart @ lattice[:, None]
            atoms = frac.shape[1]
            c, i, j = torch.nonzero(
                ~torch.eye(atoms, dtype=torch.bool).expand(len(frac), -1, -1), as_tuple=True
            )
            vector = points[c, i, j]
            return equivariant.Edges(c * atoms + i, c * atoms + j, vector, vector.norm(dim=-1))

        equivariant.periodic_edges = nearest
        try:
            return super()._rounds(noisy)
        finally:
            equivariant.periodic_edges = original


class _AbsolutePlace(EquivariantNetwork):
    """Broken: features know where the atom is in the cell, and which atom it is."""

    def _rounds(self, noisy):  # type: ignore[no-untyped-def]
        encoded, moved, strain = super()._rounds(noisy)
        index = torch.arange(noisy.frac_coords.shape[1]).double()[None, :, None]
        return encoded, moved * (1 + noisy.frac_coords.sum(-1, keepdim=True) + index), strain


@pytest.mark.parametrize(
    ("broken", "check"),
    [(_NearestImage, check_basis), (_NearestImage, check_supercell), (_AbsolutePlace, check_moves)],
)
def test_a_broken_network_is_noticed(
    broken: type[EquivariantNetwork], check: Callable[[EquivariantNetwork], None]
) -> None:
    found = broken(dim=16, layers=2, radial=8, cutoff=4.0).double()
    found.load_state_dict(network().state_dict())
    with pytest.raises(AssertionError):
        check(found)


@pytest.mark.parametrize("improper", [False, True])
def test_a_broken_layer_is_noticed(improper: bool) -> None:
    """A step along a fixed axis breaks rotations, a cross product breaks reflections."""

    class Broken(E3EquivariantLayer):
        def exchange(self, edges, features):  # type: ignore[no-untyped-def]
            flat, step, strain = super().exchange(edges, features)
            if improper:
                other = torch.zeros_like(step).index_add_(
                    0, edges.receiver, edges.vector * edges.distance.unsqueeze(-1)
                )
                return flat, step + torch.linalg.cross(step, other), strain
            return flat, step + torch.tensor([0.1, 0.0, 0.0]).double(), strain

    layer = Broken(16, 8, 4.0).double()
    layer.load_state_dict(network().layers[0].state_dict())
    with pytest.raises(AssertionError):
        check_turned(layer, improper)


def test_atoms_enter_without_a_jump() -> None:
    """Crossing the cut-off changes the step by no more than the distance moved asks for."""
    layer = network().layers[0]
    features = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(0)).double()

    def step(distance: float) -> torch.Tensor:
        points = torch.tensor([[[0.0, 0, 0], [distance, 0, 0]]]).double()
        return layer(points, features)[0] - points

    inside, outside = step(4.0 - 1e-5), step(4.0 + 1e-5)
    assert float((inside - outside).abs().max()) < 1e-8
    assert float(step(2.0).abs().max()) > 1e-4


def test_edges_are_those_of_pymatgen() -> None:
    from pymatgen.core import Structure

    noisy = crystals()
    cell = lattices()
    edges = periodic_edges(noisy.frac_coords, cell, noisy.mask, 4.0)
    for row in range(2):
        structure = Structure(cell[row].numpy(), ["H"] * 4, noisy.frac_coords[row].numpy())
        _, _, _, wanted = structure.get_neighbor_list(4.0, exclude_self=True)
        mine = edges.distance[(edges.receiver // 4) == row].sort().values
        torch.testing.assert_close(mine, torch.tensor(sorted(wanted)), atol=1e-8, rtol=0)


def test_strain_changes_the_log_strain_as_it_does_the_cell() -> None:
    cell = cell_of(crystals().metric)
    g = torch.Generator().manual_seed(4)
    strain = torch.randn(2, 3, 3, generator=g).double()
    strain = 0.5 * (strain + strain.mT)
    small = 1e-6
    before = geometry.lattice_to_log_strain(cell)
    one = torch.eye(3).double()
    after = geometry.lattice_to_log_strain(cell @ (one + small * strain))
    found = log_strain_change(cell @ cell.mT, strain)
    torch.testing.assert_close((after - before) / small, found, atol=1e-4, rtol=0)
    cube = 4.0 * one.expand(2, 3, 3)
    same = log_strain_change(cube @ cube, strain)
    torch.testing.assert_close(same[:, 0], strain[:, 0, 0])


def test_it_learns_and_samples(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from crystal_diffusion.crystal import CrystalBatch
    from crystal_diffusion.diffusion.joint import JointConfig, JointDiffusion
    from crystal_diffusion.diffusion.sampler import SamplerSettings, Start, sample
    from crystal_diffusion.seeding import CrystalStreams
    from crystal_diffusion.training.config import TrainingConfig
    from crystal_diffusion.training.loop import fit

    frac = torch.tensor([[[0.0, 0, 0], [0.5, 0.5, 0.5]]]).expand(8, 2, 3).contiguous()
    numbers = torch.tensor([[55, 17]]).expand(8, 2).contiguous()
    data = CrystalBatch(frac, 4.1 * torch.eye(3).expand(8, 3, 3).contiguous(), numbers)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = JointDiffusion(
            JointConfig(
                network="equivariant", network_options={"dim": 16, "layers": 2, "radial": 8}
            )
        )
    config = TrainingConfig(
        steps=120, tokens=64, learning_rate=1e-2, warmup=5, decay=40, ema=0.9,
        precision="float32", tasks={"composition": 1.0},
    )  # fmt: skip
    result = fit(model, data, config, tmp_path)
    assert result.loss < 1.0
    made = sample(
        model, Start.noise(numbers), CrystalStreams(list(range(8)), [2] * 8),
        SamplerSettings.without_physics(steps=10),
    )  # fmt: skip
    assert bool(torch.isfinite(made.frac_coords).all() and torch.isfinite(made.lattice).all())
