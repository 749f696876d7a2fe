"""Environments, the scoring network and the ranking of candidates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystal_diffusion.errors import InputError
from crystal_diffusion.proposals.environments import NEIGHBOURS
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
from crystal_diffusion.ranking.candidates import Candidate, environments_of
from crystal_diffusion.ranking.learned import Ranker, feature_matrix
from tests.proposals.conftest import CRYSTALS, caesium_chloride, perovskite, rock_salt


def random_network(features: int, seed: int = 0, hidden: int = 8) -> dict[str, NDArray[np.float32]]:
    """Weights of the right shapes with random values."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "emb": (101, 6),
        "inp.weight": (hidden, 6),
        "inp.bias": (hidden,),
        "wi.0.weight": (2 * hidden, hidden),
        "wi.0.bias": (2 * hidden,),
        "wj.0.weight": (2 * hidden, hidden),
        "we.0.weight": (2 * hidden, 22),
        "wo.0.weight": (hidden, hidden),
        "wo.0.bias": (hidden,),
        "read.weight": (hidden, hidden),
        "read.bias": (hidden,),
        "en.weight": (1, hidden),
        "en.bias": (1,),
        "eel": (101,),
        "head.0.weight": (8, features + hidden + 1),
        "head.0.bias": (8,),
        "head.2.weight": (4, 8),
        "head.2.bias": (4,),
        "head.4.weight": (1, 4),
        "head.4.bias": (1,),
    }
    weights = {k: rng.normal(size=s).astype(np.float32) * 0.5 for k, s in shapes.items()}
    weights["rad"] = np.full(101, 1.4, np.float32)
    weights["fm"] = np.zeros(features, np.float32)
    weights["fs"] = np.ones(features, np.float32)
    return weights


@pytest.fixture(scope="module")
def library() -> CrystalLibrary:
    return CrystalLibrary.from_structures(CRYSTALS.values(), list(CRYSTALS))


@pytest.fixture(scope="module")
def proposals(library: CrystalLibrary) -> list[Proposal]:
    return PrototypeProposer(library).propose({37: 1, 17: 1}, n=10)


@pytest.fixture(scope="module")
def ranker(proposals: list[Proposal]) -> Ranker:
    return Ranker((random_network(feature_matrix(proposals).shape[1]),))


@pytest.mark.parametrize(
    ("structure", "sites", "first", "coordination"),
    [
        (rock_salt("Na", "Cl", 5.64), 2, 2.82, 6),
        (caesium_chloride("Cs", "Cl", 4.12), 2, 4.12 * math.sqrt(3) / 2, 8),
        (perovskite("Sr", "Ti", "O", 3.905), 3, 3.905 / 2, 2),
    ],
)
def test_environments_of_named_crystals(
    structure: Structure, sites: int, first: float, coordination: int
) -> None:
    found = environments_of(structure)
    assert len(found.numbers) == sites
    assert found.share.sum() == pytest.approx(1.0)
    assert found.distance.shape == (sites, NEIGHBOURS)
    nearest = found.distance.min()
    assert nearest == pytest.approx(first, abs=1e-3)
    row = int(np.flatnonzero(found.numbers == found.numbers.min())[0])
    own = found.distance[row]
    assert int((own < own[0] + 0.01).sum()) == coordination


def test_environments_do_not_depend_on_the_cell() -> None:
    cell = CRYSTALS["own-8"]
    primitive, large = environments_of(cell), environments_of(cell.make_supercell((2, 1, 3), False))
    assert np.array_equal(primitive.numbers, large.numbers)
    assert np.allclose(primitive.share, large.share)
    assert np.allclose(primitive.distance, large.distance, atol=1e-4)


def test_a_score_does_not_depend_on_the_cell_or_the_order(
    ranker: Ranker, proposals: list[Proposal]
) -> None:
    given = [Candidate(p.structure, "prototype", p) for p in proposals]
    scores = ranker.score(given)
    assert scores.shape == (len(given),)
    assert np.logaddexp.reduce(scores) == pytest.approx(0.0, abs=1e-5)
    assert ranker.score(given[::-1]) == pytest.approx(scores[::-1], abs=1e-5)
    large = [
        Candidate(p.structure.make_supercell(2, in_place=False), "prototype", p) for p in proposals
    ]
    assert ranker.score(large) == pytest.approx(scores, abs=1e-4)


def test_order_puts_the_best_first(ranker: Ranker, proposals: list[Proposal]) -> None:
    ordered = ranker.order(proposals)
    assert {p.prototype_label for p in ordered} == {p.prototype_label for p in proposals}
    assert [p.score for p in ordered] == sorted((p.score for p in ordered), reverse=True)


def test_a_candidate_from_noise_takes_the_numbers_of_its_type(
    ranker: Ranker, proposals: list[Proposal]
) -> None:
    given = [Candidate(p.structure, "prototype", p) for p in proposals]
    twin = Candidate(proposals[0].structure.copy(), "noise")
    scores = ranker.score([*given, twin])
    assert scores[-1] == pytest.approx(scores[0], abs=1e-5)
    stretched = proposals[0].structure.copy()
    stretched.lattice = stretched.lattice.from_parameters(3.0, 4.5, 9.0, 80, 90, 100)
    odd = ranker.score([*given, Candidate(stretched, "noise")])
    assert np.isfinite(odd).all()
    assert odd[-1] != pytest.approx(odd[0], abs=1e-3)


def test_a_large_residual_lowers_the_score(ranker: Ranker, proposals: list[Proposal]) -> None:
    weighted = Ranker(ranker.networks, residual_weight=2.0)
    structure = proposals[0].structure
    plain, bad = (Candidate(structure, "noise", None, residual) for residual in (0.0, 0.5))
    scores = weighted.score([plain, bad])
    assert scores[0] - scores[1] == pytest.approx(1.0, abs=1e-5)


def test_a_round_trip_keeps_the_scores(
    ranker: Ranker, proposals: list[Proposal], tmp_path: Path
) -> None:
    path = tmp_path / "small.npz"
    ranker.save(path)
    given = [Candidate(p.structure, "prototype", p) for p in proposals]
    assert Ranker.load(path).score(given) == pytest.approx(ranker.score(given), abs=1e-6)


def test_bad_input_is_named(ranker: Ranker, tmp_path: Path) -> None:
    mixed = [
        Candidate(rock_salt("Na", "Cl", 5.64), "noise"),
        Candidate(rock_salt("K", "Cl", 6.3), "noise"),
    ]
    with pytest.raises(InputError, match="one composition at a time"):
        ranker.score(mixed)
    assert len(ranker.score([])) == 0
    with pytest.raises(InputError, match="not a ranker"):
        Ranker.load(tmp_path / "none.npz")
    np.savez(tmp_path / "empty.npz", residual_weight=np.array(0.0))
    with pytest.raises(InputError, match="no networks"):
        Ranker.load(tmp_path / "empty.npz")
