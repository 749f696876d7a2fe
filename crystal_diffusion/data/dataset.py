"""`CrystalStructureDataset`: crystals as padded tensors, for a plain DataLoader or our own loop."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crystal_diffusion.cell_geometry import wrap
from crystal_diffusion.crystal import MAX_ATOMIC_NUMBER
from crystal_diffusion.data.readers import ProgressCallback, Source, iter_plain
from crystal_diffusion.data.records import (
    EDGE_LIMITS,
    FLAT_CELL,
    NOT_PERIODIC,
    Disorder,
    LeftHanded,
    PlainCrystal,
    kind_of_note,
)
from crystal_diffusion.data.tables import CrystalArrays, parquet_arrays
from crystal_diffusion.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """A crystal that is not in the data set, and why."""

    id: str
    source: str
    reason: str


class CrystalStructureDataset(Dataset[dict[str, Tensor]]):
    """Crystals as padded tensors.

    An item is a dict of tensors, so that torch's default collate makes batches of it:
    ``positions (max_atoms, 3)`` float32 fractional in [0, 1), zero on padding; ``atom_types
    (max_atoms,)`` int64, 0 on padding; ``lattice (3, 3)`` float32, rows in Å; ``mask
    (max_atoms,)`` float32, 1 where there is an atom; ``num_atoms ()`` int64; ``properties
    (properties,)`` float32 in the order of :attr:`property_names`, NaN where not known.

    Args:
        source: whatever :func:`crystal_diffusion.data.iter_crystals` reads: a list of dicts with
            ``positions`` (fractional), ``atom_types`` and ``lattice``, structures, files, ...
        max_atoms: length of the padded tensors; the largest crystal decides when not given.
            Crystals with more atoms are left out and recorded in :attr:`skipped`.
        reduce: reduce every crystal to its primitive Niggli cell first.
        properties: names of the labels to carry; all that occur when not given.
        disorder, left_handed: what to do with partial occupancy and left-handed cells.
        on_bad: ``"skip"`` records a bad crystal in :attr:`skipped`, ``"stop"`` raises for it.
        processes: worker processes for reading large folders.
        progress: called with the files done and their number.

    Raises:
        InputError: for an empty or missing source, when no crystal is usable, for an unknown
            property, and for the first bad crystal when ``on_bad="stop"``.
    """

    def __init__(
        self,
        source: Source,
        max_atoms: int | None = None,
        reduce: bool = False,
        properties: Sequence[str] | None = None,
        *,
        disorder: Disorder = "skip",
        left_handed: LeftHanded = "swap",
        on_bad: Literal["skip", "stop"] = "skip",
        processes: int = 1,
        progress: ProgressCallback | None = None,
    ) -> None:
        if max_atoms is not None and max_atoms < 1:
            raise InputError(f"max_atoms is {max_atoms}; give at least 1, or leave it out.")
        if on_bad not in ("skip", "stop"):
            raise InputError(f"on_bad is {on_bad!r}; choose one of skip, stop.")
        if isinstance(source, str | Path) and not reduce and str(source).endswith(".parquet"):
            table = _sound_table(Path(source).expanduser(), max_atoms)
            if table is not None:
                self._set(table, max_atoms, properties, ())
                return
        good: list[PlainCrystal] = []
        skipped: list[Skipped] = []
        for crystal in iter_plain(
            source,
            disorder=disorder,
            left_handed=left_handed,
            primitive=reduce,
            processes=processes,
            progress=progress,
        ):
            problem = crystal.problem or _unusable(crystal, max_atoms)
            if problem is None:
                good.append(crystal)
                continue
            if on_bad == "stop":
                raise InputError(f"{_where(crystal)}: {problem}.")
            skipped.append(Skipped(crystal.id, crystal.source, problem))
        if not good:
            raise InputError(_nothing_left(source, skipped))
        if skipped:
            _log.warning(
                "%d of %d crystals left out; the first: %s: %s",
                len(skipped),
                len(skipped) + len(good),
                skipped[0].id,
                skipped[0].reason,
            )
        _tell_changes(good)
        self._set(CrystalArrays.from_crystals(good), max_atoms, properties, tuple(skipped))

    def _set(
        self,
        arrays: CrystalArrays,
        max_atoms: int | None,
        properties: Sequence[str] | None,
        skipped: tuple[Skipped, ...],
    ) -> None:
        names = sorted(arrays.properties) if properties is None else list(properties)
        unknown = [name for name in names if name not in arrays.properties]
        if unknown:
            raise InputError(
                f"property {unknown[0]!r} is not in the data; found are "
                f"{', '.join(arrays.properties) or 'none'}."
            )
        self.arrays = arrays
        self.max_atoms = max_atoms or int(arrays.num_atoms.max())
        self.property_names = tuple(names)
        self.skipped = skipped
        self._labels = (
            np.stack([arrays.properties[name] for name in names], -1).astype(np.float32)
            if names
            else np.zeros((len(arrays), 0), np.float32)
        )

    @classmethod
    def from_arrays(
        cls,
        arrays: CrystalArrays,
        max_atoms: int | None = None,
        properties: Sequence[str] | None = None,
        skipped: tuple[Skipped, ...] = (),
    ) -> CrystalStructureDataset:
        """A data set of crystals that are arrays already, for example of a Parquet table."""
        if not len(arrays):
            raise InputError("there are no crystals in the arrays; give at least one.")
        dataset = cls.__new__(cls)
        dataset._set(arrays, max_atoms, properties, skipped)
        return dataset

    @property
    def ids(self) -> tuple[str, ...]:
        """One name a crystal."""
        return self.arrays.ids

    @property
    def num_atoms(self) -> np.ndarray:
        """``(crystals,)`` atoms in each."""
        return self.arrays.num_atoms

    def __len__(self) -> int:
        return len(self.arrays)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"crystal {index} of {count}")
        item = self.batch([index % count], self.max_atoms)
        return {key: value[0] for key, value in item.items()}

    def batch(
        self, indices: Sequence[int] | np.ndarray, width: int | None = None
    ) -> dict[str, Tensor]:
        """Several crystals in one dict of stacked tensors.

        Args:
            indices: which crystals.
            width: padded length; that of the largest of them when not given, which is what makes
                bucketed batches fast.
        """
        rows = np.asarray(indices, dtype=np.int64)
        part = self.arrays.take(rows)
        counts = part.num_atoms
        width = int(counts.max()) if width is None else width
        mask = np.arange(width) < counts[:, None]
        positions = np.zeros((len(rows), width, 3), np.float32)
        # Rounding to float32 can give exactly 1, so the second wrap is needed.
        positions[mask] = wrap(wrap(part.frac_coords).astype(np.float32))
        types = np.zeros((len(rows), width), np.int64)
        types[mask] = part.atomic_numbers
        return {
            "positions": torch.from_numpy(positions),
            "atom_types": torch.from_numpy(types),
            "lattice": torch.from_numpy(part.lattice.astype(np.float32)),
            "mask": torch.from_numpy(mask.astype(np.float32)),
            "num_atoms": torch.from_numpy(counts.astype(np.int64)),
            "properties": torch.from_numpy(self._labels[rows]),
        }

    def subset(self, indices: Sequence[int] | np.ndarray) -> CrystalStructureDataset:
        """Some of the crystals as a data set with the same padding and the same properties."""
        rows = np.asarray(indices, dtype=np.int64)
        return self.from_arrays(self.arrays.take(rows), self.max_atoms, self.property_names)

    def split(self, fractions: Sequence[float], seed: int = 0) -> list[CrystalStructureDataset]:
        """Random disjoint parts, the same for the same seed.

        Args:
            fractions: share of each part; they sum to at most 1. With a sum of 1 no crystal is
                left out.
            seed: which random order.

        Raises:
            InputError: for fractions that are not positive, sum to more than 1, or leave a part
                without any crystal.
        """
        shares = [float(f) for f in fractions]
        if not shares or min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise InputError(
                f"fractions {shares} are no split; give positive ones that sum to at most 1."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.round(np.cumsum(shares) * len(self)).astype(int)
        starts = [0, *ends[:-1].tolist()]
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise InputError(
                f"fractions {shares} of {len(self)} crystals leave a part empty; "
                "give fewer parts or more crystals."
            )
        return [
            self.subset(np.sort(order[start:end])) for start, end in zip(starts, ends, strict=True)
        ]

    def buckets(self, batch_size: int, seed: int = 0, epoch: int = 0) -> list[list[int]]:
        """Batches of crystals of similar size, every crystal once, for one epoch.

        Crystals of equal size are shuffled, and so is the order of the batches; both depend on
        nothing but the seed and the epoch.

        Raises:
            InputError: for a batch size below 1.
        """
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1.")
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(self))
        order = order[np.argsort(self.num_atoms[order], kind="stable")]
        batches = [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def structures(self) -> list[Structure]:
        """The crystals as pymatgen structures, in double precision, in order."""
        return [self.arrays.crystal(index).to_structure() for index in range(len(self))]

    def fingerprint(self) -> str:
        """SHA-256 of all crystals and labels, in order; ids and file names do not matter."""
        digest = hashlib.sha256()
        for array, kind in (
            (self.arrays.offsets, "<i8"),
            (self.arrays.atomic_numbers, "<i8"),
            (self.arrays.lattice, "<f4"),
            (wrap(self.arrays.frac_coords), "<f4"),
            (self._labels, "<f4"),
        ):
            digest.update(np.ascontiguousarray(array.astype(kind)).tobytes())
        digest.update("\n".join(self.property_names).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return (
            f"CrystalStructureDataset({len(self)} crystals, max_atoms={self.max_atoms}, "
            f"properties={list(self.property_names)}, skipped={len(self.skipped)})"
        )


def _tell_changes(crystals: Sequence[PlainCrystal]) -> None:
    """Log which crystals are not quite what their files say, and why."""
    changed = [crystal for crystal in crystals if crystal.notes]
    if not changed:
        return
    named = "; ".join(f"{crystal.id}: {crystal.notes[0]}" for crystal in changed[:5])
    more = f"; and {len(changed) - 5} more, see `check`" if len(changed) > 5 else ""
    _log.warning("%d crystals were changed on reading: %s%s", len(changed), named, more)


def _unusable(crystal: PlainCrystal, max_atoms: int | None) -> str | None:
    """Why a sound crystal still cannot be in the data set."""
    if crystal.atomic_numbers.max() > MAX_ATOMIC_NUMBER:
        return (
            f"element {int(crystal.atomic_numbers.max())} is beyond number {MAX_ATOMIC_NUMBER}, "
            "which no model here knows; leave it out"
        )
    for note in crystal.notes:
        if kind_of_note(note) == NOT_PERIODIC:
            return f'{note}; write pbc="T T T" if it is a crystal'
    atoms = len(crystal.atomic_numbers)
    if max_atoms is not None and atoms > max_atoms:
        return f"{atoms} atoms are more than max_atoms={max_atoms}; raise it or reduce the cell"
    return None


def _sound_table(path: Path, max_atoms: int | None) -> CrystalArrays | None:
    """A Parquet table in which no crystal needs a second look; ``None`` for any other source.

    This is the short way for large tables: the checks of :func:`records.settle`, all rows at once.
    """
    if not path.is_file():
        return None
    arrays = parquet_arrays(path)
    numbers, counts = arrays.atomic_numbers, arrays.num_atoms
    if not len(arrays) or len(set(arrays.ids)) < len(arrays) or counts.min() < 1:
        return None
    if max_atoms is not None and counts.max() > max_atoms:
        return None
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        return None
    if not (np.isfinite(arrays.frac_coords).all() and np.isfinite(arrays.lattice).all()):
        return None
    if arrays.contradicted().any():
        return None
    edges = np.linalg.norm(arrays.lattice, axis=-1)
    if edges.min() < EDGE_LIMITS[0] or edges.max() > EDGE_LIMITS[1]:
        return None
    if np.linalg.det(arrays.lattice / edges[..., None]).min() < FLAT_CELL:
        return None
    return replace(arrays, frac_coords=wrap(arrays.frac_coords))


def _where(crystal: PlainCrystal) -> str:
    return (
        crystal.source if crystal.source in ("", crystal.id) else f"{crystal.id} ({crystal.source})"
    )


def _nothing_left(source: Any, skipped: list[Skipped]) -> str:
    name = str(source) if isinstance(source, str | Path) else "the source"
    if not skipped:
        return f"{name} has no crystals; give at least one."
    first = skipped[0]
    return (
        f"{name} has no usable crystal; all {len(skipped)} were left out, the first ({first.id}) "
        f"because: {first.reason}."
    )
