"""Disorder of whole groups of atoms: the places of a molecule are taken together.

A CIF names assemblies of groups (``_atom_site_disorder_assembly``, ``_atom_site_disorder_group``)
that take turns: in each copy of the assembly one group is there with all its atoms, so two places
of one molecule never mix. Groups of equal composition are replaced by the most occupied one
everywhere; others take turns over the copies in the proportion of their occupancies. A group that
overlaps with its own images (negative groups, disordered about a symmetry element) is there in as
many copies as its occupancy says, none of them overlapping.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crystal_diffusion.cell_geometry import wrap_displacement
from crystal_diffusion.data.records import Occupancy

#: Å; two groups with atoms nearer than this are not there at the same time.
OVERLAP_A = 1.0


@dataclass(frozen=True)
class _Unit:
    """A group in one copy of its assembly."""

    group: str
    copy: int
    sites: tuple[int, ...]
    share: float

    def composition(self, occupancy: Occupancy) -> tuple[tuple[int, ...], ...]:
        """The elements of its sites."""
        return tuple(sorted(tuple(sorted(occupancy.species[i])) for i in self.sites))


def choose_groups(occupancy: Occupancy, lattice: np.ndarray) -> Occupancy:
    """The occupancy with one group for each copy of every assembly, fully there.

    Args:
        occupancy: with or without groups.
        lattice: ``(3, 3)`` rows in Å.
    """
    if not occupancy.places:
        return occupancy
    assemblies: dict[str, dict[tuple[str, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for site, place in enumerate(occupancy.places):
        if place is not None:
            assemblies[place.assembly][place.group, place.copy].append(site)
    filled: set[int] = set()
    grouped: set[int] = set()
    for units in assemblies.values():
        for unit in _chosen(_units(units, occupancy), occupancy, lattice):
            filled.update(unit.sites)
        grouped.update(site for sites in units.values() for site in sites)
    keep = [i for i in range(len(occupancy.species)) if i not in grouped or i in filled]
    species = tuple(
        _full(occupancy.species[i]) if i in filled else occupancy.species[i] for i in keep
    )
    return Occupancy(occupancy.frac_coords[keep], species)


def _full(shares: Mapping[int, float]) -> dict[int, float]:
    total = sum(shares.values())
    return {number: share / total for number, share in shares.items()}


def _units(sites: Mapping[tuple[str, int], Sequence[int]], occupancy: Occupancy) -> list[_Unit]:
    """The groups of an assembly in each copy; in one copy where their atoms have other images."""
    sizes: dict[str, set[int]] = defaultdict(set)
    for (group, _), members in sites.items():
        sizes[group].add(len(members))
    copies = {group: {c for g, c in sites if g == group} for group, _ in sites}
    alike = all(len(found) == 1 for found in sizes.values())
    if not alike or len({frozenset(found) for found in copies.values()}) > 1:
        together: dict[str, list[int]] = defaultdict(list)
        for (group, _), members in sites.items():
            together[group] += members
        return [_unit(group, 0, members, occupancy) for group, members in together.items()]
    return [_unit(group, copy, members, occupancy) for (group, copy), members in sites.items()]


def _unit(group: str, copy: int, sites: Sequence[int], occupancy: Occupancy) -> _Unit:
    share = float(np.mean([sum(occupancy.species[i].values()) for i in sites]))
    return _Unit(group, copy, tuple(sites), share)


def _chosen(units: Sequence[_Unit], occupancy: Occupancy, lattice: np.ndarray) -> list[_Unit]:
    copies: dict[int, list[_Unit]] = defaultdict(list)
    for unit in units:
        copies[unit.copy].append(unit)
    groups = {unit.group: unit.share for unit in units}
    alike = len({unit.composition(occupancy) for unit in copies[min(copies)]}) == 1
    total = sum(groups.values())
    if len(groups) > 1 and alike and total > 0.98:
        best = max(groups, key=lambda group: groups[group])
        wanted = {best: len(copies)}
    else:
        wanted = _counts(groups, len(copies))
    chosen: list[_Unit] = []
    left = dict(wanted)
    for copy in sorted(copies):
        # The group that is furthest behind its share comes next.
        options = sorted(
            (u for u in copies[copy] if left.get(u.group, 0) > 0),
            key=lambda u: -left[u.group] / wanted[u.group],
        )
        for unit in options:
            if not any(_overlap(unit, other, occupancy, lattice) for other in chosen):
                chosen.append(unit)
                left[unit.group] -= 1
                break
    return chosen


def _counts(groups: Mapping[str, float], copies: int) -> dict[str, int]:
    """How many copies each group has, by largest remainder."""
    exact = {group: share * copies for group, share in groups.items()}
    counts = {group: int(value + 1e-6) for group, value in exact.items()}
    room = min(copies, round(sum(exact.values()))) - sum(counts.values())
    by_rest = sorted(exact, key=lambda group: counts[group] - exact[group])
    for group in by_rest[: max(0, room)]:
        counts[group] += 1
    return counts


def _overlap(one: _Unit, two: _Unit, occupancy: Occupancy, lattice: np.ndarray) -> bool:
    first = occupancy.frac_coords[list(one.sites)]
    second = occupancy.frac_coords[list(two.sites)]
    step = first[:, None] - second[None]
    return bool((np.linalg.norm(wrap_displacement(step) @ lattice, axis=-1) < OVERLAP_A).any())
