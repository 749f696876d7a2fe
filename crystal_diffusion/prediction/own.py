"""A property of the user's own: any column of a table, from 30 labelled crystals on.

Three descriptions of a crystal are tried (a few plain numbers, all plain numbers, these and what
the shipped network makes of the crystal), each with ridge regression and with a Gaussian process
(Rasmussen and Williams 2006, algorithm 2.1) of a linear and a Gaussian kernel. Cross-validation
with whole formulas left out chooses; a second one around the first says what the choice is worth.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.prediction.descriptors import BRIEF_COLUMNS, NAMES, descriptors
from crystal_diffusion.prediction.distribution import GRID, Calibration, Floats, Guess, calibrated
from crystal_diffusion.prediction.sites import sites_of
from crystal_diffusion.training.checkpoint import FORMAT, read_tensors, write_tensors

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.prediction.model import PropertyModel

log = logging.getLogger(__name__)

#: Its name in a model folder.
OWN_FILE = "own_properties.safetensors"
_KIND = "own properties"
#: Labelled crystals below which nothing is learned.
FEWEST = 30
#: Folds of cross-validation; crystals that are looked at while choosing, and that a Gaussian
#: process is made of.
FOLDS, MOST_CHOOSING, MOST_IN_PROCESS = 5, 400, 1500
#: What is tried: widths of the Gaussian kernel (0: the linear one alone, which is the ridge), and
#: noises.
_WIDTHS, _NOISES = (0.0, 0.7, 2.0), (1e-4, 1e-3, 1e-2, 0.1, 1.0)
#: Standardised features are cut at this.
_LIMIT = 6.0
#: Positive labels whose largest is more than this many times the least are learned as logarithms
#: too.
_DECADES = 20.0


@dataclass(frozen=True)
class Recipe:
    """One way to learn a property.

    Attributes:
        features: "brief", "plain" or "network".
        width: of the Gaussian kernel in standardised units; 0 for ridge regression.
        noise: added to the diagonal of the kernel.
        logarithmic: whether log10 of the label is learned.
    """

    features: str
    width: float
    noise: float
    logarithmic: bool = False

    def describe(self) -> str:
        """In words."""
        what = {
            "brief": "density and a few numbers of the elements",
            "plain": "density and numbers of the elements",
            "network": "the shipped network's view of the crystal",
        }[self.features]
        how = "ridge regression" if self.width == 0.0 else "a Gaussian process"
        return f"{how} on {what}{', on a log scale' if self.logarithmic else ''}"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A recipe with its numbers.

    Attributes:
        recipe: how it was made.
        mean, deviation: ``(features,)`` of the training crystals.
        rows: ``(points, features)`` standardised training crystals, none for the ridge.
        weights: ``(features,)`` of the ridge or ``(points,)`` of the process.
        inverse: ``(points, points)`` of the process, for its spread; empty for the ridge.
        centre, spread: mean and deviation of the labels.
    """

    recipe: Recipe
    mean: Floats
    deviation: Floats
    rows: Floats
    weights: Floats
    inverse: Floats
    centre: float
    spread: float

    def __call__(self, features: Floats) -> tuple[Floats, Floats]:
        """``(crystals,)`` centres and scales."""
        x = _scaled(features, self.mean, self.deviation)
        if self.recipe.width == 0.0:
            return self.centre + self.spread * (x @ self.weights), np.full(len(x), self.spread)
        cross = _kernel(x, self.rows, self.recipe.width)
        own = 1.0 + (x * x).mean(1)
        left = own - np.einsum("ij,jk,ik->i", cross, self.inverse, cross)
        scale = np.sqrt(np.maximum(left, 0.0) + self.recipe.noise)
        return self.centre + self.spread * (cross @ self.weights), self.spread * scale


@dataclass(frozen=True)
class Worth:
    """What cross-validation says of a property.

    Attributes:
        crystals: labelled ones that were used; left_out: others, by reason in words.
        error: mean absolute error on formulas left out; baseline: of the mean label;
            better: share of the variance that is explained.
        inside: share of labels inside their 90 % interval.
    """

    crystals: int
    left_out: tuple[str, ...]
    error: float
    baseline: float
    better: float
    inside: float


@dataclass(frozen=True, eq=False)
class OwnProperty:
    """A property of the user's own.

    Attributes:
        name: of the column.
        fitted: what is evaluated.
        calibration: of its intervals.
        worth: what cross-validation said.
        network: fingerprint of the network whose view of crystals it was learned on; empty where
            it needs none.
    """

    name: str
    fitted: Fitted
    calibration: Calibration
    worth: Worth
    network: str = ""

    def guess(self, encoded: Floats, structures: Sequence[Structure]) -> Guess:
        """Centre and scale for crystals that the network has encoded."""
        plain = np.stack([descriptors(structure) for structure in structures])
        centre, scale = self.fitted(_features(self.fitted.recipe.features, plain, encoded))
        ones = np.ones(len(centre))
        return Guess(centre, scale, ones, np.full(len(centre), -1))

    def summary(self) -> str:
        """What a user wants to know, in three sentences."""
        worth = self.worth
        first = (
            f"{self.name}: learned from {worth.crystals} crystals by "
            f"{self.fitted.recipe.describe()}. On formulas left out the error is "
            f"{worth.error:.3g}; naming the mean of the labels always would give "
            f"{worth.baseline:.3g} (R² {worth.better:.2f}). "
            f"{100 * worth.inside:.0f} % of the labels lie in their 90 % interval."
        )
        if worth.better < 0.1:
            first += " That is hardly better than the mean: do not rely on it."
        return " ".join([first, *worth.left_out])


def learn_property(
    dataset: CrystalStructureDataset, name: str, model: PropertyModel, seed: int = 0
) -> OwnProperty:
    """Learn one column of a data set.

    Args:
        dataset: crystals with the column among their properties.
        name: of the column.
        model: whose network describes the crystals.
        seed: of the folds.

    Raises:
        InputError: no such column, fewer than 30 labelled crystals, or all labels alike.
    """
    rows, values = labelled(dataset, name)
    structures, kept, left_out = [], [], []
    for row in rows:
        structure = dataset.arrays.crystal(int(row)).to_structure()
        if model.refusal(structure) is None:
            structures.append(structure)
            kept.append(row)
    if len(kept) < len(rows):
        left_out.append(
            f"{len(rows) - len(kept)} labelled crystals hold elements that the network does not "
            "know and were left out."
        )
    values = values[np.isin(rows, kept)]
    check_labels(name, values)
    plain = np.stack([descriptors(structure) for structure in structures])
    encoded = model.said([sites_of(structure) for structure in structures]).encoded
    codes = [structure.composition.reduced_formula for structure in structures]
    _, formulas = np.unique(codes, return_inverse=True)
    learner = _Learner(plain, encoded.astype(float), values, formulas, seed)
    own = learner.learn(name, tuple(left_out))
    seen = own.fitted.recipe.features == "network"
    return replace(own, network=model.fingerprint if seen else "")


def labelled(dataset: CrystalStructureDataset, name: str) -> tuple[NDArray[np.int64], Floats]:
    """Rows that carry the label, and the labels.

    Raises:
        InputError: no such column.
    """
    known = dataset.arrays.properties
    if name not in known:
        raise InputError(
            f"property {name!r} is no column of numbers in the data; found are "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    values = np.asarray(known[name], dtype=float)
    rows = np.flatnonzero(np.isfinite(values))
    return rows, values[rows]


def check_labels(name: str, values: Floats) -> None:
    """Refuse labels that nothing can be learned from.

    Raises:
        InputError: fewer than 30, or all alike.
    """
    if len(values) < FEWEST:
        raise InputError(
            f"property {name!r}: {len(values)} crystals carry a label, and at least {FEWEST} are "
            "needed to learn it; label more crystals."
        )
    if float(np.ptp(values)) == 0.0:
        raise InputError(
            f"property {name!r}: all {len(values)} labels are {values[0]:g}, so there is nothing "
            "to learn; give a column that differs between crystals."
        )


class _Learner:
    """Cross-validation on one property."""

    def __init__(
        self, plain: Floats, encoded: Floats, values: Floats, formulas: Any, seed: int
    ) -> None:
        self.plain, self.encoded, self.values, self.formulas = plain, encoded, values, formulas
        self.rng = np.random.default_rng(seed)

    def learn(self, name: str, left_out: tuple[str, ...]) -> OwnProperty:
        everything = np.arange(len(self.values))
        said, scales = np.zeros(len(everything)), np.ones(len(everything))
        baseline = np.zeros(len(everything))
        for train, held in self._folds(everything):
            fitted = self._fit(train, self._choose(train))
            centre, scale = fitted(self._of(fitted.recipe.features, held))
            if fitted.recipe.logarithmic:
                scale = scale * np.log(10.0) * 10.0**centre
                centre = 10.0**centre
            said[held], scales[held], baseline[held] = centre, scale, self.values[train].mean()
        fitted = self._fit(everything, self._choose(everything))
        found = self._calibrate(fitted, said, scales)
        errors = self.values - said
        worth = Worth(
            len(everything),
            left_out,
            float(np.abs(errors).mean()),
            float(np.abs(self.values - baseline).mean()),
            float(1.0 - (errors**2).sum() / ((self.values - baseline) ** 2).sum()),
            self._inside(fitted, said, scales),
        )
        return OwnProperty(name, fitted, found, worth)

    def _guess(self, fitted: Fitted, said: Floats, scales: Floats) -> Guess:
        """Held-out predictions in the units of the chosen recipe."""
        if fitted.recipe.logarithmic:
            floor = float(self.values.min()) / 10
            scales = scales / (np.log(10.0) * np.maximum(said, floor))
            said = np.log10(np.maximum(said, floor))
        return Guess(said, scales, np.ones(len(said)), np.full(len(said), -1))

    def _calibrate(
        self, fitted: Fitted, said: Floats, scales: Floats, rows: Any = slice(None)
    ) -> Calibration:
        guess, values = self._guess(fitted, said[rows], scales[rows]), self.values[rows]
        return calibrated(
            guess,
            values,
            guess,
            values,
            logarithmic=fitted.recipe.logarithmic,
            low=float(self.values.min()),
            high=float(self.values.max()),
        )

    def _inside(self, fitted: Fitted, said: Floats, scales: Floats) -> float:
        """Share of labels inside intervals that were calibrated on the others."""
        guess, inside = self._guess(fitted, said, scales), []
        for train, held in self._folds(np.arange(len(said))):
            made = self._calibrate(fitted, said, scales, train)
            low, high = made.interval(guess.take(held))
            inside += list((self.values[held] >= low) & (self.values[held] <= high))
        return float(np.mean(inside))

    def _folds(self, rows: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Training and held-out rows; no formula is in both where there are enough formulas."""
        codes = self.formulas[rows]
        kinds = np.unique(codes)
        if len(kinds) >= 2 * FOLDS:
            fold = np.zeros(codes.max() + 1, dtype=int)
            fold[self.rng.permutation(kinds)] = np.arange(len(kinds)) % FOLDS
            place = fold[codes]
        else:
            place = self.rng.permutation(len(rows)) % FOLDS
        return [(rows[place != k], rows[place == k]) for k in range(FOLDS)]

    def _of(self, features: str, rows: Any) -> Floats:
        return _features(features, self.plain[rows], self.encoded[rows])

    def _labels(self, recipe: Recipe, rows: Any) -> Floats:
        values = self.values[rows]
        return np.log10(values) if recipe.logarithmic else values

    def _choose(self, rows: NDArray[Any]) -> Recipe:
        """The recipe of the least error on formulas left out."""
        if len(rows) > MOST_CHOOSING:
            rows = np.sort(self.rng.choice(rows, MOST_CHOOSING, replace=False))
        positive = self.values.min() > 0 and self.values.max() > _DECADES * self.values.min()
        errors: dict[Recipe, float] = {}
        for train, held in self._folds(rows):
            for features in ("brief", "plain", "network"):
                parts = (self._of(features, train), self._of(features, held))
                for width in _WIDTHS:
                    for logarithmic in (False, True)[: 1 + positive]:
                        self._try(
                            Recipe(features, width, 0.0, logarithmic), parts, train, held, errors
                        )
        return min(errors, key=lambda recipe: errors[recipe])

    def _try(
        self,
        recipe: Recipe,
        parts: tuple[Floats, Floats],
        train: NDArray[Any],
        held: NDArray[Any],
        errors: dict[Recipe, float],
    ) -> None:
        """Add the errors on one fold of a recipe with every noise; one decomposition for all."""
        mean, deviation = _standard(parts[0])
        x, others = (_scaled(part, mean, deviation) for part in parts)
        labels = self._labels(recipe, train)
        centre, spread = float(labels.mean()), max(float(labels.std()), 1e-12)
        values, vectors = np.linalg.eigh(_kernel(x, x, recipe.width))
        cross = _kernel(others, x, recipe.width) @ vectors
        turned = vectors.T @ ((labels - centre) / spread)
        for noise in _NOISES:
            said = centre + spread * (cross @ (turned / (np.maximum(values, 0.0) + noise)))
            said = 10.0 ** np.clip(said, -30, 30) if recipe.logarithmic else said
            tried = replace(recipe, noise=noise)
            error = float(np.abs(said - self.values[held]).sum())
            errors[tried] = errors.get(tried, 0.0) + error

    def _fit(self, rows: NDArray[Any], recipe: Recipe) -> Fitted:
        if recipe.width > 0.0 and len(rows) > MOST_IN_PROCESS:
            rows = np.sort(self.rng.choice(rows, MOST_IN_PROCESS, replace=False))
        return _fit(recipe, self._of(recipe.features, rows), self._labels(recipe, rows))


def _features(kind: str, plain: Floats, encoded: Floats) -> Floats:
    if kind == "brief":
        return plain[:, BRIEF_COLUMNS]
    return plain if kind == "plain" else np.concatenate([plain, encoded], 1)


def _standard(features: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each feature; 1 for one that is the same everywhere."""
    deviation: Floats = features.std(0)
    return features.mean(0), np.where(deviation > 1e-9, deviation, 1.0)


def _scaled(features: Floats, mean: Floats, deviation: Floats) -> Floats:
    return np.clip((features - mean) / deviation, -_LIMIT, _LIMIT)


def _kernel(x: Floats, y: Floats, width: float) -> Floats:
    """Linear kernel of standardised features, plus a Gaussian one where it has a width."""
    product, features = x @ y.T, x.shape[1]
    linear: Floats = product / features
    if width == 0.0:
        return linear
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * product
    return linear + np.exp(-np.maximum(squares, 0.0) / (2 * features * width**2))


def _fit(recipe: Recipe, features: Floats, labels: Floats) -> Fitted:
    mean, deviation = _standard(features)
    x = _scaled(features, mean, deviation)
    centre, spread = float(labels.mean()), max(float(labels.std()), 1e-12)
    y, none = (labels - centre) / spread, np.zeros((0, 0))
    if recipe.width == 0.0:
        # The same as the linear kernel with this noise.
        gram = x.T @ x / x.shape[1] + recipe.noise * np.eye(x.shape[1])
        weights: Floats = np.linalg.solve(gram, x.T @ y) / x.shape[1]
        return Fitted(recipe, mean, deviation, none, weights, none, centre, spread)
    bent = _kernel(x, x, recipe.width) + recipe.noise * np.eye(len(x))
    inverse = np.asarray(np.linalg.inv(bent), dtype=np.float64)
    return Fitted(recipe, mean, deviation, x, inverse @ y, inverse, centre, spread)


def save_own(folder: Path, properties: Sequence[OwnProperty]) -> None:
    """Write the user's properties into a model folder."""
    tensors, entries = {}, []
    for index, own in enumerate(properties):
        fitted = own.fitted
        for part in ("mean", "deviation", "rows", "weights", "inverse"):
            tensors[f"{index}/{part}"] = torch.from_numpy(np.asarray(getattr(fitted, part)))
        entries.append(
            {
                "name": own.name,
                "recipe": asdict(fitted.recipe),
                "centre": fitted.centre,
                "spread": fitted.spread,
                "calibration": own.calibration.as_dict(),
                "worth": asdict(own.worth),
                "network": own.network,
            }
        )
    header = {"format": FORMAT, "kind": _KIND, "properties": entries}
    write_tensors(folder / OWN_FILE, tensors, header)


def read_own(folder: Path) -> tuple[OwnProperty, ...]:
    """The user's properties in a model folder; none where it has none.

    Raises:
        CheckpointError: when the file is damaged or holds something else.
    """
    path = folder / OWN_FILE
    if not path.is_file():
        return ()
    tensors, header = read_tensors(path)
    try:
        if header.get("kind") != _KIND:
            raise ValueError(f"it holds {header.get('kind')!r}")
        found = []
        for index, entry in enumerate(header["properties"]):
            parts = {
                part: tensors[f"{index}/{part}"].numpy().astype(float)
                for part in ("mean", "deviation", "rows", "weights", "inverse")
            }
            fitted = Fitted(
                Recipe(**entry["recipe"]),
                **parts,
                centre=float(entry["centre"]),
                spread=float(entry["spread"]),
            )
            _check(fitted)
            worth = {**entry["worth"], "left_out": tuple(entry["worth"]["left_out"])}
            calibration = Calibration.from_dict(entry["calibration"])
            if calibration.errors.shape != GRID.shape or not np.isfinite(calibration.errors).all():
                raise ValueError("its intervals are damaged")
            network = str(entry.get("network", ""))
            found.append(
                OwnProperty(str(entry["name"]), fitted, calibration, Worth(**worth), network)
            )
            found[-1].summary()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"{path}: holds no properties of this version ({error}); train with --property again."
        ) from error
    return tuple(found)


def _check(fitted: Fitted) -> None:
    """Refuse numbers that do not belong together.

    Raises:
        ValueError: says what.
    """
    features, points = len(fitted.mean), len(fitted.weights)
    width = fitted.recipe.width
    shapes = {
        "mean": (features,),
        "deviation": (features,),
        "weights": (features if width == 0.0 else points,),
        "rows": (0, 0) if width == 0.0 else (points, features),
        "inverse": (0, 0) if width == 0.0 else (points, points),
    }
    for name, shape in shapes.items():
        part = getattr(fitted, name)
        if part.shape != shape or not np.isfinite(part).all():
            raise ValueError(f"{name} has shape {part.shape}, or holds numbers that are not finite")
    plain = {"brief": len(BRIEF_COLUMNS), "plain": len(NAMES)}
    if features != plain.get(fitted.recipe.features, features):
        raise ValueError(f"{features} numbers describe a crystal")
    scales = np.array([fitted.centre, fitted.spread, width, fitted.recipe.noise])
    if not (np.isfinite(scales).all() and (fitted.deviation > 0).all() and fitted.spread > 0):
        raise ValueError("its scales are no positive numbers")
    fitted.recipe.describe()


def with_own(model: PropertyModel, folder: Path) -> PropertyModel:
    """A model that says the properties of a folder too; one of a known name replaces it.

    Raises:
        CheckpointError: one was learned on what another network made of crystals, that of an
            earlier version; what it would say now means nothing.
    """
    own = read_own(folder)
    if not own:
        return model
    for each in own:
        if each.fitted.recipe.features == "network" and each.network != model.fingerprint:
            raise CheckpointError(
                f"{folder / OWN_FILE}: {each.name} was learned with the property network of "
                "another version of this package; train with --property again."
            )
    names = {each.name for each in own}
    heads = tuple(head for head in model.heads if head.name not in names)
    return replace(model, heads=heads, own=own)
