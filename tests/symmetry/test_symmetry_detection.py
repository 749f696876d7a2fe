"""Detection by two libraries, the supergroup test, symmetrising."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.assignments import parse_wyckoff
from crystal_diffusion.symmetry.cells import Cell, to_cell
from crystal_diffusion.symmetry.detection import (
    check_template,
    detect_group,
    is_supergroup,
    symmetrise,
    wyckoff_signature,
)
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.template import SymmetricTemplate


def crystal(wyckoff: str, group: int, seed: int = 0) -> tuple[SymmetricTemplate, Cell]:
    rng = np.random.default_rng(seed)
    template = SymmetricTemplate.from_assignment(parse_wyckoff(wyckoff, group))
    return template, template.rebuild(
        template.random_coords(rng), template.random_lattice(12.0, rng)
    )


def test_a_higher_group_is_named_as_supergroup() -> None:
    # One atom at the origin of P-1 with a cubic cell is simple cubic.
    template = SymmetricTemplate.from_assignment(parse_wyckoff("Po:1a", 2))
    check = check_template(template, template.rebuild(np.zeros((1, 3)), np.eye(3) * 3.3))
    assert check.kept and check.higher and check.moyopy == check.spglib == 221
    assert "supergroup Pm-3m" in check.message


def test_a_broken_group_is_noticed() -> None:
    template, cell = crystal("Ti:2a,O:4f", 136)
    moved = cell.frac_coords.copy()
    moved[0] += 0.03
    check = check_template(template, Cell(cell.lattice, moved, cell.numbers))
    assert not check.kept and "not contained" in check.message
    assert check_template(template, cell).message.startswith("P4_2/mnm (136) as requested")


def test_supergroup_on_operations() -> None:
    big, small = SpaceGroup.from_any("Fm-3m"), SpaceGroup.from_any("F-43m")
    assert is_supergroup(big.primitive_operations, small.primitive_operations)
    assert not is_supergroup(small.primitive_operations, big.primitive_operations)
    # Fd-3m has as many operations, with other translations.
    other = SpaceGroup.from_any("Fd-3m")
    assert not is_supergroup(big.primitive_operations, other.primitive_operations)


def test_both_libraries_fail_on_overlapping_atoms() -> None:
    clash = Cell(np.eye(3) * 4, np.zeros((2, 3)), np.array([3, 3]))
    with pytest.raises(InputError, match="overlapping"):
        detect_group(clash)


def test_symmetrise_recovers_the_group_from_noise() -> None:
    _, cell = crystal("Mg:8a,Al:16d,O:32e", 227)
    noise = np.random.default_rng(0).normal(0, 0.01, cell.frac_coords.shape)
    noisy = Cell(cell.lattice, cell.frac_coords + noise @ np.linalg.inv(cell.lattice), cell.numbers)
    assert detect_group(noisy, 1e-3).number == 1
    better = symmetrise(noisy, 0.1)
    found = detect_group(better, 1e-4)
    assert (found.moyopy, found.spglib) == (227, 227)
    assert len(better) == len(cell)


def test_structures_and_atoms_are_read() -> None:
    from ase import Atoms
    from pymatgen.core import Structure

    _, cell = crystal("Ti:2a,O:4f", 136)
    structure = cell.to_structure()
    assert isinstance(structure, Structure)
    atoms = Atoms(cell.numbers, cell=cell.lattice, scaled_positions=cell.frac_coords, pbc=True)
    for item in (structure, atoms, cell):
        assert detect_group(item).agree
        assert wyckoff_signature(item) in ("136:a|f", "136:b|g", "136:b|f", "136:a|g")
    with pytest.raises(InputError, match="got str"):
        to_cell("TiO2")
    disordered = Structure(np.eye(3) * 4, [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="partial occupancy"):
        to_cell(disordered)


def test_signature_does_not_name_elements() -> None:
    _, one = crystal("Na:4a,Cl:4b", 225)
    _, two = crystal("Mg:4a,O:4b", 225)
    assert wyckoff_signature(one) == wyckoff_signature(two) == "225:a|b"
