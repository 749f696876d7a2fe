"""Adapt the model in the box to a user's crystals, and say whether that helped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from crystal_diffusion.errors import InputError
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.skeletons.fitting import FitSettings, Skeletons, fit, mean_nats
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.skeletons.patterns import Trust
from crystal_diffusion.skeletons.tokens import skeleton_of
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.prior import WyckoffPrior

#: Crystals from which on every tenth is held out to choose the number of passes.
ENOUGH_TO_HOLD_OUT = 20
#: Passes over the crystals in one round, and rounds at most.
_PASSES, _ROUNDS = 3, 6
#: Batches of one round at most.
_MOST_STEPS = 300
#: Rounds where there are too few crystals to hold any out.
_FEW_ROUNDS = 2
#: A network that learns from a few hundred crystals alone, and rounds of its training.
_ALONE = SkeletonConfig(dim=64, layers=2, dropout=0.2)
_ALONE_ROUNDS, _ALONE_STEPS = 8, 80
#: Crystals whose skeletons are timed, and steps that are, before such a network is learned.
TIMED, _TIMED_STEPS = 100, 3
#: How often the symmetry of each crystal is found: for the noise, the network and the table.
_LOOKED_AT = 3


@dataclass(frozen=True)
class Adapted:
    """A model fitted further to own crystals.

    Attributes:
        model: the adapted one, or the base where adapting did not help.
        crystals: that were learned from; held_out: that were not.
        before: nats a held-out crystal of the base model, contents and skeleton together; NaN
            where none is held out.
        after: those of ``model``.
        rounds: of training that were kept.
        left_out: reason for each index without a skeleton.
    """

    model: SkeletonModel
    crystals: int
    held_out: int
    before: float
    after: float
    rounds: int
    left_out: dict[int, str]


def adapt(crystals: Iterable[Any], base: SkeletonModel | None = None, *, seed: int = 0) -> Adapted:
    """Fit the base model further to crystals, with a pull back to it.

    With 20 crystals or more a tenth is held out, training stops when it gets no better on them,
    and the base is kept where no round was better; with fewer, two short rounds are made.

    Args:
        crystals: pymatgen structures, ASE atoms, symmetry cells, or skeletons.
        base: to start from; the model in the box by default.
        seed: of the split and the order.

    Raises:
        InputError: when no crystal has a skeleton.
    """
    base = base or SkeletonModel.load()
    skeletons, left_out = _skeletons(crystals)
    if not skeletons:
        reason = next(iter(left_out.values()), "there are none")
        raise InputError(f"no crystal to adapt the skeletons to: {reason}")
    order = np.random.default_rng((seed, 11)).permutation(len(skeletons))
    hold = len(skeletons) // 10 if len(skeletons) >= ENOUGH_TO_HOLD_OUT else 0
    data = Skeletons.from_assignments([skeletons[i] for i in order[hold:]])
    held = Skeletons.from_assignments([skeletons[i] for i in order[:hold]]) if hold else None
    network = _copy(base.network)
    before = best = float("nan") if held is None else mean_nats(network.eval(), held)
    kept, rounds = _weights(network), 0
    for number in range(_ROUNDS if held is not None else _FEW_ROUNDS):
        fit(network, data, _round(len(data), seed + number))
        if held is not None:
            now = mean_nats(network.eval(), held)
            if now >= best:
                break
            best = now
        kept, rounds = _weights(network), number + 1
    network.load_state_dict(kept)
    header = {**base.header, "adapted_to": len(data), "rounds": rounds}
    model = SkeletonModel(network, header, base.prior, base.trust)
    return Adapted(model, len(data), hold, before, best, rounds, left_out)


def fit_alone(crystals: Iterable[Any], *, seed: int = 0) -> Adapted:
    """A small distribution learned from these crystals and nothing else.

    A network that starts from nothing, and the frequency table of the crystals' own patterns; the
    table counts the more, the more crystals with like elements it has for a composition. A tenth of
    the crystals is held out and training stops when it gets no better on them.

    Args:
        crystals: pymatgen structures, ASE atoms or symmetry cells; 20 or more with a skeleton.
        seed: of the weights, the split and the order.

    Raises:
        InputError: when there are too few.
    """
    listed = list(crystals)
    skeletons, left_out = _skeletons(listed)
    if len(skeletons) < ENOUGH_TO_HOLD_OUT:
        raise InputError(
            f"{len(skeletons)} crystals have a skeleton; {ENOUGH_TO_HOLD_OUT} are needed to learn "
            "space groups and positions from them alone."
        )
    order = np.random.default_rng((seed, 11)).permutation(len(skeletons))
    hold = len(skeletons) // 10
    data = Skeletons.from_assignments([skeletons[i] for i in order[hold:]])
    held = Skeletons.from_assignments([skeletons[i] for i in order[:hold]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SkeletonNetwork(_ALONE)
    before = best = mean_nats(network.eval(), held)
    kept, rounds = _weights(network), 0
    for number in range(_ALONE_ROUNDS):
        fit(network, data, _alone_round(seed + number))
        now = mean_nats(network.eval(), held)
        if now < best:
            best, kept, rounds = now, _weights(network), number + 1
    network.load_state_dict(kept)
    network.eval()
    header = {"trust": [0.0, 1.0], "own_prior": True, "fitted_to": len(data), "rounds": rounds}
    prior, _ = WyckoffPrior.from_structures(listed)
    model = SkeletonModel(network, header, prior, Trust(0.0, 1.0))
    return Adapted(model, len(data), hold, before, best, rounds, left_out)


def seconds_alone(crystals: Sequence[Any], total: int) -> float:
    """What :func:`fit_alone` will take for ``total`` crystals, timed on some of them.

    Finding their symmetry once more beside it, as training with symmetric noise does, is counted.

    Args:
        crystals: some of them, at most :data:`TIMED`; pymatgen structures.
        total: how many there are.
    """
    began = time.perf_counter()
    skeletons, _ = _skeletons(crystals)
    found = _LOOKED_AT * total * (time.perf_counter() - began) / max(1, len(crystals))
    if len(skeletons) < ENOUGH_TO_HOLD_OUT:
        return found
    data = Skeletons.from_assignments(skeletons)
    with torch.random.fork_rng(devices=[]):
        network = SkeletonNetwork(_ALONE)
    few = replace(_alone_round(0), steps=_TIMED_STEPS, warm_up=1)
    took = 0.0
    for _ in range(2):  # in the first round tables are made
        began = time.perf_counter()
        fit(network, data, few)
        took = time.perf_counter() - began
    return found + took * _ALONE_ROUNDS * _ALONE_STEPS / _TIMED_STEPS


def _alone_round(seed: int) -> FitSettings:
    return FitSettings(steps=_ALONE_STEPS, tokens=1024, learning_rate=1e-3, warm_up=10, seed=seed)


def _round(crystals: int, seed: int) -> FitSettings:
    """A few passes in small batches at a low rate, most questions without the composition."""
    tokens = int(np.clip(4 * crystals, 128, 2048))
    steps = int(np.clip(_PASSES * crystals * 12 // tokens, 4, _MOST_STEPS))
    return FitSettings(
        steps=steps,
        tokens=tokens,
        learning_rate=5e-4,
        warm_up=max(1, steps // 10),
        composition=0.5,
        seed=seed,
        weight_decay=0.0,
        pull=1e-3,
    )


def _skeletons(crystals: Iterable[Any]) -> tuple[list[Assignment], dict[int, str]]:
    found: list[Assignment] = []
    left_out: dict[int, str] = {}
    for index, crystal in enumerate(crystals):
        try:
            is_skeleton = isinstance(crystal, Assignment)
            found.append(crystal if is_skeleton else skeleton_of(crystal))
        except InputError as error:
            left_out[index] = str(error)
    return found, left_out


def _copy(network: SkeletonNetwork) -> SkeletonNetwork:
    out = SkeletonNetwork(network.config)
    out.load_state_dict({k: v.float() for k, v in network.state_dict().items()})
    return out


def _weights(network: SkeletonNetwork) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}
