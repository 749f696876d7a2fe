"""Add a user's crystals to a library, as members of its types or as new types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.proposals.alignment import Frame, neighbour_fingerprint
from crystal_diffusion.proposals.clustering import (
    Entry,
    StructureType,
    TypeMember,
    group_bin,
    read_entry,
)
from crystal_diffusion.proposals.library import MAX_ROLES, CrystalLibrary
from crystal_diffusion.proposals.quantisation import COORD_STEPS, encode_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure


#: Atoms of one element that a structure type can hold.
MOST_OF_ONE = 255


def read_own(
    structures: Sequence[Structure], ids: Sequence[str]
) -> tuple[list[Entry], dict[str, str]]:
    """Crystals as entries, and the reason for each that cannot be one, by id.

    A structure type needs ordered sites, at most MAX_ROLES elements and a symmetry search that
    succeeds.
    """
    entries, left_out = [], {}
    for name, structure in zip(ids, structures, strict=True):
        if not structure.is_ordered:
            left_out[name] = "its sites are shared by several elements"
            continue
        numbers = [int(z) for z in structure.atomic_numbers]
        if len(set(numbers)) > MAX_ROLES:
            left_out[name] = f"it has {len(set(numbers))} elements, a type at most {MAX_ROLES}"
            continue
        if max(np.bincount(numbers)) > MOST_OF_ONE:
            left_out[name] = f"it has more than {MOST_OF_ONE} atoms of one element"
            continue
        try:
            entries.append(
                read_entry(name, structure.lattice.matrix, structure.frac_coords, numbers)
            )
        except Exception as problem:  # moyopy raises its own class, not exported by name
            left_out[name] = f"the symmetry search failed ({problem})"
    return entries, left_out


def join(library: CrystalLibrary, entries: Sequence[Entry]) -> CrystalLibrary:
    """The library with more crystals, its own entries unchanged; ``own`` marks the new ones.

    Each crystal joins the type it fits best among those of the same space group and site symmetry
    (as when a library is made), or founds a new one.
    """
    bins: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        bins[(entry.space_group, entry.signature)].append(entry)
    placed: list[tuple[int, TypeMember]] = []
    founded: list[StructureType] = []
    for members in bins.values():
        kinds = _types_like(library, members[0])
        types = [kind for _, kind in kinds]
        for place, kind in enumerate(group_bin(members, types)):
            if place < len(kinds):
                placed += [(kinds[place][0], member) for member in kind.members]
            else:
                founded.append(kind)
    return _merged(library, placed, founded)


def _types_like(library: CrystalLibrary, entry: Entry) -> list[tuple[int, StructureType]]:
    """Types of the library with the space group and site signature of an entry, without members."""
    counts = tuple(count for count, _ in entry.signature)
    span = library.keys.get(counts)
    if span is None:
        return []
    found = []
    for kind in range(*span):
        if int(library.type_space_group[kind]) != entry.space_group:
            continue
        first = int(library.type_start[kind])
        structure = library.structure(first)
        roles = library.roles_of(kind)
        frame = Frame(np.array(structure.lattice.matrix), np.array(structure.frac_coords), roles)
        try:
            seen = read_entry("", frame.lattice, frame.coords, (roles + 1).tolist())
        except Exception as problem:  # moyopy's own class; quantised cells may be at a tolerance
            del problem
            continue
        if sorted(seen.signature) != sorted(entry.signature):
            continue
        found.append(
            (
                kind,
                StructureType(
                    frame,
                    entry.signature,
                    entry.wyckoff,
                    entry.space_group,
                    neighbour_fingerprint(frame),
                    library.type_swaps.get(kind, ()),
                ),
            )
        )
    return found


def _merged(
    library: CrystalLibrary,
    placed: Sequence[tuple[int, TypeMember]],
    founded: Sequence[StructureType],
) -> CrystalLibrary:
    """Arrays of the library with members added to its types and with new types."""
    new = CrystalLibrary.from_types(founded, library.source)
    types = len(library.type_counts)
    names = [member.entry.id for _, member in placed]
    cells = np.array([encode_cell(m.frame.lattice) for _, m in placed], np.uint16).reshape(-1, 6)
    elements = np.zeros((len(placed), MAX_ROLES), np.uint8)
    for row, (_, member) in enumerate(placed):
        elements[row, : len(member.elements)] = member.elements
    coords = [
        (np.rint(m.frame.coords % 1 * COORD_STEPS) % COORD_STEPS).astype(np.uint16)
        for _, m in placed
    ]
    own_names = [*names, *(new.id_of(entry) for entry in range(len(new)))]
    added = len(own_names)
    # Names of new entries are kept as they are, also where they look like those of the library.
    numbers = -(len(library.names) + 1 + np.arange(added, dtype=np.int32))
    all_counts = np.concatenate([library.type_counts, new.type_counts])
    kind = np.concatenate(
        [
            library.entry_type,
            np.array([index for index, _ in placed], np.int64),
            types + new.entry_type,
        ]
    )
    # Types with equal counts must be neighbours: sort by number of roles, then by counts.
    keys = [all_counts[:, column] for column in range(MAX_ROLES - 1, -1, -1)]
    order = np.lexsort([*keys, (all_counts > 0).sum(1)])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = np.argsort(place[kind], kind="stable")
    lengths = np.concatenate(
        [np.diff(library.coord_start), [len(c) for c in coords], np.diff(new.coord_start)]
    ).astype(np.int64)
    pool = np.concatenate([library.coords, *coords, new.coords])
    begin = np.concatenate([[0], np.cumsum(lengths)])
    coord_start = np.concatenate([[0], np.cumsum(lengths[rows])])
    within = np.arange(int(coord_start[-1])) - np.repeat(coord_start[:-1], lengths[rows])
    swaps = {int(place[k]): perms for k, perms in library.type_swaps.items()}
    swaps |= {int(place[types + k]): perms for k, perms in new.type_swaps.items()}
    unknown = np.full(added, np.nan, np.float32)
    own = np.zeros(len(kind), bool)
    own[len(library) :] = True
    labels = np.concatenate([library.type_label, _fresh_labels(library, new)])
    sizes = np.bincount(place[kind], minlength=len(order))
    return replace(
        library,
        type_counts=all_counts[order],
        type_space_group=np.concatenate([library.type_space_group, new.type_space_group])[order],
        type_label=labels[order],
        type_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        type_swaps=swaps,
        elements=np.concatenate([library.elements, elements, new.elements])[rows],
        cells=np.concatenate([library.cells, cells, new.cells])[rows],
        coords=pool[np.repeat(begin[rows], lengths[rows]) + within],
        coord_start=coord_start.astype(np.int64),
        numbers=np.concatenate([library.numbers, numbers])[rows],
        names=(*library.names, *own_names),
        e_above_hull=np.concatenate([library.e_above_hull, unknown])[rows],
        formation_energy=np.concatenate([library.formation_energy, unknown])[rows],
        own=own[rows],
    )


def _fresh_labels(library: CrystalLibrary, new: CrystalLibrary) -> NDArray[Any]:
    """Labels of new types, numbered on where the library has the same one."""
    taken = set(library.type_label.tolist())
    fresh = []
    for label in new.type_label.tolist():
        base, _, number = label.partition("#")
        count = int(number or 1)
        while (name := base + (f"#{count}" if count > 1 else "")) in taken:
            count += 1
        taken.add(name)
        fresh.append(name)
    return np.array(fresh, dtype=np.str_)
