"""Scorers, and prototype candidates chosen by one from more than are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.loading import load
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate, Pool
from crystal_diffusion.ranking.order import best_proposals, places
from crystal_diffusion.ranking.scorers import (
    NO_POOLS,
    POTENTIAL_SCALE,
    EnergyScorer,
    Floats,
    JoinedScorer,
    LearnedScorer,
    Pools,
    ResidualScorer,
    score_with_energies,
    scorer_for,
)
from tests.proposals.conftest import caesium_chloride, rock_salt

PEROVSKITE = {38: 1, 22: 1, 8: 3}


def test_the_best_of_many_comes_first_and_known_types_last_if_asked() -> None:
    proposer, scorer = PrototypeProposer(), LearnedScorer()
    usual, pool = best_proposals(proposer, scorer, PEROVSKITE, 10)
    new, _ = best_proposals(proposer, scorer, PEROVSKITE, 10, known_last=True)
    votes, _ = best_proposals(proposer, None, PEROVSKITE, 10)
    assert len(pool.proposals) > 10
    assert len(usual) == len(new) == len(votes) == 10
    assert [p.score for p in usual] == sorted((p.score for p in usual), reverse=True)
    # The library holds several structures of SrTiO3, the cubic one among them.
    assert any(p.features["known"] for p in usual)
    known = [bool(p.features["known"]) for p in new]
    assert known == sorted(known) and not known[0]
    unranked, _ = best_proposals(proposer, None, PEROVSKITE, 10, known_last=True)
    assert not unranked[0].features["known"]


@dataclass(frozen=True)
class Told:
    """A scorer that says what it was told."""

    values: tuple[float, ...]
    log_odds: bool = False

    def score(
        self, candidates: Sequence[Candidate], *, known_last: bool = False, pools: Pools = NO_POOLS
    ) -> Floats:
        assert len(candidates) == len(self.values)
        return np.array(self.values)


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    found = PrototypeProposer().propose(PEROVSKITE, n=4)
    return [Candidate(p.structure, "prototype", p) for p in found]


def test_a_potential_joins_the_built_in_score(candidates: list[Candidate]) -> None:
    built_in = LearnedScorer().score(candidates)
    joined = JoinedScorer(LearnedScorer(), Told((8.0, 8.3, -np.inf, 8.15))).score(candidates)
    assert np.allclose((joined - built_in)[[0, 1, 3]], np.array([8.0, 8.3, 8.15]) / POTENTIAL_SCALE)
    assert joined[2] == -np.inf
    # Where the potential fails on all, the built-in score decides.
    failed = JoinedScorer(LearnedScorer(), Told((-np.inf,) * 4)).score(candidates)
    assert np.allclose(failed, built_in)


def test_energies_are_told_beside_the_scores_and_worked_out_once(
    candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def score(self: EnergyScorer, given: list[Candidate], **_: object) -> Floats:
        calls.append(len(given))
        return np.array([8.0, 8.3, -np.inf, 8.15])

    monkeypatch.setattr(EnergyScorer, "score", score)
    joined = JoinedScorer(LearnedScorer(), EnergyScorer("diep"))
    scores, energies = score_with_energies(joined, candidates)
    assert calls == [4]
    assert energies is not None
    np.testing.assert_allclose(energies, [-8.0, -8.3, np.nan, -8.15])
    np.testing.assert_array_equal(scores, joined.score(candidates))
    assert score_with_energies(LearnedScorer(), candidates)[1] is None


def test_scorers_by_name() -> None:
    model = load(None, "cpu").model
    own = ResidualScorer(model)
    assert scorer_for("none", own, model) is None
    assert scorer_for("score", own, model) is own
    assert isinstance(scorer_for("residual", LearnedScorer(), model), ResidualScorer)
    # Only log-odds have a scale on which an energy can be added.
    assert isinstance(scorer_for("diep", LearnedScorer(), model), JoinedScorer)
    assert not isinstance(scorer_for("diep", own, model), JoinedScorer)
    with pytest.raises(InputError, match="not known"):
        scorer_for("magic", own, model)


def test_the_first_of_each_group_stands_before_all_copies() -> None:
    cubic, other = caesium_chloride("Na", "Cl", 3.4), rock_salt("Na", "Cl", 5.64)
    structures = {"a": other, "b": cubic, "c": cubic.copy(), "d": other.copy()}
    order = places(structures, np.array([1.0, 3.0, 2.0, 4.0]))
    assert [place.name for place in order] == ["d", "b", "c", "a"]
    assert [place.rank for place in order] == [1, 2, 3, 4]
    groups = {place.name: place.group for place in order}
    assert groups["b"] == groups["c"] != groups["a"] == groups["d"]
    kept = places(structures, None, group=False)
    assert [(p.name, p.score, p.group) for p in kept] == [(n, None, None) for n in "abcd"]


def test_a_score_does_not_depend_on_the_other_candidates() -> None:
    proposer, scorer = PrototypeProposer(), LearnedScorer()
    _, pool = best_proposals(proposer, scorer, PEROVSKITE, 10, units=range(1, 11))
    made = [Candidate(p.structure, "prototype", p) for p in pool.proposals[:5]]
    made += [Candidate(p.structure.copy().perturb(0.05), "noise") for p in pool.proposals[:3]]
    pools = {"SrTiO3": pool}
    together = scorer.score(made, pools=pools)
    for row, candidate in enumerate(made):
        assert scorer.score([candidate], pools=pools)[0] == pytest.approx(together[row], abs=1e-4)
    # Among themselves the scores of a list are log-probabilities, so each depends on the others.
    assert scorer.score(made[:1])[0] == pytest.approx(0.0)
    nothing_known = {"SrTiO3": Pool(())}
    alone = [scorer.score([c], pools=nothing_known)[0] for c in made]
    assert np.allclose(scorer.score(made, pools=nothing_known), alone, atol=1e-4)


def test_cells_of_all_sizes_are_compared_by_their_votes() -> None:
    best, pool = best_proposals(PrototypeProposer(), LearnedScorer(), PEROVSKITE, 80, units=[1, 2])
    assert {len(p.structure) for p in best} == {5, 10}
    shares = [p.features["log_share"] for p in pool.proposals]
    assert shares == sorted(shares, reverse=True)
    fewer, _ = best_proposals(PrototypeProposer(), LearnedScorer(), PEROVSKITE, 5, units=[1, 2])
    assert [p.source_id for p in fewer] == [p.source_id for p in best[:5]]
