"""What a run keeps on disk to go on from: weights, averages, moments, metrics; and Ctrl-C."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crystal_diffusion.crystal import CrystalBatch
from crystal_diffusion.errors import CheckpointError
from crystal_diffusion.training.checkpoint import STATE_FILE, read_tensors, write_tensors
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
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= start:
                        kept.append(line)
                except (json.JSONDecodeError, KeyError):
                    log.warning("%s: dropped a damaged line", path)
            part = path.with_suffix(".part")
            part.write_text("".join(line + "\n" for line in kept))
            os.replace(part, path)

    def write(self, **values: float) -> None:
        """Append one line."""
        if self.active:
            with self.path.open("a") as handle:
                handle.write(json.dumps(values) + "\n")


class RunState:
    """Everything a run needs to go on: weights, averages, moments of AdamW, the step."""

    def __init__(self, out: Path, config: TrainingConfig, data: CrystalBatch) -> None:
        self.path = out / STATE_FILE
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
        self.settings = {**settings, "tasks": dict(config.tasks), "crystals": len(data)}

    def save(
        self,
        step: int,
        running: float,
        parameters: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
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
        header = {"format": 1, "step": step, "loss": running, "settings": self.settings}
        write_tensors(self.path, tensors, header)

    def restore(
        self,
        parameters: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
    ) -> tuple[int, float]:
        """Put everything back; step and running loss, 0 and NaN for a new run.

        Raises:
            CheckpointError: when the state belongs to other settings or another network.
        """
        if not self.path.exists():
            return 0, math.nan
        tensors, header = read_tensors(self.path)
        stored = header["settings"]
        wanted = json.loads(json.dumps(self.settings))
        # A run begun before a setting existed had its default.
        defaults = json.loads(json.dumps(asdict(TrainingConfig())))
        changed = sorted(k for k in wanted if wanted[k] != stored.get(k, defaults.get(k)))
        if changed:
            raise CheckpointError(
                f"{self.path}: was started with other settings ({', '.join(changed)}); use the "
                "same ones to resume, or another output folder to start anew."
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                if f"weight/{name}" not in tensors:
                    raise CheckpointError(
                        f"{self.path}: belongs to another network (no weight {name}); choose "
                        "another output folder."
                    )
                parameter.copy_(tensors[f"weight/{name}"])
                average[name].copy_(tensors[f"average/{name}"])
                if f"exp_avg/{name}" in tensors:
                    optimiser.state[parameter] = {
                        key: tensors[f"{key}/{name}"].to(
                            parameter.device if key != "step" else "cpu"
                        )
                        for key in ("step", "exp_avg", "exp_avg_sq")
                    }
        log.info("resuming %s at step %d", self.path.parent, header["step"])
        return int(header["step"]), float(header.get("loss", math.nan))
