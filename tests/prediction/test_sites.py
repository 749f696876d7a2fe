"""What the property network sees does not depend on how a crystal is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.networks.properties import (
    DEGREES,
    PropertyEnsemble,
    PropertyNetwork,
    PropertyNetworkConfig,
    real_harmonics,
)
from crystal_diffusion.prediction.sites import NEIGHBOURS, site_batch, sites_of
from tests.crystals import rock_salt

ROCK_SALT = rock_salt()
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.7, 81, 97, 104),
    ["Ti", "O", "O", "Ca"],
    [[0.02, 0.01, 0.0], [0.31, 0.45, 0.22], [0.71, 0.55, 0.62], [0.5, 0.07, 0.48]],
)


def network() -> PropertyNetwork:
    torch.manual_seed(0)
    config = PropertyNetworkConfig(outputs=2, elements=8, hidden=16, message=8, layers=2, angular=4)
    return PropertyNetwork(config).eval()


def test_networks_together_say_their_mean() -> None:
    one, two = network(), network()
    with torch.no_grad():
        for parameter in two.parameters():
            parameter.add_(0.1)
    batch = site_batch([sites_of(ROCK_SALT), sites_of(TRICLINIC)])
    both = PropertyEnsemble([one, two]).eval()
    with torch.no_grad():
        parts, together = [one(batch), two(batch)], both(batch)
        assert both.encode(batch).shape == (2, 64)
    assert not torch.allclose(parts[0], parts[1], atol=0.01)
    torch.testing.assert_close(together, (parts[0] + parts[1]) / 2)


def test_networks_that_do_not_fit_are_refused() -> None:
    other = PropertyNetwork(PropertyNetworkConfig(outputs=3, hidden=16, message=8, angular=4))
    with pytest.raises(InputError, match="the same labels"):
        PropertyEnsemble([network(), other])
    with pytest.raises(InputError, match="an angular of 8 at most"):
        PropertyNetworkConfig(outputs=3, message=8)


def said(structures: list[Structure]) -> torch.Tensor:
    with torch.no_grad():
        return network()(site_batch([sites_of(s) for s in structures]))


def test_harmonics_add_up_to_legendre_polynomials() -> None:
    torch.manual_seed(1)
    unit = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64), dim=-1)
    found = real_harmonics(unit).split([2 * degree + 1 for degree in DEGREES], -1)
    cosine = (unit @ unit.T).numpy()
    for degree, part in zip(DEGREES, found, strict=True):
        expected = legendre.legval(cosine, [0] * degree + [1])
        np.testing.assert_allclose((part @ part.T).numpy(), expected, atol=1e-12)


def test_equal_atoms_are_taken_together() -> None:
    seen = sites_of(ROCK_SALT)
    assert sorted(seen.numbers.tolist()) == [11, 17]
    np.testing.assert_allclose(seen.share, 0.5)
    assert seen.vector.shape == (2, NEIGHBOURS, 3)


def rewritten(structure: Structure, how: str) -> Structure:
    rng = np.random.default_rng(3)
    cell, coords = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    numbers = np.array(structure.atomic_numbers)
    if how == "rotated":
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        return Structure(cell @ turn, numbers, coords)
    if how == "moved":
        return Structure(cell, numbers, coords + rng.random(3))
    if how == "exchanged":
        order = rng.permutation(len(numbers))
        return Structure(cell, numbers[order], coords[order])
    if how == "sheared":
        change = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])
        return Structure(change @ cell, numbers, coords @ np.linalg.inv(change))
    copy = structure.copy()
    copy.make_supercell([1, 2, 1])
    return copy


@pytest.mark.parametrize("how", ["rotated", "moved", "exchanged", "sheared", "repeated"])
@pytest.mark.parametrize("structure", [ROCK_SALT, TRICLINIC], ids=["rock salt", "triclinic"])
def test_the_network_sees_the_crystal_not_its_description(structure: Structure, how: str) -> None:
    one, other = said([structure, rewritten(structure, how)])
    torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def test_a_crystal_is_judged_alike_alone_and_in_a_batch() -> None:
    together = said([ROCK_SALT, TRICLINIC])
    torch.testing.assert_close(together[1:], said([TRICLINIC]), atol=1e-6, rtol=0)


def test_directions_count_not_only_distances() -> None:
    """A square and a tetrahedron of neighbours at one distance are not the same."""
    flat = [[0.2, 0, 0], [-0.2, 0, 0], [0, 0.2, 0], [0, -0.2, 0]]
    corner = 0.2 / np.sqrt(3)
    steep = [[corner, corner, corner], [corner, -corner, -corner]]
    steep += [[-corner, corner, -corner], [-corner, -corner, corner]]
    square, tetrahedron = (
        Structure(Lattice.cubic(10), ["Xe"] + ["F"] * 4, [[0, 0, 0], *arms])
        for arms in (flat, steep)
    )
    one, other = said([square, tetrahedron])
    assert (one - other).abs().max() > 1e-3


def test_an_atom_on_its_own_has_neighbours_that_do_not_count() -> None:
    lone = Structure(Lattice.cubic(30), ["He"], [[0, 0, 0]])
    assert torch.isfinite(said([lone])).all()
