"""The comparison of one structure with a few known crystals, swaps of like elements included."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError
from crystal_diffusion.matching.matcher import StructureMatch
from crystal_diffusion.matching.reduced import Ints, ReducedCrystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

Composition: TypeAlias = tuple[tuple[int, int], ...]
Arrays: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], Ints]
#: Reduced references by row.
Forms: TypeAlias = dict[int, ReducedCrystal | None]


@lru_cache(maxsize=1)
def columns() -> tuple[int, ...]:
    """Column of each element; hydrogen stands alone as 0, actinides as 19."""
    from pymatgen.core import Element

    found = [0, 0]
    for number in range(2, 119):
        element = Element.from_Z(number)
        found.append(19 if 89 <= number <= 103 else 3 if 57 <= number <= 71 else element.group)
    return tuple(found)


def like_composition(composition: Composition) -> Composition:
    """A composition with elements replaced by their columns: equal for swaps of like elements."""
    column = columns()
    return tuple(sorted((column[z], count) for z, count in composition))


@dataclass(frozen=True)
class Near:
    """A known crystal that is near by fingerprint: its row in the index, and its arrays."""

    row: int
    distance: float
    arrays: Arrays


@dataclass(frozen=True)
class CompareJob:
    """One crystal to compare, with the known ones that may match it."""

    structure: Structure
    same: list[Near]
    like: list[Near]
    nearest: int
    distance: float
    problem: str | None


@dataclass(frozen=True)
class Answer:
    """The known crystal that answers a job, and how it was found."""

    row: int
    distance: float
    matches: bool = False
    swapped: bool = False
    problem: str | None = None


def numbers_of(composition: Composition) -> Ints:
    """``(atoms,)`` atomic numbers of a composition, element by element."""
    return np.repeat([z for z, _ in composition], [n for _, n in composition]).astype(np.int64)


def answer_chunk(jobs: Sequence[CompareJob], matcher: StructureMatch) -> list[Answer]:
    """Answers of a chunk of jobs, for a worker process."""
    forms: Forms = {}
    return [answer(job, matcher, forms) for job in jobs]


def answer(job: CompareJob, matcher: StructureMatch, forms: Forms) -> Answer:
    """The first known crystal that matches; else the nearest by fingerprint."""
    if job.problem is not None:
        return Answer(0, job.distance, problem=job.problem)
    if not job.same and not job.like:
        return Answer(job.nearest, job.distance)
    try:
        form = matcher.reduced(job.structure)
    except InputError as error:
        return Answer(0, float("nan"), problem=str(error))
    for candidate in job.same:
        known = _reduced_reference(candidate, matcher, forms)
        if known is not None and form is not None and matcher.fit(known, form):
            return Answer(candidate.row, candidate.distance, matches=True)
    for candidate in job.like:
        known = _reduced_reference(candidate, matcher, forms)
        if known is None or form is None or len(known) != len(form):
            continue
        for mapping in swaps(known.elements, form.elements):
            if matcher.fit(known.relabelled(mapping), form):
                return Answer(candidate.row, candidate.distance, swapped=True)
    return Answer(job.nearest, job.distance)


def _reduced_reference(
    candidate: Near, matcher: StructureMatch, forms: Forms
) -> ReducedCrystal | None:
    """The reduced form of a reference; ``None`` where it cannot be compared."""
    from pymatgen.core import Lattice, Structure

    # Crystals of one composition are compared with the same references: each is made once.
    if candidate.row not in forms:
        lattice, coords, numbers = candidate.arrays
        try:
            structure = Structure(Lattice(lattice), numbers.tolist(), coords)
            forms[candidate.row] = matcher.reduced(structure)
        except InputError:
            forms[candidate.row] = None
    return forms[candidate.row]


def swaps(known: Composition, wanted: Composition) -> list[dict[int, int]]:
    """All ways to exchange elements for others of the same column and count."""
    column = columns()
    have: dict[tuple[int, int], list[int]] = defaultdict(list)
    want: dict[tuple[int, int], list[int]] = defaultdict(list)
    for z, count in known:
        have[column[z], count].append(z)
    for z, count in wanted:
        want[column[z], count].append(z)
    if {k: len(v) for k, v in have.items()} != {k: len(v) for k, v in want.items()}:
        return []
    choices = [
        [dict(zip(have[slot], order, strict=True)) for order in itertools.permutations(want[slot])]
        for slot in have
    ]
    return [
        {old: new for part in parts for old, new in part.items()}
        for parts in itertools.product(*choices)
    ]
