"""Archives and tensors that other generators and databases hand out."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystal_diffusion.data import CrystalRecord, archives, iter_crystals
from crystal_diffusion.data.check import check_source
from crystal_diffusion.errors import InputError

CRYSTALS = {
    "gen_0": Structure(Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "gen_1": Structure(
        Lattice.hexagonal(3.2, 5.2),
        ["Zn", "Zn", "O"],
        [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [0, 0, 0.25]],
    ),
}


def cif(name: str) -> bytes:
    return str(CRYSTALS[name].to(fmt="cif")).encode()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def taped(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read(path: Path) -> list[CrystalRecord]:
    return list(iter_crystals(path))


def formulas(path: Path) -> list[str]:
    return [r.structure.composition.reduced_formula if r.structure else "" for r in read(path)]


@pytest.mark.parametrize("ending", archives.ENDINGS)
def test_every_kind_of_archive(tmp_path: Path, ending: str) -> None:
    files = {f"{name}.cif": cif(name) for name in CRYSTALS} | {"README.txt": b"hello"}
    path = tmp_path / f"crystals{ending}"
    kind = "w:bz2" if "bz" in ending else "w:xz" if "xz" in ending else "w:gz"
    kind = "w" if ending == ".tar" else kind
    zipped(path, files) if ending == ".zip" else taped(path, files, kind)
    records = read(path)
    assert [r.id for r in records] == ["gen_0", "gen_1"]
    for record in records:
        assert record.structure is not None and record.structure.matches(CRYSTALS[record.id])
        assert record.source == f"{path}: {record.id}.cif"


def test_all_formats_and_folders_inside(tmp_path: Path) -> None:
    poscar = str(CRYSTALS["gen_0"].to(fmt="poscar")).encode()
    json = str(CRYSTALS["gen_1"].to(fmt="json")).encode()
    files = {"./run_a/POSCAR": poscar, "b/two.json.gz": gzip.compress(json), "x/._POSCAR": b"mac"}
    assert [r.id for r in read(taped(tmp_path / "a.tar.gz", files))] == ["run_a/POSCAR", "b/two"]


def test_nothing_is_written_where_the_archive_says(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    files = {"../escaped.cif": cif("gen_0"), "/tmp/absolute_gen.cif": cif("gen_1")}
    for path in (zipped(inside / "a.zip", files), taped(inside / "a.tar.gz", files)):
        assert formulas(path) == ["MgO", "Zn2O"]
    assert not (tmp_path / "escaped.cif").exists() and not Path("/tmp/absolute_gen.cif").exists()
    assert sorted(p.name for p in inside.iterdir()) == ["a.tar.gz", "a.zip"]


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("l.cif", tarfile.SYMTYPE),
            ("h.cif", tarfile.LNKTYPE),
            ("d.cif", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    (record,) = read(path)
    assert record.problem is not None and "no crystal file" in record.problem


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = b"\0" * (40 * 2**20)
    for path in (
        zipped(tmp_path / "a.zip", {"a.cif": zeros}),
        taped(tmp_path / "a.tar.gz", {"a.cif": zeros}),
        taped(tmp_path / "skipped.tar.gz", {"a.txt": zeros, "b.cif": cif("gen_0")}),
        taped(tmp_path / "a.tar.xz", {"a.cif": zeros}, "w:xz"),
    ):
        (record,) = read(path)
        assert record.structure is None and "trust it" in (record.problem or "")


def test_a_zip_that_lies_about_sizes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.cif": cif("gen_0") * 50})
    raw = bytearray(path.read_bytes())
    size = (len(cif("gen_0")) * 50).to_bytes(4, "little")
    start = 0
    while (place := raw.find(size, start)) >= 0:
        raw[place : place + 4] = (100).to_bytes(4, "little")
        start = place + 4
    path.write_bytes(raw)
    (record,) = read(path)
    assert record.structure is None


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar"])
def test_damaged_archives_are_one_row(tmp_path: Path, ending: str) -> None:
    files = {f"{name}.cif": cif(name) for name in CRYSTALS}
    path = tmp_path / f"a{ending}"
    kind = {".tar.gz": "w:gz", ".tar.xz": "w:xz", ".tar": "w"}
    zipped(path, files) if ending == ".zip" else taped(path, files, kind[ending])
    path.write_bytes(path.read_bytes()[:-600] if ending == ".zip" else path.read_bytes()[:90])
    records = read(path)
    assert records[-1].structure is None and "archive" in (records[-1].problem or "")


def test_a_bad_member_does_not_cost_the_good_ones(tmp_path: Path) -> None:
    files = {"a.cif": b"data_x\nloop_\n", "b.cif": cif("gen_0"), "c.zip": b"PK", "d.cif": b""}
    records = read(zipped(tmp_path / "a.zip", files))
    assert [r.structure is not None for r in records] == [False, True, False, False]
    assert "archive in an archive" in (records[2].problem or "")


def test_the_folder_of_a_generator_is_read_once(tmp_path: Path) -> None:
    """MatterGen leaves the same crystals twice, and the steps that led to them."""
    from ase.io import write

    atoms = [structure.to_ase_atoms() for structure in CRYSTALS.values()]
    write(tmp_path / "generated_crystals.extxyz", atoms, format="extxyz")
    zipped(tmp_path / "generated_crystals_cif.zip", {f"{n}.cif": cif(n) for n in CRYSTALS})
    zipped(tmp_path / "generated_trajectories.zip", {"gen_0.cif": cif("gen_0")})
    torch.save({"weights": torch.zeros(3)}, tmp_path / "last.pt")
    assert formulas(tmp_path) == ["MgO", "Zn2O"]
    ignored = {Path(name).name for name in check_source(tmp_path).ignored}
    assert ignored == {"generated_crystals_cif.zip", "generated_trajectories.zip", "last.pt"}
    (tmp_path / "generated_crystals.extxyz").unlink()
    assert [r.id for r in read(tmp_path)] == ["gen_0", "gen_1"]
    assert formulas(tmp_path / "generated_trajectories.zip") == ["MgO"]


def tensors(runs: int | None) -> dict[str, Any]:
    parts = list(CRYSTALS.values())
    data = {
        "frac_coords": torch.tensor(np.concatenate([s.frac_coords for s in parts])).float(),
        "atom_types": torch.tensor([z for s in parts for z in s.atomic_numbers]),
        "num_atoms": torch.tensor([len(s) for s in parts]),
        "lengths": torch.tensor([s.lattice.abc for s in parts]).float(),
        "angles": torch.tensor([s.lattice.angles for s in parts]).float(),
    }
    if runs is not None:
        data = {key: torch.stack([value] * runs) for key, value in data.items()}
    return {"eval_setting": argparse.Namespace(model_path="x", num_evals=runs), **data, "time": 1.5}


@pytest.mark.parametrize("runs", [None, 1, 3])
def test_generated_tensors(tmp_path: Path, runs: int | None) -> None:
    path = tmp_path / "eval_gen.pt"
    torch.save(tensors(runs), path)
    records = read(path)
    assert [r.id for r in records] == [f"eval_gen#{i + 1}" for i in range(2 * (runs or 1))]
    for record, original in zip(records, list(CRYSTALS.values()) * (runs or 1), strict=True):
        assert record.structure is not None and record.structure.matches(original)


def test_generated_tensors_with_cells_as_matrices(tmp_path: Path) -> None:
    data = tensors(None)
    del data["lengths"], data["angles"]
    data["lattices"] = torch.tensor(np.array([s.lattice.matrix for s in CRYSTALS.values()]))
    torch.save(data, tmp_path / "a.pt")
    assert formulas(tmp_path / "a.pt") == ["MgO", "Zn2O"]
    one = {k: v for k, v in tensors(None).items() if torch.is_tensor(v)}
    one = {
        "frac_coords": one["frac_coords"][:2],
        "atom_types": one["atom_types"][:2],
        "lengths": one["lengths"][0],
        "angles": one["angles"][0],
    }
    torch.save([one, {"nothing": 1}], tmp_path / "b.pt")
    assert formulas(tmp_path / "b.pt") == ["MgO", ""]


@pytest.mark.parametrize("modern", [False, True])
def test_a_batch_of_torch_geometric_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    """DiffCSP keeps its input batch; how it is pickled differs between versions."""
    module = types.ModuleType("torch_geometric.data.batch")
    loaded: list[str] = []

    class Batch:
        def __init__(self) -> None:
            self.x, self.kind = torch.ones(4), Batch

        def __setstate__(self, state: Any) -> None:
            loaded.append("Batch")

    class DynamicInheritanceGetter:
        def __call__(self, *bases: Any) -> Any:
            loaded.append("Getter")
            return Batch()

    def reduce(self: Any) -> Any:
        return DynamicInheritanceGetter(), (Batch, ()), {"x": self.x}

    for kind in (Batch, DynamicInheritanceGetter):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    if modern:
        Batch.__reduce__ = reduce  # type: ignore[method-assign,assignment]
    for name in ("torch_geometric", "torch_geometric.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch.save({**tensors(1), "input_data_batch": Batch()}, tmp_path / "eval_diff.pt")
    assert formulas(tmp_path / "eval_diff.pt") == ["MgO", "Zn2O"]
    assert loaded == []


class Payload:
    """What an attacker would put into such a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    torch.save({**tensors(None), "input_data_batch": Payload(mark)}, tmp_path / "a.pt")
    (record,) = read(tmp_path / "a.pt")
    assert not mark.exists() and record.structure is None
    assert "more than tensors" in (record.problem or "") and "mkdir" in (record.problem or "")
    assert "save the tensors alone" in (record.problem or "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_atoms": torch.tensor([2, 2])}, "num_atoms sums to 4, but there are 5 positions"),
        ({"num_atoms": torch.tensor([6, -1])}, "num_atoms sums to 5"),
        ({"lengths": torch.ones(3, 3), "angles": torch.full((3, 3), 90.0)}, "2 crystals but 3"),
        ({"atom_types": None}, "could not|atom types|float"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    import re

    torch.save({**tensors(None), **change}, tmp_path / "a.pt")
    (record,) = read(tmp_path / "a.pt")
    assert record.structure is None and re.search(words, record.problem or "")


def test_tensors_that_are_none_of_these(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "a.pt")
    (record,) = read(tmp_path / "a.pt")
    assert "no 'frac_coords'" in (record.problem or "")
    (tmp_path / "b.pt").write_bytes(b"not a tensor")
    (record,) = read(tmp_path / "b.pt")
    assert record.structure is None
    with pytest.raises(InputError, match="no crystal file"):
        folder = tmp_path / "weights"
        folder.mkdir()
        torch.save({"weights": torch.zeros(3)}, folder / "last.pt")
        read(folder)
