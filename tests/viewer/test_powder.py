"""The powder pattern against pymatgen's."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from sample_run import perovskite, rock_salt

from crystal_diffusion.viewer.powder import powder_pattern

TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.2, 6.3, 81, 97, 105),
    ["Al", "Si", "O"],
    [[0.1, 0.2, 0.3], [0.6, 0.55, 0.8], [0.9, 0.4, 0.1]],
)


@pytest.mark.parametrize(
    "structure", [perovskite(), rock_salt("Na", "Cl", 5.64), TRICLINIC], ids=["cubic", "fcc", "p1"]
)
def test_angles_and_heights_are_those_of_pymatgen(structure: Structure) -> None:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    theirs = XRDCalculator().get_pattern(structure, two_theta_range=(10, 90))
    angles, heights = powder_pattern(
        structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers)
    )
    seen = np.asarray(theirs.y) >= 0.1
    assert angles == pytest.approx(np.asarray(theirs.x)[seen], abs=2e-3)
    assert heights == pytest.approx(np.asarray(theirs.y)[seen], rel=1e-3, abs=0.05)


def test_unknown_elements_give_an_empty_pattern() -> None:
    angles, heights = powder_pattern(5 * np.eye(3), np.zeros((1, 3)), np.array([0]))
    assert len(angles) == len(heights) == 0
