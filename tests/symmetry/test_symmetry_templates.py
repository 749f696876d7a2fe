"""Templates: exact subspaces, projections, allowed cells, detection by both libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_templates import (
    GROUPS,
    orbit_error,
    random_crystal,
    random_template,
    torus_distance,
)

from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.assignments import Site, make_assignment, parse_wyckoff
from crystal_diffusion.symmetry.cells import Cell, to_conventional, to_niggli
from crystal_diffusion.symmetry.detection import check_template, detect_group
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.projection import TemplateBatch
from crystal_diffusion.symmetry.template import SymmetricTemplate


@pytest.mark.parametrize("number", GROUPS)
def test_random_crystals_have_the_group(number: int) -> None:
    rng = np.random.default_rng(number)
    template = random_template(number, rng)
    cell = random_crystal(template, rng)
    for symprec in (1e-2, 1e-4):
        check = check_template(template, cell, symprec)
        assert check.kept, check.message
        assert (check.moyopy, check.spglib) == (number, number), check.message


@pytest.mark.parametrize("number", GROUPS)
def test_coords_are_symmetric_whatever_comes_in(number: int) -> None:
    rng = np.random.default_rng(number)
    template = random_template(number, rng, extra=2)
    start = template.random_coords(rng)
    assert orbit_error(template, start) < 1e-12
    assert torus_distance(template.project_coords(start), start) < 1e-12
    for spread in (1e-3, 0.1, 1.0):
        noisy = start + rng.normal(0, spread, start.shape)
        projected = template.project_coords(noisy)
        assert orbit_error(template, projected) < 1e-12
        assert torus_distance(template.project_coords(projected), projected) < 1e-12
        assert projected.min() >= 0 and projected.max() < 1
        whole = rng.integers(-3, 4, start.shape)
        assert torus_distance(template.project_coords(noisy + whole), projected) < 1e-9


@pytest.mark.parametrize("number", GROUPS)
def test_displacements_keep_the_group_and_project_orthogonally(number: int) -> None:
    rng = np.random.default_rng(number)
    template = random_template(number, rng, extra=2)
    start = template.random_coords(rng)
    field, other = rng.normal(size=(2, *start.shape))
    projected = template.project_displacement(field)
    assert np.abs(template.project_displacement(projected) - projected).max() < 1e-12
    moved = start + 0.07 * projected
    assert orbit_error(template, moved) < 1e-12
    assert torus_distance(template.project_coords(moved), moved) < 1e-12
    # What is taken away is orthogonal to what stays, in any metric of the group.
    lattice = template.random_lattice(10.0, rng)
    metric = lattice @ lattice.T
    mine = template.project_displacement(other)
    assert abs(np.einsum("ai,ij,aj->", field - projected, metric, mine)) < 1e-9


@pytest.mark.parametrize("number", GROUPS)
def test_cells_are_invariant_and_keep_their_volume(number: int) -> None:
    rng = np.random.default_rng(number)
    template = random_template(number, rng)
    lattice = 4 * np.eye(3) + rng.normal(size=(3, 3))
    allowed = template.project_lattice(lattice)
    metric = allowed @ allowed.T
    rotations, _ = template.group.primitive_operations
    turned = np.einsum("nki,kl,nlj->nij", rotations, metric, rotations)
    assert np.abs(turned - metric).max() < 1e-10 * np.trace(metric)
    assert np.linalg.det(allowed) == pytest.approx(np.linalg.det(lattice), rel=1e-9)
    assert np.abs(template.project_lattice(allowed) - allowed).max() < 1e-9
    mean = (template.group.laue_metrics @ metric.reshape(9)).reshape(3, 3)
    assert np.abs(mean - metric).max() < 1e-10 * np.trace(metric)


def test_a_symmetric_factor_stays_symmetric() -> None:
    template = SymmetricTemplate.from_assignment(parse_wyckoff("O:12k,Al:2a", 194))
    strain = np.random.default_rng(0).normal(size=(3, 3)) * 0.3
    values, vectors = np.linalg.eigh(0.5 * (strain + strain.T))
    lattice = (vectors * np.exp(values)) @ vectors.T
    allowed = template.project_lattice(lattice)
    assert np.abs(allowed - allowed.T).max() < 1e-12
    assert np.linalg.norm(allowed[0]) == pytest.approx(np.linalg.norm(allowed[1]), rel=1e-12)


def test_every_position_of_a_group_lies_where_the_table_says() -> None:
    rng = np.random.default_rng(3)
    for number in (15, 62, 136, 167, 194, 216, 227):
        group = SpaceGroup.from_number(number)
        for position in group.positions:
            template = SymmetricTemplate.from_assignment(
                make_assignment(group, [Site(8, position.letter)])
            )
            cell = template.rebuild(template.random_coords(rng), template.random_lattice(15, rng))
            whole = to_conventional(cell, group)
            assert len(whole) == position.multiplicity
            linear, offset = position.images()
            # Every atom solves "linear @ u + offset" of one of the tabulated points.
            away = np.array([np.eye(3) - part @ np.linalg.pinv(part) for part in linear])
            shifts = np.stack(np.meshgrid(*[[-1, 0, 1, 2]] * 3), -1).reshape(-1, 3)
            for coords in whole.frac_coords[:: max(1, len(whole) // 8)]:
                rest = (coords + shifts - offset[:, None]) @ away.transpose(0, 2, 1)
                assert np.abs(rest).max(-1).min() < 1e-9


def test_generators_give_the_same_numbers_again() -> None:
    template = SymmetricTemplate.from_assignment(parse_wyckoff("O:8d,Ca:4c", 62))
    first = template.random_coords(np.random.default_rng(5))
    assert np.array_equal(first, template.random_coords(np.random.default_rng(5)))
    drawn = [template.random_coords(torch.Generator().manual_seed(5)) for _ in range(2)]
    assert np.array_equal(*drawn)


def test_starts_are_uniform_along_free_parameters() -> None:
    template = SymmetricTemplate.from_assignment(parse_wyckoff("Si:4f", 136))  # x, x, 0
    uniform = torch.rand(4000, 4, 3, generator=torch.Generator().manual_seed(0))
    x = TemplateBatch([template] * 4000).start(uniform)[:, 0, 0].numpy()
    counts = np.histogram(x, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


@pytest.mark.parametrize(
    ("cell", "atoms"), [("primitive", 14), ("niggli", 14), ("conventional", 56)]
)
def test_spinel_in_each_cell(cell: str, atoms: int) -> None:
    rng = np.random.default_rng(0)
    template = SymmetricTemplate.from_assignment(parse_wyckoff("Mg:8a,Al:16d,O:32e", 227))
    made = template.structure(template.random_coords(rng), template.random_lattice(9, rng), cell)
    assert len(made) == atoms
    found = detect_group(made, 1e-3)
    assert (found.moyopy, found.spglib) == (227, 227)
    assert abs(np.linalg.det(made.lattice)) == pytest.approx(9 * atoms, rel=1e-9)
    assert np.bincount(made.numbers)[[8, 12, 13]].tolist() == [
        atoms * 4 // 7,
        atoms // 7,
        atoms * 2 // 7,
    ]


def test_niggli_moves_no_atom() -> None:
    rng = np.random.default_rng(2)
    template = random_template(146, rng)
    cell = template.rebuild(template.random_coords(rng), template.random_lattice(12, rng))
    reduced = to_niggli(cell)
    assert torus_distance((reduced.frac_coords @ reduced.lattice) @ np.linalg.inv(cell.lattice),
                          cell.frac_coords) < 1e-9  # fmt: skip
    assert np.linalg.det(reduced.lattice) == pytest.approx(np.linalg.det(cell.lattice))


def test_wrong_shapes_and_cells_are_refused() -> None:
    template = SymmetricTemplate.from_assignment(parse_wyckoff("Si:8a", 227))
    with pytest.raises(InputError, match="expected"):
        template.project_coords(np.zeros((3, 3)))
    with pytest.raises(InputError, match="choose primitive"):
        template.structure(np.zeros((2, 3)), np.eye(3) * 4, "large")


@pytest.mark.parametrize("number", range(1, 231))
def test_all_groups_are_found_again(number: int) -> None:
    rng = np.random.default_rng(number)
    group = SpaceGroup.from_number(number)
    for trial in range(3):
        template = random_template(number, rng, extra=1 + trial, general=trial == 0)
        # Bare special positions may well have a higher symmetry: then the group is contained.
        cell = random_crystal(template, rng)
        for symprec in (1e-2, 1e-4):
            check = check_template(template, cell, symprec)
            assert check.kept, check.message
        if trial == 0:
            assert (check.moyopy, check.spglib) == (number, number), check.message
        whole = to_conventional(cell, group)
        assert len(whole) == len(cell) * group.centring_size
        assert detect_group(whole, 1e-4).moyopy == check.moyopy


def test_kind_07_the_niggli_cell_of_equal_edges_does_not_flip_with_rounding() -> None:
    """A rhombohedral cell has many reduced bases; the last digit may not choose among them."""
    edge = np.array([[3.8, 0.1, 0.1], [0.1, 3.8, 0.1], [0.1, 0.1, 3.8]])
    rng = np.random.default_rng(0)
    skew = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], float)
    wanted = to_niggli(Cell(skew @ edge, np.zeros((1, 3)), np.array([11])))
    for _ in range(20):
        noisy = skew @ edge + 1e-6 * rng.standard_normal((3, 3))
        found = to_niggli(Cell(noisy, np.zeros((1, 3)), np.array([11])))
        assert np.allclose(found.lattice, wanted.lattice, atol=1e-4)
        assert np.linalg.det(found.lattice) > 0
