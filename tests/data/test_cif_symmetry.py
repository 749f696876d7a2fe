"""Symmetry of CIFs: names, Hall symbols, numbers and lists of operations, alone and against
each other, the cell and the formula."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gemmi
import numpy as np
import pytest

from crystal_diffusion.data.check import formula_of
from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.space_groups import all_settings, settings_named

CUBIC, HEXAGONAL = (6, 6, 6, 90, 90, 90), (5, 5, 8, 90, 90, 120)
TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def cif(symmetry: str, sites: str, cell: tuple[float, ...] = CUBIC, more: str = "") -> str:
    lines = "".join(f"_cell_{tag} {value}\n" for tag, value in zip(TAGS, cell, strict=True))
    table = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
    return (
        f"data_x\n{symmetry}\n{lines}{more}\n{table}_atom_site_fract_y\n_atom_site_fract_z\n{sites}"
    )


def read(text: str) -> PlainCrystal:
    (crystal,) = parse_cif(text, "x", "x")
    return crystal


def operations(*triplets: str) -> str:
    return "loop_\n_space_group_symop_operation_xyz\n" + "".join(f"'{t}'\n" for t in triplets)


def listed(name: str) -> tuple[str, ...]:
    return tuple(o.triplet() for o in gemmi.SpaceGroup(name).operations())


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("F d -3 m :2", "F d -3 m:2"),
        ("Fd-3mZ", "F d -3 m:2"),
        ("F d -3 m S", "F d -3 m:1"),
        ("F d -3 m {origin @ -43m}", "F d -3 m:1"),
        ("P 4/n {origin @ centre (-1)}", "P 4/n:2"),
        ("I 41/a m d (origin choice 2)", "I 41/a m d:2"),
        ("F 41/d -3 2/m :1", "F d -3 m:1"),
        ("P 21/n 21/m 21/a", "P n m a"),
        ("F 4/m -3 2/m", "F m -3 m"),
        ("R -3 m H", "R -3 m:H"),
        ("R-3cR", "R -3 c:R"),
        ("R 3 m (rhombohedral axes)", "R 3 m:R"),
        ("H -3 m", "R -3 m:H"),
        ("P2(1)/c", "P 1 21/c 1"),
        ("P 2_1/c", "P 1 21/c 1"),
        ("P 21/c 1 1", "P 21/c 1 1"),
        ("F M -3 M", "F m -3 m"),
        ("Fm3m", "F m -3 m"),
        ("P 6_3/m m c", "P 63/m m c"),
        ("C m c e", "C m c a"),
        ("225", "F m -3 m"),
    ],
)
def test_names_in_many_spellings(name: str, setting: str) -> None:
    assert settings_named(name)[0].name == setting


@pytest.mark.parametrize("name", ["salt", "F m -3 q", "P 7", "231", ""])
def test_names_that_nobody_knows(name: str) -> None:
    assert settings_named(name) == ()
    if name:
        crystal = read(cif(f"_space_group_name_H-M_alt '{name}'", "Na1 Na 0 0 0\n"))
        assert crystal.problem is not None and "unknown" in crystal.problem


def test_a_structure_type_in_the_place_of_a_group_is_said() -> None:
    text = cif(
        "_symmetry_space_group_name_H-M 'zinc blende type'", "Zn1 Zn 0 0 0\nS1 S .25 .25 .25\n"
    )
    crystal = read(text)
    assert formula_of(crystal.atomic_numbers) == "S4 Zn4"
    assert "structure type" in crystal.notes[0]
    assert read(text.replace("angle_gamma 90", "angle_gamma 120")).problem is not None


def test_every_setting_of_gemmi_is_found_by_its_own_name() -> None:
    assert len(all_settings()) == 564
    assert [s.name for s in all_settings() if settings_named(s.name) != (s,)] == []


def test_a_change_of_basis_behind_the_symbol_is_applied() -> None:
    plain = read(cif("_space_group_name_H-M_alt 'P -1'", "Si1 Si .1 .2 .3\n"))
    moved = read(cif("_space_group_name_H-M_alt 'P -1 (x,y,z+1/4)'", "Si1 Si .1 .2 .3\n"))
    assert np.allclose(plain.frac_coords[1], [0.9, 0.8, 0.7])
    assert not np.allclose(moved.frac_coords[1], plain.frac_coords[1])


def test_the_hall_symbol_decides_the_origin() -> None:
    sites = "Si1 Si .125 .125 .125\n"
    name = "_space_group_name_H-M_alt 'F d -3 m'\n"
    assert read(cif(name + "_space_group_name_Hall '-F 4vw 2vw 3'", sites)).problem is None
    counts = [
        len(read(cif(f"{name}_space_group_name_Hall '{hall}'", sites)).atomic_numbers)
        for hall in ("-F 4vw 2vw 3", "F 4d 2 3 -1d")
    ]
    assert counts == [8, 16]
    assert len(read(cif("_space_group_name_Hall 'P 4 2'", "Ni1 Ni .1 .2 .3\n")).frac_coords) == 8


def test_an_open_origin_is_refused_unless_the_formula_tells() -> None:
    name, sites = "_symmetry_space_group_name_H-M 'F d -3 m'", "C1 C .125 .125 .125\n"
    problem = read(cif(name, sites)).problem
    assert problem is not None and "F d -3 m:1 or the space group F d -3 m:2" in problem
    formula = "_chemical_formula_sum C\n_cell_formula_units_Z 8\n"
    assert len(read(cif(name, sites, more=formula)).atomic_numbers) == 8
    density = "_exptl_crystal_density_diffrn 0.738\n"
    assert len(read(cif(name, sites, more=density)).atomic_numbers) == 8


def test_the_cell_chooses_axes_and_unique_axis() -> None:
    name, sites = "_symmetry_space_group_name_H-M 'R -3 c'", "Al1 Al .1 .2 .3\n"
    assert len(read(cif(name, sites, HEXAGONAL)).frac_coords) == 36
    assert len(read(cif(name, sites, (5, 5, 5, 55, 55, 55))).frac_coords) == 12
    assert "does not fit" in str(read(cif(name, sites, (4, 5, 6, 90, 90, 90))).problem)
    short = "_symmetry_space_group_name_H-M 'P 21/m'"
    for cell, axis in (((4, 5, 6, 90, 100, 90), 1), ((4, 5, 6, 90, 90, 100), 2)):
        moved = read(cif(short, "Si1 Si .1 .2 .3\n", cell)).frac_coords
        # The screw axis shifts by one half along the unique axis.
        assert (np.abs(moved[1:] - moved[0])[:, axis] % 1).round(6).tolist().count(0.5) >= 1
    wrong = read(cif("_symmetry_space_group_name_H-M 'P 1 2 1'", sites, (4, 5, 6, 90, 90, 100)))
    assert "does not fit the cell" in str(wrong.problem)


def test_a_number_alone_is_the_standard_setting_or_nothing() -> None:
    sites = "Si1 Si .1 .2 .3\n"
    standard = read(cif("_space_group_IT_number 14", sites, (4, 5, 6, 90, 100, 90)))
    assert len(standard.frac_coords) == 4 and standard.notes == ()
    # With c as unique axis there are three choices of cell, and nothing tells which.
    other = read(cif("_space_group_IT_number 14", sites, (4, 5, 6, 90, 90, 100)))
    assert "symmetry is open" in str(other.problem)


def test_a_setting_code_of_the_dictionary_counts() -> None:
    text = "_space_group_IT_number 166\n_space_group_IT_coordinate_system_code h"
    assert len(read(cif(text, "Bi1 Bi .1 .35 .3\n", HEXAGONAL)).frac_coords) == 36
    text = "_space_group_name_H-M_alt 'F d -3 m'\n_space_group_IT_coordinate_system_code 2"
    assert len(read(cif(text, "Si1 Si .125 .125 .125\n")).frac_coords) == 8


def test_a_list_that_is_a_group_is_used_as_it_is() -> None:
    crystal = read(cif(operations(*listed("P n m a")), "Si1 Si .1 .2 .3\n"))
    assert len(crystal.frac_coords) == 8 and crystal.notes == ()


def test_a_list_without_identity_or_inversion_is_completed_where_the_name_agrees() -> None:
    part = operations("-x+1/2,-y,z+1/2", "x+1/2,-y+1/2,-z+1/2", "-x,-y,-z")
    named = read(cif(part + "_space_group_name_H-M_alt 'P n m a'\n", "Si1 Si .1 .2 .3\n"))
    assert len(named.frac_coords) == 8
    assert "8 operations follow from the 3 listed" in named.notes
    alone = read(cif(part, "Si1 Si .1 .2 .3\n"))
    assert alone.problem is not None and "symmetry is open" in alone.problem


def test_a_cut_list_of_a_named_group_is_completed_by_the_name() -> None:
    cut = operations(*listed("F m -3 m")[:10]) + "_symmetry_space_group_name_H-M 'F m -3 m'\n"
    crystal = read(cif(cut, "Na1 Na 0 0 0\nCl1 Cl .5 .5 .5\n"))
    assert formula_of(crystal.atomic_numbers) == "Cl4 Na4"


@pytest.mark.parametrize("triplet", ["x,y,2*z", "x,x,z", "x,y", "hello", "x,y,z+w"])
def test_what_is_no_operation_is_refused(triplet: str) -> None:
    problem = read(cif(operations("x,y,z", triplet), "Si1 Si .1 .2 .3\n")).problem
    assert problem is not None and "no symmetry operation" in problem


def test_operations_must_fit_the_cell() -> None:
    text = cif(operations(*listed("P 3")), "Si1 Si .1 .2 .3\n", (4, 5, 6, 90, 90, 90))
    assert "do not fit the cell" in str(read(text).problem)


def test_only_the_identity_beside_a_name_is_what_the_formula_says() -> None:
    text = operations("x,y,z") + "_symmetry_space_group_name_H-M 'F m -3 m'\n"
    two = "Na1 Na 0 0 0\nCl1 Cl .5 .5 .5\n"
    formula = "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4\n"
    assert "symmetry is open" in str(read(cif(text, two)).problem)
    assert len(read(cif(text, two, more=formula)).frac_coords) == 8
    full = "".join(
        f"{el}{i} {el} {x} {y} {z}\n"
        for el, shift in (("Na", 0.0), ("Cl", 0.5))
        for i, (x, y, z) in enumerate(
            (np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) + shift) % 1
        )
    )
    # All atoms are there already: both ways give the same crystal.
    assert len(read(cif(text, full)).frac_coords) == 8


def test_an_origin_that_no_table_has() -> None:
    text = operations("x,y,z", "-x+5/297,-y+292/297,-z+814/821")
    crystal = read(cif(text, "Si1 Si .1 .2 .3\n"))
    assert np.allclose(
        crystal.frac_coords[1], [(5 / 297 - 0.1) % 1, 292 / 297 - 0.2, 814 / 821 - 0.3]
    )


def test_magnetic_operations_lose_their_time_reversal() -> None:
    magnetic = (
        "loop_\n_space_group_symop_magn_operation.xyz\n'x,y,z,+1'\n'-x,-y,-z,-1'\n"
        "loop_\n_space_group_symop_magn_centering.xyz\n'x,y,z,+1'\n'x+1/2,y+1/2,z+1/2,-1'\n"
    )
    assert len(read(cif(magnetic, "Fe1 Fe .1 .2 .3\n")).frac_coords) == 4


@pytest.mark.parametrize(
    ("name", "cell", "site", "count"),
    [
        ("P 63/m m c", HEXAGONAL, "Mg1 Mg 0.333 0.667 0.25\n", 2),
        ("P 63/m m c", HEXAGONAL, "Mg1 Mg 1.3333 -0.333 0.25\n", 2),
        ("P 63/m m c", HEXAGONAL, "K1 K 0.165 0.331 0.25\n", 6),
        ("P 3", HEXAGONAL, "Mg1 Mg 0.33 0.67 0.1\n", 1),
        ("F d -3 m:2", CUBIC, "Si1 Si 0.124 0.126 0.125\n", 8),
        ("I a -3 d", (12, 12, 12, 90, 90, 90), "O1 O 0.125 0.001 0.249\n", 24),
    ],
)
def test_special_positions_in_few_digits(
    name: str, cell: tuple[float, ...], site: str, count: int
) -> None:
    crystal = read(cif(f"_space_group_name_H-M_alt '{name}'", site, cell))
    assert len(crystal.frac_coords) == count
    step = crystal.frac_coords[:, None] - crystal.frac_coords[None]
    apart = np.linalg.norm((step - np.round(step)) @ crystal.lattice, axis=-1)
    assert (apart + 9 * np.eye(count)).min() > 1.0


def test_atoms_that_are_near_a_special_position_are_not_merged() -> None:
    name = "_space_group_name_H-M_alt 'P -1'"
    assert len(read(cif(name, "H1 H 0.065 0 0\n")).frac_coords) == 2
    half = cif(name, "H1 H 0.03 0 0\n").replace("fract_z\n", "fract_z\n_atom_site_occupancy\n")
    split = read(half.replace("0.03 0 0", "0.03 0 0 0.5"))
    assert split.occupancy is not None and len(split.occupancy.species) == 2


def test_counts_are_those_of_gemmi() -> None:
    text = cif("_space_group_name_H-M_alt 'P 42/m n m'", "Ti1 Ti 0 0 0\nO1 O .305 .305 0\n")
    crystal = read(text)
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
    counts = Counter(site.element.name for site in small.get_all_unit_cell_sites())
    assert counts == {"Ti": 2, "O": 4}
    assert formula_of(crystal.atomic_numbers) == "O4 Ti2"


@pytest.mark.parametrize("written", ["2x", "2*x"])
def test_operations_of_a_cell_that_is_not_reduced(written: str, tmp_path: Path) -> None:
    """In a sheared cell an operation holds a 2; its determinant is -1, so it is one."""
    file = tmp_path / "sheared.cif"
    file.write_text(
        "data_a\n_cell_length_a 10.0\n_cell_length_b 3.18\n_cell_length_c 3.0\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 107.45760\n_cell_angle_gamma 90\n"
        "_chemical_formula_sum 'Mg1 Si2'\nloop_\n_symmetry_equiv_pos_as_xyz\n"
        f"'x,y,z'\n'-x,-y,-z'\n'-x,y,-{written}+z'\n'x,-y,{written}-z'\n"
        "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "Mg1 0 0 0.5\nSi1 0.2 0.5 0.2\n"
    )
    crystals = list(iter_plain(file))
    assert [c.problem for c in crystals] == [None]
    assert sorted(crystals[0].atomic_numbers.tolist()) == [12, 14, 14]
