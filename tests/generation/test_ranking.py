"""Prototype candidates are chosen by the ranker from more than are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from crystal_diffusion.generation import ranking
from crystal_diffusion.generation.generator import load
from crystal_diffusion.generation.ranking import best_proposals
from crystal_diffusion.generation.request import Request
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


def test_a_potential_joins_the_built_in_score(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load()
    result = generator.run(
        Request(formula="SrTiO3", z=(1, 1)),
        4,
        seed=1,
        settings=GenerationSettings(),
        describe=False,
    )
    names = list(result.structures)
    scale = ranking.POTENTIAL_SCALE
    built_in = ranking.candidate_scores(generator, result, names, "score")
    energies = np.array([-8.0, -8.3, np.inf, -8.15])
    monkeypatch.setattr(ranking, "potential_scores", lambda structures, name: -energies)
    joined = ranking.candidate_scores(generator, result, names, "diep")
    assert np.allclose((built_in - joined)[[0, 1, 3]], [0.3 / scale, 0.0, 0.15 / scale])
    assert joined[2] == -np.inf
    # Where the potential fails on all, the built-in score decides.
    monkeypatch.setattr(ranking, "potential_scores", lambda s, name: np.full(4, -np.inf))
    assert np.allclose(ranking.candidate_scores(generator, result, names, "diep"), built_in)
