"""What is drawn: images on the border, bonds, wrapping, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from pymatgen.core import Lattice, Structure
from sample_run import perovskite, rock_salt

from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer.scene import element_table, make_scene, periodic_bonds


def _kinds(scene: object) -> dict[tuple[str, ...], int]:
    from crystal_diffusion.viewer.elements import symbol

    counts: dict[tuple[str, ...], int] = {}
    numbers = scene.drawn_numbers  # type: ignore[attr-defined]
    for i, j in scene.bonds:  # type: ignore[attr-defined]
        key = tuple(sorted((symbol(int(numbers[i])), symbol(int(numbers[j])))))
        counts[key] = counts.get(key, 0) + 1
    return counts


def test_perovskite_has_its_corners_faces_and_octahedron() -> None:
    scene = make_scene(perovskite())
    numbers = scene.drawn_numbers
    assert [(numbers == z).sum() for z in (38, 22, 8)] == [8, 1, 6]
    assert _kinds(scene) == {("O", "Ti"): 6}
    assert scene.title == "SrTiO3"


def test_rock_salt_draws_every_contact_in_the_cell() -> None:
    scene = make_scene(rock_salt("Na", "Cl", 5.64))
    assert len(scene.source) == 27
    assert _kinds(scene) == {("Cl", "Na"): 54}


def test_oxide_shows_no_bonds_between_cations_but_a_metal_does() -> None:
    rutile = Structure.from_spacegroup(
        136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    assert set(_kinds(make_scene(rutile))) == {("O", "Ti")}
    iron = Structure(Lattice.cubic(2.866), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert _kinds(make_scene(iron))[("Fe", "Fe")] >= 8


def test_bonds_cross_the_border_and_come_from_both_ends() -> None:
    chain = np.array([[0.5, 0.5, 0.02], [0.5, 0.5, 0.98]])
    first, second, shift = periodic_bonds(chain, np.diag([9.0, 9.0, 20.0]), np.array([6, 6]))
    assert sorted(zip(first.tolist(), second.tolist(), shift[:, 2].tolist(), strict=True)) == [
        (0, 1, -1),
        (1, 0, 1),
    ]


def test_atom_on_a_border_is_drawn_on_both_sides_whichever_side_it_is_on() -> None:
    for z in (0.0, 1e-18, -1e-18, 0.999, 1.0, 3.0):
        scene = make_scene(np.array([[0.5, 0.5, z]]), 5 * np.eye(3), [14])
        assert len(scene.source) == 2
        assert abs(np.diff(scene.positions[:, 2])[0]) == pytest.approx(5)
    assert len(make_scene(np.array([[0.5, 0.5, 0.3]]), 5 * np.eye(3), [14]).source) == 1


def test_all_ways_in_give_the_same_scene() -> None:
    structure = perovskite()
    numbers = np.array(structure.atomic_numbers)
    atoms = Atoms(
        numbers=numbers,
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )
    frac = torch.tensor(structure.frac_coords, requires_grad=True)
    padded = torch.cat([frac, torch.zeros(2, 3)])
    whole = make_scene(structure).to_dict()
    assert make_scene(atoms).to_dict() == whole
    symbols = [s.specie.symbol for s in structure]
    assert make_scene(structure.frac_coords, structure.lattice.matrix, symbols).to_dict() == whole
    with_mask = make_scene(
        padded, torch.tensor(structure.lattice.matrix), [*numbers, 0, 0], mask=[1] * 5 + [0] * 2
    )
    assert with_mask.to_dict() == whole


def test_elements_may_be_unknown() -> None:
    scene = make_scene(np.random.default_rng(0).random((8, 3)), 5 * np.eye(3))
    assert scene.legend == [(0, "?", "#9e9ea8", 8)]
    assert element_table(scene.numbers)["0"][3] == "not given"
    assert scene.title == "8 atoms"


def test_the_view_is_a_rotation_with_c_upwards() -> None:
    skewed = Structure(Lattice([[4, 0, 0], [1, 5, 0], [0.5, 1, 6]]), ["Si"], [[0, 0, 0]])
    turn = make_scene(skewed).view()
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    up = turn @ skewed.lattice.matrix[2]
    assert up[1] > 0.9 * np.linalg.norm(up)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((1, 2, 3)), np.eye(3)), "one crystal of a batch"),
        ((np.zeros((2, 3)), np.eye(2)), "expected (3, 3)"),
        ((np.zeros((2, 3)), np.eye(3), [1]), "to fit positions"),
        ((np.zeros((1, 3)), np.eye(3), ["Xx"]), "no element"),
        ((np.full((1, 3), np.nan), np.eye(3)), "must be finite"),
        ((np.zeros((1, 3)), np.diag([5.0, 5.0, 0.0])), "no cell to draw"),
        (("POSCAR",), "cannot draw a str"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_scene(*arguments)
    assert words in str(caught.value)
