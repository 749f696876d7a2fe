"""What the ranker learns from: environments of library crystals, and lists of candidates.

Part of ``train_ranker.py``. For library crystals of different composition the proposer is asked
with every crystal of the same formula left out; a candidate is right where its structure type can
be laid on that of the crystal with the same elements on the same sites. Lists without a right
candidate are not kept. A candidate is stored as the library crystal it was made of, the elements
put on its sites and the change of volume; its coordinates are those of that crystal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystal_diffusion.proposals.alignment import Frame, align, neighbour_fingerprint
from crystal_diffusion.proposals.clustering import (
    placed_elements,
    relabel,
    role_permutations,
)
from crystal_diffusion.proposals.environments import environments
from crystal_diffusion.proposals.library import CrystalLibrary
from crystal_diffusion.proposals.prototypes import Option, PrototypeProposer
from crystal_diffusion.ranking.learned import FEATURES, feature_matrix

#: Types whose neighbour distances differ by more than this are not laid on each other.
NEAR = 0.15


def cell_matrix(parameters: np.ndarray) -> np.ndarray:
    """``(3, 3)`` rows in Å of edges (Å) and angles (degrees)."""
    from pymatgen.core import Lattice

    return np.array(Lattice.from_parameters(*parameters).matrix)


class Crystals:
    """Environments of all crystals of the library as flat arrays."""

    def __init__(self, library: CrystalLibrary) -> None:
        parameters = library.parameters(slice(None))
        found = []
        for entry in range(len(library)):
            kind = int(library.entry_type[entry])
            frac = library.frac_coords(kind, np.array([entry]))[0]
            numbers = library.elements[entry][library.roles_of(kind)]
            found.append(environments(cell_matrix(parameters[entry]), frac, numbers))
        self.size = np.array([len(e.numbers) for e in found])
        self.start = np.concatenate([[0], np.cumsum(self.size)])
        self.numbers = np.concatenate([e.numbers for e in found])
        self.share = np.concatenate([e.share for e in found]).astype(np.float32)
        self.neighbour = np.concatenate([e.neighbour for e in found])
        self.distance = np.concatenate([e.distance for e in found]).astype(np.float32)

    def batch(
        self,
        entries: np.ndarray,
        maps: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Flat tensors of some crystals, with elements changed by ``maps`` and edges scaled."""
        sizes = self.size[entries]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        owner = np.repeat(np.arange(len(entries)), sizes)
        rows = np.arange(ends[-1]) - ends[:-1][owner] + self.start[entries][owner]
        numbers, distance = self.numbers[rows], self.distance[rows]
        if maps is not None:
            numbers = maps[owner, numbers].astype(np.int64)
        if scale is not None:
            distance = distance * scale[owner][:, None].astype(np.float32)
        return {
            "numbers": torch.from_numpy(numbers),
            "share": torch.from_numpy(self.share[rows]),
            "neighbour": torch.from_numpy(self.neighbour[rows] + ends[:-1][owner][:, None]),
            "distance": torch.from_numpy(np.ascontiguousarray(distance)),
            "candidate": torch.from_numpy(owner),
            "candidates": len(entries),
        }


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of candidates as flat arrays.

    Attributes:
        target: ``(lists,)`` library crystal asked for; size: ``(lists,)`` candidates of each.
        source: ``(candidates,)`` library crystal; elements: ``(candidates, roles)`` put on it.
        scale: ``(candidates,)`` factor of the edges; features: ``(candidates, features)``.
        right: ``(candidates,)`` whether it is the crystal.
    """

    target: np.ndarray
    size: np.ndarray
    source: np.ndarray
    elements: np.ndarray
    scale: np.ndarray
    features: np.ndarray
    right: np.ndarray

    def batch(
        self, lists: np.ndarray, crystals: Crystals, library: CrystalLibrary
    ) -> dict[str, Any]:
        """Some lists as flat tensors, see :meth:`Crystals.batch`."""
        stops = np.cumsum(self.size)
        rows = np.concatenate([np.arange(stops[i] - self.size[i], stops[i]) for i in lists])
        source = self.source[rows]
        maps = np.zeros((len(rows), 101), dtype=np.uint8)
        roles = self.elements.shape[1]
        for role in range(roles):
            known = self.elements[rows, role] > 0
            old = library.elements[source[known], role]
            maps[np.flatnonzero(known), old] = self.elements[rows[known], role]
        batch = crystals.batch(source, maps, self.scale[rows])
        batch["features"] = torch.from_numpy(self.features[rows].astype(np.float32))
        batch["right"] = torch.from_numpy(self.right[rows])
        batch["list"] = torch.from_numpy(np.repeat(np.arange(len(lists)), self.size[lists]))
        batch["lists"] = len(lists)
        return batch


class Relations:
    """How structure types can be laid on each other; each pair is looked at once."""

    def __init__(self, library: CrystalLibrary) -> None:
        self.library = library
        self.counts = [tuple(int(c) for c in row[row > 0]) for row in library.type_counts]
        self._frames: dict[int, tuple[Frame, np.ndarray]] = {}
        self._known: dict[tuple[int, int], list[tuple[int, ...]]] = {}

    def _frame(self, kind: int) -> tuple[Frame, np.ndarray]:
        if kind not in self._frames:
            library, entry = self.library, int(self.library.type_start[kind])
            cell = cell_matrix(library.parameters(np.array([entry]))[0])
            frac = library.frac_coords(kind, np.array([entry]))[0]
            frame = Frame(cell, frac, library.roles_of(kind).astype(np.int64))
            self._frames[kind] = frame, neighbour_fingerprint(frame)
        return self._frames[kind]

    def permutations(self, kind: int, other: int) -> list[tuple[int, ...]]:
        """Permutations of the roles of ``kind`` that turn it into ``other``."""
        if (kind, other) in self._known:
            return self._known[kind, other]
        (frame, own), (beside, its) = self._frame(kind), self._frame(other)
        found = []
        for permutation in role_permutations(self.counts[kind]):
            if np.abs(its[list(permutation)] - own).mean() > NEAR:
                continue
            moved = relabel(frame, permutation)
            if align(beside, moved, ltol=0.3, angle_tol=10, largest=0.5, enough=0.2) is not None:
                found.append(permutation)
        if kind == other:
            identity = tuple(range(len(self.counts[kind])))
            found += [identity, *self.library.type_swaps.get(kind, ())]
        self._known[kind, other] = list(dict.fromkeys(found))
        return self._known[kind, other]


def numbers_of(option: Option, proposer: PrototypeProposer) -> tuple[int, float, dict[str, float]]:
    """The crystal an option is built of, the factor of its edges, and its features."""
    library, tables = proposer.library, proposer.tables
    nearest = int(option.distances.argmin())
    counts = library.type_counts[option.kind]
    counts = counts[counts > 0].astype(int)
    known = tables.indices(library.elements[option.entries][:, : len(counts)])
    volumes = library.volume_per_atom[option.entries]
    misfit = np.log(volumes / tables.expected_volume(known, counts))
    weight = np.exp(-(option.distances - option.distances.min())) + 1e-6
    weight /= weight.sum()
    mean = float(weight @ misfit)
    wanted = tables.expected_volume(tables.indices(np.array(option.elements)), counts)
    hull = library.e_above_hull[option.entries]
    features = {
        "log_share": option.log_share[0],
        "log_share_sharp": option.log_share[1],
        "log_share_broad": option.log_share[2],
        "log_votes": option.log_votes[0],
        "nearest": option.distances[nearest],
        "log_members": np.log(len(option.entries)),
        "volume_spread": np.sqrt(weight @ (misfit - mean) ** 2),
        "misfit": mean,
        "hull": np.nanmin(hull) if np.isfinite(hull).any() else np.nan,
        "hull_nearest": hull[nearest],
        "space_group": library.type_space_group[option.kind],
    }
    scale = (np.exp(mean) * float(wanted) / volumes[nearest]) ** (1 / 3)
    return int(option.entries[nearest]), float(scale), {k: float(v) for k, v in features.items()}


@dataclass(frozen=True)
class _Numbers:
    """What ``feature_matrix`` reads of a proposal."""

    features: dict[str, float]


def make_examples(n: int, options: int, seed: int, out: Path, library: CrystalLibrary) -> None:
    """Build and save lists for up to ``n`` library crystals of different composition."""
    proposer, relations = PrototypeProposer(library), Relations(library)
    codes, atoms = library.composition_codes, library.type_counts.sum(1)[library.entry_type]
    start, tried = time.process_time(), 0
    seen: set[tuple[int, int]] = set()
    lists: list[tuple[int, list[tuple[Any, ...]], np.ndarray, np.ndarray]] = []
    for entry in np.random.default_rng(seed).permutation(len(library)).tolist():
        key = (int(codes[entry]), int(atoms[entry]))
        if key in seen or key[0] % 20 == 0:
            continue
        seen.add(key)
        kind = int(library.entry_type[entry])
        counts = relations.counts[kind]
        elements = tuple(library.elements[entry][: len(counts)].tolist())
        found = proposer.options(
            dict(zip(elements, counts, strict=True)), most=options, known=False
        )
        if len(found) < 2:
            continue
        tried += 1
        right = np.array(
            [
                any(
                    placed_elements(elements, p) == tuple(option.elements)
                    for p in relations.permutations(kind, option.kind)
                )
                for option in found
            ]
        )
        if not right.any():
            continue
        made = [(*numbers_of(option, proposer), option.elements) for option in found]
        features = feature_matrix([_Numbers(f) for _, _, f, _ in made])  # type: ignore[misc]
        lists.append((entry, made, features, right))
        if len(lists) % 1000 == 0:
            print(f"{len(lists)} lists of {tried}, {time.process_time() - start:.0f} s", flush=True)
        if len(lists) >= n:
            break
    print(f"{len(lists)} of {tried} compositions have the crystal among {options} candidates")
    rows = [row for _, made, _, _ in lists for row in made]
    elements_of = np.zeros((len(rows), library.elements.shape[1]), dtype=np.uint8)
    for index, row in enumerate(rows):
        elements_of[index, : len(row[3])] = row[3]
    np.savez_compressed(
        out,
        target=np.array([target for target, _, _, _ in lists]),
        size=np.array([len(made) for _, made, _, _ in lists]),
        source=np.array([row[0] for row in rows]),
        elements=elements_of,
        scale=np.array([row[1] for row in rows], dtype=np.float32),
        features=np.concatenate([f for _, _, f, _ in lists]).astype(np.float32),
        right=np.concatenate([right for _, _, _, right in lists]),
    )


def read_examples(path: Path) -> Lists:
    """Lists written by :func:`make_examples`."""
    with np.load(path, allow_pickle=False) as data:
        found = Lists(**{name: data[name] for name in data.files})
    if found.features.shape[1] < len(FEATURES):
        raise SystemExit(f"{path} was made with other features; make the examples again.")
    return found
