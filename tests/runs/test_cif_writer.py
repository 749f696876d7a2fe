"""CIFs that are written say their symmetry, and read back as the same crystal."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser

from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.runs.cif_writer import cif_text

PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
WURTZITE = Structure.from_spacegroup(
    "P6_3mc", Lattice.hexagonal(3.2, 5.2), ["Ga", "N"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.376]]
)
SPODUMENE = Structure.from_spacegroup(
    "C2/c",
    Lattice.monoclinic(9.5, 8.4, 5.2, 110.0),
    ["Li", "O"],
    [[0, 0.27, 0.25], [0.11, 0.08, 0.14]],
)
SKEWED = Structure(
    Lattice.from_parameters(4, 5, 6, 75, 95, 110), ["Si", "O"], [[0] * 3, [0.4, 0.3, 0.2]]
)


def same(found: Structure, wanted: Structure) -> bool:
    step = found.frac_coords[:, None] - wanted.frac_coords[None]
    apart = np.linalg.norm((step - np.round(step)) @ wanted.lattice.matrix, axis=-1)
    nearest = apart.argmin(1)
    return (
        len(found) == len(wanted)
        and np.allclose(found.lattice.parameters, wanted.lattice.parameters)
        and bool(apart.min(1).max() < 1e-3)
        and [s.specie for s in found] == [wanted[i].specie for i in nearest]
    )


@pytest.mark.parametrize(
    ("structure", "says", "rows"),
    [
        (PEROVSKITE, "H-M_alt  'P m -3 m'", 3),
        (SALT, "H-M_alt  'F m -3 m'", 2),
        (SALT.get_primitive_structure(), "H-M_ref  'F m -3 m'", 2),
        (WURTZITE, "H-M_alt  'P 63 m c'", 2),
        (SPODUMENE, "H-M_alt  'C 1 2/c 1'", 2),
        (SPODUMENE.get_primitive_structure(), "H-M_ref  'C 1 2/c 1'", 2),
        (SKEWED, "H-M_alt  'P 1'", 2),
    ],
)
def test_the_group_is_said_and_the_crystal_comes_back(
    structure: Structure, says: str, rows: int
) -> None:
    text = cif_text(structure, "x")
    assert says in text
    assert len(text.split("_atom_site_occupancy\n")[1].splitlines()) == rows
    (ours,) = parse_cif(text, "x", "x")
    assert ours.notes == ()
    assert same(ours.to_structure(), structure)
    theirs = CifParser.from_str(text).parse_structures(primitive=False)[0]
    assert same(theirs, structure)


def test_what_is_only_nearly_symmetric_is_written_atom_by_atom() -> None:
    shaken = PEROVSKITE.copy()
    shaken.translate_sites([0], [0.0005, 0.0003, 0.0002])
    text = cif_text(shaken, "x")
    assert text.splitlines()[1].startswith("# all atoms are listed; within 0.01 Å")
    assert "P m -3 m (221)" in text and "'P 1'" in text
    (ours,) = parse_cif(text, "x", "x")
    assert same(ours.to_structure(), shaken)
