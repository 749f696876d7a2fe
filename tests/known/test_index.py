"""The index of known crystals: what it says, what it keeps, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.energy.reference_energies import ReferenceEnergies, ReferenceEntry
from crystal_diffusion.errors import InputError
from crystal_diffusion.known.index import KnownCrystals, load_known
from crystal_diffusion.known.novelty import (
    BY_FORMULA,
    BY_STRUCTURE,
    nearest_known,
    read_own_references,
)
from crystal_diffusion.known.phases import near_hull
from crystal_diffusion.proposals.library import CrystalLibrary


@pytest.fixture(scope="module")
def known() -> KnownCrystals:
    return load_known()


def rock_salt(metal: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [metal, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


def cuprite(a: float) -> Structure:
    copper = [[0.25, 0.25, 0.25], [0.75, 0.75, 0.25], [0.75, 0.25, 0.75], [0.25, 0.75, 0.75]]
    oxygen = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), ["Cu"] * 4 + ["O"] * 2, copper + oxygen)


def test_the_title_counts_the_rows_and_names_source_and_date(known: KnownCrystals) -> None:
    assert f"{len(known):,} known crystals" in known.title
    assert "Materials Project v2025.02.12" in known.title and known.date in known.title
    assert len(known) > 128_000


def test_common_salts_and_cuprite_are_known_and_say_how(known: KnownCrystals) -> None:
    crystals = [rock_salt("K", "Cl", 6.3), rock_salt("Na", "Cl", 5.6), cuprite(4.25)]
    crystals.append(rock_salt("Ag", "Kr", 5.8))
    potassium, sodium, copper, invented = nearest_known(crystals, known, {})
    assert (potassium.novel, potassium.known_by) == (False, BY_STRUCTURE)
    assert (sodium.novel, sodium.known_by) == (False, BY_STRUCTURE)
    assert (copper.novel, copper.known_by) == (False, BY_FORMULA)
    assert copper.nearest_known_id == "mp-361"
    assert invented.novel is True and invented.known_by == ""


def test_formula_group_and_volume_must_all_agree(known: KnownCrystals) -> None:
    assert nearest_known([cuprite(4.25)], known, {}, energies=[None])[0].novel is False
    swollen = nearest_known([cuprite(4.8)], known, {})[0]
    assert swollen.known_by != BY_FORMULA
    energy = float(known.energy[known.row_of["mp-361"]])
    near, far = energy + 0.01, energy + 0.2
    assert nearest_known([cuprite(4.25)], known, {}, energies=[near])[0].known_by == BY_FORMULA
    assert nearest_known([cuprite(4.25)], known, {}, energies=[far])[0].known_by != BY_FORMULA


def test_the_users_own_crystals_are_known_too(known: KnownCrystals, tmp_path: Path) -> None:
    rock_salt("Ag", "Kr", 5.8).to(filename=str(tmp_path / "mine.cif"))
    own, problems = read_own_references([tmp_path])
    assert not problems
    answer = nearest_known([rock_salt("Ag", "Kr", 5.85)], known, own)[0]
    assert answer.novel is False and answer.nearest_known_id == "mine"


def test_a_system_is_all_rows_made_of_its_elements(known: KnownCrystals) -> None:
    rows = known.of_system(["Na", "S", "Sb"])
    inside = {"Na", "S", "Sb"}
    assert all(set(known.composition(row)) <= inside for row in rows.tolist())
    rng = np.random.default_rng(0)
    for row in rng.integers(len(known), size=200).tolist():
        assert (set(known.composition(row)) <= inside) == (row in rows)
    formulas = {Composition(dict(e.composition)).reduced_formula for e in known.entries_of(inside)}
    assert {"Na2S", "Na3SbS4", "Na", "Sb"} <= formulas


def test_structures_of_rows_have_the_composition_group_and_volume_told(
    known: KnownCrystals,
) -> None:
    rng = np.random.default_rng(1)
    for row in rng.integers(len(known.library), known.structures, size=40).tolist():
        structure = known.structure(row)
        assert structure.composition.get_el_amt_dict() == known.composition(row)
        volume = structure.volume / len(structure)
        assert volume == pytest.approx(known.volume_per_atom[row], rel=2e-3)
    with pytest.raises(InputError, match="no coordinates"):
        known.structure(known.structures)


def test_hull_distances_are_those_of_a_full_phase_diagram(known: KnownCrystals) -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    references = ReferenceEnergies(known.potential, known.potential_version, table=known)
    hull = HullBuilder(references)
    for system in ({"Na", "S", "Sb"}, {"Li", "Fe", "P", "O"}, {"Cu", "O"}):
        entries = [
            PDEntry(
                Composition(dict(e.composition)), e.energy_per_atom * sum(e.composition.values())
            )
            for e in references.of_system(system)
        ]
        diagram = PhaseDiagram(entries)
        for counts in ((1, 1, 2, 4), (3, 1, 4, 1), (2, 5, 1, 1)):
            composition = dict(zip(sorted(system), counts, strict=False))
            whole = Composition(composition)
            entry = PDEntry(whole, -5.0 * whole.num_atoms)
            expected = diagram.get_decomp_and_e_above_hull(
                entry, allow_negative=True, check_stable=False
            )[1]
            found = hull.place(composition, -5.0)
            assert found.energy_above_hull == pytest.approx(expected, abs=1e-6)
            assert sum(found.decomposition.values()) == pytest.approx(1.0)


def test_near_hull_gives_structures_and_names_those_without(known: KnownCrystals) -> None:
    near = near_hull(known, [frozenset({"Cu", "O"})], window=0.05)
    assert "mp-361" in near.without_coordinates  # cuprite, of a test set
    formulas = {s.composition.reduced_formula for s in near.structures.values()}
    assert "Cu" in formulas
    assert not set(near.structures) & set(near.without_coordinates)


def test_the_table_is_not_used_for_another_version(
    known: KnownCrystals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from crystal_diffusion.energy.potentials import NamedPotential

    other = NamedPotential(known.potential, "99.0", "r2SCAN", None, dict)
    references = ReferenceEnergies.load(other, tmp_path, known)
    assert references.table is None and "99.0 is installed" in caplog.text


def test_saving_and_loading_and_another_library(tmp_path: Path) -> None:
    structures = [rock_salt("Na", "Cl", 5.6), rock_salt("K", "Cl", 6.3)]
    library = CrystalLibrary.from_structures(structures, ["mp-1", "mp-2"])
    own = KnownCrystals.of_library(library)
    own.energy[:] = [-3.25, np.nan]
    own.save(tmp_path / "known.npz")
    again = KnownCrystals.load(tmp_path / "known.npz", library)
    assert np.array_equal(again.energy, own.energy, equal_nan=True)
    assert again.row_of == own.row_of
    one = CrystalLibrary.from_structures(structures[:1], ["mp-1"])
    with pytest.raises(InputError, match="another version .* library of 2 crystals"):
        KnownCrystals.load(tmp_path / "known.npz", one)
    (tmp_path / "bad.npz").write_bytes(b"PK not a table")
    with pytest.raises(InputError, match="not an index of known crystals"):
        KnownCrystals.load(tmp_path / "bad.npz", library)
    with pytest.raises(InputError, match="no index of known crystals"):
        KnownCrystals.load(tmp_path / "none.npz", library)


def test_an_element_without_reference_is_named() -> None:
    references = ReferenceEnergies("test", "1")
    references.entries["na"] = ReferenceEntry("na", {"Na": 1}, -1.0, True, "2026-01-01")
    place = HullBuilder(references).place({"Na": 1, "Cl": 1}, -3.0)
    assert place.energy_above_hull is None and "no reference energy for Cl" in place.problem


def test_of_several_of_one_formula_and_group_the_nearest_volume_counts() -> None:
    from types import SimpleNamespace
    from typing import Any, cast

    from crystal_diffusion.known.novelty import _same_volume

    crystal = cuprite(4.0)
    volume = crystal.volume / len(crystal)
    known: Any = SimpleNamespace(
        counts=np.array([[4, 2], [4, 2], [4, 2]]),
        energy=np.full(3, np.nan),
        volume_per_atom=volume * np.array([1.1, 1.02, 0.9]),
    )
    found = _same_volume(cast("KnownCrystals", known), crystal, np.arange(3), 6, None)
    assert found == 1
    known.volume_per_atom = volume * np.array([1.5, 1.4, 0.6])
    assert _same_volume(cast("KnownCrystals", known), crystal, np.arange(3), 6, None) is None


@pytest.mark.parametrize("edge", [3.7, 4.03, 4.83])
def test_rock_salt_is_known_at_any_volume(known: KnownCrystals, edge: float) -> None:
    # The index has lithium fluoride without coordinates; nothing but the volume is free in it.
    (found,) = nearest_known([rock_salt("Li", "F", edge)], known, {})
    assert found.novel is False and found.nearest_known_id


def test_another_arrangement_of_a_known_formula_is_not_taken_for_it(known: KnownCrystals) -> None:
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.2), ["Li", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    (found,) = nearest_known([blende.get_primitive_structure()], known, {})
    assert found.known_by != BY_FORMULA
