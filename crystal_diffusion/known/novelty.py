"""Is a crystal known, and which known one is nearest: the shipped index, the user's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.errors import InputError
from crystal_diffusion.known.index import KnownCrystals
from crystal_diffusion.matching.comparison import like_composition
from crystal_diffusion.matching.matcher import StructureMatch
from crystal_diffusion.matching.radial import (
    composition_fingerprint,
    composition_fingerprints,
    distance,
    fingerprints,
)
from crystal_diffusion.matching.reduced import reduced_composition
from crystal_diffusion.runs.columns import Row

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: How a crystal was recognised.
BY_STRUCTURE = "structure"
BY_FORMULA = "formula, group and volume"
#: Two crystals without coordinates to compare are not one where their energies differ by more
#: (eV/atom): one is relaxed, the other at its published cell.
ENERGY_TOLERANCE_EV = 0.05
#: Two crystals of one formula and group are one where their volumes per atom differ by less than
#: this share: relaxing with another functional moves the volume of most crystals by a few percent,
#: that of layered ones by more than ten.
VOLUME_TOLERANCE = 0.15
#: Cubic crystals of at most so many atoms and elements have no free coordinate and one arrangement
#: in their group (rock salt, caesium chloride, zinc blende, fluorite): what differs is volume.
_FIXED_SITES, _FIXED_ELEMENTS = 3, 2
#: Tolerance of the space group in Å, the one of the index.
SYMPREC_A = 0.1
#: Known crystals of like formula, nearest in composition, among which the nearest is looked for.
_NEAR = 12


@dataclass(frozen=True, eq=False)
class Novelty(Row):
    """What the known crystals say of one candidate.

    Attributes:
        novel: whether no known crystal is the same; None where nothing could be compared.
        known_by: ``structure`` (the matcher found it), or ``formula, group and volume`` (no
            coordinates at hand); empty where it is new.
        nearest_known_id: the same crystal, or the nearest one.
        nearest_known_distance: of the fingerprints; see `matching.references.NearestKnown`.
        swap_of_like_elements: whether the nearest one is the same arrangement of like elements.
        problem: why it could not be compared.
    """

    novel: bool | None = None
    known_by: str = ""
    nearest_known_id: str | None = None
    nearest_known_distance: float | None = None
    swap_of_like_elements: bool | None = None
    problem: str = ""


def read_own_references(folders: Sequence[Path]) -> tuple[dict[str, Structure], list[str]]:
    """The user's own known crystals, and one sentence for each file that cannot be read.

    Raises:
        InputError: a folder or file that does not exist or holds nothing readable.
    """
    from crystal_diffusion.data.readers import iter_crystals

    found: dict[str, Structure] = {}
    problems: list[str] = []
    for folder in folders:
        for record in iter_crystals(folder):
            if record.structure is None:
                problems.append(f"reference {record.source}: {record.problem}")
                continue
            key = record.id if record.id not in found else f"{folder.name}/{record.id}"
            found[key] = record.structure
    if folders and not found:
        raise InputError(
            f"reference: no crystal could be read from {', '.join(map(str, folders))}; "
            "give a folder of structure files"
        )
    return found, problems


def nearest_known(
    candidates: Sequence[Structure],
    known: KnownCrystals | None,
    own: Mapping[str, Structure],
    processes: int = 1,
    energies: Sequence[float | None] | None = None,
) -> list[Novelty]:
    """What the index and the user's own crystals say of every candidate.

    A candidate is known when the structure matcher lays it on a known crystal, or, for those of
    the index without coordinates, when formula, space group (symprec 0.1 Å) and volume agree.
    The matcher's tolerances are wide enough to lay rock salt on zincblende, so crystals of the
    candidate's own space group are asked first, those without coordinates next, and the others
    only then.

    Args:
        candidates: ordered crystals.
        known: the index; None to ask the user's own crystals only.
        own: the user's own known crystals by name.
        processes: worker processes.
        energies: of the candidates in eV/atom with the potential of the index, where they have
            one; a crystal of the index without coordinates must agree in it too.
    """
    if not candidates:
        return []
    told = energies if energies is not None else [None] * len(candidates)
    first = [
        None if known is None else _of_own_group(known, structure, energy)
        for structure, energy in zip(candidates, told, strict=True)
    ]
    open_ones = [s for s, answer in zip(candidates, first, strict=True) if answer is None]
    rest = iter(_nearest(open_ones, known, own, processes) if open_ones else ())
    return [answer if answer is not None else next(rest) for answer in first]


def _of_own_group(
    known: KnownCrystals, structure: Structure, energy: float | None
) -> Novelty | None:
    """A known crystal of the formula and space group of a candidate; None where none is the same.

    By the matcher where there are coordinates, by volume where not.
    """
    if not structure.is_ordered:
        return None
    rows = known.of_composition(dict(reduced_composition(_numbers(structure))))
    group, sites = group_and_sites(structure)
    rows = rows[known.space_group[rows] == group] if group else rows[:0]
    matcher, vectors = StructureMatch(), None
    for row in rows[rows < known.structures].tolist():
        other = known.structure(row)
        if not _fits(matcher, other, structure):
            continue
        vectors = fingerprints([other, structure])
        gap = float(distance(vectors[0], vectors[1]))
        near = round(gap, 6) if np.isfinite(gap) else None
        return Novelty(False, BY_STRUCTURE, known.id_of(row), near, False)
    kinds = len(set(_numbers(structure).tolist()))
    if group >= 195 and sites <= _FIXED_SITES and kinds <= _FIXED_ELEMENTS:
        fixed = rows[known.counts[rows].sum(1, dtype=np.int64) % sites == 0]
        if len(fixed):
            volume = structure.volume / len(structure)
            nearest = fixed[np.argmin(np.abs(known.volume_per_atom[fixed] - volume))]
            return Novelty(False, BY_FORMULA, known.id_of(int(nearest)), None, False)
    row = _same_volume(known, structure, rows[rows >= known.structures], sites, energy)
    return None if row is None else Novelty(False, BY_FORMULA, known.id_of(row), None, False)


def _fits(matcher: StructureMatch, one: Structure, two: Structure) -> bool:
    try:
        return matcher.fit(one, two)
    except InputError:
        return False


def _nearest(
    candidates: Sequence[Structure],
    known: KnownCrystals | None,
    own: Mapping[str, Structure],
    processes: int,
) -> list[Novelty]:
    """By the matcher, whatever the group; the nearest one where none is the same."""
    from crystal_diffusion.matching import ReferenceIndex

    pool: dict[str, Structure] = dict(own)
    if known is not None:
        rows = _near_rows(known, candidates)
        pool |= {known.id_of(row): known.structure(row) for row in rows.tolist()}
    if not pool and known is None:
        return [Novelty() for _ in candidates]
    answers = (
        ReferenceIndex.from_structures(pool).nearest_many(list(candidates), processes=processes)
        if pool
        else [None] * len(candidates)
    )
    found = []
    for answer in answers:
        if answer is not None and answer.problem is not None:
            found.append(Novelty(problem=answer.problem))
            continue
        if answer is not None and answer.matches:
            found.append(
                Novelty(False, BY_STRUCTURE, answer.id, round(float(answer.distance), 6), False)
            )
            continue
        if answer is None:
            found.append(Novelty(True))
        else:
            near = round(float(answer.distance), 6)
            swap = bool(answer.swap_of_like_elements)
            found.append(Novelty(True, "", answer.id, near, swap))
    return found


def _same_volume(
    known: KnownCrystals,
    structure: Structure,
    rows: NDArray[np.int64],
    sites: int,
    energy: float | None,
) -> int | None:
    """Of rows of a crystal's formula and group, the one of its volume; None where none is.

    Primitive cells must hold the same number of atoms too (or a multiple: published cells are not
    always primitive), and energies must agree where both are told. Where several rows do, the one
    of nearest volume.
    """
    own = known.counts[rows].sum(1, dtype=np.int64)
    fits = np.maximum(own, sites) % np.minimum(own, sites) == 0
    if energy is not None:
        fits &= ~(np.abs(known.energy[rows] - energy) > ENERGY_TOLERANCE_EV)
    rows = rows[fits]
    volume = structure.volume / len(structure)
    apart = np.abs(known.volume_per_atom[rows] / volume - 1)
    if not len(rows) or apart.min() > VOLUME_TOLERANCE:
        return None
    return int(rows[np.argmin(apart)])


def group_and_sites(structure: Structure) -> tuple[int, int]:
    """Space group and atoms of the primitive cell at the tolerance of the index; 0 for no group."""
    lattice, places = structure.lattice.matrix, structure.frac_coords
    try:
        found = symmetry_search(lattice, places, _numbers(structure), SYMPREC_A)
    except ValueError:
        return 0, len(structure)
    return int(found.number), len(found.prim_std_cell.numbers)


def _numbers(structure: Structure) -> NDArray[np.int64]:
    return np.array([site.specie.Z for site in structure], np.int64)


def _near_rows(known: KnownCrystals, candidates: Sequence[Structure]) -> NDArray[np.int64]:
    """Rows with structure that may be the same, a swap of like elements, or the nearest.

    All of the same composition up to a swap of like elements; of the other formulas with the same
    proportions the nearest in composition. What the answer needs is among them, and the
    fingerprints of all the others need not be computed.
    """
    rows: set[int] = set()
    seen: set[object] = set()
    for structure in candidates:
        if not structure.is_ordered:
            continue
        composition = reduced_composition(_numbers(structure))
        if composition in seen:
            continue
        seen.add(composition)
        alike = known.of_proportions(tuple(sorted(count for _, count in composition)))
        if not len(alike):
            continue
        codes = np.unique(known.composition_codes[alike], return_index=True)[1]
        point = composition_fingerprint(
            np.repeat([z for z, _ in composition], [n for _, n in composition])
        )
        firsts = alike[codes]
        table = composition_fingerprints(
            known.elements[firsts].astype(np.int64), known.counts[firsts].astype(np.int64)
        )
        gaps = distance(table, point)
        like = like_composition(composition)
        wanted = {
            int(known.composition_codes[row])
            for row in firsts[np.argsort(gaps, kind="stable")[:_NEAR]].tolist()
        } | {
            int(known.composition_codes[row])
            for row in firsts.tolist()
            if like_composition(known.reduced(row)) == like
        }
        inside = np.isin(known.composition_codes[alike], np.array(sorted(wanted), np.int64))
        rows.update(alike[inside].tolist())
    return np.array(sorted(rows), np.int64)
