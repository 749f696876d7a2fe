"""Proposals: the right types, elements on the right roles, exclusions, sizes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.proposals.blending import local_prediction
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.prototypes import (
    PrototypeProposer,
    assignments,
    parse_composition,
)
from tests.proposals.conftest import perovskite, rock_salt


@pytest.fixture(scope="module")
def proposer(library: CrystalLibrary) -> PrototypeProposer:
    return PrototypeProposer(library)


def test_assignments_respect_counts() -> None:
    found = assignments((1, 1, 3), ((1, 38), (1, 22), (3, 8)))
    assert sorted(map(tuple, found.tolist())) == [(22, 38, 8), (38, 22, 8)]


def test_a_perovskite_is_found_with_its_sites(proposer: PrototypeProposer) -> None:
    found = proposer.propose({56: 1, 22: 1, 8: 3}, n=5)
    matcher = StructureMatcher()
    right = matcher.get_rms_dist(found[0].structure, perovskite("Ba", "Ti", "O", 4.0))
    assert right is not None and right[0] < 1e-3
    assert found[0].prototype_label.startswith("ABC3_5_221")
    assert found[0].source_id in {"mp-6", "mp-7"}
    assert 0.0 < found[0].similarity <= 1.0
    assert found[0].structure.volume / 5 == pytest.approx(
        found[0].predicted_volume_per_atom, rel=1e-3
    )
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert len(found) == 2, "the exchanged A and B sites are another candidate"


def test_roles_that_may_be_exchanged_give_one_candidate(proposer: PrototypeProposer) -> None:
    found = proposer.propose({37: 1, 17: 1}, n=20)
    assert len(found) == 2
    assert {label.split("_")[2] for label in (p.prototype_label for p in found)} == {"225", "221"}


def test_the_known_volume_lies_between(proposer: PrototypeProposer) -> None:
    found = proposer.propose({37: 1, 17: 1}, n=20)
    salt = next(p for p in found if "_225_" in p.prototype_label)
    assert salt.structure.volume == pytest.approx(rock_salt("Rb", "Cl", 6.58).volume / 4, rel=0.15)


def test_exclusions(library: CrystalLibrary, proposer: PrototypeProposer) -> None:
    composition = {11: 1, 17: 1}
    assert proposer.propose(composition, n=1)[0].source_id == "mp-1"
    for exclude in (["mp-1"], [("NaCl", 225)]):
        sources = {p.source_id for p in proposer.propose(composition, exclude=exclude)}
        assert "mp-1" not in sources and sources
    sources = {p.source_id for p in proposer.propose(composition, known=False)}
    assert "mp-1" not in sources and sources
    assert proposer.propose({22: 2, 8: 4}, exclude=["own-8", "own-9"]) == []
    with pytest.raises(InputError, match="exclude holds 7"):
        proposer.propose(composition, exclude=[7])  # type: ignore[list-item]


def test_a_formula_allows_cells_of_any_size(proposer: PrototypeProposer) -> None:
    assert proposer.propose({50: 1, 8: 2}) == []
    found = proposer.propose("PbO2")
    assert [len(p.structure) for p in found] == [6]
    assert [len(p.structure) for p in proposer.propose({82: 1, 8: 2}, any_cell=True)] == [6]


def test_unknown_stoichiometry_gives_nothing(proposer: PrototypeProposer) -> None:
    assert proposer.propose({3: 7, 8: 2, 9: 1}) == []


def test_bad_compositions_are_named(proposer: PrototypeProposer) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        parse_composition("not a formula")
    with pytest.raises(InputError, match="is empty"):
        proposer.propose({})
    with pytest.raises(InputError, match="positive whole"):
        proposer.propose({8: -1})
    with pytest.raises(RequestError, match="outside 1 to 100"):
        proposer.propose({105: 1})
    with pytest.raises(InputError, match="n is 0"):
        proposer.propose({8: 1}, n=0)


def test_local_prediction_follows_a_line_and_falls_back_to_the_mean() -> None:
    x = np.linspace(-1, 1, 9)[:, None]
    y = 3 * x + 1
    weights = np.full(9, 1 / 9)
    near = local_prediction(x, np.array([0.5]), y, weights, 1e-6)
    assert near[0] == pytest.approx(2.5, abs=1e-3)
    assert local_prediction(x, np.array([0.5]), y, weights, np.inf)[0] == pytest.approx(1.0)


def test_the_shipped_library_knows_strontium_titanate() -> None:
    found = PrototypeProposer().propose({38: 1, 22: 1, 8: 3}, n=3, exclude=[("SrTiO3", 221)])
    matcher = StructureMatcher()
    assert any(matcher.fit(p.structure, perovskite("Sr", "Ti", "O", 3.9)) for p in found)
