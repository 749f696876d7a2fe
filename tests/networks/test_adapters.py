"""Adapters: the base comes back, only the change is trained, decay pulls to the base."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crystal_diffusion.networks.adapters import adapted_weights, add_differences, add_low_rank


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 20), nn.SiLU(), nn.Linear(20, 11))


@pytest.mark.parametrize("adapt", [add_differences, lambda m: add_low_rank(m, width=4)])
def test_nothing_changes_before_training(adapt: object) -> None:
    plain, adapted = network(), network()
    adapt(adapted)  # type: ignore[operator]
    x = torch.randn(5, 12)
    assert torch.equal(plain(x), adapted(x))


def test_a_low_rank_change_has_that_rank_and_leaves_the_rest() -> None:
    plain, model = network(), network()
    add_low_rank(model, width=4)
    trained = sum(p.numel() for p in model.parameters())
    assert trained == 4 * (12 + 20) + 4 * (20 + 11)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 12)).square().sum().backward()
        optimizer.step()
    weights = adapted_weights(model)
    before = dict(plain.named_parameters())
    assert set(weights) == {"0.weight", "2.weight"}
    for name, weight in weights.items():
        change = weight - before[name].detach()
        assert change.abs().max() > 1e-4
        assert torch.linalg.matrix_rank(change, rtol=1e-5) <= 4
    assert torch.equal(model[0].bias, plain[0].bias)


def test_weights_in_use_make_the_plain_network_answer_the_same() -> None:
    model = network()
    add_differences(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    plain = network()
    plain.load_state_dict(adapted_weights(model))
    x = torch.randn(5, 12)
    assert torch.allclose(plain(x), model(x), atol=1e-6)


def test_decay_of_the_change_pulls_to_the_base() -> None:
    base, model = network(), network()
    add_differences(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=1.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, weight in adapted_weights(model).items():
        change = weight - dict(base.named_parameters())[name].detach()
        assert torch.allclose(change, torch.full_like(change, 0.9), atol=1e-5)
