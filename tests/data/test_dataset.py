"""The data set class: as the usage guide uses it, padding, batches, splits, labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from crystal_diffusion.data import CrystalStructureDataset, create_demo_dataset, iter_crystals
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.errors import InputError


@pytest.fixture(scope="module")
def dataset() -> CrystalStructureDataset:
    return CrystalStructureDataset(create_demo_dataset())


def labelled(count: int = 5) -> list[dict[str, object]]:
    cell = np.eye(3) * 4
    return [
        {
            "positions": np.zeros((1, 3)) + i / 10,
            "atom_types": [11 + i],
            "lattice": cell,
            "properties": {"energy": -float(i)} if i != 2 else {"gap": 1.0},
        }
        for i in range(count)
    ]


def test_the_usage_guide(dataset: CrystalStructureDataset) -> None:
    loader = DataLoader(dataset, batch_size=4, shuffle=True)
    batches = list(loader)
    assert sum(len(batch["num_atoms"]) for batch in batches) == len(dataset)
    batch = batches[0]
    assert batch["positions"].shape == (4, dataset.max_atoms, 3)
    assert batch["atom_types"].shape == batch["mask"].shape == (4, dataset.max_atoms)
    assert batch["lattice"].shape == (4, 3, 3)


def test_custom_dicts_of_the_guide() -> None:
    silicon = {
        "positions": np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        "atom_types": np.array([14, 14]),
        "lattice": np.array([[5.43, 0.0, 0.0], [0.0, 5.43, 0.0], [0.0, 0.0, 5.43]]),
    }
    item = CrystalStructureDataset([silicon], max_atoms=3)[0]
    assert item["positions"].tolist() == [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]]
    assert item["atom_types"].tolist() == [14, 14, 0]
    assert item["mask"].tolist() == [1, 1, 0]
    assert item["num_atoms"].item() == 2
    assert item["lattice"].dtype == torch.float32 and item["atom_types"].dtype == torch.int64


def test_items_are_padded_and_wrapped(dataset: CrystalStructureDataset) -> None:
    for item in dataset:
        count = int(item["num_atoms"])
        assert item["mask"].sum() == count == (item["atom_types"] > 0).sum()
        assert (item["positions"] >= 0).all() and (item["positions"] < 1).all()
        assert not item["positions"][count:].any()


def test_coordinates_that_round_to_one_become_zero() -> None:
    entry = {"positions": [[1 - 1e-12, -1e-12, 1.0]], "atom_types": [6], "lattice": np.eye(3) * 3}
    assert CrystalStructureDataset([entry])[0]["positions"].tolist() == [[0, 0, 0]]


def test_negative_and_wrong_indices(dataset: CrystalStructureDataset) -> None:
    assert torch.equal(dataset[-1]["positions"], dataset[len(dataset) - 1]["positions"])
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_structures_come_back_exactly(dataset: CrystalStructureDataset) -> None:
    for entry, structure in zip(create_demo_dataset(), dataset.structures(), strict=True):
        assert np.array_equal(structure.lattice.matrix, entry["lattice"])
        assert np.array_equal(structure.frac_coords, entry["positions"])
        assert list(structure.atomic_numbers) == entry["atom_types"].tolist()


def test_buckets_hold_every_crystal_once_with_little_padding(
    dataset: CrystalStructureDataset,
) -> None:
    batches = dataset.buckets(8, seed=3, epoch=1)
    assert sorted(i for batch in batches for i in batch) == list(range(len(dataset)))
    sizes = dataset.num_atoms
    padded = sum(len(b) * max(sizes[i] for i in b) for b in batches)
    in_order = [range(i, min(i + 8, len(dataset))) for i in range(0, len(dataset), 8)]
    assert padded < sum(len(b) * max(sizes[i] for i in b) for b in in_order)
    assert batches == dataset.buckets(8, seed=3, epoch=1)
    assert batches != dataset.buckets(8, seed=3, epoch=2)
    assert batches != dataset.buckets(8, seed=4, epoch=1)


def test_a_batch_is_cut_to_its_largest_crystal(dataset: CrystalStructureDataset) -> None:
    small = [i for i, n in enumerate(dataset.num_atoms) if n <= 2][3:6]
    batch = dataset.batch(small)
    assert batch["positions"].shape == (3, 2, 3)
    for row, index in enumerate(small):
        item = dataset[index]
        assert torch.equal(batch["atom_types"][row], item["atom_types"][:2])
        assert torch.equal(batch["lattice"][row], item["lattice"])


def test_splits_are_disjoint_and_repeatable(dataset: CrystalStructureDataset) -> None:
    parts = dataset.split([0.75, 0.125, 0.125], seed=1)
    assert [len(part) for part in parts] == [36, 6, 6]
    ids = [name for part in parts for name in part.ids]
    assert sorted(ids) == sorted(dataset.ids)
    again = dataset.split([0.75, 0.125, 0.125], seed=1)
    assert [part.ids for part in again] == [part.ids for part in parts]
    assert dataset.split([0.75, 0.25], seed=2)[0].ids != parts[0].ids
    assert parts[1].max_atoms == dataset.max_atoms


@pytest.mark.parametrize("fractions", [[], [0.5, 0.6], [-0.1, 0.5], [0.0, 1.0], [0.999, 0.001]])
def test_splits_that_are_none(dataset: CrystalStructureDataset, fractions: list[float]) -> None:
    with pytest.raises(InputError, match="fractions"):
        dataset.split(fractions)


def test_missing_labels_are_nan() -> None:
    dataset = CrystalStructureDataset(labelled())
    assert dataset.property_names == ("energy", "gap")
    labels = dataset.batch(range(5))["properties"]
    assert torch.isnan(labels[:, 0]).tolist() == [False, False, True, False, False]
    assert labels[3, 0] == -3 and labels[2, 1] == 1
    (batch,) = DataLoader(dataset, batch_size=5)
    assert batch["properties"].shape == (5, 2)


def test_labels_can_be_chosen() -> None:
    dataset = CrystalStructureDataset(labelled(), properties=["gap"])
    assert dataset[0]["properties"].shape == (1,)
    assert CrystalStructureDataset(labelled(), properties=[])[0]["properties"].shape == (0,)
    with pytest.raises(InputError, match="'volume' is not in the data; found are energy, gap"):
        CrystalStructureDataset(labelled(), properties=["volume"])


def test_the_fingerprint_follows_the_data_and_not_the_names() -> None:
    first = CrystalStructureDataset(labelled())
    renamed = CrystalStructureDataset([{**e, "name": "x"} for e in labelled()])
    assert first.fingerprint() == renamed.fingerprint()
    assert len(first.fingerprint()) == 64
    moved = labelled()
    moved[0]["positions"] = [[0.5, 0, 0]]
    assert CrystalStructureDataset(moved).fingerprint() != first.fingerprint()
    assert CrystalStructureDataset(labelled(4)).fingerprint() != first.fingerprint()
    assert first.subset([1, 0, 2, 3, 4]).fingerprint() != first.fingerprint()


def test_reduction_on_request() -> None:
    doubled = [
        s * [2, 1, 1] for s in CrystalStructureDataset(create_demo_dataset()[:6]).structures()
    ]
    assert CrystalStructureDataset(doubled).num_atoms.tolist() == [2, 2, 2, 2, 4, 4]
    reduced = CrystalStructureDataset(doubled, reduce=True)
    assert reduced.num_atoms.tolist() == [1, 1, 1, 1, 2, 2]


def write_table(path: Path, coords: list[list[float]], numbers: list[list[int]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(numbers)
    columns: dict[str, object] = {name: [4.0] * count for name in ("a", "b", "c")}
    columns |= {name: [90.0] * count for name in ("alpha", "beta", "gamma")}
    columns |= {"atomic_numbers": numbers, "frac_coords": coords, "gap": [1.0] * count}
    pq.write_table(pa.table(columns), path)


def test_the_short_way_for_tables_gives_the_same_data(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [[0, 0, 0], [0.5, 1.25, -0.25, 0, 0, 0]], [[11], [17, 19]])
    short = CrystalStructureDataset(tmp_path / "t.parquet")
    long = CrystalStructureDataset(list(iter_crystals(tmp_path / "t.parquet")))
    assert short.fingerprint() == long.fingerprint()
    assert short.ids == long.ids == ("t#1", "t#2")
    assert short.property_names == ("gap",)


def test_tables_with_bad_rows_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, [[0, 0, 0], [float("nan"), 0, 0], [0, 0, 0]], [[11], [17], [105]])
    dataset = CrystalStructureDataset(path)
    assert dataset.ids == ("t#1",)
    assert [s.id for s in dataset.skipped] == ["t#2", "t#3"]
    with pytest.raises(InputError, match="row 1 has 2 atoms and 3 coordinates"):
        write_table(path, [[0, 0, 0]], [[11, 17]])
        CrystalStructureDataset(path)


def test_arrays_in_any_order() -> None:
    arrays = CrystalStructureDataset(create_demo_dataset()).arrays
    picked = arrays.take(np.array([5, 0, 47]))
    assert isinstance(picked, CrystalArrays) and len(picked) == 3
    for place, index in enumerate((5, 0, 47)):
        one, other = picked.crystal(place), arrays.crystal(index)
        assert one.id == other.id
        assert np.array_equal(one.frac_coords, other.frac_coords)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": []}, "is empty"),
        ({"max_atoms": 0}, "max_atoms is 0"),
        ({"on_bad": "maybe"}, "on_bad"),
    ],
)
def test_arguments_that_are_none(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrystalStructureDataset(**{"source": create_demo_dataset(), **arguments})  # type: ignore[arg-type]


def test_batch_size_below_one(dataset: CrystalStructureDataset) -> None:
    with pytest.raises(InputError, match="batch_size"):
        dataset.buckets(0)
