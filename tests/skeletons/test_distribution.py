"""The learned distribution: exact contents, probabilities that add up, the shipped model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.skeletons.distribution import SkeletonModel, SkeletonWish, fits
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.tokens import (
    canonical_skeleton,
    composition_of,
    in_order,
    skeleton_of,
    to_sequence,
)
from crystal_diffusion.skeletons.weights import load_network, save_network
from crystal_diffusion.symmetry.assignments import Assignment, enumerate_assignments, parse_wyckoff


@pytest.fixture(scope="module")
def untrained() -> SkeletonModel:
    """Random weights: what must hold, holds for any."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SkeletonModel(SkeletonNetwork(SkeletonConfig(dim=32, layers=2)))


@pytest.fixture(scope="module")
def shipped() -> SkeletonModel:
    return SkeletonModel.load()


def streams(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


def test_probabilities_of_all_skeletons_add_up_to_one(untrained: SkeletonModel) -> None:
    found = untrained.likeliest({3: 1, 9: 1}, 1000)
    everything = {
        canonical_skeleton(a) for number in range(1, 231) for a in _all_of(number, {3: 1, 9: 1})
    }
    assert {d.skeleton for d in found} == everything
    assert sum(math.exp(d.log_probability) for d in found) == pytest.approx(1.0, abs=1e-9)
    assert [d.log_probability for d in found] == sorted(
        (d.log_probability for d in found), reverse=True
    )


def _all_of(number: int, counts: dict[int, int]) -> list[Assignment]:
    try:
        return list(enumerate_assignments(number, counts))
    except RequestError:
        return []


@pytest.mark.parametrize(
    "counts", [{6: 1}, {38: 1, 22: 1, 8: 3}, {11: 4, 17: 4}, {3: 4, 26: 4, 15: 4, 8: 16}, {1: 90}]
)
def test_contents_are_exact(untrained: SkeletonModel, counts: dict[int, int]) -> None:
    listed = [d.skeleton for d in untrained.likeliest(counts, 30)]
    assert len(set(listed)) == len(listed) > 0
    drawn = [d.skeleton for d in untrained.draw(SkeletonWish.of(counts), streams(10))]
    for skeleton in listed + drawn:
        assert composition_of(skeleton) == counts == skeleton.counts()
        assert skeleton == canonical_skeleton(skeleton)


def test_groups_asked_for_are_kept(untrained: SkeletonModel) -> None:
    found = untrained.likeliest({38: 1, 22: 1, 8: 3}, 50, groups=[221, 99])
    assert {d.skeleton.space_group for d in found} <= {221, 99}
    with pytest.raises(RequestError, match="fits none"):
        untrained.likeliest({38: 1, 22: 1, 8: 2}, 5, groups=[230])


@pytest.mark.parametrize(
    "wish",
    [
        SkeletonWish(num_atoms=(1, 12)),
        SkeletonWish(elements=tuple(in_order([3, 8, 15])), num_atoms=(8, 14)),
        SkeletonWish(allowed=frozenset([8, 9]), num_atoms=(7, 7)),
        SkeletonWish(num_atoms=(12, 12), groups=frozenset([221, 225])),
        SkeletonWish(elements=(22,), num_atoms=(3, 3)),
    ],
)
def test_open_contents_keep_to_the_wish(untrained: SkeletonModel, wish: SkeletonWish) -> None:
    for drawn in untrained.draw(wish, streams(20)):
        counts = composition_of(drawn.skeleton)
        low, high = wish.num_atoms
        assert low <= sum(counts.values()) <= high
        assert not wish.elements or set(counts) == set(wish.elements)
        assert wish.allowed is None or set(counts) <= wish.allowed
        assert wish.groups is None or drawn.skeleton.space_group in wish.groups


def test_impossible_wishes_are_refused(untrained: SkeletonModel) -> None:
    wish = SkeletonWish(elements=tuple(in_order([3, 8])), num_atoms=(3, 3), groups=frozenset([230]))
    assert not fits(wish)
    with pytest.raises(RequestError, match="another number of atoms"):
        untrained.draw(wish, streams(1))
    with pytest.raises(InputError, match="counts"):
        untrained.likeliest({3: 0})


def test_a_draw_does_not_depend_on_its_neighbours(untrained: SkeletonModel) -> None:
    wish = SkeletonWish(num_atoms=(4, 10))
    together = untrained.draw(wish, streams(12))
    apart = [untrained.draw(wish, streams(12)[i : i + 1])[0] for i in range(12)]
    assert [d.skeleton for d in together] == [d.skeleton for d in apart]
    for one, other in zip(together, apart, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-9)


def test_draws_are_as_frequent_as_they_are_probable(untrained: SkeletonModel) -> None:
    counts, n = {3: 1, 9: 1}, 3000
    first = untrained.likeliest(counts, 1)[0]
    drawn = untrained.draw(SkeletonWish.of(counts), streams(n))
    share = sum(d.skeleton == first.skeleton for d in drawn) / n
    expected = math.exp(first.log_probability)
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_probability_is_the_same_read_or_drawn(untrained: SkeletonModel) -> None:
    """Where only one description is possible both ways of reckoning must agree."""
    for drawn in untrained.draw(SkeletonWish.of({38: 1, 22: 1, 8: 3}), streams(30)):
        read = untrained.log_probability(drawn.skeleton)
        # A draw may have taken another of the equal descriptions, which is then its own chance.
        listed = {
            d.skeleton: d.log_probability for d in untrained.likeliest({38: 1, 22: 1, 8: 3}, 5000)
        }
        assert read <= listed[drawn.skeleton] + 1e-6
        break


def test_group_probabilities(untrained: SkeletonModel) -> None:
    chances = untrained.group_probabilities({11: 1, 17: 1})
    assert chances.sum() == pytest.approx(1.0)
    assert chances[229] == 0.0  # Ia-3d holds no two atoms
    assert chances[224] > 0


def test_composition_weights(untrained: SkeletonModel) -> None:
    units = [{3: z, 9: z} for z in (1, 2, 4)]
    weights = untrained.composition_weights(units)
    assert weights.shape == (3,)
    assert weights.sum() == pytest.approx(1.0)


def test_shipped_model_knows_its_chemistry(shipped: SkeletonModel) -> None:
    salt = shipped.likeliest({11: 1, 17: 1}, 3)
    wanted = canonical_skeleton(parse_wyckoff("Na:4a,Cl:4b", 225))
    assert salt[0].skeleton == wanted
    five = [d.skeleton.space_group for d in shipped.likeliest({56: 1, 22: 1, 8: 3}, 5)]
    assert 221 in five
    half_heusler = [d.skeleton.space_group for d in shipped.likeliest({22: 1, 28: 1, 50: 1}, 3)]
    assert half_heusler[0] == 216


def test_from_nothing_most_are_symmetric(shipped: SkeletonModel) -> None:
    drawn = shipped.draw(SkeletonWish(num_atoms=(1, 20)), streams(60))
    assert np.mean([d.skeleton.space_group == 1 for d in drawn]) < 0.25
    assert len({d.skeleton for d in drawn}) > 50


def test_skeleton_of_a_crystal() -> None:
    cell = Structure(Lattice.cubic(3.905), ["Sr", "Ti", "O", "O", "O"],
                     [[0, 0, 0], [.5, .5, .5], [.5, .5, 0], [.5, 0, .5], [0, .5, .5]])  # fmt: skip
    moved = cell.copy().translate_sites(range(5), [0.5, 0.5, 0.5])
    assert skeleton_of(cell) == skeleton_of(moved)
    assert skeleton_of(cell).space_group == 221
    assert skeleton_of(cell * (2, 1, 1)) == skeleton_of(cell)
    sequence = to_sequence(skeleton_of(cell))
    assert len(sequence) == 2 + 3 + 3
    assert sorted(sequence.composition) == [(8, 3), (22, 1), (38, 1)]


def test_files(tmp_path: Path, untrained: SkeletonModel) -> None:
    path = tmp_path / "skeletons.safetensors"
    save_network(path, untrained.network, {"steps": 3})
    again = SkeletonModel.load(path)
    assert again.header["steps"] == 3
    one, other = untrained.likeliest({11: 1, 17: 1}, 3), again.likeliest({11: 1, 17: 1}, 3)
    assert one[0].log_probability == pytest.approx(other[0].log_probability, abs=0.02)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_network(path)
    from crystal_diffusion.pretrained import model_path

    with pytest.raises(CheckpointError, match="not one of skeletons"):
        load_network(model_path())
