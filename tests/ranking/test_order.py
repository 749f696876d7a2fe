"""The order of candidates: by score, first ones before their copies, known types last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.order import best_proposals, places


@pytest.fixture(scope="module")
def candidates() -> dict[str, Structure]:
    """Rock salt twice, caesium chloride, zinc blende."""
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.0), ["Na", "Cl"], [[0] * 3, [0.25] * 3]
    )
    simple = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    return {"a": salt, "b": simple, "c": salt.copy(), "d": blende}


def test_best_score_first_from_rank_one_and_copies_last(candidates: dict[str, Structure]) -> None:
    found = places(candidates, np.array([0.5, 0.1, 0.9, 0.7]))
    assert [place.name for place in found] == ["c", "d", "b", "a"]
    assert [place.rank for place in found] == [1, 2, 3, 4]
    assert [place.score for place in found] == [0.9, 0.7, 0.1, 0.5]
    groups = {place.name: place.group for place in found}
    assert groups["a"] == groups["c"] and len(set(groups.values())) == 3


def test_equal_scores_and_no_scores_keep_the_order(candidates: dict[str, Structure]) -> None:
    same = places(candidates, np.zeros(4), group=False)
    assert [place.name for place in same] == ["a", "b", "c", "d"]
    plain = places(candidates, None, group=False)
    assert [(p.name, p.rank, p.score) for p in plain] == [
        ("a", 1, None), ("b", 2, None), ("c", 3, None), ("d", 4, None)
    ]  # fmt: skip


def test_known_types_come_last_where_nothing_is_scored() -> None:
    composition = {11: 1, 17: 1}
    proposer: Any = PrototypeProposer()
    plain, _ = best_proposals(proposer, None, composition, 40)
    late, _ = best_proposals(proposer, None, composition, 40, known_last=True)
    known = [bool(p.features["known"]) for p in late]
    assert any(known) and not all(known) and known == sorted(known)
    assert bool(plain[0].features["known"])
