"""Files of the skeleton model: safetensors with a header that says what is inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.skeletons.network import SkeletonConfig, SkeletonNetwork
from crystal_diffusion.training.checkpoint import FORMAT, read_kind, read_tensors, write_tensors

#: The model in the box.
SHIPPED = Path(__file__).parent.parent / "pretrained" / "skeletons.safetensors"
#: Its name in a model folder.
SKELETONS_FILE = "skeletons.safetensors"
#: Beside it where the frequency table is the model's own too.
PRIOR_FILE = "wyckoff.prior.npz"
_KIND = "skeletons"
#: Width, heads and properties of a network beyond this are no network of ours.
_LARGEST = 4096


def save_network(path: Path, network: SkeletonNetwork, extra: Mapping[str, Any]) -> None:
    """Write the weights in half precision, with ``extra`` in the header."""
    header = {"format": FORMAT, "kind": _KIND, "config": asdict(network.config), **extra}
    write_tensors(path, {k: v.half() for k, v in network.state_dict().items()}, header)


def load_network(path: Path) -> tuple[SkeletonNetwork, dict[str, Any]]:
    """The network and its header, weights widened to float32.

    Raises:
        CheckpointError: when the file is missing, damaged or holds something else.
    """
    tensors, header = read_kind(path, _KIND, f"skeletons; give a file named {SKELETONS_FILE}.")
    try:
        network = SkeletonNetwork(_config(header["config"], len(tensors)))
        network.load_state_dict({k: v.float() for k, v in tensors.items()})
    # A network refuses sizes that do not fit each other, each layer in its own way.
    except Exception as error:
        raise CheckpointError(
            f"{path}: the weights do not fit this version ({error}); train again with this one."
        ) from error
    wrong = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if wrong:
        raise CheckpointError(
            f"{path}: weight {wrong[0]} holds numbers that are not finite; copy it again, or train "
            "again."
        )
    return network.eval().requires_grad_(False), header


def _config(given: Mapping[str, Any], most: int) -> SkeletonConfig:
    """The size of a network, where it can be that of a file with so many tensors.

    Raises:
        TypeError, ValueError: when it cannot.
    """
    config = SkeletonConfig(**given)
    sizes = (config.dim, config.layers, config.heads, config.properties)
    if not all(isinstance(n, int) and 0 <= n <= _LARGEST for n in sizes):
        raise ValueError("its sizes are none")
    if config.layers > most:
        raise ValueError(f"{config.layers} layers in {most} tensors")
    return config


def save_state(
    path: Path,
    network: SkeletonNetwork,
    optimiser: torch.optim.Optimizer,
    step: int,
    others: Mapping[str, torch.Tensor],
) -> None:
    """Weights, moments of the optimiser and the step, so that a stopped run goes on as it was.

    Args:
        others: kept beside them, by names of their own.
    """
    tensors = {f"weight/{k}": v.cpu() for k, v in network.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"moment/{index}/{k}": torch.as_tensor(v).cpu() for k, v in values.items()}
    tensors |= {f"kept/{k}": v.cpu().contiguous() for k, v in others.items()}
    header = {"format": FORMAT, "kind": "skeletons-state", "config": asdict(network.config)}
    write_tensors(path, tensors, {**header, "step": step})


def load_state(
    path: Path, network: SkeletonNetwork, optimiser: torch.optim.Optimizer
) -> tuple[int, dict[str, torch.Tensor]]:
    """Fill network and optimiser from ``path``.

    Returns:
        The step to go on from, 0 without such a file, and what was kept beside them.
    """
    if not path.is_file():
        return 0, {}
    tensors, header = read_tensors(path)
    parts: dict[str, dict[str, torch.Tensor]] = {"weight": {}, "moment": {}, "kept": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    network.load_state_dict(parts["weight"])
    state: dict[int, dict[str, Any]] = {}
    for name, value in parts["moment"].items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(header["step"]), parts["kept"]
