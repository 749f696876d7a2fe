"""The index of known crystals that ships with the package.

Three kinds of rows, in this order: the crystals of the library, which proposals use too;
further crystals with a structure (validation sets); crystals of which only formula, space group and
volume are told, because the benchmarks that ask for them stay blind (test sets). Every row has the
energy of one potential at its published cell, where that could be computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.energy.reference_energies import ReferenceEntry
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.proposals.library import MAX_ROLES, CrystalLibrary, default_library
from crystal_diffusion.proposals.quantisation import (
    ANGLE_STEPS_PER_DEGREE,
    COORD_STEPS,
    EDGE_STEP_A,
    composition_code,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

_FORMAT = "crystal-diffusion known crystals 1"
#: Energies are kept in whole steps of this many eV/atom.
ENERGY_STEP_EV = 1e-4
_NO_ENERGY = np.iinfo(np.int32).min
#: Volumes per atom are kept in whole steps of this many Å³.
VOLUME_STEP_A3 = 0.005


def known_path() -> Path:
    """Where the shipped index lies."""
    return asset_path("known.npz")


@lru_cache(maxsize=1)
def load_known() -> KnownCrystals:
    """The shipped index, read once per process.

    Raises:
        InputError: it is not there, or of another version.
    """
    return KnownCrystals.load(known_path(), default_library())


@dataclass(frozen=True, eq=False)
class KnownCrystals:
    """Known crystals: the library, further ones with structure, and some without coordinates.

    Attributes:
        library: its entries are the first rows of the index.
        names: ids of the rows after the library.
        elements: ``(rows, MAX_ROLES)`` uint8, atomic numbers, 0 = none.
        counts: ``(rows, MAX_ROLES)`` uint8, atoms of each in the cell.
        space_group: ``(rows,)`` at symprec 0.1 Å, 0 where none was found.
        volume_per_atom: ``(rows,)`` Å³.
        energy: ``(rows,)`` eV/atom at the published cell with ``potential``; NaN where none.
        origin: ``(rows,)`` index into ``origins``.
        origins: names of the sets.
        cells: ``(with structure, 6)`` uint16, quantised as in the library.
        coords: ``(atoms, 3)`` uint16.
        numbers: ``(atoms,)`` uint8.
        coord_start: ``(with structure + 1,)`` first atom of each in ``coords``.
        date: when the index was made.
        potential, potential_version: whose energies they are.
    """

    library: CrystalLibrary
    names: tuple[str, ...]
    elements: NDArray[np.uint8]
    counts: NDArray[np.uint8]
    space_group: NDArray[np.uint8]
    volume_per_atom: NDArray[np.float64]
    energy: NDArray[np.float64]
    origin: NDArray[np.uint8]
    origins: tuple[str, ...]
    cells: NDArray[np.uint16]
    coords: NDArray[np.uint16]
    numbers: NDArray[np.uint8]
    coord_start: NDArray[np.int64]
    date: str
    potential: str
    potential_version: str

    @classmethod
    def of_library(cls, library: CrystalLibrary) -> KnownCrystals:
        """An index of the crystals of a library alone, without energies."""
        elements, counts = empty_rows(0)
        rows = len(library)
        return cls(
            library,
            (),
            np.concatenate([library.elements, elements]),
            np.concatenate([library.type_counts[library.entry_type], counts]),
            library.space_group,
            library.volume_per_atom,
            np.full(rows, np.nan),
            np.zeros(rows, np.uint8),
            (library.source,),
            np.zeros((0, 6), np.uint16),
            np.zeros((0, 3), np.uint16),
            np.zeros(0, np.uint8),
            np.zeros(1, np.int64),
            "",
            "",
            "",
        )

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def title(self) -> str:
        """What the index is, for pages and tables."""
        if not self.date:
            return f"{len(self):,} known crystals ({self.origins[0]})"
        return (
            f"{len(self):,} known crystals (Materials Project v2025.02.12 and the sets MP-20, "
            f"MPTS-52, Perov-5, Carbon-24; index of {self.date})"
        )

    def id_of(self, row: int) -> str:
        """Identifier of a row."""
        own = row - len(self.library)
        return self.library.id_of(row) if own < 0 else self.names[own]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """From identifier to row."""
        return {self.id_of(row): row for row in range(len(self))}

    def origin_of(self, row: int) -> str:
        """Name of the set a row comes from."""
        return self.origins[self.origin[row]]

    @property
    def structures(self) -> int:
        """Rows with a structure: those before this one."""
        return len(self.library) + len(self.cells)

    def has_structure(self, row: int) -> bool:
        """Whether the coordinates of a row are at hand."""
        return row < self.structures

    def structure(self, row: int) -> Structure:
        """The crystal of a row.

        Raises:
            InputError: no such row, or one without coordinates.
        """
        if not 0 <= row < self.structures:
            raise InputError(
                f"row {row} of the index of known crystals has no coordinates; rows 0 to "
                f"{self.structures - 1} have."
            )
        if row < len(self.library):
            return self.library.structure(row)
        from pymatgen.core import Lattice, Structure

        own = row - len(self.library)
        cell = self.cells[own].astype(float)
        lattice = Lattice.from_parameters(
            *(cell[:3] * EDGE_STEP_A), *(cell[3:] / ANGLE_STEPS_PER_DEGREE)
        )
        atoms = slice(int(self.coord_start[own]), int(self.coord_start[own + 1]))
        fractional = self.coords[atoms].astype(float) / COORD_STEPS
        return Structure(lattice, self.numbers[atoms].tolist(), fractional)

    def composition(self, row: int) -> dict[str, int]:
        """Atoms of each element in the cell of a row, by symbol."""
        from ase.data import chemical_symbols

        pairs = zip(self.elements[row].tolist(), self.counts[row].tolist(), strict=True)
        return {chemical_symbols[z]: n for z, n in pairs if z}

    # ---- what is asked ----------------------------------------------------------------------

    @cached_property
    def composition_codes(self) -> NDArray[np.int64]:
        """``(rows,)`` see `proposals.quantisation.composition_code`."""
        return composition_code(self.elements, self.counts)

    def of_composition(self, composition: Mapping[int, int]) -> NDArray[np.int64]:
        """Rows of the same reduced composition (atomic number to count)."""
        elements = np.array(list(composition), dtype=np.int64)
        counts = np.array(list(composition.values()), dtype=np.int64)
        return np.flatnonzero(self.composition_codes == composition_code(elements, counts))

    def reduced(self, row: int) -> tuple[tuple[int, int], ...]:
        """Atomic numbers and counts of the reduced formula of a row, in ascending order."""
        present = self.elements[row] > 0
        counts = self.counts[row][present].astype(int)
        counts //= np.gcd.reduce(counts)
        return tuple(
            sorted(zip(self.elements[row][present].tolist(), counts.tolist(), strict=True))
        )

    @cached_property
    def _proportions(self) -> dict[tuple[int, ...], NDArray[np.int64]]:
        """Rows with a structure by the sorted counts of their reduced formula."""
        counts = np.sort(self.counts[: self.structures].astype(np.int64), axis=1)
        counts //= np.gcd.reduce(counts, axis=1)[:, None]
        kinds, kind = np.unique(counts, axis=0, return_inverse=True)
        order = np.argsort(kind.reshape(-1), kind="stable")
        edges = np.searchsorted(kind.reshape(-1)[order], np.arange(len(kinds) + 1))
        return {
            tuple(row[row > 0].tolist()): order[edges[i] : edges[i + 1]]
            for i, row in enumerate(kinds)
        }

    def of_proportions(self, counts: tuple[int, ...]) -> NDArray[np.int64]:
        """Rows with a structure whose reduced formula has these counts, in ascending order."""
        return self._proportions.get(counts, np.zeros(0, np.int64))

    @cached_property
    def _masks(self) -> NDArray[np.uint64]:
        """``(rows, 2)`` one bit for each element."""
        masks = np.zeros((len(self), 2), dtype=np.uint64)
        for role in range(self.elements.shape[1]):
            z = self.elements[:, role].astype(np.uint64)
            bits = np.left_shift(np.uint64(1), z % np.uint64(64))
            for half in range(2):
                masks[:, half] |= np.where((z > 0) & (z // np.uint64(64) == half), bits, 0)
        return masks

    def of_system(self, symbols: Iterable[str]) -> NDArray[np.int64]:
        """Rows made of these elements only."""
        from ase.data import atomic_numbers

        allowed = [0, 0]
        for symbol in symbols:
            allowed[atomic_numbers[symbol] // 64] |= 1 << (atomic_numbers[symbol] % 64)
        outside = self._masks & ~np.array(allowed, dtype=np.uint64)
        return np.flatnonzero(~outside.any(axis=1))

    def entries_of(self, symbols: Iterable[str]) -> list[ReferenceEntry]:
        """Reference energies of a chemical system: for each composition the lowest row."""
        rows = self.of_system(symbols)
        rows = rows[np.isfinite(self.energy[rows])]
        rows = rows[np.argsort(self.energy[rows], kind="stable")]
        _, lowest = np.unique(self.composition_codes[rows], return_index=True)
        return [
            ReferenceEntry(
                self.id_of(row), self.composition(row), float(self.energy[row]), False, self.date
            )
            for row in rows[np.sort(lowest)].tolist()
        ]

    # ---- saving, loading --------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write what the library does not hold, and all energies, to one ``.npz`` file."""
        first = len(self.library)
        header = {
            "format": _FORMAT,
            "library": len(self.library),
            "names": "\n".join(self.names),
            "origins": self.origins,
            "date": self.date,
            "potential": self.potential,
            "potential_version": self.potential_version,
        }
        energy = np.full(len(self), _NO_ENERGY, dtype=np.int32)
        told = np.isfinite(self.energy)
        energy[told] = np.rint(self.energy[told] / ENERGY_STEP_EV).astype(np.int32)
        planes = np.ascontiguousarray(energy.view(np.uint8).reshape(-1, 4).T)
        coords = np.ascontiguousarray(self.coords.view(np.uint8).reshape(-1, 6).T)
        with atomic_write(path) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                elements=np.ascontiguousarray(self.elements[first:].T),
                counts=np.ascontiguousarray(self.counts[first:].T),
                space_group=self.space_group[first:],
                volume=np.rint(self.volume_per_atom[first:] / VOLUME_STEP_A3).astype(np.uint16),
                origin=self.origin[first:],
                energy=planes,
                cells=np.ascontiguousarray(self.cells.T),
                coords=coords,
                numbers=self.numbers,
                sizes=np.diff(self.coord_start).astype(np.uint8),
            )

    @classmethod
    def load(cls, path: Path, library: CrystalLibrary) -> KnownCrystals:
        """Read what `save` wrote, beside the library it was made for.

        Raises:
            InputError: no such file, one of another version, or made for another library.
        """
        if not path.is_file():
            raise InputError(
                f"there is no index of known crystals at {path}; reinstall the package."
            )
        try:
            with np.load(path, allow_pickle=False) as stored:
                data = {name: stored[name] for name in stored.files}
            header = json.loads(data["header"].tobytes())
        except (ValueError, KeyError, OSError) as problem:
            raise InputError(
                f"{path} is not an index of known crystals ({problem}); reinstall the package."
            ) from problem
        if header.get("format") != _FORMAT or header.get("library") != len(library):
            raise InputError(
                f"{path} is an index of another version (format {header.get('format')!r} for a "
                f"library of {header.get('library')} crystals, here are {_FORMAT!r} and "
                f"{len(library)}); install package and data of one version."
            )
        energy = np.ascontiguousarray(data["energy"].T).view(np.int32).reshape(-1)
        own = np.ascontiguousarray(data["elements"].T)
        counts = np.ascontiguousarray(data["counts"].T)
        zeros = np.zeros(len(library), dtype=np.uint8)
        return cls(
            library,
            tuple(header["names"].split("\n")) if header["names"] else (),
            np.concatenate([library.elements, own]),
            np.concatenate([library.type_counts[library.entry_type], counts]),
            np.concatenate([library.space_group, data["space_group"]]),
            np.concatenate([library.volume_per_atom, data["volume"] * VOLUME_STEP_A3]),
            np.where(energy == _NO_ENERGY, np.nan, energy * ENERGY_STEP_EV),
            np.concatenate([zeros, data["origin"]]),
            tuple(header["origins"]),
            np.ascontiguousarray(data["cells"].T),
            np.ascontiguousarray(data["coords"].T).view(np.uint16).reshape(-1, 3),
            data["numbers"],
            np.concatenate([[0], np.cumsum(data["sizes"], dtype=np.int64)]),
            header["date"],
            header["potential"],
            header["potential_version"],
        )


def empty_rows(rows: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Arrays of elements and counts to be filled."""
    return np.zeros((rows, MAX_ROLES), np.uint8), np.zeros((rows, MAX_ROLES), np.uint8)
