"""What a model file says of its training set, as the report draws it."""

from __future__ import annotations

import numpy as np

from crystal_diffusion.data import CrystalStructureDataset, create_demo_dataset
from crystal_diffusion.workflows.data_card import describe_data, training_statistics


def test_every_distribution_of_the_report_has_a_training_line() -> None:
    from crystal_diffusion.viewer.charts import histogram

    dataset = CrystalStructureDataset(create_demo_dataset())
    found = describe_data(dataset, dataset.arrays, np.zeros(0, np.int64))["training_statistics"]
    for name in ("volume_per_atom_A3", "density_g_cm3", "min_distance_A"):
        assert len(found[name]) == len(dataset.arrays) and found[name] == sorted(found[name])
        assert 'class="s2"' in histogram(name, "", [1.0, 2.0], found[name])
    first = dataset.arrays.crystal(0).to_structure()
    assert np.abs(np.array(found["density_g_cm3"]) - float(first.density)).min() < 1e-3
    assert sum(found["space_group_0.1"].values()) == len(dataset.arrays)


def test_large_sets_are_drawn_from_evenly_and_repeatably() -> None:
    arrays = CrystalStructureDataset(create_demo_dataset()).arrays
    one, two = (training_statistics(arrays, most=5) for _ in range(2))
    assert one == two and len(one["density_g_cm3"]) == 5
    assert one != training_statistics(arrays, most=5, seed=1)
    assert sum(one["space_group_0.1"].values()) == 5
