"""What own crystals say: votes below the best, weights found by leaving crystals out."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.own import (
    BONUSES,
    FEWEST,
    MUTED,
    WEIGHTS,
    LeaveOneOut,
    OwnEvidence,
    OwnScorer,
    _best,
    own_votes,
    weigh_own,
)
from crystal_diffusion.ranking.scorers import LearnedScorer
from tests.proposals.conftest import caesium_chloride, perovskite

#: Salts that are rock salt in nature, given as caesium chloride: only the user's crystals say so.
SALTS = {
    f"{a}{x}": caesium_chloride(a, x, edge)
    for a, x, edge in [
        ("Na", "Cl", 3.4),
        ("Na", "Br", 3.6),
        ("Na", "I", 3.9),
        ("K", "F", 3.2),
        ("K", "Cl", 3.8),
        ("K", "Br", 3.95),
        ("Li", "Cl", 3.15),
        ("Li", "Br", 3.35),
    ]
}


@pytest.fixture(scope="module")
def evidence() -> tuple[OwnEvidence, LeaveOneOut]:
    entries, _ = read_own(list(SALTS.values()), list(SALTS))
    shipped = default_library()
    return weigh_own(shipped, join(shipped, entries), list(SALTS.values()))


def test_crystals_unlike_the_library_are_listened_to(
    evidence: tuple[OwnEvidence, LeaveOneOut],
) -> None:
    chosen, figures = evidence
    assert figures.asked == len(SALTS) >= FEWEST
    assert figures.own_first > figures.box_first
    assert figures.gained - figures.lost == figures.own_first - figures.box_first
    assert chosen.bonus + chosen.weight > 0


def test_the_score_follows_the_user(evidence: tuple[OwnEvidence, LeaveOneOut]) -> None:
    entries, _ = read_own(list(SALTS.values()), list(SALTS))
    joined = join(default_library(), entries)
    found = PrototypeProposer(joined, own_bonus=evidence[0].bonus).propose({3: 1, 53: 1}, n=10)
    candidates = [Candidate(p.structure, "prototype", p) for p in found]
    loud = OwnScorer(LearnedScorer(), OwnEvidence(weight=20.0)).score(candidates)
    assert "221" in found[int(np.argmax(loud))].prototype_label
    silent = OwnScorer(LearnedScorer(), OwnEvidence(weight=0.0)).score(candidates)
    assert np.allclose(silent, LearnedScorer().score(candidates))


def test_votes_are_relative_and_noise_stands_last() -> None:
    found = PrototypeProposer().propose({11: 1, 17: 1}, n=3)
    votes = own_votes([*found, None])
    # Nobody's crystals are in the shipped library, so all are equal.
    assert np.allclose(votes, 0.0)
    assert own_votes([None, None]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_unlike_elements_are_heard_broadly() -> None:
    crystals = {
        "LaAlO3": perovskite("La", "Al", "O", 3.8),
        "KTaO3": perovskite("K", "Ta", "O", 4.0),
    }
    entries, _ = read_own(list(crystals.values()), list(crystals))
    joined = join(default_library(), entries)
    found = PrototypeProposer(joined).propose({25: 1, 49: 1, 9: 3}, n=30)
    like, broad = own_votes(found)
    cubic = ["221" in p.prototype_label for p in found]
    # Nothing like MnInF3 is among them, but that they are perovskites is heard.
    assert np.ptp(like) < 0.05 and np.ptp(broad) > 0.5
    assert cubic[int(np.argmax(broad))]
    loud = OwnScorer(LearnedScorer(), OwnEvidence(broad=20.0))
    scores = loud.score([Candidate(p.structure, "prototype", p) for p in found])
    assert cubic[int(np.argmax(scores))]


def test_too_few_choose_nothing() -> None:
    few = list(SALTS.values())[: FEWEST - 1]
    shipped = default_library()
    chosen, figures = weigh_own(shipped, shipped, few)
    assert chosen == OwnEvidence() and figures.asked == 0


def test_usual_numbers_are_kept_where_nothing_speaks_for_others() -> None:
    # Own crystals that the library holds already, and that add no vote: all that is tried is equal.
    shipped = default_library()
    chosen, figures = weigh_own(shipped, shipped, list(SALTS.values()))
    assert chosen == OwnEvidence(2.0, 0.5) and not chosen.muted
    assert (figures.gained, figures.lost) == (0, 0)
    assert figures.own_first == figures.box_first


def test_muted_crystals_leave_the_order_of_the_library() -> None:
    entries, _ = read_own(list(SALTS.values()), list(SALTS))
    shipped = default_library()
    alone = PrototypeProposer(shipped).propose({11: 1, 17: 1}, n=5, known=False)
    joined = PrototypeProposer(join(shipped, entries), own_bonus=MUTED)
    muted = joined.propose({11: 1, 17: 1}, n=5, known=False)
    assert [p.prototype_label for p in muted] == [p.prototype_label for p in alone]
    assert np.allclose([p.score for p in muted], [p.score for p in alone], atol=0.02)


def test_own_votes_that_cost_first_answers_are_muted() -> None:
    tried = 1 + len(BONUSES) * len(WEIGHTS)
    chances = np.full(tried, 5.0)
    first = np.full(tried, 8)
    assert (usual := _best(chances, first)) == 1 + len(WEIGHTS) + 1
    chances[3] = 5.5  # a little better, two steps away: not enough
    assert _best(chances, first) == usual
    chances[3] = 6.0
    assert _best(chances, first) == 3
    first[3] = 7  # one first answer less is chance, two are not
    assert _best(chances, first) == 3
    first[3] = 6
    assert _best(chances, first) == usual
    first[1:] = 6
    assert _best(chances, first) == 0
