"""The U-Net of a chain gives the numbers of the module, with and without padding."""

from __future__ import annotations

import pytest
import torch

from crystal_diffusion.networks.unet import DenoisingNetwork


@pytest.mark.parametrize("padded", [False, True])
def test_the_chain_is_the_network(padded: bool) -> None:
    torch.manual_seed(1)
    net = DenoisingNetwork(32, 16)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, 5, 3)
    mask = torch.ones(3, 5)
    if padded:
        mask[1, 3:] = 0
    times = torch.tensor([900, 40, 1])
    padding = mask <= 0 if padded else None
    with torch.inference_mode():
        chain = net.chain(times, padding)
        for step, t in enumerate(times):
            expected = net.encode(x, t.expand(3), mask)
            found = chain(x, step).view(3, 5, -1)
            real = mask > 0
            assert torch.allclose(found[real], expected[real], rtol=1e-4, atol=1e-4)
            assert expected[real].abs().max() > 0.01
