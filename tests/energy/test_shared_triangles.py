"""Shared maps give the energies, forces and stresses of the package, and fewer maps are made."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystal_diffusion.energy import shared_triangles
from crystal_diffusion.energy.relaxation import structure_to_atoms
from crystal_diffusion.energy.shared_triangles import SharedMaps, share_maps


@pytest.fixture(scope="module")
def calculators() -> tuple[Any, Any]:
    """The package's own calculator, and the one with shared maps."""
    pytest.importorskip("diep", reason="the extra [relax] is not installed")
    from diep.pretrained import make_calculator

    return make_calculator(), share_maps(make_calculator())


def _perovskite() -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.95), ["Sr", "Ti", "O", "O", "O"], sites)


def _chain() -> Structure:
    return Structure(Lattice.orthorhombic(3.2, 9.0, 9.5), ["Se", "Cu"], [[0, 0, 0], [0.5, 0.1, 0]])


@pytest.mark.parametrize(
    "structure",
    [
        _perovskite(),
        _perovskite().perturb(0.15),
        _perovskite() * [2, 1, 1],
        Structure.from_spacegroup("F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0] * 3, [0.25] * 3]),
        _chain(),
    ],
    ids=["perovskite", "distorted", "supercell", "zinc blende", "chain"],
)
def test_agrees_with_the_package(structure: Structure, calculators: tuple[Any, Any]) -> None:
    said = []
    for calculator in calculators:
        atoms = structure_to_atoms(structure)
        calculator.reset()
        atoms.calc = calculator
        said.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    assert abs(said[0][0] - said[1][0]) / len(structure) < 2e-5
    np.testing.assert_allclose(said[0][1], said[1][1], atol=2e-4)
    np.testing.assert_allclose(said[0][2], said[1][2], atol=1e-5)


def test_equal_figures_have_one_map_and_its_derivative_is_right() -> None:
    points = torch.cartesian_prod(torch.linspace(-3, 3, 5), torch.linspace(-3, 3, 5)).double()
    planar = torch.randn(4, 3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    planar = torch.cat([planar, planar[:2]]).requires_grad_(True)
    charge = torch.tensor([[1.0, 2.0, 3.0]] * 5 + [[1.0, 2.0, 4.0]], dtype=torch.double)
    which, first = shared_triangles._alike(planar.detach(), charge)
    assert which[4] == which[0] and which[5] != which[1]
    assert sorted(first.tolist()) == [0, 1, 2, 3, 5]

    def maps(corners: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = shared_triangles._Maps.apply(corners, charge, points, 0.5, 1.0, 0.4)
        return out

    # The two equal figures are moved together: a map of two must not be split by the small step.
    squared = ((planar.unsqueeze(2) - points) ** 2).sum(-1)
    plain = (
        0.5
        * (torch.exp(-squared) / torch.pi).sum(1)
        * (charge.unsqueeze(-1) / (squared + 0.16).sqrt()).sum(1)
    )
    weights = torch.randn(plain.shape, dtype=torch.double)
    assert torch.allclose(maps(planar), plain, atol=1e-12)
    expected = torch.autograd.grad((weights * plain).sum(), planar)[0]
    found = torch.autograd.grad((weights * maps(planar)).sum(), planar)[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_fewer_maps_are_made(calculators: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[int, int]] = []
    alike = shared_triangles._alike

    def counted(planar: torch.Tensor, charge: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        which, first = alike(planar, charge)
        counts.append((len(planar), len(first)))
        return which, first

    monkeypatch.setattr(shared_triangles, "_alike", counted)
    atoms = structure_to_atoms(_perovskite())
    calculators[1].reset()
    atoms.calc = calculators[1]
    atoms.get_forces()
    (bonds, made), (triangles, drawn) = counts
    assert made * 4 < bonds and drawn * 10 < triangles


def test_another_version_is_left_as_it_is(
    calculators: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = calculators[0].potential.model.diep_integrator
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.1.0")
    assert share_maps(calculators[0]) is calculators[0]
    assert calculators[0].potential.model.diep_integrator is own
    assert not isinstance(own, SharedMaps)
    assert share_maps(plain := object()) is plain
