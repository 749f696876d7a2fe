"""Nearly symmetric crystals made exact: the group comes back, nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.symmetry import idealisation
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.cells import to_cell
from crystal_diffusion.symmetry.detection import detect_group
from crystal_diffusion.symmetry.idealisation import idealise
from crystal_diffusion.symmetry.template import SymmetricTemplate


def crystal(group: int, wyckoff: str, volume: float, seed: int) -> Structure:
    template = SymmetricTemplate.from_assignment(parse_wyckoff(wyckoff, group))
    rng = np.random.default_rng(seed)
    coords = template.random_coords(rng)
    return template.structure(coords, template.random_lattice(volume, rng), "niggli").to_structure()


def shaken(structure: Structure, size: float, seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    strain = np.eye(3) + 0.002 * rng.normal(size=(3, 3))
    steps = size * rng.uniform(-1, 1, (len(structure), 3)) @ np.linalg.inv(structure.lattice.matrix)
    moved = structure.frac_coords + steps
    return Structure(Lattice(structure.lattice.matrix @ strain), structure.species, moved)


@pytest.mark.parametrize(
    ("group", "wyckoff"),
    [
        (221, "Sr:1a,Ti:1b,O:3c"),
        (225, "Na:4a,Cl:4b"),
        (216, "Ti:4a,Ni:4c,Sn:4b"),
        (136, "Ti:2a,O:4f"),
        (194, "Mg:2c,Zn:2a"),
        (62, "Fe:4c,S:4c"),
        (14, "Hf:4e,O:4e"),
        (166, "Bi:6c,Te:3a"),
        (99, "Pb:1a,Ti:1b"),
    ],
)
def test_the_group_comes_back(group: int, wyckoff: str) -> None:
    perfect = crystal(group, wyckoff, 16.0, group)
    wanted = detect_group(perfect, 0.001).moyopy
    rough = shaken(perfect, 0.02, 1)
    assert detect_group(rough, 0.001).number < wanted
    found = idealise(rough)
    assert found is not None
    better = found.cell.to_structure()
    again = detect_group(better, 0.001)
    assert again.moyopy == again.spglib == found.number
    assert found.number >= 1 and found.number == detect_group(rough, 0.1).moyopy
    assert [s.specie.Z for s in better] == [s.specie.Z for s in rough]
    assert better.volume == pytest.approx(rough.volume, rel=1e-9)
    assert 0 < found.moved <= found.farthest <= 0.1
    assert np.abs(better.distance_matrix - rough.distance_matrix).max() < 0.15


def test_exact_and_rough_crystals_stay() -> None:
    perfect = crystal(221, "Sr:1a,Ti:1b,O:3c", 12.0, 0)
    assert idealise(perfect) is None
    rng = np.random.default_rng(4)
    triclinic = Structure(
        Lattice.from_parameters(5.1, 6.3, 7.2, 81, 97, 108),
        ["Li", "O", "P", "S", "Na"],
        rng.random((5, 3)),
    )
    assert idealise(triclinic) is None
    assert idealise(shaken(perfect, 0.6, 2)) is None


def test_a_supercell_keeps_its_atoms() -> None:
    double = crystal(221, "Sr:1a,Ti:1b,O:3c", 12.0, 0) * (2, 1, 1)
    found = idealise(shaken(double, 0.02, 3))
    assert found is not None
    assert len(found.cell) == 10


def test_no_atom_moves_farther_than_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rutile whose oxygen would go 0.3 Å along its free coordinate, titanium nowhere."""

    def rutile(x: float) -> Structure:
        lattice = Lattice.tetragonal(4.59, 2.96)
        return Structure.from_spacegroup(136, lattice, ["Ti", "O"], [[0, 0, 0], [x, x, 0]])

    rough = shaken(rutile(0.305), 0.02, 3)
    assert idealise(rough) is not None
    for x, kept in ((0.307, True), (0.305 + 0.3 / 4.59 / np.sqrt(2), False)):
        ideal = to_cell(rutile(x))
        monkeypatch.setattr(idealisation, "_average", lambda *_, ideal=ideal: ideal)
        assert (idealise(rough) is not None) == kept
