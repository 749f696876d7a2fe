"""The library keeps crystals, finds their types, and survives a round trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.quantisation import cell_volume, composition_code
from tests.proposals.conftest import CRYSTALS


def test_every_crystal_comes_back(library: CrystalLibrary) -> None:
    matcher = StructureMatcher()
    assert sorted(library.ids) == sorted(CRYSTALS)
    for entry, name in enumerate(library.ids):
        kept, given = library.structure(entry), CRYSTALS[name]
        rms = matcher.get_rms_dist(kept, given)
        assert rms is not None and rms[0] < 1e-3, name
        assert library.formula(entry) == given.composition.reduced_formula
        assert library.volume_per_atom[entry] == pytest.approx(given.volume / len(given), rel=1e-3)


def test_types_hold_what_belongs_together(library: CrystalLibrary) -> None:
    by_type: dict[str, set[str]] = {}
    for entry, name in enumerate(library.ids):
        label = str(library.type_label[library.entry_type[entry]])
        by_type.setdefault(label, set()).add(name)
    assert sorted(map(sorted, by_type.values())) == [
        ["mp-1", "mp-2", "mp-3"],
        ["mp-4", "mp-5"],
        ["mp-6", "mp-7"],
        ["own-8", "own-9"],
    ]
    groups = {str(library.type_label[k]): int(g) for k, g in enumerate(library.type_space_group)}
    assert sorted(groups.values()) == [136, 221, 221, 225]
    assert any(label.startswith("ABC3_5_221") for label in groups)


def test_rock_salt_may_exchange_its_roles(library: CrystalLibrary) -> None:
    entry = library.ids.index("mp-1")
    assert (1, 0) in library.type_swaps[int(library.entry_type[entry])]


def test_a_round_trip_changes_nothing(library: CrystalLibrary, tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    library.save(path)
    again = CrystalLibrary.load(path)
    assert again.ids == library.ids
    assert again.source == "tests"
    assert dict(again.type_swaps) == dict(library.type_swaps)
    assert np.array_equal(again.type_label, library.type_label)
    assert np.array_equal(again.cells, library.cells)
    steps = (again.coords - library.coords).view(np.int16)
    assert np.abs(steps).max() <= 2
    assert np.array_equal(np.isnan(again.e_above_hull), np.isnan(library.e_above_hull))
    assert not list(tmp_path.glob("*.part"))


def test_entries_are_found_by_composition(library: CrystalLibrary) -> None:
    found = library.entries_of({22: 2, 8: 4})
    assert [library.id_of(int(entry)) for entry in found] == ["own-8"]
    assert not len(library.entries_of({22: 1, 8: 1}))
    one = composition_code(np.array([8, 22]), np.array([4, 2]))
    two = composition_code(np.array([22, 8]), np.array([1, 2]))
    assert one == two


def test_volume_is_that_of_pymatgen() -> None:
    cell = (3.1, 4.2, 5.3, 71.0, 95.0, 112.0)
    wanted = Lattice.from_parameters(*cell).volume
    assert cell_volume(np.array([cell]))[0] == pytest.approx(wanted)


def test_bad_input_is_named(tmp_path: Path, library: CrystalLibrary) -> None:
    mixed = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="sample-3 is disordered"):
        CrystalLibrary.from_structures([mixed], ["sample-3"])
    with pytest.raises(InputError, match="no library of crystals"):
        CrystalLibrary.load(tmp_path / "none.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"not a library")
    with pytest.raises(InputError, match="is not a library of crystals"):
        CrystalLibrary.load(broken)
    with pytest.raises(InputError, match="the library has 9"):
        library.structure(9)


def test_the_shipped_library_loads() -> None:
    shipped = CrystalLibrary.load()
    assert len(shipped) >= 59_000
    assert "CC-BY 4.0" in shipped.source
    entry = shipped.ids.index("mp-5229")
    assert shipped.formula(entry) == "SrTiO3"
    assert len(shipped.structure(entry)) == 5
