"""What is drawn: images on the border, bonds, wrapping, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from pymatgen.core import Lattice, Structure
from sample_run import perovskite, rock_salt

from crystal_diffusion.errors import InputError
from crystal_diffusion.viewer.bonds import periodic_bonds
from crystal_diffusion.viewer.scene import Look, Scene, element_table, make_scene, supercell_of


def _kinds(scene: Scene) -> dict[tuple[str, ...], int]:
    from crystal_diffusion.viewer.elements import symbol

    counts: dict[tuple[str, ...], int] = {}
    numbers = scene.drawn_numbers
    for i, j in scene.drawing.bonds:
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
    assert len(scene.drawing.source) == 27
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
        assert len(scene.drawing.source) == 2
        assert abs(np.diff(scene.positions[:, 2])[0]) == pytest.approx(5)
    assert len(make_scene(np.array([[0.5, 0.5, 0.3]]), 5 * np.eye(3), [14]).drawing.source) == 1


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


def _half_heusler() -> Structure:
    cube = Structure.from_spacegroup(
        216, Lattice.cubic(5.9), ["Ti", "Ni", "Sn"],
        [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]],
    )  # fmt: skip
    return cube.get_primitive_structure()


def _rutile() -> Structure:
    return Structure.from_spacegroup(
        136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


def test_a_primitive_cell_is_shown_as_the_cube_and_as_given_on_request() -> None:
    primitive = _half_heusler()
    assert len(primitive) == 3
    scene = make_scene(primitive)
    assert scene.cell @ scene.cell.T == pytest.approx(5.9**2 * np.eye(3), abs=1e-6)
    assert scene.atoms == 12 and scene.drawing.home == 12
    assert "Conventional cell of TiNiSn: 4 titanium" in scene.description
    given = scene.shown(cell="given")
    assert given.cell == pytest.approx(primitive.lattice.matrix)
    assert given.drawing.home == 3 and "Cell as given" in given.description


def test_no_atom_is_moved_into_the_conventional_cell() -> None:
    shaken = _half_heusler()
    shaken.perturb(0.02, seed=1)
    scene = make_scene(shaken)
    assert scene.atoms == 12
    inside = np.linalg.norm(scene.positions[:, None] - scene.positions[None], axis=-1)
    real = shaken.distance_matrix[shaken.distance_matrix > 1e-3].min()
    assert inside[inside > 1e-3].min() == pytest.approx(real, abs=1e-6)


def test_a_conventional_cell_stays_as_the_file_has_it() -> None:
    shifted = _rutile()
    shifted.translate_sites(range(6), [0.1, 0.2, 0.3])
    scene = make_scene(shifted)
    assert [box.name for box in scene.boxes] == ["given"]
    doubled = _rutile()
    doubled.make_supercell([1, 1, 2])
    assert make_scene(doubled).atoms == 6


def test_unknown_symmetry_is_shown_as_given() -> None:
    two = make_scene(np.array([[0.0, 0, 0], [0.001, 0, 0]]), 5 * np.eye(3), [8, 8])
    assert [box.name for box in two.boxes] == ["given"]


def test_cations_on_the_border_have_all_their_neighbours() -> None:
    scene = make_scene(_rutile())
    titanium = np.flatnonzero(scene.drawn_numbers[: scene.drawing.inside] == 22)
    assert len(titanium) == 9
    partners = np.bincount(scene.drawing.bonds.ravel(), minlength=len(scene.positions))
    assert set(partners[titanium]) == {6}
    bare = scene.shown(complete=False)
    assert len(bare.drawing.source) == bare.drawing.inside == scene.drawing.inside


def test_the_cube_of_rock_salt_is_completed_only_on_request() -> None:
    scene = make_scene(rock_salt("Na", "Cl", 5.64))
    assert scene.bare and not scene.completed
    spiky = scene.shown(complete=True)
    sodium = np.flatnonzero(spiky.drawn_numbers[: spiky.drawing.inside] == 11)
    partners = np.bincount(spiky.drawing.bonds.ravel(), minlength=len(spiky.positions))
    assert set(partners[sodium]) == {6}
    assert not make_scene(perovskite()).bare


def test_ammonia_keeps_its_hydrogen_across_the_border() -> None:
    place = np.array([[0.0, 0, 0], [0.094, 0.094, 0.094], [-0.094, -0.094, 0.094]])
    scene = make_scene(place, 6.2 * np.eye(3), [7, 1, 1], look=Look(complete=True))
    nitrogen = np.flatnonzero(scene.drawn_numbers == 7)
    partners = np.bincount(scene.drawing.bonds.ravel(), minlength=len(scene.positions))
    assert set(partners[nitrogen][: scene.drawing.inside]) == {2}


def test_polyhedra_have_the_faces_of_their_bodies() -> None:
    octahedron = make_scene(perovskite()).shown(polyhedra=True).drawing
    assert [len(face) for _, face in octahedron.faces] == [3] * 8
    assert make_scene(perovskite()).drawing.faces == []
    fluorite = Structure.from_spacegroup(
        225, Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    cubes = make_scene(fluorite).shown(polyhedra=True).drawing
    assert [len(face) for _, face in cubes.faces] == [4] * 6 * 14
    assert make_scene(_half_heusler()).shown(polyhedra=True).drawing.faces == []


def test_a_supercell_repeats_atoms_and_bonds() -> None:
    scene = make_scene(perovskite(), look=Look(supercell=(2, 1, 3)))
    assert scene.drawing.home == 5 * 6
    assert (scene.drawn_numbers == 38).sum() == 3 * 2 * 4
    assert _kinds(scene) == {("O", "Ti"): 36}


@pytest.mark.parametrize("wanted", [2, "2", "2x2x2", "2 2 2", "2×2×2", (2, 2, 2), [2, 2, 2]])
def test_supercells_may_be_written_in_many_ways(wanted: object) -> None:
    assert supercell_of(wanted) == (2, 2, 2)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ({"cell": "primitive"}, "give 'conventional'"),
        ({"direction": "d"}, "standard, a, b, c"),
        ({"supercell": (0, 1, 1)}, "whole numbers from 1 to 20"),
        ({"supercell": (20, 20, 20)}, "at most 20000 are drawn"),
    ],
)
def test_looks_that_do_not_exist_are_refused(look: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_scene(perovskite(), look=Look(**look))
    assert words in str(caught.value)
    with pytest.raises(InputError, match="such as 2, or three"):
        supercell_of("2x2")


def test_the_shortest_axis_points_to_the_eye() -> None:
    flat = Structure(Lattice.orthorhombic(10, 6, 4.7), ["Mg"], [[0, 0, 0]])
    turn = make_scene(flat).view()
    assert np.argmax(np.abs(turn @ [0, 0, 1.0])) == 2 and (turn @ [0, 1.0, 0])[1] > 0.9
    along = make_scene(flat, look=Look(direction="a")).view()
    assert along @ [1.0, 0, 0] == pytest.approx([0, 0, 1])


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


def test_lithium_keeps_its_octahedron_beside_the_short_bonds_of_a_phosphate() -> None:
    olivine = Structure.from_spacegroup(
        62,
        Lattice.orthorhombic(10.33, 6.01, 4.69),
        ["Li", "Fe", "P", "O", "O", "O"],
        [[0, 0, 0], [0.282, 0.25, 0.975], [0.095, 0.25, 0.418], [0.097, 0.25, 0.743],
         [0.457, 0.25, 0.206], [0.166, 0.046, 0.285]],
    )  # fmt: skip
    scene = make_scene(olivine)
    partners = np.bincount(scene.drawing.bonds.ravel(), minlength=len(scene.positions))
    inside = scene.drawn_numbers[: scene.drawing.inside]
    for number, neighbours in ((3, 6), (26, 6), (15, 4)):
        assert set(partners[: len(inside)][inside == number]) == {neighbours}
