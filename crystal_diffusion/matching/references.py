"""The nearest known crystal: is it a copy, a swap of like elements, or how far is the nearest."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.matching.comparison import (
    Arrays,
    CompareJob,
    Composition,
    Near,
    answer_chunk,
    like_composition,
    numbers_of,
)
from crystal_diffusion.matching.matcher import StructureMatch
from crystal_diffusion.matching.radial import (
    COMPOSITION_BINS,
    LENGTH,
    composition_fingerprint,
    fingerprints,
    fingerprints_of_arrays,
)
from crystal_diffusion.matching.reduced import Ints, reduced_composition
from crystal_diffusion.parallel import map_chunks

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_diffusion.data.tables import CrystalArrays

#: A swap of like elements is looked for among this many nearest references of like composition.
SWAP_CANDIDATES = 8
_FORMAT = "crystal-diffusion reference index 1"
#: Structures whose distances to all references are worked out together.
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class NearestKnown:
    """The known crystal that is nearest to a structure.

    Attributes:
        id: its name; empty where the structure could not be compared.
        distance: root mean square difference of the fingerprints of geometry and of composition,
            added in squares; 0 for equal crystals, about 0.01 and 0.04 for atoms displaced by 1 and
            3 % of (V/N)^(1/3), 0.4 for two crystals chosen at random.
        matches: whether it is the same crystal to the structure matcher.
        swap_of_like_elements: whether it is the same crystal once elements are exchanged for
            others of their column of the periodic table (lanthanides count as column 3, actinides
            as one column).
        problem: why the structure could not be compared, else ``None``.
    """

    id: str
    distance: float
    matches: bool
    swap_of_like_elements: bool
    problem: str | None = None


class ReferenceIndex:
    """Known crystals, to be asked for the nearest to a structure.

    Args:
        ids: one name a crystal.
        lattice: ``(crystals, 3, 3)`` rows in Å.
        frac_coords: ``(all atoms, 3)``, crystal after crystal.
        atomic_numbers: ``(all atoms,)``.
        offsets: ``(crystals + 1,)`` first atom of each crystal.
        vectors: ``(crystals, 66)`` fingerprints; NaN where there is none.

    Raises:
        InputError: for no crystals.
    """

    def __init__(
        self,
        ids: Sequence[str],
        lattice: NDArray[np.float64],
        frac_coords: NDArray[np.float64],
        atomic_numbers: Ints,
        offsets: Ints,
        vectors: NDArray[np.floating],
    ) -> None:
        if not len(ids):
            raise InputError("the reference has no crystals; give a file or folder with some.")
        self.ids = tuple(str(name) for name in ids)
        self.lattice, self.frac_coords = lattice, frac_coords
        self.atomic_numbers, self.offsets = np.asarray(atomic_numbers, np.int64), offsets
        self.vectors = np.asarray(vectors, np.float16)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_arrays(cls, arrays: CrystalArrays, processes: int = 1) -> ReferenceIndex:
        """From flat arrays, as ``data.parquet_arrays`` reads them; about 1 ms each."""
        vectors = fingerprints_of_arrays(arrays, processes)
        return cls(
            arrays.ids,
            arrays.lattice,
            arrays.frac_coords,
            arrays.atomic_numbers,
            arrays.offsets,
            vectors,
        )

    @classmethod
    def from_structures(
        cls, structures: Mapping[str, Structure] | Sequence[Structure], processes: int = 1
    ) -> ReferenceIndex:
        """From structures by id, or in a list and then named by their place."""
        from crystal_diffusion.data.records import PlainCrystal
        from crystal_diffusion.data.tables import CrystalArrays

        named = (
            dict(structures)
            if isinstance(structures, Mapping)
            else {str(i): s for i, s in enumerate(structures)}
        )
        plain = []
        for name, structure in named.items():
            if not structure.is_ordered:
                raise InputError(
                    f"reference {name} ({structure.formula}) has partial occupancy; order it "
                    "first, for example with iter_crystals(..., disorder='order')."
                )
            numbers = np.array([site.specie.Z for site in structure], np.int64)
            plain.append(
                PlainCrystal(
                    name, np.array(structure.lattice.matrix), structure.frac_coords, numbers
                )
            )
        return cls.from_arrays(CrystalArrays.from_crystals(plain), processes)

    def save(self, path: Path | str) -> None:
        """Write to a ``.npz`` file (positions and cells in single precision)."""
        path = Path(path)
        with atomic_write(path) as part, part.open("wb") as handle:
            np.savez_compressed(
                handle,
                format=np.array(_FORMAT),
                ids=np.array(self.ids),
                lattice=np.asarray(self.lattice, np.float32),
                frac_coords=np.asarray(self.frac_coords, np.float32),
                atomic_numbers=np.asarray(self.atomic_numbers, np.uint8),
                offsets=np.asarray(self.offsets, np.int64),
                vectors=self.vectors,
            )

    @classmethod
    def load(cls, path: Path | str) -> ReferenceIndex:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: for a file that is missing or is something else.
        """
        try:
            with np.load(str(path), allow_pickle=False) as file:
                if str(file["format"]) != _FORMAT:
                    raise InputError(f"{path} is no reference index of this version; make it anew.")
                return cls(
                    file["ids"].tolist(),
                    file["lattice"].astype(np.float64),
                    file["frac_coords"].astype(np.float64),
                    file["atomic_numbers"].astype(np.int64),
                    file["offsets"],
                    file["vectors"],
                )
        except FileNotFoundError as error:
            raise InputError(
                f"{path} does not exist; give a file of ReferenceIndex.save."
            ) from error
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no reference index ({error}); make it anew.") from error

    def numbers(self, row: int) -> Ints:
        """Atomic numbers of one reference."""
        return self.atomic_numbers[self.offsets[row] : self.offsets[row + 1]]

    def structure(self, row: int) -> Structure:
        """One of the references."""
        from pymatgen.core import Lattice, Structure

        lattice, coords, numbers = self._arrays(row)
        return Structure(Lattice(lattice), numbers.tolist(), coords)

    def _arrays(self, row: int) -> Arrays:
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        return self.lattice[row], self.frac_coords[start:stop], self.atomic_numbers[start:stop]

    @cached_property
    def compositions(self) -> list[Composition]:
        """Reduced composition of each reference."""
        return [reduced_composition(self.numbers(row)) for row in range(len(self))]

    @cached_property
    def by_composition(self) -> dict[Composition, list[int]]:
        """References of each reduced composition."""
        found: dict[Composition, list[int]] = defaultdict(list)
        for row, composition in enumerate(self.compositions):
            found[composition].append(row)
        return dict(found)

    @cached_property
    def by_like_composition(self) -> dict[Composition, list[int]]:
        """References of each composition in columns of the periodic table."""
        found: dict[Composition, list[int]] = defaultdict(list)
        for composition, rows in self.by_composition.items():
            found[like_composition(composition)] += rows
        return dict(found)

    @cached_property
    def _table(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scaled vectors, so that squared differences add up to squared distances; their norms."""
        vectors = np.nan_to_num(self.vectors.astype(np.float32), nan=1e3) / LENGTH**0.5
        by_kind = {c: composition_fingerprint(numbers_of(c)) for c in self.by_composition}
        elements = np.array([by_kind[c] for c in self.compositions], np.float32)
        table = np.concatenate([vectors, elements / COMPOSITION_BINS**0.5], 1)
        return table, np.einsum("ij,ij->i", table, table)

    def nearest(self, structure: Structure, matcher: StructureMatch | None = None) -> NearestKnown:
        """The nearest reference of one structure; see :meth:`nearest_many`."""
        return self.nearest_many([structure], matcher)[0]

    def nearest_many(
        self,
        structures: Sequence[Structure],
        matcher: StructureMatch | None = None,
        processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[NearestKnown]:
        """The nearest reference of each structure.

        First, all references of the same reduced composition are compared with the full matcher,
        nearest fingerprint first. If none matches, the nearest few whose composition differs by
        a swap of like elements are compared after the swap. If none of these matches either, the
        reference with the nearest fingerprint is the answer. A structure that cannot be compared
        gets an answer with ``problem``.

        Args:
            structures: crystals.
            matcher: tolerances; the default is ``StructureMatch()``.
            processes: worker processes.
            progress: called with the structures done and the number of all.
        """
        matcher = matcher or StructureMatch()
        jobs: list[CompareJob] = []
        for start in range(0, len(structures), _ROWS_AT_ONCE):
            jobs += self._jobs(structures[start : start + _ROWS_AT_ONCE], processes)
        answers = map_chunks(answer_chunk, jobs, processes, matcher, progress=progress)
        return [
            NearestKnown(
                self.ids[answer.row] if answer.problem is None else "",
                answer.distance,
                answer.matches,
                answer.swapped,
                answer.problem,
            )
            for answer in answers
        ]

    def _jobs(self, structures: Sequence[Structure], processes: int) -> list[CompareJob]:
        table, norms = self._table
        vectors = fingerprints(structures, processes) / LENGTH**0.5
        jobs = []
        for structure, vector in zip(structures, vectors, strict=True):
            if not np.isfinite(vector).all():
                problem = (
                    f"{structure.formula} has no fingerprint (no volume, partial occupancy, or a "
                    "cell too flat or thin)"
                )
                jobs.append(CompareJob(structure, [], [], 0, float("nan"), problem))
                continue
            numbers = np.array([site.specie.Z for site in structure], np.int64)
            composition = reduced_composition(numbers)
            elements = composition_fingerprint(numbers_of(composition)) / COMPOSITION_BINS**0.5
            point = np.concatenate([vector, elements]).astype(np.float32)
            # |x - y|^2 by a matrix product finds the nearest; the few that count are done exactly.
            nearest = int(np.argmin(norms - 2 * (table @ point)))

            def ranked(rows: list[int], point: NDArray[np.float32] = point) -> list[Near]:
                gaps = np.sqrt(((table[rows] - point) ** 2).sum(1))
                return [
                    Near(rows[i], float(gaps[i]), self._arrays(rows[i]))
                    for i in np.argsort(gaps, kind="stable")
                ]

            same = self.by_composition.get(composition, [])
            like = self.by_like_composition.get(like_composition(composition), [])
            others = sorted(set(like) - set(same))
            jobs.append(
                CompareJob(
                    structure,
                    ranked(same),
                    ranked(others)[:SWAP_CANDIDATES],
                    nearest,
                    float(np.sqrt(((table[nearest] - point) ** 2).sum())),
                    None,
                )
            )
        return jobs


def nearest(
    structure: Structure,
    references: Mapping[str, Structure] | Sequence[Structure],
    matcher: StructureMatch | None = None,
) -> NearestKnown:
    """The nearest of a few references; for many structures make a :class:`ReferenceIndex` once."""
    return ReferenceIndex.from_structures(references).nearest(structure, matcher)
