"""The library: known crystals, quantised, grouped by structure type.

Every crystal is kept in the frame of its structure type (same basis, origin and atom order), so
its cell is one primitive cell of the crystal, not always the reduced one. Positions and cells are
symmetrised at 0.1 Å. Quantisation: coordinates 1/65536, edges 0.001 Å, angles 1/300 degree.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.deprecated import old_names
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.proposals.quantisation import (
    ANGLE_STEPS_PER_DEGREE,
    COORD_STEPS,
    EDGE_STEP_A,
    cell_volume,
    composition_code,
    encode_cell,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.proposals.clustering import StructureType

log = logging.getLogger(__name__)

#: Largest number of different elements of one crystal in a library.
MAX_ROLES = 10
_FORMAT = "crystal-diffusion reference library 1"


def default_library_path() -> Path:
    """Where the shipped library lies."""
    return asset_path("library.npz")


@lru_cache(maxsize=1)
def default_library() -> CrystalLibrary:
    """The shipped library, read once per process."""
    return CrystalLibrary.load()


@dataclass(frozen=True, eq=False)
class CrystalLibrary:
    """Crystals grouped by structure type; entries of one type are neighbours in all arrays.

    Attributes:
        type_counts: ``(types, MAX_ROLES)`` uint8, atoms of each role in the primitive cell,
            ascending, 0 where there is no such role.
        type_space_group: ``(types,)``, at symprec 0.1 Å.
        type_label: ``(types,)`` names such as ``AB3C_5_221_a_c_b``: counts, sites, group, Wyckoff
            letters of each role, and ``#2``, ``#3`` where geometries differ.
        type_start: ``(types + 1,)`` first entry of each type.
        type_swaps: for each type the permutations of roles that leave it as it is.
        elements: ``(entries, MAX_ROLES)`` uint8, atomic number of each role.
        cells: ``(entries, 6)`` uint16, quantised a, b, c, alpha, beta, gamma.
        coords: ``(all atoms, 3)`` uint16, atoms of one entry in order of roles.
        coord_start: ``(entries + 1,)`` first row of each entry in ``coords``.
        numbers: ``(entries,)`` int32, the number of a ``mp-NUMBER`` id, else minus the row of
            ``names`` minus one.
        e_above_hull, formation_energy: ``(entries,)`` float32, eV/atom, nan where unknown.
        source: where the crystals come from, with licence.
        own: ``(entries,)`` true for crystals that the user added; none where left out.
    """

    type_counts: NDArray[np.uint8]
    type_space_group: NDArray[np.uint8]
    type_label: NDArray[np.str_]
    type_start: NDArray[np.int64]
    type_swaps: Mapping[int, tuple[tuple[int, ...], ...]]
    elements: NDArray[np.uint8]
    cells: NDArray[np.uint16]
    coords: NDArray[np.uint16]
    coord_start: NDArray[np.int64]
    numbers: NDArray[np.int32]
    names: tuple[str, ...]
    e_above_hull: NDArray[np.float32]
    formation_energy: NDArray[np.float32]
    source: str
    own: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.elements)

    # ---- what is known about an entry -------------------------------------------------------

    @cached_property
    def entry_type(self) -> NDArray[np.int64]:
        """``(entries,)`` the type of each entry."""
        return np.repeat(np.arange(len(self.type_counts)), np.diff(self.type_start))

    @property
    def space_group(self) -> NDArray[np.uint8]:
        """``(entries,)`` at symprec 0.1 Å."""
        return self.type_space_group[self.entry_type]

    @cached_property
    def composition_codes(self) -> NDArray[np.int64]:
        """``(entries,)`` see :func:`composition_code`."""
        return composition_code(self.elements, self.type_counts[self.entry_type])

    @cached_property
    def keys(self) -> dict[tuple[int, ...], tuple[int, int]]:
        """From atoms per role (ascending) to the first type with them and the one after them."""
        found: dict[tuple[int, ...], tuple[int, int]] = {}
        change = np.flatnonzero((np.diff(self.type_counts.astype(int), axis=0) != 0).any(1)) + 1
        edges = [0, *change.tolist(), len(self.type_counts)]
        for first, after in itertools.pairwise(edges):
            if after > first:
                counts = self.type_counts[first]
                found[tuple(int(count) for count in counts[counts > 0])] = (first, after)
        return found

    @cached_property
    def ids(self) -> list[str]:
        """Identifiers of all entries."""
        return [self.id_of(entry) for entry in range(len(self))]

    def id_of(self, entry: int) -> str:
        """Identifier of one entry."""
        number = int(self.numbers[entry])
        return f"mp-{number}" if number >= 0 else self.names[-number - 1]

    def formula(self, entry: int) -> str:
        """Reduced formula of one entry."""
        from pymatgen.core import Composition, Element

        counts = self.type_counts[self.entry_type[entry]]
        pairs = zip(self.elements[entry].tolist(), counts.tolist(), strict=True)
        return str(
            Composition({Element.from_Z(z): count for z, count in pairs if z}).reduced_formula
        )

    def entries_of(self, composition: Mapping[int, int]) -> NDArray[np.int64]:
        """Entries with the same reduced composition (atomic number to count)."""
        elements = np.array(list(composition), dtype=np.int64)
        counts = np.array([int(composition[int(z)]) for z in elements], dtype=np.int64)
        return np.flatnonzero(self.composition_codes == composition_code(elements, counts))

    # ---- geometry ---------------------------------------------------------------------------

    def atoms_of(self, kind: int) -> int:
        """Atoms in the primitive cell of a type."""
        return int(self.type_counts[kind].sum())

    def roles_of(self, kind: int) -> NDArray[np.int64]:
        """``(atoms,)`` role of each atom of a type."""
        counts = self.type_counts[kind]
        return np.repeat(np.arange(len(counts)), counts)

    def parameters(self, entries: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        """``(entries, 6)`` a, b, c in Å, alpha, beta, gamma in degrees."""
        coded = self.cells[entries].astype(float)
        coded[..., :3] *= EDGE_STEP_A
        coded[..., 3:] /= ANGLE_STEPS_PER_DEGREE
        return np.asarray(coded, dtype=float)

    def frac_coords(self, kind: int, entries: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(entries, atoms, 3)`` of entries of one type, in [0, 1)."""
        rows = self.coord_start[entries][:, None] + np.arange(self.atoms_of(kind))
        return np.asarray(self.coords[rows].astype(float) / COORD_STEPS, dtype=float)

    def structure(self, entry: int) -> Structure:
        """One entry as a pymatgen Structure (primitive cell in the frame of its type)."""
        from pymatgen.core import Lattice, Structure

        if not 0 <= entry < len(self):
            raise InputError(
                f"entry is {entry}, the library has {len(self)}; give 0 or more, less than that."
            )
        kind = int(self.entry_type[entry])
        one = np.array([entry])
        numbers = self.elements[entry][self.roles_of(kind)]
        return Structure(
            Lattice.from_parameters(*self.parameters(one)[0]),
            numbers.tolist(),
            self.frac_coords(kind, one)[0],
        )

    @cached_property
    def volume_per_atom(self) -> NDArray[np.float64]:
        """``(entries,)`` Å3."""
        atoms = self.type_counts.sum(1)[self.entry_type]
        return np.asarray(cell_volume(self.parameters(slice(None))) / atoms, dtype=float)

    # ---- making, saving, loading ------------------------------------------------------------

    @classmethod
    def from_structures(
        cls,
        structures: Iterable[Structure],
        ids: Sequence[str] | None = None,
        *,
        e_above_hull: Sequence[float] | None = None,
        formation_energy: Sequence[float] | None = None,
        source: str = "given structures",
    ) -> CrystalLibrary:
        """A library from ordered crystals.

        Raises:
            InputError: a crystal is disordered, has too many elements, or its symmetry cannot be
                found; the message names it.
        """
        from crystal_diffusion.proposals.clustering import group_entries, read_entry

        entries = []
        for row, structure in enumerate(structures):
            name = ids[row] if ids is not None else f"crystal-{row}"
            if not structure.is_ordered:
                raise InputError(f"Crystal {name} is disordered; give ordered crystals.")
            hull = math.nan if e_above_hull is None else float(e_above_hull[row])
            energy = math.nan if formation_energy is None else float(formation_energy[row])
            numbers = [int(number) for number in structure.atomic_numbers]
            if len(set(numbers)) > MAX_ROLES:
                raise InputError(
                    f"Crystal {name} has {len(set(numbers))} elements, a library holds at most "
                    f"{MAX_ROLES}; leave it out."
                )
            try:
                entry = read_entry(
                    name,
                    structure.lattice.matrix,
                    structure.frac_coords,
                    numbers,
                    e_above_hull=hull,
                    formation_energy=energy,
                )
            except ValueError as problem:
                raise InputError(
                    f"Crystal {name}: the symmetry search failed ({problem}); leave it out."
                ) from problem
            entries.append(entry)
        return cls.from_types(group_entries(entries), source)

    @classmethod
    def from_types(cls, types: Sequence[StructureType], source: str) -> CrystalLibrary:
        """A library from grouped crystals (see ``clustering.group_entries``)."""
        order = sorted(
            types, key=lambda kind: (len(kind.counts), kind.counts, -len(kind.members), kind.label)
        )
        size = sum(len(kind.members) for kind in order)
        type_counts = np.zeros((len(order), MAX_ROLES), dtype=np.uint8)
        elements = np.zeros((size, MAX_ROLES), dtype=np.uint8)
        cells, coords, numbers = [], [], np.zeros(size, dtype=np.int32)
        names: list[str] = []
        labels: list[str] = []
        seen: dict[str, int] = {}
        hull, energy = np.full(size, np.nan, np.float32), np.full(size, np.nan, np.float32)
        swaps: dict[int, tuple[tuple[int, ...], ...]] = {}
        row = 0
        for index, kind in enumerate(order):
            type_counts[index, : len(kind.counts)] = kind.counts
            seen[kind.label] = seen.get(kind.label, 0) + 1
            labels.append(kind.label + (f"#{seen[kind.label]}" if seen[kind.label] > 1 else ""))
            if kind.swaps:
                swaps[index] = kind.swaps
            for member in kind.members:
                elements[row, : len(kind.counts)] = member.elements
                cells.append(encode_cell(member.frame.lattice))
                coords.append(np.rint(member.frame.coords % 1 * COORD_STEPS).astype(np.int64))
                number = member.entry.id.removeprefix("mp-")
                if member.entry.id.startswith("mp-") and number.isdigit():
                    numbers[row] = int(number)
                else:
                    names.append(member.entry.id)
                    numbers[row] = -len(names)
                hull[row], energy[row] = member.entry.e_above_hull, member.entry.formation_energy
                row += 1
        lengths = [len(block) for block in coords]
        return cls(
            type_counts,
            np.array([kind.space_group for kind in order], dtype=np.uint8),
            np.array(labels, dtype=np.str_),
            np.concatenate([[0], np.cumsum([len(kind.members) for kind in order])]).astype(
                np.int64
            ),
            swaps,
            elements,
            np.array(cells, dtype=np.uint16).reshape(-1, 6),
            (np.concatenate(coords) % COORD_STEPS).astype(np.uint16)
            if coords
            else np.zeros((0, 3), np.uint16),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            numbers,
            tuple(names),
            hull,
            energy,
            source,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` file; coordinates as differences from the type's first member."""
        target = Path(path)
        header = {
            "format": _FORMAT,
            "source": self.source,
            "names": self.names,
            "labels": "\n".join(self.type_label.tolist()),
            "swaps": {str(kind): perms for kind, perms in self.type_swaps.items()},
        }
        difference = (self.coords - self.coords[self._first_rows()]).view(np.int16)
        difference = np.where(np.abs(difference) <= 2, 0, difference).astype(np.int16)
        planes = difference.view(np.uint8).reshape(-1, 3, 2)
        first = self.coord_start[self.type_start[:-1]]
        atoms = self.type_counts.sum(1).astype(np.int64)
        rows = np.concatenate(
            [np.arange(s, s + n) for s, n in zip(first, atoms, strict=True)] or [np.zeros(0, int)]
        )
        with atomic_write(target) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                type_counts=self.type_counts,
                type_space_group=self.type_space_group,
                type_sizes=np.diff(self.type_start).astype(np.int32),
                elements=np.ascontiguousarray(self.elements.T),
                cells=np.ascontiguousarray(self.cells.T),
                type_coords=np.ascontiguousarray(self.coords[rows].T),
                low=np.ascontiguousarray(planes[..., 0].T),
                high=np.ascontiguousarray(planes[..., 1].T),
                numbers=self.numbers,
                e_above_hull=self.e_above_hull.astype(np.float16),
                formation_energy=self.formation_energy.astype(np.float16),
            )

    def _first_rows(self) -> NDArray[np.int64]:
        """``(all atoms,)`` row of the same atom in the first member of the type."""
        atoms = self.type_counts.sum(1).astype(np.int64)[self.entry_type]
        within = np.arange(len(self.coords)) - np.repeat(self.coord_start[:-1], atoms)
        first = self.coord_start[self.type_start[:-1]][self.entry_type]
        return np.repeat(first, atoms) + within

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> CrystalLibrary:
        """Read a library; without ``path``, the one that is shipped.

        Raises:
            InputError: no such file, or not a library of this version.
        """
        source = default_library_path() if path is None else Path(path)
        if not source.is_file():
            raise InputError(
                f"There is no library of crystals at {source}; give the path of a saved one, or "
                "reinstall the package."
            )
        try:
            with np.load(source, allow_pickle=False) as stored:
                data = {name: stored[name] for name in stored.files}
            header = json.loads(data["header"].tobytes())
        except (ValueError, KeyError, OSError) as problem:
            raise InputError(
                f"{source} is not a library of crystals ({problem}); give one written by save()."
            ) from problem
        if header.get("format") != _FORMAT:
            raise InputError(
                f"{source} has format {header.get('format')!r}, this version reads {_FORMAT!r}; "
                "make the library again."
            )
        sizes = data["type_sizes"].astype(np.int64)
        atoms = data["type_counts"].sum(1).astype(np.int64)
        entry_atoms = np.repeat(atoms, sizes)
        coord_start = np.concatenate([[0], np.cumsum(entry_atoms)])
        type_rows = np.concatenate([[0], np.cumsum(atoms)])[:-1]
        within = np.arange(int(entry_atoms.sum())) - np.repeat(coord_start[:-1], entry_atoms)
        rows = np.repeat(np.repeat(type_rows, sizes), entry_atoms) + within
        difference = data["low"].astype(np.uint16) | (data["high"].astype(np.uint16) << 8)
        return cls(
            data["type_counts"],
            data["type_space_group"],
            np.array(header["labels"].split("\n"), dtype=np.str_),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            {int(k): tuple(tuple(p) for p in v) for k, v in header["swaps"].items()},
            np.ascontiguousarray(data["elements"].T),
            np.ascontiguousarray(data["cells"].T),
            np.ascontiguousarray((data["type_coords"][:, rows] + difference).T),
            coord_start.astype(np.int64),
            data["numbers"],
            tuple(header["names"]),
            data["e_above_hull"].astype(np.float32),
            data["formation_energy"].astype(np.float32),
            header["source"],
        )


def load_library(path: Path | None = None) -> CrystalLibrary | None:
    """The shipped library of known crystals; None (and a warning) where it is not there."""
    try:
        return CrystalLibrary.load(path)
    except InputError as error:
        if path is not None:
            raise
        log.warning("no library of known crystals: %s", error)
        return None


__getattr__ = old_names(__name__, ReferenceLibrary="CrystalLibrary")
