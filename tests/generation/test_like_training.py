"""New crystals of a user's kind: types, elements, balance, no repeats."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.knowledge import joined_knowledge
from crystal_diffusion.generation.like_training import LikeTraining
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.proposals.joining import join, read_own
from crystal_diffusion.proposals.library import default_library
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.ranking.own import OwnEvidence
from tests.proposals.conftest import perovskite

OWN = {
    f"{a}{b}O3": perovskite(a, b, "O", edge)
    for a, b, edge in [("Sr", "Ti", 3.9), ("Ba", "Ti", 4.0), ("Ca", "Ti", 3.85), ("Ba", "Hf", 4.2)]
}
ALL = tuple(range(1, 95))


@pytest.fixture(scope="module")
def proposer() -> PrototypeProposer:
    entries, _ = read_own(list(OWN.values()), list(OWN))
    return PrototypeProposer(join(default_library(), entries))


def test_decorations_are_new_neutral_and_never_repeated(proposer: PrototypeProposer) -> None:
    like = LikeTraining(proposer, 1.0, 5, known=ALL)
    made = [like.proposal(index) for index in range(30)]
    assert all(p is not None for p in made)
    library = proposer.library
    seen = Counter(p.structure.composition.reduced_formula for p in made if p is not None)
    assert max(seen.values()) == 1
    for p in made:
        assert p is not None
        assert p.prototype_label.startswith("ABC3_5_221")
        numbers, counts = np.unique(np.array(p.structure.atomic_numbers), return_counts=True)
        contents = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        assert not len(library.entries_of(contents))
        assert is_neutral_possible(contents)


def test_the_nth_crystal_does_not_depend_on_the_number_asked_for(
    proposer: PrototypeProposer,
) -> None:
    one, two = (LikeTraining(proposer, 0.8, 5, known=ALL) for _ in range(2))
    later = [one.proposal(index) for index in range(12)][7]
    alone = two.proposal(7)
    assert later is not None and alone is not None and later.structure == alone.structure
    first, second = (
        [p and p.source_id + p.structure.formula for p in map(like.proposal, range(8))]
        for like in (two, LikeTraining(proposer, 0.8, 6, known=ALL))
    )
    assert first != second


def test_likeness_narrows_the_elements_and_the_share_of_noise(proposer: PrototypeProposer) -> None:
    sizes = [len(LikeTraining(proposer, likeness, 3, known=ALL)) for likeness in (0.3, 0.7, 1.0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[2]
    far_off = LikeTraining(proposer, 0.5, 3, known=ALL)
    noise = [far_off.proposal(index) is None for index in range(40)]
    assert sum(noise) == 10
    assert all(LikeTraining(proposer, 0.0, 3, known=ALL).proposal(i) is None for i in range(5))


def test_wishes_hold(proposer: PrototypeProposer) -> None:
    like = LikeTraining(proposer, 1.0, 1, known=ALL, required=[56], excluded=[8, 72])
    for index in range(10):
        made = like.proposal(index)
        assert made is not None and 56 in made.structure.atomic_numbers
        assert not {8, 72} & set(made.structure.atomic_numbers)
    with pytest.raises(RequestError, match="meets these wishes"):
        LikeTraining(proposer, 1.0, 1, known=ALL, sizes=(6, 9))
    with pytest.raises(RequestError, match="between 0 and 1"):
        LikeTraining(proposer, 1.5, 1, known=ALL)
    with pytest.raises(RequestError, match="holds crystals of yours"):
        LikeTraining(PrototypeProposer(default_library()), 0.5, 1, known=ALL)


def test_a_model_with_own_crystals_makes_their_kind_unless_told_otherwise() -> None:
    shipped = load(None, "cpu")
    from crystal_diffusion.data.dataset import CrystalStructureDataset

    arrays = CrystalStructureDataset(list(OWN.values())).arrays
    knowledge = joined_knowledge(shipped.model, arrays, OwnEvidence())
    generator = CrystalGenerator(shipped.model, {}, arrays, None, knowledge)
    result = generator.run(Request(), 8, seed=2, describe=False)
    labels = [plan.proposal.prototype_label for plan in result.plans.values() if plan.proposal]
    assert len(labels) >= 7 and all(label.startswith("ABC3_5_221") for label in labels)
    # Nothing like these crystals is made of lithium and oxygen alone: all start from noise.
    wishes = Request(elements=("Li", "O"), num_atoms=(4, 4))
    free = generator.run(wishes, 2, seed=2, describe=False)
    assert [plan.kind for plan in free.plans.values()] == ["noise", "noise"]
    with pytest.raises(RequestError, match="meets these wishes"):
        generator.run(wishes, 2, settings=GenerationSettings(like_training=0.5))
    with pytest.raises(RequestError, match="drop it"):
        generator.run(Request(formula="SrTiO3"), 1, settings=GenerationSettings(like_training=0.5))
    with pytest.raises(InputError, match="between 0 and 1"):
        GenerationSettings(like_training=-1)
    with pytest.raises(RequestError, match="crystals of yours"):
        shipped.run(Request(), 1, settings=GenerationSettings(like_training=0.5))
