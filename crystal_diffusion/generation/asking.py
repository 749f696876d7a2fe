"""Asking for properties: what a request means, and which candidates are kept.

Candidates are made in excess; the predictor says of each how likely it is to be inside all ranges
asked for, and the likeliest are kept. Ranges of several properties are taken as independent given
the crystal, so their probabilities are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import RequestError
from crystal_diffusion.properties import (
    BY_NAME,
    PropertyRange,
    checked_range,
    parse_property,
    property_named,
)
from crystal_diffusion.runs.predicted import inside_cells, prediction_cells

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.matching import StructureMatch

Floats = NDArray[np.float64]


class PropertyPredictions(Protocol):
    """Predictions for some crystals, ``(crystals, properties)`` each; NaN where refused."""

    @property
    def names(self) -> Sequence[str]:
        """The properties, in the order of the columns."""
        ...

    @property
    def values(self) -> Floats:
        """The predictions."""
        ...

    @property
    def low(self) -> Floats:
        """Lower ends of the intervals that hold 90 %."""
        ...

    @property
    def high(self) -> Floats:
        """Upper ends."""
        ...

    def probability_inside(self, ranges: Mapping[str, tuple[float, float]]) -> Floats:
        """``(crystals, ranges)`` in the order of ``ranges``."""
        ...


class PropertyJudge(Protocol):
    """What predicts properties of crystals."""

    @property
    def names(self) -> Sequence[str]:
        """Properties that it knows."""
        ...

    def unit(self, name: str) -> str:
        """Unit of a property; empty for one of the user's own."""
        ...

    def label_range(self, name: str) -> tuple[float, float]:
        """Smallest and largest label that it was trained on."""
        ...

    def predict(self, structures: Sequence[Structure]) -> PropertyPredictions:
        """Predictions for crystals."""
        ...


@dataclass(frozen=True, eq=False)
class Judged:
    """How likely candidates are to be inside what was asked.

    Attributes:
        names: of the properties asked for.
        each: ``(crystals, asked)`` probability to be inside each range.
        predicted: what was predicted of them.
    """

    names: tuple[str, ...]
    each: Floats
    predicted: PropertyPredictions | None = None

    def cells(self, row: int) -> dict[str, float | None]:
        """Columns of one crystal: predictions with their intervals, and the chances."""
        chances = dict(zip(self.names, self.each[row].tolist(), strict=True))
        found = self.predicted
        if found is None:
            return inside_cells(chances)
        parts = (found.values[row], found.low[row], found.high[row])
        return inside_cells(chances) | prediction_cells(found.names, *(x.tolist() for x in parts))

    @property
    def together(self) -> Floats:
        """``(crystals,)`` probability to be inside all of them."""
        return np.asarray(np.prod(self.each, axis=1), np.float64)


@dataclass(frozen=True)
class PropertySelection:
    """What was asked of properties, and what came of it.

    Attributes:
        asked: the ranges.
        candidates: that were made and judged.
        kept: of them.
        expected: share of the candidates, and of those kept, that the predictor expects inside.
        warnings: what the user should know of the ranges.
        cells: columns of each crystal kept, by id.
    """

    asked: Mapping[str, PropertyRange]
    candidates: int
    kept: int
    expected: tuple[float, float]
    warnings: tuple[str, ...] = ()
    cells: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What a person should read of it."""
        wishes = ", ".join(
            f"{name} {wanted}{' ' + BY_NAME[name].unit if name in BY_NAME else ''}"
            for name, wanted in self.asked.items()
        )
        before, after = (f"{100 * share:.0f} %" for share in self.expected)
        return [
            f"Asked: {wishes}. {self.kept} of {self.candidates} candidates are kept; the predictor "
            f"expects {after} of them inside ({before} of all candidates).",
            *self.warnings,
        ]

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "asked": {
                name: [end if math.isfinite(end) else None for end in (wanted.low, wanted.high)]
                for name, wanted in self.asked.items()
            },
            "candidates": self.candidates,
            "kept": self.kept,
            "expected_inside_candidates": round(self.expected[0], 4),
            "expected_inside_kept": round(self.expected[1], 4),
            "warnings": list(self.warnings),
        }


def resolved(
    asked: Mapping[str, PropertyRange], judge: PropertyJudge | None
) -> dict[str, PropertyRange]:
    """The ranges by the names that the predictor uses.

    Raises:
        RequestError: without a predictor, for a property it does not know (with the list of those
            it knows), or for a range that no crystal is in.
    """
    if judge is None:
        raise RequestError(
            "this model predicts no properties, so none can be asked for; train it with "
            "--property COLUMN, or use the pretrained model (leave the model argument out)."
        )
    own = [name for name in judge.names if name not in BY_NAME]
    out: dict[str, PropertyRange] = {}
    for text, wanted in asked.items():
        name = property_named(text, own)
        if name not in judge.names:
            raise RequestError(
                f"property {name} is not predicted by this model; it knows "
                f"{', '.join(judge.names)}."
            )
        if name in out:
            raise RequestError(f"property {name} is asked for twice; give one range.")
        out[name] = checked_range(name, wanted)
    return out


def asked_properties(texts: Iterable[str], judge: PropertyJudge | None) -> dict[str, PropertyRange]:
    """Ranges from what a user wrote, with the names that the model knows.

    Raises:
        RequestError: for what cannot be read, or a property that the model does not predict.
    """
    out: dict[str, PropertyRange] = {}
    for text in texts:
        own = () if judge is None else [name for name in judge.names if name not in BY_NAME]
        name, wanted = parse_property(text, own)
        if name in out:
            raise RequestError(
                f'property {name} is asked for twice; give one range, such as "1 < {name} < 2".'
            )
        out[name] = wanted
    return resolved(out, judge) if out else {}


def label_warnings(asked: Mapping[str, PropertyRange], judge: PropertyJudge) -> tuple[str, ...]:
    """What the user should know: ranges that no training crystal is in."""
    out = []
    for name, wanted in asked.items():
        low, high = judge.label_range(name)
        if wanted.low > high or wanted.high < low:
            unit = judge.unit(name)
            out.append(
                f"{name} {wanted} {unit}: no crystal of the training set is there; their labels go "
                f"from {low:.4g} to {high:.4g} {unit}. What is predicted out there is a guess."
            )
    return tuple(out)


def judged(
    structures: Sequence[Structure], asked: Mapping[str, PropertyRange], judge: PropertyJudge
) -> Judged:
    """How likely each crystal is inside; what cannot be predicted counts as outside."""
    ranges = {name: (wanted.low, wanted.high) for name, wanted in asked.items()}
    if not structures:
        return Judged(tuple(asked), np.zeros((0, len(asked))))
    predicted = judge.predict(structures)
    each = np.asarray(predicted.probability_inside(ranges), np.float64)
    return Judged(tuple(asked), np.nan_to_num(each, nan=0.0), predicted)


def likeliest(
    structures: Mapping[str, Structure],
    chances: Floats,
    n: int,
    matcher: StructureMatch,
    last: frozenset[str] = frozenset(),
) -> list[str]:
    """The names of the candidates to keep, likeliest first.

    Of candidates that are the same crystal only one is taken while there are others.

    Args:
        structures: by name.
        chances: one each, in their order.
        n: how many are kept.
        last: names that are taken only where nothing else is left.
    """
    names = list(structures)
    order = [names[i] for i in np.argsort(-chances, kind="stable")]
    order = [m for m in order if m not in last] + [m for m in order if m in last]
    kept: list[str] = []
    copies: list[str] = []
    by_formula: dict[str, list[str]] = {}
    for name in order:
        if len(kept) == n:
            break
        alike = by_formula.setdefault(structures[name].composition.reduced_formula, [])
        if any(matcher.fit(structures[name], structures[other]) for other in alike):
            copies.append(name)
            continue
        alike.append(name)
        kept.append(name)
    return (kept + copies)[:n]
