"""Prototype candidates are chosen by the ranker from more than are asked for."""

from __future__ import annotations

from crystal_diffusion.generation.generator import load
from crystal_diffusion.generation.ranking import best_proposals
from crystal_diffusion.generation.settings import GenerationSettings


def test_the_best_of_many_comes_first_and_known_types_last_if_asked() -> None:
    generator = load()
    composition = {38: 1, 22: 1, 8: 3}
    usual = best_proposals(generator, composition, 10, GenerationSettings())
    new = best_proposals(generator, composition, 10, GenerationSettings(new=True))
    votes = best_proposals(generator, composition, 10, GenerationSettings(rank="none"))
    assert len(usual) == len(new) == len(votes) == 10
    assert [p.score for p in usual] == sorted((p.score for p in usual), reverse=True)
    # The library holds several structures of SrTiO3, the cubic one among them.
    assert any(p.features["known"] for p in usual)
    known = [bool(p.features["known"]) for p in new]
    assert known == sorted(known) and not known[0]
    unranked = best_proposals(generator, composition, 10, GenerationSettings(rank="none", new=True))
    assert not unranked[0].features["known"]
