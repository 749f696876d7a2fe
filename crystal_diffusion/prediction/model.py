"""`PropertyModel`: properties of crystals, each with an interval, from one network for all labels.

The shipped one is trained and calibrated by ``recipes/train_properties.py``; a model folder can
hold a property of the user's own beside it (see ``own.py``).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystal_diffusion.chemistry import symbol
from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.networks.properties import (
    PropertyEnsemble,
    PropertyNetwork,
    PropertyNetworkConfig,
)
from crystal_diffusion.prediction.distribution import Calibration, Floats, Guess
from crystal_diffusion.prediction.sites import SiteGraph, site_batch, sites_of
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.properties import BY_NAME
from crystal_diffusion.training.checkpoint import FORMAT, read_kind, write_tensors

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.prediction.own import OwnProperty

log = logging.getLogger(__name__)

_KIND = "properties"
DENSITY = "density"
FORMATION_ENERGY = "formation_energy"
#: Different atoms in one batch of the network.
SITES_AT_ONCE = 1500
#: Probabilities of not being zero between which the kind of a crystal is open.
OPEN_KIND = (0.25, 0.9)
#: Scales of errors stay within this many times their median.
SCALE_RANGE = 4.0


def default_properties_path() -> Path:
    """Where the shipped network lies."""
    return asset_path("properties.safetensors")


@dataclass(frozen=True, eq=False)
class Head:
    """How one property is read from the numbers of the network.

    Attributes:
        name: of the property.
        column: of the network's outputs that is the centre.
        zero: column of the log-odds of not being zero, -1 for a property that is never exactly so.
        unit: what 1 of the network is worth in the property's unit.
        slope, offset: of the calibrated log-odds.
        scale: ``(features + 1,)`` log of the scale of errors, linear in the encoded crystal; the
            last is the constant.
        calibration: of its intervals; None before there is one.
    """

    name: str
    column: int
    zero: int
    unit: float
    slope: float
    offset: float
    scale: Floats
    calibration: Calibration | None = None

    def guess(self, said: NetworkAnswer) -> Guess:
        """Centre, scale and probability of not being zero."""
        centre = said.outputs[:, self.column].astype(float)
        crystals = len(centre)
        nonzero, group = np.ones(crystals), np.digitize(said.elements, (3, 4))
        if self.zero >= 0:
            centre = np.logaddexp(0.0, centre) * self.unit
            odds = self.slope * said.outputs[:, self.zero] + self.offset
            nonzero = 0.5 * (1.0 + np.tanh(0.5 * odds))
            group = np.digitize(nonzero, OPEN_KIND)
        spread = said.encoded @ self.scale[:-1]
        wide = np.log(SCALE_RANGE)
        scale = np.exp(self.scale[-1] + np.clip(spread, -wide, wide))
        return Guess(centre, scale, nonzero, group)


@dataclass(frozen=True, eq=False)
class NetworkAnswer:
    """What the network says of several crystals.

    Attributes:
        outputs: ``(crystals, outputs)``; encoded: ``(crystals, features)``.
        elements: ``(crystals,)`` how many different ones.
    """

    outputs: Floats
    encoded: Floats
    elements: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Properties of several crystals.

    Attributes:
        names: the properties, in the order of columns.
        values: ``(crystals, properties)`` in their units; NaN for crystals that were refused.
        low, high: ``(crystals, properties)`` ends of the 90 % interval.
        refused: by row, why nothing is said.
        judged: by name, the calibration and the guesses behind the columns.
    """

    names: tuple[str, ...]
    values: Floats
    low: Floats
    high: Floats
    refused: Mapping[int, str]
    judged: Mapping[str, tuple[Calibration, Guess]] = field(repr=False)

    def probability_inside(self, ranges: Mapping[str, tuple[float, float]]) -> Floats:
        """``(crystals, ranges)`` probability that each property is in its range.

        Args:
            ranges: ``{name: (low, high)}``, infinite for an open end.

        Raises:
            RequestError: for a property that is not predicted.
        """
        columns = []
        for name, (low, high) in ranges.items():
            if name not in self.names:
                raise RequestError(
                    f"property {name!r} is not predicted here; known are {', '.join(self.names)}."
                )
            if name in self.judged:
                calibration, guess = self.judged[name]
                column = calibration.inside(guess, low, high)
            else:
                exact = self.values[:, self.names.index(name)]
                column = ((exact >= low) & (exact <= high)).astype(float)
            column[list(self.refused)] = np.nan
            columns.append(column)
        return np.stack(columns, 1) if columns else np.zeros((len(self.values), 0))


@dataclass(frozen=True, eq=False)
class PropertyModel:
    """Says properties of crystals.

    Attributes:
        network: of all labels, one or several together; heads: one a property that it says.
        known_elements: atomic numbers it was trained on; crystals with others are refused.
        own: properties of the user's own.
    """

    network: PropertyEnsemble
    heads: tuple[Head, ...]
    known_elements: frozenset[int]
    own: tuple[OwnProperty, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is said, the user's own properties last."""
        own = tuple(each.name for each in self.own)
        said = {head.name for head in self.heads} | {DENSITY}
        return (*(name for name in BY_NAME if name in said.difference(own)), *own)

    @cached_property
    def fingerprint(self) -> str:
        """Which network this is: what was learned on the features of one fits no other."""
        found = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            found.update(name.encode() + value.numpy().tobytes())
        return found.hexdigest()[:16]

    def unit(self, name: str) -> str:
        """The unit of a property; empty where there is none."""
        return BY_NAME[name].unit if name in BY_NAME else ""

    def label_range(self, name: str) -> tuple[float, float]:
        """Least and largest value among the training labels; all numbers for the density.

        Raises:
            RequestError: for an unknown property.
        """
        for head in self.heads:
            if head.name == name and head.calibration is not None:
                return head.calibration.low, head.calibration.high
        for own in self.own:
            if own.name == name:
                return own.calibration.low, own.calibration.high
        if name == DENSITY:
            return 0.0, np.inf
        raise RequestError(f"property {name!r} is not known; known are {', '.join(self.names)}.")

    def refusal(self, structure: Structure) -> str | None:
        """Why nothing can be said of a crystal; None where something can."""
        if not structure.is_ordered:
            return "it has partial occupancy; make an ordered version of it first"
        numbers = {int(z) for z in structure.atomic_numbers}
        unknown = sorted(numbers - self.known_elements)
        if unknown:
            symbols = ", ".join(symbol(z) for z in unknown)
            return f"it holds {symbols}, which no labelled crystal did; nothing is known of it"
        return None

    def predict(self, structures: Sequence[Structure]) -> Predicted:
        """All properties of crystals; one that cannot be judged is recorded in ``refused``."""
        refused: dict[int, str] = {}
        seen: list[SiteGraph] = []
        rows: list[int] = []
        for row, structure in enumerate(structures):
            reason = self.refusal(structure)
            if reason is None:
                seen.append(sites_of(structure))
                rows.append(row)
            else:
                refused[row] = reason
        shape = (len(structures), len(self.names))
        values, low, high = (np.full(shape, np.nan) for _ in range(3))
        judged: dict[str, tuple[Calibration, Guess]] = {}
        if rows:
            said = self.said(seen)
            chosen = [structures[row] for row in rows]
            for name, calibration, guess in self._guesses(said, chosen):
                place = self.names.index(name)
                values[rows, place] = calibration.value(guess)
                low[rows, place], high[rows, place] = calibration.interval(guess)
                judged[name] = (calibration, _spread(guess, rows, len(structures)))
            if DENSITY not in judged:
                exact = [float(structure.density) for structure in chosen]
                for table in (values, low, high):
                    table[rows, self.names.index(DENSITY)] = exact
        return Predicted(self.names, values, low, high, refused, judged)

    def formation_energies(self, structures: Sequence[Structure]) -> Floats:
        """``(structures,)`` formation energy in eV/atom; NaN for one that cannot be judged.

        Raises:
            InputError: the model says no formation energy.
        """
        column = next((h.column for h in self.heads if h.name == FORMATION_ENERGY), None)
        if column is None:
            raise InputError("This model says no formation energy; give the shipped one.")
        energies = np.full(len(structures), np.nan)
        rows = [row for row, one in enumerate(structures) if self.refusal(one) is None]
        if rows:
            said = self.said([sites_of(structures[row]) for row in rows])
            energies[rows] = said.outputs[:, column]
        return energies

    def said(self, crystals: Sequence[SiteGraph]) -> NetworkAnswer:
        """What the network makes of crystals, in batches."""
        outputs, encoded = [], []
        with torch.inference_mode():
            for part in _batches(crystals):
                batch = site_batch(part)
                found = self.network.encode(batch)
                encoded.append(found.numpy())
                outputs.append(self.network.outputs(found, batch).numpy())
        elements = np.array([len(np.unique(crystal.numbers)) for crystal in crystals])
        return NetworkAnswer(np.concatenate(outputs), np.concatenate(encoded), elements)

    def _guesses(
        self, said: NetworkAnswer, structures: Sequence[Structure]
    ) -> list[tuple[str, Calibration, Guess]]:
        found = [
            (head.name, head.calibration, head.guess(said))
            for head in self.heads
            if head.calibration is not None
        ]
        for own in self.own:
            found.append((own.name, own.calibration, own.guess(said.encoded, structures)))
        return found


def _spread(guess: Guess, rows: Sequence[int], crystals: int) -> Guess:
    """A guess of some crystals as one of all, harmless numbers in between."""
    found = Guess(
        np.zeros(crystals), np.ones(crystals), np.ones(crystals), np.zeros(crystals, dtype=np.int64)
    )
    for whole, part in zip(
        (found.centre, found.scale, found.nonzero, found.group),
        (guess.centre, guess.scale, guess.nonzero, guess.group),
        strict=True,
    ):
        whole[list(rows)] = part
    return found


def _batches(crystals: Sequence[SiteGraph]) -> list[list[SiteGraph]]:
    batches: list[list[SiteGraph]] = [[]]
    count = 0
    for crystal in crystals:
        if batches[-1] and count + len(crystal.numbers) > SITES_AT_ONCE:
            batches.append([])
            count = 0
        batches[-1].append(crystal)
        count += len(crystal.numbers)
    return batches


def save_properties(path: Path, model: PropertyModel, extra: Mapping[str, Any]) -> None:
    """Write network and calibration in one file, weights in half precision."""
    tensors = {f"network/{k}": v.half() for k, v in model.network.state_dict().items()}
    tensors |= {f"scale/{h.name}": torch.from_numpy(h.scale).float() for h in model.heads}
    heads = [
        {
            "name": head.name,
            "column": head.column,
            "zero": head.zero,
            "unit": head.unit,
            "slope": head.slope,
            "offset": head.offset,
            "calibration": head.calibration.as_dict() if head.calibration else None,
        }
        for head in model.heads
    ]
    header = {
        "format": FORMAT,
        "kind": _KIND,
        "networks": [config.as_dict() for config in model.network.configs],
        "heads": heads,
        "known_elements": sorted(model.known_elements),
        **extra,
    }
    write_tensors(path, tensors, header)


def read_properties(path: Path) -> PropertyModel:
    """What :func:`save_properties` wrote.

    Raises:
        CheckpointError: when the file is missing, damaged or holds something else.
    """
    wanted = "properties; give the file that came with the package."
    tensors, header = read_kind(path, _KIND, wanted)
    try:
        configs = [PropertyNetworkConfig(**fields) for fields in header["networks"]]
        network = PropertyEnsemble([PropertyNetwork(config) for config in configs])
        prefix = "network/"
        network.load_state_dict(
            {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        )
        heads = tuple(_head(fields, tensors) for fields in header["heads"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its content does not fit this version ({error}); reinstall the package."
        ) from error
    network.eval().requires_grad_(False)
    return PropertyModel(network, heads, frozenset(int(z) for z in header["known_elements"]))


def _head(fields: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Head:
    calibration = fields["calibration"]
    return Head(
        fields["name"],
        int(fields["column"]),
        int(fields["zero"]),
        float(fields["unit"]),
        float(fields["slope"]),
        float(fields["offset"]),
        tensors[f"scale/{fields['name']}"].numpy().astype(float),
        None if calibration is None else Calibration.from_dict(calibration),
    )


@lru_cache(maxsize=1)
def default_properties() -> PropertyModel:
    """The shipped model, read once per process."""
    return read_properties(default_properties_path())


def load_properties(folder: str | Path | None = None) -> PropertyModel:
    """The shipped model, with the properties of the user's own that a model folder holds.

    Raises:
        InputError: no such folder.
        CheckpointError: a file in it is damaged.
    """
    if folder is None:
        return default_properties()
    from crystal_diffusion.prediction.own import with_own

    path = Path(folder)
    if not path.exists():
        raise InputError(
            f"{path}: no such model folder; give the one that `crystal-diffusion train` wrote."
        )
    return with_own(default_properties(), path if path.is_dir() else path.parent)
