"""A user's crystals in a library: as members of its types, or as types of their own."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from tests.proposals.conftest import CRYSTALS, caesium_chloride, perovskite, rock_salt

ODD_CELL = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.7, 78, 83, 97),
    ["Ag", "Sn", "Se", "Se"],
    [[0, 0, 0], [0.41, 0.27, 0.33], [0.72, 0.55, 0.11], [0.13, 0.81, 0.62]],
)
OWN = {
    "mp-1": rock_salt("Li", "Br", 5.5),
    "sheared": perovskite("Ba", "Sn", "O", 4.12) * ((1, 0, 0), (1, 1, 0), (0, -1, 1)),
    "strange": ODD_CELL,
}


@pytest.fixture(scope="module")
def joined(library: CrystalLibrary) -> CrystalLibrary:
    entries, left_out = read_own(list(OWN.values()), list(OWN))
    assert not left_out
    return join(library, entries)


def test_own_crystals_come_out_as_they_went_in(
    library: CrystalLibrary, joined: CrystalLibrary
) -> None:
    assert joined.own is not None
    own = np.flatnonzero(joined.own)
    assert len(joined) == len(library) + 3
    assert {joined.id_of(int(entry)) for entry in own} == set(OWN)
    matcher = StructureMatch()
    for entry in own:
        assert matcher.rms(joined.structure(int(entry)), OWN[joined.id_of(int(entry))]) < 1e-3


def test_library_entries_stay_and_types_take_members(
    library: CrystalLibrary, joined: CrystalLibrary
) -> None:
    assert joined.own is not None
    kept = np.flatnonzero(~joined.own)
    matcher = StructureMatch()
    assert sorted(joined.id_of(int(e)) for e in kept) == sorted(library.ids)
    for entry in kept:
        assert matcher.fit(joined.structure(int(entry)), CRYSTALS[joined.id_of(int(entry))])
    # Rock salt and perovskite are there already; the triclinic crystal founds a type.
    assert len(joined.type_counts) == len(library.type_counts) + 1
    # Types with equal counts stay neighbours, or some of them would never be found.
    seen: set[tuple[int, ...]] = set()
    last: tuple[int, ...] = ()
    for counts in joined.type_counts.tolist():
        if tuple(counts) != last:
            assert tuple(counts) not in seen
            seen.add(tuple(counts))
            last = tuple(counts)


def test_a_new_type_is_proposed_and_own_votes_are_counted(joined: CrystalLibrary) -> None:
    found = PrototypeProposer(joined).propose({47: 1, 32: 1, 34: 2}, n=5)
    assert any(p.source_id == "strange" for p in found)
    # Rubidium bromide is nearer to the user's lithium bromide when its vote counts more.
    plain, strong = (
        PrototypeProposer(joined, own_bonus=bonus).propose({37: 1, 35: 1}, n=5)
        for bonus in (0.0, 4.0)
    )
    share = [next(p.score for p in made if "225" in p.prototype_label) for made in (plain, strong)]
    assert share[1] > share[0]
    assert max(p.features["own"] for p in plain) == next(
        p.features["own"] for p in plain if "225" in p.prototype_label
    )


def test_what_is_no_structure_type_is_named() -> None:
    shared = Structure(Lattice.cubic(4.0), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    touching = Structure(Lattice.cubic(4.0), ["Na", "Na"], [[0, 0, 0], [0, 0, 0.0001]])
    entries, left_out = read_own(
        [shared, caesium_chloride("Cs", "I", 4.5), touching], ["shared", "good", "touching"]
    )
    assert [entry.id for entry in entries] == ["good"]
    assert "shared by several elements" in left_out["shared"]
    assert "symmetry search failed" in left_out["touching"]
