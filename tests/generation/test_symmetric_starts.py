"""Noise starts that get a skeleton first: shares, order, what is refused, what the row says."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Structure

from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.request import Request
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.generation.symmetric import (
    FREE_SHARE,
    SkeletonPlace,
    symmetric_share,
    template_source,
)
from crystal_diffusion.physics.neutrality import neutral_assignment
from crystal_diffusion.skeletons.distribution import SkeletonModel, SkeletonWish

KNOWN = tuple(range(1, 95))


def places(n: int, attempt: int = 0, first: int = 0) -> list[SkeletonPlace]:
    return [SkeletonPlace(i, attempt, 1000 + i) for i in range(first, first + n)]


@pytest.fixture(scope="module")
def model() -> SkeletonModel:
    return SkeletonModel.load()


@pytest.mark.parametrize(
    ("asked", "share"),
    [("learned", 1 - FREE_SHARE), ("free", 0.0), ("0.25", 0.25), (0.5, 0.5), (None, 0.3), (1, 1.0)],
)
def test_shares(asked: str | float | None, share: float) -> None:
    assert symmetric_share(asked, 0.3) == pytest.approx(share)


@pytest.mark.parametrize("asked", ["much", "1.5", -0.1, "nan"])
def test_other_shares_are_refused(asked: str | float) -> None:
    with pytest.raises(RequestError, match="learned, free, or a share"):
        symmetric_share(asked, 0.3)


def test_one_in_twenty_stays_free(model: SkeletonModel) -> None:
    request = Request(formula="NaCl", z=(1, 1))
    counts = [{11: 1, 17: 1}]
    source = template_source(request, model, KNOWN, counts, largest=20, asked="learned")
    assert source is not None
    chosen = source.choose(places(20))
    assert [i for i, c in enumerate(chosen) if c is None] == [19]
    # What one place gets does not depend on the others.
    for i, one in enumerate(chosen):
        alone = source.choose(places(1, first=i))[0]
        assert (alone is None) == (one is None)
        if one is not None and alone is not None:
            assert alone.template.assignment == one.template.assignment
    assert template_source(request, model, KNOWN, counts, largest=20, asked="free") is None


def test_likeliest_first_and_different_before_repeated(model: SkeletonModel) -> None:
    counts = {38: 1, 22: 1, 8: 3}
    request = Request(formula="SrTiO3", z=(1, 1))
    source = template_source(request, model, KNOWN, [counts], largest=20, asked=1)
    assert source is not None
    chosen = [c.template.assignment for c in source.choose(places(12)) if c is not None]
    likely = [d.skeleton for d in model.likeliest(counts, 12)]
    assert chosen[0] == likely[0]
    assert len(set(chosen)) >= 6
    assert all(a.counts() == counts for a in chosen)


def test_failed_candidates_get_other_skeletons_and_then_none(model: SkeletonModel) -> None:
    request = Request(formula="SrTiO3", z=(1, 1))
    counts = [{38: 1, 22: 1, 8: 3}]
    source = template_source(request, model, KNOWN, counts, largest=20, asked=1)
    assert source is not None
    first, again = source.choose([SkeletonPlace(0, 0, 5), SkeletonPlace(0, 1, 6)])
    assert first is not None and again is not None
    assert first.template.assignment == again.template.assignment
    later = source.choose([SkeletonPlace(0, 2, seed) for seed in range(30)])
    assert len({c.template.assignment for c in later if c is not None}) > 1
    assert source.choose([SkeletonPlace(0, 6, 5)]) == [None]


def test_contents_are_drawn_where_they_are_free(model: SkeletonModel) -> None:
    request = Request(elements=("Li", "S"), num_atoms=(3, 9))
    source = template_source(request, model, KNOWN, [], largest=20, asked=1)
    assert source is not None
    for chosen in source.choose(places(15)):
        assert chosen is not None
        counts = chosen.template.assignment.counts()
        assert set(counts) == {3, 16}
        assert 3 <= sum(counts.values()) <= 9
    without = Request(exclude=("O",), charge_neutral=True)
    source = template_source(without, model, (3, 8, 9, 11, 17), [], largest=12, asked=1)
    assert source is not None
    for chosen in source.choose(places(10)):
        assert chosen is not None
        assert set(chosen.template.assignment.counts()) <= {3, 9, 11, 17}


def test_contents_with_unusual_charges_are_drawn_anew_once(
    model: SkeletonModel,
) -> None:
    """As often as among known crystals, which the model alone does not reach."""
    source = template_source(Request(), model, KNOWN, [], largest=12, asked=1)
    assert source is not None
    chosen = [c.template.assignment for c in source.choose(places(150)) if c is not None]
    plain = model.draw(
        SkeletonWish(allowed=frozenset(KNOWN), num_atoms=(1, 12)),
        [np.random.default_rng([1000 + i, 1]) for i in range(150)],
    )
    usual = sum(neutral_assignment(a.counts()).usual for a in chosen)
    before = sum(neutral_assignment(d.skeleton.counts()).usual for d in plain)
    assert before + 5 < usual < 150
    # The others are not all gone, and what was usual at once is what it was.
    assert all(
        a == d.skeleton
        for a, d in zip(chosen, plain, strict=True)
        if neutral_assignment(d.skeleton.counts()).usual and d.skeleton.space_group > 1
    )


@pytest.mark.parametrize(
    ("request_", "asked", "says"),
    [
        (Request(lattice=(5, 5, 5, 90, 90, 90), spacegroup="221"), None, "exclude each other"),
        (Request(lattice=(5, 5, 5, 90, 90, 90)), "learned", "exclude each other"),
        (Request(formula="NaCl", spacegroup="225"), "free", "drop one"),
        (Request(formula="NaCl", spacegroup="225"), 0.5, "drop one"),
        (Request(elements=("Na", "Cl"), num_atoms=(3, 3), spacegroup="230"), None, "--natoms"),
    ],
)
def test_contradictions_are_refused(
    model: SkeletonModel, request_: Request, asked: str | float | None, says: str
) -> None:
    counts = [{11: 1, 17: 1}] if request_.formula else []
    with pytest.raises(RequestError, match=says):
        template_source(request_, model, KNOWN, counts, largest=20, asked=asked)


def test_a_given_cell_stays_free_where_nothing_is_asked(model: SkeletonModel) -> None:
    request = Request(lattice=(5, 5, 5, 90, 90, 90))
    assert template_source(request, model, KNOWN, [], largest=20, default=0.9) is None


def test_a_run_says_where_symmetry_came_from(generator: CrystalGenerator) -> None:
    settings = GenerationSettings(symmetry=0.5, scorer="none")
    element = generator.known_elements[0]
    from crystal_diffusion import chemistry

    request = Request(formula=f"{chemistry.symbol(element)}2")
    result = generator.run(request, 4, seed=3, settings=settings)
    by_index = {row["index"]: row for row in result.rows}
    assert [by_index[i]["symmetry"] for i in range(4)] == ["learned", "free", "learned", "free"]
    row = by_index[0]
    assert row["space_group_requested"] is None
    assert row["space_group_drawn"] > 0
    assert 0 < row["skeleton_probability"] <= 1
    free = generator.generate(f"{chemistry.symbol(element)}2", 2, symmetry="free")
    assert all(isinstance(structure, Structure) for structure in free)
    assert not any("symmetry_from" in row for row in result.rows)
    assert np.isfinite(row["volume_per_atom_A3"])
