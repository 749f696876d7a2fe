"""The predicted formation energy as an opinion of the ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.prediction.model import PropertyModel, default_properties
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate, Pool
from crystal_diffusion.ranking.scorers import Floats, LearnedScorer
from crystal_diffusion.ranking.stability import MOST_ABOVE, WEIGHT, StabilityOpinion
from tests.proposals.conftest import caesium_chloride, rock_salt

ALUMINIUM_PHOSPHIDE = {13: 1, 15: 1}


class Told:
    """Energies by lattice constant; counts how many crystals it was asked about."""

    def __init__(self, energies: dict[float, float]) -> None:
        self.energies, self.asked = energies, 0

    def __call__(self, structures: Sequence[Structure]) -> Floats:
        self.asked += len(structures)
        return np.array([self.energies[round(s.lattice.a, 1)] for s in structures])


def crystal(edge: float) -> Candidate:
    cell = Lattice.cubic(edge)
    return Candidate(Structure(cell, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "noise")


def test_energy_above_the_lowest_lowers_the_score_up_to_a_limit() -> None:
    opinion = StabilityOpinion(Told({3.0: -1.0, 4.0: -0.9, 5.0: 4.0}))
    found = opinion.opinion([crystal(3.0), crystal(4.0), crystal(5.0)], None)
    assert found == pytest.approx([0.0, -WEIGHT * 0.1, -WEIGHT * MOST_ABOVE])


def test_the_pool_is_the_reference_and_is_asked_once() -> None:
    found = PrototypeProposer().propose({11: 1, 17: 1}, n=3)
    pool = Pool(tuple(found))
    edges = {round(p.structure.lattice.a, 1) for p in found}
    told = Told({**dict.fromkeys(edges, -2.0), 9.9: -1.9, 9.8: -3.0})
    opinion = StabilityOpinion(told)
    alone = opinion.opinion([crystal(9.9)], pool)
    assert alone == pytest.approx([-WEIGHT * 0.1])
    # Beside a lower crystal that is not of the pool the score stays the same.
    both = opinion.opinion([crystal(9.9), crystal(9.8)], pool)
    assert both == pytest.approx([-WEIGHT * 0.1, 0.0])
    assert told.asked == len(found) + 2, "each crystal once"


def test_a_crystal_that_is_changed_in_place_is_judged_again() -> None:
    opinion = StabilityOpinion(Told({3.0: -1.0, 4.0: -0.9, 5.0: -0.8}))
    one, other = crystal(3.0), crystal(4.0)
    assert opinion.opinion([one, other], None) == pytest.approx([0.0, -WEIGHT * 0.1])
    other.structure.lattice = Lattice.cubic(5.0)
    assert opinion.opinion([one, other], None) == pytest.approx([0.0, -WEIGHT * 0.2])


def test_an_element_without_labels_changes_no_score() -> None:
    opinion = StabilityOpinion(Told({3.0: np.nan, 4.0: -1.0}))
    assert (opinion.opinion([crystal(3.0), crystal(4.0)], None) == 0).all()


def test_an_empty_pool_counts_the_energy_as_it_is() -> None:
    opinion = StabilityOpinion(Told({3.0: -1.0, 4.0: 0.5}))
    found = opinion.opinion([crystal(3.0), crystal(4.0)], Pool(()))
    assert found == pytest.approx([WEIGHT, -0.5 * WEIGHT])


def test_the_shipped_scorer_joins_ranker_and_energy() -> None:
    structures = [rock_salt("Na", "Cl", 5.64), caesium_chloride("Na", "Cl", 3.5)]
    candidates = [Candidate(structure, "noise") for structure in structures]
    energies = default_properties().formation_energies(structures)
    plain, joined = LearnedScorer().score(candidates), shipped_scorer().score(candidates)
    lost = WEIGHT * np.clip(energies - energies.min(), 0, MOST_ABOVE)
    assert joined == pytest.approx(plain - lost)
    assert energies[0] < energies[1]


def test_zinc_blende_comes_first_for_a_compound_the_library_leaves_out() -> None:
    """Votes of relatives alone put rock salt first."""
    found = PrototypeProposer().propose(ALUMINIUM_PHOSPHIDE, n=40, known=False)
    scores = shipped_scorer().score([Candidate(p.structure, "prototype", p) for p in found])
    assert found[int(np.argmax(scores))].features["space_group"] == 216


def test_crystals_that_cannot_be_judged_have_no_energy() -> None:
    cell = Lattice.cubic(4.0)
    mixed = Structure(cell, [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    energies = default_properties().formation_energies([mixed, rock_salt("Na", "Cl", 5.64)])
    assert np.isnan(energies[0]) and energies[1] < -1.0


def test_a_model_without_formation_energy_says_so() -> None:
    shipped = default_properties()
    bare = PropertyModel(shipped.network, (), shipped.known_elements)
    with pytest.raises(Exception, match="no formation energy"):
        bare.formation_energies([rock_salt("Na", "Cl", 5.64)])
