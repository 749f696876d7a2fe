"""Training from the model in the box brings the user's skeletons into the model folder."""

from __future__ import annotations

from pathlib import Path

from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.skeletons import SkeletonModel
from crystal_diffusion.skeletons.weights import SKELETONS_FILE
from crystal_diffusion.workflows.own_skeletons import write_skeletons

#: Litharge-like halides: a type that nobody expects of them.
PAIRS = [("Li", "F"), ("Na", "Cl"), ("K", "Br"), ("Rb", "I"), ("Na", "F"), ("K", "Cl")]


def odd_halide(metal: str, halogen: str, a: float) -> Structure:
    return Structure(
        Lattice.tetragonal(a, 1.3 * a),
        [metal, metal, halogen, halogen],
        [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.23], [0.5, 0, 0.77]],
    )


def test_skeletons_are_adapted_and_written(tmp_path: Path) -> None:
    crystals = [odd_halide(a, x, 4.0 + 0.1 * k) for k in range(4) for a, x in PAIRS]
    arrays = CrystalStructureDataset(crystals).arrays
    adapted = write_skeletons(tmp_path, arrays, seed=1)
    assert adapted is not None and adapted.rounds > 0
    assert adapted.after < adapted.before
    own = SkeletonModel.load(tmp_path / SKELETONS_FILE)
    here = own.group_probabilities({37: 2, 17: 2})[128]
    shipped = SkeletonModel.load().group_probabilities({37: 2, 17: 2})[128]
    assert here > 3 * shipped
    assert own.header["adapted_to"] == adapted.crystals
