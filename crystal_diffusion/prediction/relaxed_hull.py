"""What an unrelaxed candidate comes to: its energy above the hull once it is relaxed.

The property network learned from known crystals, nearly all relaxed and near the hull, so it is
too hopeful about candidates. Here small networks see what it makes of a candidate, with the depth
of the hull of known crystals at that composition, and say where a short relaxation with the
default potential ends. They learned from thousands of candidates that were relaxed; several are
asked, and where they differ the answer is less sure (deep ensembles, Lakshminarayanan, Pritzel
and Blundell 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import erf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystal_diffusion.energy.hull import HullBuilder
from crystal_diffusion.errors import CheckpointError, InputError
from crystal_diffusion.prediction.model import (
    FORMATION_ENERGY,
    PropertyModel,
    default_properties,
    default_properties_path,
)
from crystal_diffusion.prediction.sites import sites_of
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.training.checkpoint import FORMAT, read_kind, write_tensors

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

_KIND = "relaxed hull"
_ABOVE = "energy_above_hull"
#: Energies above hull (eV/atom) are learned within this range: how bad a bad one is tells little.
RANGE = (-0.3, 0.8)
#: Standardised numbers are cut at this.
_LIMIT = 5.0
#: Narrowest and widest deviation said, eV/atom.
_NARROWEST, _WIDEST = 0.02, 0.5


@dataclass(frozen=True, eq=False)
class RelaxedHull:
    """Small networks from what is known of a candidate to its energy above hull when relaxed.

    Attributes:
        centre, scale: ``(features,)`` that standardise what they see.
        layers: weights and constants of each layer, ``(networks, inputs, outputs)`` and
            ``(networks, outputs)``; the last has two outputs, the energy above hull (eV/atom) and
            the logarithm of its deviation.
        widened: factor on the deviation, from candidates that were left out.
        potential: name and version of what relaxed.
        network: fingerprint of the property network whose view is used.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    widened: float
    potential: tuple[str, str]
    network: str

    def expected(self, features: Floats) -> tuple[Floats, Floats]:
        """Energy above hull when relaxed and its standard deviation, eV/atom.

        Args:
            features: ``(candidates, features)`` of `candidate_features`.
        """
        seen = np.clip((features - self.centre) / self.scale, -_LIMIT, _LIMIT)
        state = np.broadcast_to(seen, (len(self.layers[0][0]), *seen.shape))
        for place, (weight, constant) in enumerate(self.layers):
            state = state @ weight + constant[:, None]
            if place + 1 < len(self.layers):
                state = state / (1 + np.exp(-state))
        said = state[..., 0]
        spread = np.clip(np.exp(state[..., 1]), _NARROWEST, _WIDEST)
        together = np.sqrt((spread**2).mean(0) + said.var(0))
        return said.mean(0), together * self.widened


def candidate_features(
    structures: Sequence[Structure], hull: HullBuilder, model: PropertyModel
) -> Floats:
    """``(candidates, features)`` of what `RelaxedHull` sees; NaN in rows of which nothing is known.

    Args:
        structures: as they were made, not relaxed.
        hull: of known crystals.
        model: what looks at them.
    """
    columns = {head.name: head.column for head in model.heads}
    if not {_ABOVE, FORMATION_ENERGY} <= columns.keys():
        raise InputError("This model says no energy above hull; give the shipped one.")
    rows = [row for row, one in enumerate(structures) if model.refusal(one) is None]
    rows = [row for row in rows if not hull.missing_elements(frozenset(_counts(structures[row])))]
    if not rows:
        return np.full((len(structures), 1), np.nan)
    said = model.said([sites_of(structures[row]) for row in rows])
    above = next(head for head in model.heads if head.name == _ABOVE).guess(said)
    formation = said.outputs[:, columns[FORMATION_ENERGY]]
    depth = np.array([_depth(_counts(structures[row]), hull) for row in rows])
    sizes = np.array([len(structures[row]) for row in rows], float)
    own = [above.centre, above.nonzero, formation, depth, formation - depth, np.log(sizes)]
    seen = np.concatenate([said.encoded, np.stack(own, 1)], 1)
    found = np.full((len(structures), seen.shape[1]), np.nan)
    found[rows] = seen
    return found


def _counts(structure: Structure) -> dict[str, float]:
    found: dict[str, float] = structure.composition.get_el_amt_dict()
    return found


def _depth(counts: Mapping[str, float], hull: HullBuilder) -> float:
    """Formation energy of the hull at a composition, eV/atom."""
    atoms = sum(counts.values())
    ground = sum(n / atoms * (hull.elemental_energy(e) or 0.0) for e, n in counts.items())
    return hull.mixture(counts)[0] - ground


def relaxed_hull_path() -> Path:
    """Where the shipped one lies."""
    return asset_path("relaxed_hull.safetensors")


def save_relaxed_hull(path: Path, learned: RelaxedHull, extra: Mapping[str, Any]) -> None:
    """Write it, weights in half precision."""
    tensors = {"centre": torch.from_numpy(learned.centre), "scale": torch.from_numpy(learned.scale)}
    for place, (weight, constant) in enumerate(learned.layers):
        tensors[f"weight/{place}"] = torch.from_numpy(weight).half()
        tensors[f"constant/{place}"] = torch.from_numpy(constant).half()
    header = {
        "format": FORMAT,
        "kind": _KIND,
        "layers": len(learned.layers),
        "widened": learned.widened,
        "potential": list(learned.potential),
        "network": learned.network,
        **extra,
    }
    write_tensors(path, tensors, header)


def read_relaxed_hull(path: Path) -> RelaxedHull:
    """What :func:`save_relaxed_hull` wrote.

    Raises:
        CheckpointError: when the file is missing, damaged or holds something else.
    """
    wanted = "relaxed candidates; give the file that came with the package."
    tensors, header = read_kind(path, _KIND, wanted)
    try:
        layers = tuple(
            (tensors[f"weight/{n}"].float().numpy(), tensors[f"constant/{n}"].float().numpy())
            for n in range(int(header["layers"]))
        )
        name, version = header["potential"]
        return RelaxedHull(
            tensors["centre"].numpy(),
            tensors["scale"].numpy(),
            layers,
            float(header["widened"]),
            (str(name), str(version)),
            str(header["network"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its content does not fit this version ({error}); reinstall the package."
        ) from error


@lru_cache(maxsize=1)
def default_relaxed_hull() -> RelaxedHull | None:
    """The shipped one; None where it was fitted with another property network than the shipped."""
    if not relaxed_hull_path().is_file() or not default_properties_path().is_file():
        return None
    learned = read_relaxed_hull(relaxed_hull_path())
    return learned if learned.network == default_properties().fingerprint else None


def chance_between(low: float, high: float, mean: Floats, deviation: Floats) -> Floats:
    """``(candidates,)`` probability of a normal variable between two ends."""
    ends = [
        [(1 + erf((end - m) / (s * sqrt(2)))) / 2 for m, s in zip(mean, deviation, strict=True)]
        for end in (low, high)
    ]
    return np.array(ends[1], float) - np.array(ends[0], float)
