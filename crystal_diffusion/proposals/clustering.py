"""From crystals to structure types: standard cells, roles, site signatures, greedy grouping.

A *structure type* here is: the number of atoms of each role in the primitive cell, the space
group, the site symmetries of each role, and a geometry that agrees within a tolerance after an
origin shift and a change of basis. Every member is kept in the frame of the type's first member,
atom by atom, so that the members can be averaged.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.proposals.alignment import (
    Floats,
    Frame,
    align,
    neighbour_fingerprint,
)

#: Tolerance (Å) of the symmetry search; positions and cells are kept symmetrised at it.
SYMPREC = 0.1
#: Largest atom distance inside one structure type, in (V/N)^(1/3).
TYPE_TOLERANCE = 0.35
#: Largest mean difference of neighbour distances inside one structure type, same unit.
FINGERPRINT_LIMIT = 0.12
#: A fit this good (RMS) is taken without looking for a better one.
QUICK = 0.08

RoleSignature = tuple[int, tuple[tuple[int, str], ...]]


@dataclass(frozen=True)
class Entry:
    """One crystal in its primitive standard cell, its elements taken apart from its geometry.

    Attributes:
        frame: primitive standard cell with roles (role numbers follow ``elements``).
        elements: atomic number of each role; ``signature``: per role, the count of atoms and the
            (multiplicity, site symmetry) of its orbits.
        wyckoff: Wyckoff letters per role, such as ``("a", "de")``.
    """

    id: str
    frame: Frame
    elements: tuple[int, ...]
    signature: tuple[RoleSignature, ...]
    wyckoff: tuple[str, ...]
    space_group: int
    e_above_hull: float = math.nan
    formation_energy: float = math.nan


@dataclass(frozen=True)
class TypeMember:
    """A crystal seen in its structure type: elements by role of the type, geometry in its frame."""

    entry: Entry
    elements: tuple[int, ...]
    frame: Frame


@dataclass
class StructureType:
    """A structure type and its members, all in the frame of the first.

    Attributes:
        swaps: permutations of roles that bring the type onto itself (rock salt: A and B).
    """

    frame: Frame
    signature: tuple[RoleSignature, ...]
    wyckoff: tuple[str, ...]
    space_group: int
    fingerprint: Floats
    swaps: tuple[tuple[int, ...], ...]
    members: list[TypeMember] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, ...]:
        """Atoms of each role in the primitive cell."""
        return tuple(count for count, _ in self.signature)

    @property
    def label(self) -> str:
        """Counts, atoms, space group and Wyckoff letters per role, such as ``ABC3_5_221_b_a_c``."""
        divisor = math.gcd(*self.counts)
        stoichiometry = "".join(
            chr(ord("A") + role) + (str(count // divisor) if count > divisor else "")
            for role, count in enumerate(self.counts)
        )
        sites = "_".join(self.wyckoff)
        return f"{stoichiometry}_{sum(self.counts)}_{self.space_group}_{sites}"


def read_entry(
    id: str,
    lattice: Floats,
    coords: Floats,
    numbers: Sequence[int],
    *,
    e_above_hull: float = math.nan,
    formation_energy: float = math.nan,
) -> Entry:
    """One crystal as an :class:`Entry`.

    Args:
        lattice: ``(3, 3)`` rows in Å; coords: ``(atoms, 3)`` fractional; numbers: ``(atoms,)``.

    Raises:
        ValueError: the symmetry search failed (overlapping atoms, broken cell).
    """
    found: Any = symmetry_search(lattice, coords, numbers, SYMPREC)
    primitive = found.prim_std_cell
    share = len(primitive.numbers) / len(numbers)
    orbits: dict[int, list[int]] = defaultdict(list)
    for atom, orbit in enumerate(found.orbits):
        orbits[orbit].append(atom)
    sites: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
    for orbit, atoms in orbits.items():
        symbol = "".join(sorted(found.site_symmetry_symbols[orbit].replace(".", "")))
        size = max(1, round(len(atoms) * share))
        sites[int(numbers[orbit])].append((size, symbol, found.wyckoffs[orbit]))
    kinds = np.array(primitive.numbers)
    described: list[tuple[RoleSignature, str, int]] = []
    for element in sorted(sites):
        signature = tuple(sorted((size, symbol) for size, symbol, _ in sites[element]))
        letters = "".join(sorted(letter for _, _, letter in sites[element]))
        described.append(((int((kinds == element).sum()), signature), letters, element))
    described.sort()
    elements = tuple(element for _, _, element in described)
    roles = np.array([elements.index(int(kind)) for kind in kinds], dtype=np.int64)
    order = np.argsort(roles, kind="stable")
    frame = Frame(
        np.array(primitive.basis, dtype=float),
        np.array(primitive.positions, dtype=float)[order],
        roles[order],
    )
    return Entry(
        id,
        frame,
        elements,
        tuple(signature for signature, _, _ in described),
        tuple(letters for _, letters, _ in described),
        int(found.number),
        e_above_hull,
        formation_energy,
    )


def relabel(frame: Frame, permutation: Sequence[int]) -> Frame:
    """The frame with role r called ``permutation[r]``, atoms in order of the new roles."""
    roles = np.asarray(permutation, dtype=np.int64)[frame.roles]
    order = np.argsort(roles, kind="stable")
    return Frame(frame.lattice, frame.coords[order], roles[order])


def role_permutations(keys: Sequence[object]) -> list[tuple[int, ...]]:
    """All permutations of roles that only exchange roles with equal keys, identity first."""
    groups: dict[object, list[int]] = defaultdict(list)
    for role, key in enumerate(keys):
        groups[key].append(role)
    blocks = list(groups.values())
    found = []
    for choice in itertools.product(*(itertools.permutations(block) for block in blocks)):
        permutation = list(range(len(keys)))
        for block, images in zip(blocks, choice, strict=True):
            for role, image in zip(block, images, strict=True):
                permutation[role] = image
        found.append(tuple(permutation))
    return found


def _new_type(entry: Entry, fingerprint: Floats) -> StructureType:
    swaps = []
    for permutation in role_permutations(entry.signature):
        if permutation == tuple(range(len(permutation))):
            continue
        if np.abs(fingerprint[list(permutation)] - fingerprint).mean() > FINGERPRINT_LIMIT:
            continue
        twin = relabel(entry.frame, permutation)
        if align(entry.frame, twin, largest=QUICK, enough=QUICK) is not None:
            swaps.append(permutation)
    return StructureType(
        entry.frame, entry.signature, entry.wyckoff, entry.space_group, fingerprint, tuple(swaps)
    )


def _place(
    kind: StructureType, entry: Entry, fingerprint: Floats, full: bool
) -> tuple[tuple[int, ...], Frame, float] | None:
    """Best way to see ``entry`` as a member: (permutation of its roles, moved frame, rms)."""
    best: tuple[tuple[int, ...], Frame, float] | None = None
    for permutation in role_permutations(entry.signature):
        if best is not None and any(_compose(s, best[0]) == permutation for s in kind.swaps):
            continue
        if np.abs(kind.fingerprint[list(permutation)] - fingerprint).mean() > FINGERPRINT_LIMIT:
            continue
        found = align(
            kind.frame,
            relabel(entry.frame, permutation),
            identity_only=not full,
            largest=TYPE_TOLERANCE,
            enough=QUICK / 2,
        )
        if found is not None and (best is None or found.rms < best[2]):
            best = (permutation, found.frame, found.rms)
    if best is None or not kind.swaps:
        return best
    # where roles may be exchanged freely, the smaller atomic number takes the lower role
    options = [best[0]] + [_compose(swap, best[0]) for swap in kind.swaps]
    chosen = min(options, key=lambda option: placed_elements(entry.elements, option))
    if chosen != best[0]:
        frame = relabel(entry.frame, chosen)
        found = align(kind.frame, frame, largest=TYPE_TOLERANCE, enough=QUICK / 2)
        if found is not None:
            best = (chosen, found.frame, found.rms)
    return best


def _compose(after: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    return tuple(after[role] for role in before)


def placed_elements(elements: Sequence[int], permutation: Sequence[int]) -> tuple[int, ...]:
    """Element of each role of the type, for elements whose role r became ``permutation[r]``."""
    placed = [0] * len(elements)
    for role, image in enumerate(permutation):
        placed[image] = elements[role]
    return tuple(placed)


def group_entries(entries: Iterable[Entry]) -> list[StructureType]:
    """Structure types of many crystals, the type with most members of each kind first.

    Greedy: each crystal joins the type it fits best among those with the same space group and
    site signature, or founds a new one.
    """
    bins: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        bins[(entry.space_group, entry.signature)].append(entry)
    types: list[StructureType] = []
    for members in bins.values():
        types.extend(group_bin(members))
    return types


def group_bin(entries: Sequence[Entry], known: Sequence[StructureType] = ()) -> list[StructureType]:
    """Types of crystals with one space group and signature: the known ones, then new ones."""
    types: list[StructureType] = list(known)
    for entry in entries:
        fingerprint = neighbour_fingerprint(entry.frame)
        mean = fingerprint.mean(0)
        gaps = [float(np.abs(kind.fingerprint.mean(0) - mean).mean()) for kind in types]
        near = [i for i in np.argsort(gaps, kind="stable") if gaps[i] < FINGERPRINT_LIMIT]
        best: tuple[StructureType, tuple[int, ...], Frame, float] | None = None
        for full, index in [(False, i) for i in near] + [(True, i) for i in near]:
            found = _place(types[index], entry, fingerprint, full)
            if found is not None and (best is None or found[2] < best[3]):
                best = (types[index], *found)
                if found[2] < QUICK:
                    break
        if best is None:
            best = _found_type(entry, fingerprint)
            types.append(best[0])
        kind, permutation, frame, _ = best
        kind.members.append(TypeMember(entry, placed_elements(entry.elements, permutation), frame))
    return types


def _found_type(
    entry: Entry, fingerprint: Floats
) -> tuple[StructureType, tuple[int, ...], Frame, float]:
    kind = _new_type(entry, fingerprint)
    found = _place(kind, entry, fingerprint, True) if kind.swaps else None
    return (kind, *(found or (tuple(range(len(entry.elements))), entry.frame, 0.0)))
