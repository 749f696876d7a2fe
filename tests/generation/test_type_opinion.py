"""The structure types' opinion on skeletons: chances, filters, and what joins with what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion import Request
from crystal_diffusion.generation.plan import SkeletonPlace
from crystal_diffusion.generation.symmetric import template_source
from crystal_diffusion.generation.type_opinion import SHARPNESS, TypeOpinion
from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate
from crystal_diffusion.ranking.scorers import Floats, LearnedScorer
from crystal_diffusion.skeletons.distribution import Drawn, SkeletonModel
from crystal_diffusion.skeletons.tokens import skeleton_of

ROCK_SALT = Structure.from_spacegroup(
    225, Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
).get_primitive_structure()
CSCL = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TWO_UNITS = CSCL * (2, 1, 1)
MELTED = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]])
SODIUM_CHLORIDE = {11: 1, 17: 1}


class Fixed(PrototypeProposer):
    """Proposes the same structures for everything."""

    def __init__(self, scored: Sequence[tuple[Structure, float]]) -> None:
        self.found = [Proposal(s, "source", "type", 1.0, 20.0, score) for s, score in scored]

    def propose(self, *args: object, **options: object) -> list[Proposal]:
        return self.found


class Doubled:
    """Log-odds that are twice the votes."""

    log_odds = True

    def score(self, candidates: Sequence[Candidate], *, known_last: bool = False) -> Floats:
        return np.array([2 * c.proposal.score for c in candidates if c.proposal])


def opinion(*scored: tuple[Structure, float], share: float = 0.5) -> TypeOpinion:
    """One whose structure types are given with half their scores."""
    return TypeOpinion(Fixed(scored), Doubled(), share)


def test_chances_follow_the_scores() -> None:
    chances = opinion((ROCK_SALT, 1.0), (CSCL, 0.0)).chances(SODIUM_CHLORIDE)
    ratio = chances[skeleton_of(ROCK_SALT)] / chances[skeleton_of(CSCL)]
    assert ratio == pytest.approx(math.exp(2 * SHARPNESS))
    assert sum(chances.values()) == pytest.approx(1)


def test_types_of_one_skeleton_count_together() -> None:
    wider = ROCK_SALT.copy()
    wider.scale_lattice(60)
    chances = opinion((ROCK_SALT, 0.0), (wider, 0.0), (CSCL, 0.0)).chances(SODIUM_CHLORIDE)
    assert chances[skeleton_of(ROCK_SALT)] == pytest.approx(2 / 3)


def test_what_does_not_fit_is_left_out() -> None:
    asked = opinion((TWO_UNITS, 5.0), (MELTED, 5.0), (CSCL, 0.0))
    assert set(asked.chances(SODIUM_CHLORIDE)) == {skeleton_of(CSCL)}
    assert set(opinion((ROCK_SALT, 5.0), (CSCL, 0.0)).chances(SODIUM_CHLORIDE, [221])) == {
        skeleton_of(CSCL)
    }
    assert opinion().chances(SODIUM_CHLORIDE) == {}


def test_both_opinions_add_up() -> None:
    listed = [Drawn(skeleton_of(CSCL), math.log(0.8))]
    both = opinion((ROCK_SALT, 0.0), share=0.25).joined(listed, SODIUM_CHLORIDE)
    found = {d.skeleton: math.exp(d.log_probability) for d in both}
    assert found[skeleton_of(CSCL)] == pytest.approx(0.6)
    assert found[skeleton_of(ROCK_SALT)] == pytest.approx(0.25)
    assert opinion().joined(listed, SODIUM_CHLORIDE) == listed


@pytest.mark.parametrize("favourite", [ROCK_SALT, CSCL])
def test_the_first_skeleton_follows_a_sure_opinion(favourite: Structure) -> None:
    request = Request(formula="NaCl", z=(1, 1))
    source = template_source(
        request,
        SkeletonModel.load(),
        (11, 17),
        [SODIUM_CHLORIDE],
        largest=20,
        asked=1,
        types=opinion((favourite, 0.0), share=0.99),
    )
    assert source is not None
    (chosen,) = source.choose([SkeletonPlace(0, 0, 1)])
    assert chosen is not None
    assert chosen.template.group.number == skeleton_of(favourite).space_group


def test_shipped_types_know_textbook_structures() -> None:
    for counts, number in (({31: 1, 15: 1}, 216), ({3: 1, 9: 1}, 225), ({55: 1, 17: 1}, 221)):
        chances = TypeOpinion(PrototypeProposer(), LearnedScorer()).chances(counts)
        assert max(chances, key=lambda s: chances[s]).space_group == number
