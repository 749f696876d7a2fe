"""Tensors that CDVAE, DiffCSP and their relatives write: ``eval_gen.pt`` and the like.

The file is read by PyTorch with ``weights_only``: tensors, numbers and texts, nothing that runs.
"""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.data.archives import check_zip
from crystal_diffusion.data.records import PlainCrystal, failed, make_crystal, shorten

_NEEDED = ("frac_coords", "atom_types", "num_atoms")


def read_generated_tensors(path: Path, name: str) -> Iterator[PlainCrystal]:
    """The crystals of a file of generated tensors, called ``name#1``, ``name#2``, ...

    Shapes as these programs write them: ``frac_coords (atoms, 3)``, ``atom_types (atoms,)``,
    ``num_atoms (crystals,)``, and ``lengths`` and ``angles (crystals, 3)`` in Å and degrees or
    ``lattices (crystals, 3, 3)``; each with one more axis in front where a crystal was generated
    several times.

    Raises:
        ValueError: when it is no such file.
    """
    data = _load(path)
    if isinstance(data, list):
        for number, entry in enumerate(data, 1):
            yield _one(entry, f"{name}#{number}", str(path))
        return
    missing = [key for key in _NEEDED if not isinstance(data, Mapping) or key not in data]
    if missing:
        raise ValueError(f"it has no {missing[0]!r}: no output of CDVAE or DiffCSP")
    arrays = {key: _array(data[key]) for key in (*_NEEDED, *_cell_keys(data))}
    if arrays["frac_coords"].ndim == 2:
        arrays = {key: value[None] for key, value in arrays.items()}
    number = 0
    for run in range(len(arrays["frac_coords"])):
        part = {key: value[run] for key, value in arrays.items()}
        counts = part["num_atoms"].astype(np.int64)
        atoms, crystals = len(part["frac_coords"]), len(counts)
        if (counts < 0).any() or counts.sum() != atoms or len(part["atom_types"]) != atoms:
            raise ValueError(
                f"num_atoms sums to {counts.sum()}, but there are {atoms} positions and "
                f"{len(part['atom_types'])} atom types"
            )
        cells = _cells(part)
        if len(cells) != crystals:
            raise ValueError(f"{crystals} crystals but {len(cells)} cells")
        ends = np.cumsum(counts)
        for cell, first, last in zip(cells, ends - counts, ends, strict=True):
            number += 1
            yield make_crystal(
                f"{name}#{number}",
                f"{path} crystal {number}",
                cell,
                part["frac_coords"][first:last],
                part["atom_types"][first:last],
            )


class _Nothing:
    """Stands in for a class of torch_geometric, whose content is not asked for."""

    def __new__(cls, *_: object) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _NothingMaker:
    """Stands in for what torch_geometric makes its batches with: making it gives the class."""

    def __new__(cls, *_: object) -> Any:
        return _Nothing


def _stand_ins(path: Path) -> list[Any]:
    """Empty classes for those of torch_geometric that a file names; theirs are never imported.

    DiffCSP keeps the batch that it started from beside its results.
    """
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # Not every file that can be read can be looked through.
    except Exception:
        return []
    ours = [name for name in names if name.startswith("torch_geometric.")]
    makers = {name for name in ours if name.endswith(".DynamicInheritanceGetter")}
    return [(_NothingMaker if name in makers else _Nothing, name) for name in ours]


def _load(path: Path) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        check_zip(path)
    # The settings of a run are stored as a Namespace: names and plain values.
    known = [argparse.Namespace, *_stand_ins(path)]
    try:
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"it holds more than tensors ({_blamed(error)}) and nothing is unpickled here; save "
            "the tensors alone"
        ) from None
    except (KeyError, EOFError, RuntimeError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"it is no file of PyTorch ({shorten(error, 60)})") from None


def _blamed(error: Exception) -> str:
    """What PyTorch refused, without its advice to load it all the same."""
    words = str(error).split()
    for place, word in enumerate(words):
        if word == "GLOBAL" and place + 1 < len(words):
            return words[place + 1]
    return shorten(str(error).split("\n")[-1], 80)


def _cell_keys(data: Mapping[str, Any]) -> tuple[str, ...]:
    if "lengths" in data and "angles" in data:
        return ("lengths", "angles")
    if "lattices" in data:
        return ("lattices",)
    raise ValueError("it has neither lengths and angles nor lattices")


def _cells(part: Mapping[str, np.ndarray]) -> np.ndarray:
    if "lattices" in part:
        return part["lattices"]
    return np.concatenate([part["lengths"], part["angles"]], axis=-1)


def _array(value: Any) -> np.ndarray:
    """A tensor, or tensors in a list, as an array."""
    import torch

    if isinstance(value, torch.Tensor):
        return np.asarray(value.detach().to(torch.float64).numpy())
    if isinstance(value, list) and value and all(isinstance(v, torch.Tensor) for v in value):
        return np.stack([_array(v) for v in value])
    return np.array(value, dtype=np.float64)


def _one(entry: Any, name: str, source: str) -> PlainCrystal:
    """One crystal of a list of dicts."""
    keys = ("frac_coords", "atom_types")
    if not isinstance(entry, Mapping) or any(key not in entry for key in keys):
        return failed(name, source, "the entry has no frac_coords and atom_types; leave it out")
    try:
        part = {key: _array(entry[key]) for key in _cell_keys(entry)}
        shape = (1, 3, 3) if "lattices" in part else (1, 3)
        cell = _cells({key: value.reshape(shape) for key, value in part.items()})[0]
        return make_crystal(
            name, source, cell, _array(entry["frac_coords"]), _array(entry["atom_types"])
        )
    except (TypeError, ValueError, RuntimeError) as error:
        return failed(name, source, f"the entry is no whole crystal ({shorten(error)})")
