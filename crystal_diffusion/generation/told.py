"""What tells the generator of properties: the files in the box, read and put in place.

The denoiser gets an embedding of what is asked, the model of skeletons a second network; both leave
the answers as they are where nothing is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crystal_diffusion.diffusion.guidance import Guided, conditional_copy
from crystal_diffusion.diffusion.joint import JointDiffusion
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.networks.conditions import ConditionScale
from crystal_diffusion.networks.protocol import Conditions
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.properties import PropertyRange
from crystal_diffusion.skeletons.conditional import SKELETON_CONDITIONS, GuidedSkeletonNetwork
from crystal_diffusion.skeletons.distribution import SkeletonModel
from crystal_diffusion.skeletons.network import SkeletonNetwork
from crystal_diffusion.skeletons.weights import load_network
from crystal_diffusion.training.checkpoint import FORMAT, read_tensors, write_tensors

log = logging.getLogger(__name__)

#: The embedding of the denoiser in the box.
FLOW_CONDITIONS = asset_path("conditions.flow.safetensors")
_KIND = "conditions"


@dataclass(frozen=True, eq=False)
class ToldDenoiser:
    """A denoiser that is told what is asked, for batches of any size.

    Attributes:
        model: the network with its embedding.
        conditions: what is asked, one row.
        guidance: w of the elements; geometry takes at most 1 of it.
    """

    model: JointDiffusion
    conditions: Conditions
    guidance: float

    def guided(self, crystals: int) -> Guided:
        """For a batch of so many crystals."""
        rows = (self.conditions.low, self.conditions.high, self.conditions.asked)
        device = self.model.device
        return Guided(
            self.model,
            Conditions(*(row.expand(crystals, -1).to(device) for row in rows)),
            geometry=min(self.guidance, 1.0),
            elements=self.guidance,
        )


def told_denoiser(
    base: JointDiffusion, asked: Mapping[str, PropertyRange], guidance: float
) -> ToldDenoiser | None:
    """The denoiser told what is asked; None where it knows none of it, or is of another kind."""
    if not FLOW_CONDITIONS.is_file() or guidance <= 0:
        return None
    weights, scale = _embedding(FLOW_CONDITIONS)
    conditions = scale.conditions(asked)
    if not bool(conditions.asked.any()):
        return None
    model = with_embedding(base, weights, len(scale.names))
    if model is None:
        log.info("the network is of another size than the one in the box: it is not guided")
        return None
    return ToldDenoiser(model, conditions, guidance)


def with_embedding(
    base: JointDiffusion, weights: Mapping[str, Tensor], properties: int
) -> JointDiffusion | None:
    """The denoiser with the embedding; None where it does not fit."""
    if base.config.network != "transformer" or base.config.network_options.get("properties"):
        return None
    model = conditional_copy(base, properties)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            if name not in parameters or parameters[name].shape != value.shape:
                return None
            parameters[name].copy_(value)
    return model


def told_skeletons(
    base: SkeletonModel, asked: Mapping[str, PropertyRange], guidance: float, *, adapted: bool
) -> SkeletonModel:
    """The model of skeletons told what is asked; the base itself where it knows none of it.

    Args:
        adapted: whether the base was adapted to a user's crystals.
    """
    if not SKELETON_CONDITIONS.is_file() or guidance <= 0:
        return base
    told, scale = _told_network(SKELETON_CONDITIONS)
    conditions = scale.conditions(asked)
    if not bool(conditions.asked.any()):
        return base
    try:
        network = GuidedSkeletonNetwork(
            told, conditions, guidance, base.network if adapted else None
        )
    except InputError as problem:
        log.warning("space groups and elements are not guided: %s", problem)
        return base
    return SkeletonModel(base.network, base.header, base.prior, base.trust, network)


def save_embedding(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write the embedding of a denoiser in half precision."""
    plain = {name: value.half() for name, value in weights.items()}
    write_tensors(path, plain, {"format": FORMAT, "kind": _KIND, **header})


@lru_cache(maxsize=2)
def _embedding(path: Path) -> tuple[Mapping[str, Tensor], ConditionScale]:
    tensors, header = read_tensors(path)
    if header.get("kind") != _KIND:
        raise CheckpointError(f"{path}: is no embedding of properties; restore the shipped file.")
    return {k: v.float() for k, v in tensors.items()}, ConditionScale.from_header(header["scale"])


@lru_cache(maxsize=2)
def _told_network(path: Path) -> tuple[SkeletonNetwork, ConditionScale]:
    network, header = load_network(path)
    return network, ConditionScale.from_header(header["scale"])
