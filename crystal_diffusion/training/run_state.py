"""What a run keeps on disk to go on from: weights, averages, moments, metrics; and Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.files import append_to, write_text
from crystal_diffusion.training.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    read_header,
    read_tensors,
    write_tensors,
)
from crystal_diffusion.training.config import TrainingConfig

log = logging.getLogger(__name__)


class Interrupt:
    """Ctrl-C ends the run after the step at hand, so that its checkpoint is whole."""

    def __init__(self) -> None:
        self.asked = False
        self._when = 0.0
        self._previous: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_: object) -> None:
        # A terminal and torchrun both pass Ctrl-C on; the second of the two is not another wish.
        if self.asked and time.monotonic() - self._when > 1.0:
            raise KeyboardInterrupt
        if not self.asked:
            self._when = time.monotonic()
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)


class Metrics:
    """JSON lines; on resume, lines beyond the checkpoint are dropped so none comes twice."""

    def __init__(self, path: Path, start: int, active: bool) -> None:
        self.path, self.active = path, active
        if active and path.exists():
            kept = []
            for line in path.read_text(errors="replace").splitlines():
                try:
                    if json.loads(line)["step"] <= start:
                        kept.append(line)
                except (ValueError, KeyError, TypeError, RecursionError):
                    log.warning("%s: dropped a damaged line", path)
            write_text(path, "".join(line + "\n" for line in kept))

    def write(self, **values: float) -> None:
        """Append one line."""
        if self.active:
            with append_to(self.path) as handle:
                handle.write((json.dumps(values) + "\n").encode())


@dataclass(frozen=True)
class Progress:
    """How early stopping stands.

    Attributes:
        best: highest score of the monitor.
        since_best: monitorings since then.
        stopped_early: whether it has ended the run.
    """

    best: float = -math.inf
    since_best: int = 0
    stopped_early: bool = False


def batch_hash(data: CrystalBatch) -> str:
    """SHA-256 of all crystals of a batch, in order."""
    digest = hashlib.sha256()
    for tensor in (data.atomic_numbers, data.lattice, data.frac_coords):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


class RunState:
    """Everything a run needs to go on: weights, averages, moments of AdamW, the step."""

    def __init__(
        self,
        out: Path,
        config: TrainingConfig,
        data: CrystalBatch,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """What a run depends on.

        Args:
            out: folder of the model.
            config: settings.
            data: the crystals it learns from; their content counts, not their number.
            identity: what else has to agree: the network, where it started from.
        """
        self.path = out / STATE_FILE
        self.steps = config.steps
        settings = asdict(config)
        for changeable in (
            "steps",
            "decay",
            "checkpoint_seconds",
            "log_every",
            "monitor_every",
            "patience",
            "accumulate",
        ):
            settings.pop(changeable)
        self.settings = {
            **settings,
            "tasks": dict(config.tasks),
            "crystals": len(data),
            "data": batch_hash(data),
            **(identity or {}),
        }

    def check(self) -> None:
        """Look whether a run may go on here, before anything is written.

        Raises:
            CheckpointError: when the folder holds a run of other data or settings, or a model
                without the state to go on from.
        """
        if self.path.is_file():
            self._compare(read_header(self.path))
        elif (self.path.parent / MODEL_FILE).exists():
            raise CheckpointError(
                f"{self.path.parent}: holds a model, but no {STATE_FILE} to go on from; choose "
                "another output folder, or remove the model to train it anew."
            )

    def _compare(self, header: Mapping[str, Any]) -> None:
        stored = header.get("settings")
        if not isinstance(stored, dict) or not isinstance(header.get("step"), int):
            raise CheckpointError(
                f"{self.path}: its header is damaged; remove the file to train anew, the model "
                "beside it is whole."
            )
        wanted = json.loads(json.dumps(self.settings, default=str))
        # A run begun before a setting existed had its default; which data it had, it cannot say.
        stored = {**json.loads(json.dumps(asdict(TrainingConfig()))), **stored}
        unknown = set(wanted) - set(stored)
        if unknown:
            log.warning("%s: does not say %s", self.path, ", ".join(sorted(unknown)))
        changed = sorted(k for k in set(wanted) - unknown if wanted[k] != stored[k])
        if changed:
            raise CheckpointError(
                f"{self.path}: was started with other settings ({', '.join(changed)}); use the "
                "same ones to resume, or another output folder to start anew."
            )

    def save(
        self,
        step: int,
        running: float,
        parameters: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        """Write everything, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            moments = optimiser.state.get(parameter, {})
            tensors[f"weight/{name}"] = parameter
            tensors[f"average/{name}"] = average[name]
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in moments:
                    tensors[f"{key}/{name}"] = moments[key]
        header = {
            "format": 1,
            "step": step,
            "loss": running,
            "settings": self.settings,
            "steps": self.steps,
            "progress": asdict(progress),
        }
        write_tensors(self.path, tensors, header)

    def restore(
        self,
        parameters: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
    ) -> tuple[int, float, Progress]:
        """Put everything back; step, running loss and early stopping, 0 and NaN for a new run.

        Raises:
            CheckpointError: when the state belongs to other settings or another network.
        """
        if not self.path.exists():
            return 0, math.nan, Progress()
        tensors, header = read_tensors(self.path)
        self._compare(header)
        progress = _progress(header.get("progress"), header.get("steps") == self.steps)
        with torch.no_grad():
            for name, parameter in parameters.items():
                if f"weight/{name}" not in tensors:
                    raise CheckpointError(
                        f"{self.path}: belongs to another network (no weight {name}); choose "
                        "another output folder."
                    )
                for kind in ("weight", "average"):
                    found = tensors.get(f"{kind}/{name}")
                    if found is None or found.shape != parameter.shape:
                        raise CheckpointError(
                            f"{self.path}: its {kind} {name} is missing or of another shape; "
                            "remove the file to train anew, the model beside it is whole."
                        )
                parameter.copy_(tensors[f"weight/{name}"])
                average[name].copy_(tensors[f"average/{name}"])
                if f"exp_avg/{name}" in tensors:
                    # A fused optimiser counts its steps on the GPU, the plain one beside it.
                    counts = parameter.device if parameter.device.type == "cuda" else "cpu"
                    optimiser.state[parameter] = {
                        key: tensors[f"{key}/{name}"].to(
                            parameter.device if key != "step" else counts
                        )
                        for key in ("step", "exp_avg", "exp_avg_sq")
                    }
        log.info("resuming %s at step %d", self.path.parent, header["step"])
        loss = header.get("loss")
        return int(header["step"]), float(loss) if loss is not None else math.nan, progress


def _progress(stored: Any, same_length: bool) -> Progress:
    """Early stopping as it was; a run that is made longer may improve again."""
    if not isinstance(stored, dict):
        return Progress()
    try:
        found = Progress(
            float(stored["best"]), int(stored["since_best"]), bool(stored["stopped_early"])
        )
    except (KeyError, TypeError, ValueError):
        return Progress()
    return found if same_length else replace(found, stopped_early=False)
