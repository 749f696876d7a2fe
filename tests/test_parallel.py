"""Work that is spread over the cores of a processor gives what one core gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from crystal_diffusion.diffusion.original import CrystalDiffusionModel
from crystal_diffusion.parallel import one_thread_each, side_by_side


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    def task(number: int) -> tuple[int, int]:
        time.sleep(0.02 * (3 - number))
        return number, torch.get_num_threads()

    before = torch.get_num_threads()
    found = list(side_by_side([partial(task, i) for i in range(4)], workers))
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert {threads for _, threads in found} == {1 if workers > 1 else before}
    assert torch.get_num_threads() == before


def test_an_error_of_a_task_reaches_the_caller_and_stops_the_rest() -> None:
    begun = []

    def task(number: int) -> None:
        begun.append(number)
        time.sleep(0.05)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(side_by_side([partial(task, i) for i in range(20)], 2))
    assert len(begun) < 10


def test_threads_are_given_back(two_threads: None) -> None:
    with pytest.raises(RuntimeError), one_thread_each(torch.device("cpu")) as workers:
        assert workers == 2
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == 2
    with one_thread_each(torch.device("meta")) as workers:
        assert workers == 1


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_parts_of_a_batch_get_the_noise_of_the_whole(two_threads: None, sampler: str) -> None:
    model = CrystalDiffusionModel(timesteps=30, device="cpu", hidden_dim=32)
    cell, mask = torch.eye(3)[None] * 5, torch.ones(40, 8)
    mask[3, 5:] = 0
    found = model.sample(40, 8, cell, mask, sampler=sampler, eta=0.5, seed=3)
    torch.set_num_threads(1)
    expected = model.sample(40, 8, cell, mask, sampler=sampler, eta=0.5, seed=3)
    difference = found - expected
    assert (difference - difference.round()).abs().max() < 1e-3
    assert torch.equal(found[3, 5:], torch.zeros(3, 3))
