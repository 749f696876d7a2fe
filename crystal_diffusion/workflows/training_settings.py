"""What may be said about a training: the data, the model, and how long and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from crystal_diffusion.errors import InputError, refuse_unknown
from crystal_diffusion.networks import NETWORKS

#: Heads of attention of the transformers that are trained here.
HEADS = 8


@dataclass(frozen=True)
class DataSettings:
    """Which crystals are trained on.

    Attributes:
        reduce: reduce cells to primitive Niggli cells.
        disorder: what to do with partial occupancy: "skip", "order" or "stop".
        largest_volume: crystals of more than this many times the volume that their elements take
            elsewhere are left out: the Materials Project holds some two thousand whose cells are
            2.4 times too long, and a model that has met them makes more of them.
        odd: "leave" leaves out crystals that ``check`` finds odd in themselves (atoms too close, a
            cell out of all proportion) and repeats of others; "keep" trains on them too.
    """

    reduce: bool = True
    disorder: str = "skip"
    largest_volume: float = 6.0
    odd: str = "leave"

    def __post_init__(self) -> None:
        _refuse_amounts(self, "largest_volume")
        if self.odd not in ("leave", "keep"):
            raise InputError(f"odd is {self.odd!r}; choose leave or keep.")


@dataclass(frozen=True)
class ModelSettings:
    """Which model is trained.

    Attributes:
        network: "transformer", "unet" or "equivariant".
        coordinates: "flow" or "wrapped"; lattice: "flow", "cosine" or "linear".
        dim: width of the network; layers: of the transformer; by default chosen from the data.
        start_from: "pretrained" or "box" for the shipped model, as without it; or a model folder to
            adapt. With a learning rate, or a folder and a length of training, all weights are
            trained in that way and nothing is selected.
        from_scratch: learn from the crystals alone.
    """

    network: str = "transformer"
    coordinates: str = "flow"
    lattice: str = "flow"
    dim: int | None = None
    layers: int | None = None
    start_from: str | Path | None = None
    from_scratch: bool = False

    def __post_init__(self) -> None:
        _refuse_counts(self, "dim", "layers")
        if self.dim is not None and self.network == "transformer" and self.dim % HEADS:
            raise InputError(
                f"dim is {self.dim}; the transformer has {HEADS} heads, give a multiple of it."
            )
        if self.network not in NETWORKS:
            raise InputError(
                f"network {self.network!r} is not known; choose one of {', '.join(NETWORKS)}."
            )
        if self.start_from is not None and self.from_scratch:
            raise InputError("start_from and from_scratch exclude each other; give one of them.")
        if self.start_from is not None and self.own:
            raise InputError(
                "network, dim, layers, coordinates and lattice are those of the model that "
                "training starts from; leave them out, or train --from-scratch."
            )

    @property
    def own(self) -> bool:
        """Whether a network other than the pretrained one was asked for."""
        usual = (self.network, self.coordinates, self.lattice) == ("transformer", "flow", "flow")
        return not usual or self.dim is not None or self.layers is not None


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        epochs, steps, minutes: length of training, one of them; by default chosen from the data.
        learning_rate: peak of the rate; by default chosen from the data.
        tokens: atoms and cells of a step; by default chosen from the data.
        seed: of weights, noise and the crystals that are left out.
        device: "auto", "cpu", "cuda" or "mps"; precision: "auto", "float32" or "bfloat16".
        holdout: share of crystals kept for early stopping, where there are 50 or more.
        patience: monitorings without improvement before training stops early; 0 never stops.
        physics_weight: weight of the overlap penalty in the loss.
        accumulate: slices that a step is computed in.
        translate: move crystals at random.
        symmetric_noise: share of the crystals that get noise of their own space group; above 0 a
            model from scratch learns space groups and positions of its crystals as well. None is
            0.7 for the usual network from scratch on 100 to 5,000 crystals, else 0.
        large_power: crystals of N > 20 atoms take part in (20/N)^large_power of the passes.
    """

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float | None = None
    tokens: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    holdout: float = 0.1
    patience: int = 4
    physics_weight: float = 0.0
    accumulate: int = 1
    translate: bool = True
    symmetric_noise: float | None = None
    large_power: float = 0.0

    def __post_init__(self) -> None:
        _refuse_counts(self, "epochs", "steps", "tokens")
        _refuse_amounts(self, "minutes", "learning_rate")
        if sum(x is not None for x in (self.steps, self.epochs, self.minutes)) > 1:
            raise InputError("steps, epochs and minutes exclude each other; give one of them.")

    @property
    def length_given(self) -> bool:
        """Whether the length was asked for."""
        return any(x is not None for x in (self.steps, self.epochs, self.minutes))


def _refuse_counts(settings: Any, *names: str) -> None:
    for name in names:
        count = getattr(settings, name)
        if count is not None and not 1 <= count < 2**31:
            raise InputError(f"{name} is {count}; give at least 1.")


def _refuse_amounts(settings: Any, *names: str) -> None:
    for name in names:
        amount = getattr(settings, name)
        if amount is not None and not 0 < amount < math.inf:
            raise InputError(f"{name} is {amount}; give a number above 0.")


def with_keywords(
    training: TrainingSettings | None,
    model: ModelSettings | None,
    data: DataSettings | None,
    single: Mapping[str, Any],
) -> tuple[TrainingSettings, ModelSettings, DataSettings]:
    """The three settings with single fields of them changed by name.

    Raises:
        InputError: a keyword that is no field of any of them, or a value that no training can use;
            names the field.
    """
    whole: list[Any] = [
        training or TrainingSettings(),
        model or ModelSettings(),
        data or DataSettings(),
    ]
    left = dict(single)
    for place, settings in enumerate(whole):
        own = {f.name: getattr(settings, f.name) for f in fields(settings)}
        changed = {name: left.pop(name) for name in list(left) if name in own}
        if changed:
            whole[place] = type(settings)(**{**own, **changed})
    refuse_unknown("train", left, [f.name for settings in whole for f in fields(settings)])
    return whole[0], whole[1], whole[2]
