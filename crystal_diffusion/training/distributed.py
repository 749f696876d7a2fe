"""Several processes, several GPUs, several machines: PyTorch's own launcher, nothing else.

`torchrun --nproc-per-node 2 -m crystal_diffusion train ...` sets the environment read here. Each
process takes its share of every batch; gradients are summed, so the step is the same as that of
one process with the whole batch. Whatever could differ between processes (how fast they are, what
a monitor finds, whether one was interrupted) the first one decides and tells the others, and it
alone writes. PyTorch's `DistributedDataParallel` is not used: it averages over processes, while
shares here differ in size, and it would wrap the model in another class.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


@dataclass(frozen=True)
class Workers:
    """This process among all that train together."""

    number: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> Workers:
        """Join the group that torchrun started, or be the only one."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @staticmethod
    def is_first() -> bool:
        """Whether this process decides and writes; to be asked before any group is joined."""
        return os.environ.get("RANK", "0") == "0"

    @staticmethod
    def leave() -> None:
        """End the group that this process joined, if any."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process decides and writes."""
        return self.number == 0

    def share(self, value: Value) -> Value:
        """The first process's value, in all of them; those of the others are not looked at."""
        if self.count < 2:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def slices(self, crystals: int, accumulate: int) -> Iterator[tuple[slice, float]]:
        """This process's parts of a batch, each with its share of the whole."""
        parts = self.count * max(1, accumulate)
        bounds = [round(i * crystals / parts) for i in range(parts + 1)]
        for part in range(self.number, parts, self.count):
            first, last = bounds[part], bounds[part + 1]
            if last > first:
                yield slice(first, last), (last - first) / crystals

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum gradients over processes, as one message."""
        if self.count < 2:
            return
        tensors = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            tensors.append(parameter.grad)
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        position = 0
        for tensor in tensors:
            tensor.copy_(flat[position : position + tensor.numel()].view_as(tensor))
            position += tensor.numel()

    def add(self, values: Tensor) -> None:
        """Sum a small tensor of the CPU over processes, in place."""
        if self.count > 1:
            if dist.get_backend() == "nccl":
                moved = values.cuda()
                dist.all_reduce(moved)
                values.copy_(moved.cpu())
            else:
                dist.all_reduce(values)
