"""How surprised the network is by a crystal: its denoising loss at a few fixed noise levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.diffusion.joint import JointDiffusion, Levels, exchange_noise
from crystal_diffusion.seeding import CrystalStreams, stream_seed


@torch.no_grad()
def denoising_residual(
    model: JointDiffusion,
    batch: CrystalBatch,
    levels: Sequence[float] = (0.1, 0.3, 0.5),
    draws: int = 2,
    seed: int = 0,
) -> Tensor:
    """``(crystals,)`` mean loss of coordinates and lattice with the composition given.

    The noise is the same for every crystal of one size, so differences between candidates of one
    composition are differences of the crystals. A diffusion model's loss bounds its negative
    log-likelihood (Ho et al. 2020, eq. 5), so lower means more like the training crystals.
    """
    batch = batch.to("cpu")
    count = len(batch)
    total = torch.zeros(count)
    atoms = batch.num_atoms.tolist()
    for draw in range(draws):
        for level in levels:
            streams = CrystalStreams(
                [stream_seed(seed, "residual", draw, str(level), n) for n in atoms], atoms
            )
            noise = model.coordinates.unit_noise(streams.uniform_atoms())
            if model.coordinates.exchangeable:
                noise = torch.from_numpy(exchange_noise(batch, noise.numpy()))
            value = torch.full((count,), level)
            terms = model.loss(
                batch.to(model.device),
                Levels(
                    (value.unsqueeze(-1) * batch.mask).to(model.device),
                    value.to(model.device),
                    torch.zeros(count, device=model.device),
                ),
                noise.to(model.device),
                streams.normal(6).to(model.device),
                torch.zeros(batch.atomic_numbers.shape, device=model.device),
                per_crystal=True,
            )
            total += terms.total.cpu()
    return total / (draws * len(levels))
