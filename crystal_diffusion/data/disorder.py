"""Partial occupancy: leave the crystal out, order it, or stop.

Ordering gives the most probable ordered cell in this sense. The sites are taken to be occupied
independently, each with the occupancies of the file. Then every arrangement with the same counts
on a set of sites of equal occupancy is equally probable, and the most probable counts are those
nearest to occupancy times number of sites. So

1. the smallest supercell (up to ``max_cells`` cells, ``max_atoms`` atoms) is taken whose whole
   counts meet the composition within ``0.01`` per site, or else the one that comes nearest;
2. counts per set of equal sites are rounded by largest remainder;
3. between the equally probable arrangements the one is chosen in which equal species are spread
   most evenly (least sum of 1/distance^2 between equal species, in which vacancies count as
   species) and no two atoms sit on sites nearer than ``EXCLUDED_A``, as split positions would.

Whole groups of atoms come first: the places of a molecule are taken together. A CIF names
assemblies of groups (``_atom_site_disorder_assembly``, ``_atom_site_disorder_group``) that take
turns: in each copy of the assembly one group is there with all its atoms, so two places of one
molecule never mix. Groups of equal composition are replaced by the most occupied one everywhere;
others take turns over the copies in the proportion of their occupancies. A group that overlaps
with its own images (negative groups, disordered about a symmetry element) is there in as many
copies as its occupancy says, none of them overlapping.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crystal_diffusion.cell_geometry import wrap_displacement
from crystal_diffusion.data.bounds import LARGEST_COORDINATE, MOST_ORDERED_SITES
from crystal_diffusion.data.records import (
    Disorder,
    Occupancy,
    PlainCrystal,
    cell_problem,
    failed,
)
from crystal_diffusion.data.witness import formula_text
from crystal_diffusion.errors import InputError

#: Two sites nearer than this (Å) cannot both be occupied.
EXCLUDED_A = 1.0
#: A composition this near (atoms per disordered site) to that of the file is good enough.
GOOD_ENOUGH = 0.01
MAX_CELLS, MAX_ATOMS = 4, 200
#: Price of two atoms on sites that exclude each other; the even spread costs about 1 per pair.
_PENALTY = 1e3
#: Printed occupancies of one site may sum to this.
LARGEST_SUM = 1.02
#: Sweeps of pair exchanges; a sweep without gain ends the search earlier.
_SWEEPS = 20


def settle_disorder(crystal: PlainCrystal, disorder: Disorder) -> PlainCrystal:
    """The crystal after the choice about partial occupancy; an ordered one comes back as it is.

    Raises:
        InputError: for a disordered crystal when ``disorder="stop"``.
    """
    if crystal.problem is not None or crystal.occupancy is None:
        return crystal
    wrong = _wrong_occupancy(crystal.occupancy)
    if wrong is not None:
        return failed(crystal.id, crystal.source, wrong, "partial occupancy")
    described = crystal.occupancy.describe()
    if disorder == "stop":
        raise InputError(
            f"{crystal.source or crystal.id}: partial occupancy ({described}); "
            "order it (disorder='order') or leave it out (disorder='skip')."
        )
    if disorder == "skip":
        return failed(
            crystal.id,
            crystal.source,
            f"partial occupancy ({described}); read it with disorder='order' "
            "(--disorder order) to take its most probable ordered cell",
            "partial occupancy",
        )
    problem = cell_problem(crystal.lattice)
    coords = crystal.occupancy.frac_coords
    if problem is None and not np.all(np.abs(coords) <= LARGEST_COORDINATE):
        problem = ("coordinates that are no finite fractions of a cell; correct them", "not finite")
    if problem is None and len(coords) > MOST_ORDERED_SITES:
        text = f"{len(coords)} sites are more than the {MOST_ORDERED_SITES} that can be ordered"
        problem = (f"{text}; give a smaller cell", "partial occupancy")
    if problem is not None:
        return failed(crystal.id, crystal.source, *problem)
    return order_crystal(crystal)


def _wrong_occupancy(occupancy: Occupancy) -> str | None:
    """Why the occupancies are none; printed ones may sum to 1.02 by rounding."""
    for row, site in enumerate(occupancy.species, 1):
        shares = list(site.values())
        if not shares:
            return f"site {row} holds no element; correct or remove it"
        if not all(math.isfinite(x) and x >= 0 for x in shares) or sum(shares) > LARGEST_SUM:
            text = " + ".join(f"{x:.3g}" for x in shares[:4])
            return f"site {row} has the occupancy {text}; occupancies lie between 0 and 1"
    return None


def order_crystal(
    crystal: PlainCrystal, max_cells: int = MAX_CELLS, max_atoms: int = MAX_ATOMS
) -> PlainCrystal:
    """The most probable ordered cell of a crystal with partial occupancy (see the module).

    Args:
        crystal: a crystal with ``occupancy``.
        max_cells: largest supercell, in cells of the file.
        max_atoms: largest number of sites in the supercell; one cell is always allowed.
    """
    if crystal.occupancy is None:
        return crystal
    described = crystal.occupancy.describe()
    occupancy = choose_groups(crystal.occupancy, crystal.lattice)
    shares = _share_table(occupancy)
    kinds, kind_of_site = np.unique(shares.round(4), axis=0, return_inverse=True)
    kind_of_site = kind_of_site.reshape(-1)
    multiple = np.bincount(kind_of_site)
    best: tuple[float, int] | None = None
    for cells in range(1, max_cells + 1):
        if cells > 1 and cells * len(shares) > max_atoms:
            break
        wrong = 0.0
        for kind, sites in enumerate(multiple):
            wanted = kinds[kind] * sites * cells
            wrong += float(np.abs(_whole_counts(wanted) - wanted).sum()) / (2 * sites * cells)
        if best is None or wrong < best[0] - 1e-9:
            best = (wrong, cells)
        if wrong <= GOOD_ENOUGH:
            break
    wrong, cells = best if best is not None else (0.0, 1)
    split = _most_compact_split(crystal.lattice, cells)
    lattice = crystal.lattice * np.array(split)[:, None]
    shifts = np.array(list(itertools.product(*(range(s) for s in split))), dtype=np.float64)
    coords = (occupancy.frac_coords[None] + shifts[:, None]).reshape(-1, 3) / np.array(split)
    kind_of_site = np.tile(kind_of_site, cells)
    chosen = _arrange(lattice, coords, kinds, kind_of_site)
    elements = _elements(occupancy)
    numbers = np.array([0, *elements])[chosen]
    filled = numbers > 0
    if not filled.any():
        return failed(
            crystal.id,
            crystal.source,
            "ordering leaves no atom; its occupancies are too small",
            "empty",
        )
    size = "x".join(str(s) for s in split)
    ordered = Counter(numbers[filled].tolist())
    wanted = {z: cells * amount for z, amount in crystal.amounts().items()}
    note = (
        f"ordered in a {size} cell from partial occupancy ({described}); {formula_text(ordered)} "
        f"for {formula_text(wanted)} of the file, off by {wrong:.3f} atoms per site at most"
    )
    return replace(
        crystal,
        lattice=lattice,
        frac_coords=coords[filled],
        atomic_numbers=numbers[filled],
        occupancy=None,
        notes=(*crystal.notes, note),
    )


def _elements(occupancy: Occupancy) -> list[int]:
    return sorted({number for site in occupancy.species for number in site})


def _share_table(occupancy: Occupancy) -> np.ndarray:
    """``(sites, 1 + elements)`` occupancies; the first column is the vacancy; rows sum to 1."""
    elements = _elements(occupancy)
    table = np.zeros((len(occupancy.species), 1 + len(elements)))
    for row, site in enumerate(occupancy.species):
        for number, share in site.items():
            table[row, 1 + elements.index(number)] = max(share, 0.0)
    total = table.sum(1)
    table[:, 0] = np.clip(1.0 - total, 0.0, 1.0)
    # Printed occupancies such as 0.333 + 0.333 + 0.333 are meant to sum to 1.
    table[table[:, 0] < 0.0051, 0] = 0.0
    return np.asarray(table / table.sum(1, keepdims=True))


def _whole_counts(wanted: np.ndarray) -> np.ndarray:
    """Whole counts with the same sum, by largest remainder; the earlier entry wins a tie."""
    floor = np.floor(wanted + 1e-9)
    missing = round(float(wanted.sum()) - floor.sum())
    order = np.argsort(-(wanted - floor), kind="stable")
    floor[order[:missing]] += 1
    return np.asarray(floor)


def _most_compact_split(lattice: np.ndarray, cells: int) -> tuple[int, int, int]:
    """How often to repeat a, b and c so that the supercell is as near to a cube as can be."""
    edges = np.linalg.norm(lattice, axis=-1)
    splits = [
        (i, j, cells // (i * j))
        for i in range(1, cells + 1)
        for j in range(1, cells // i + 1)
        if cells % (i * j) == 0
    ]
    return min(splits, key=lambda s: float(np.ptp(edges * np.array(s))))


def _arrange(
    lattice: np.ndarray, coords: np.ndarray, kinds: np.ndarray, kind_of_site: np.ndarray
) -> np.ndarray:
    """Species (column of ``kinds``) on each site: even spread by greedy filling and exchanges."""
    chosen: np.ndarray = kinds.argmax(1)[kind_of_site]
    mixed = [k for k in range(len(kinds)) if kinds[k].max() < 1 - 1e-6]
    sites = np.flatnonzero(np.isin(kind_of_site, mixed))
    if not len(sites):
        return chosen
    fixed = np.setdiff1d(np.arange(len(coords)), sites)
    distance = _distances(lattice, coords)
    repulsion = 1.0 / np.maximum(distance, 0.1) ** 2
    excluded = distance < EXCLUDED_A
    np.fill_diagonal(excluded, False)
    np.fill_diagonal(repulsion, 0.0)

    def price(site: int, species: int, others: np.ndarray) -> float:
        equal = others[chosen[others] == species]
        cost = float(repulsion[site, equal].sum())
        if species > 0:
            clash = others[(chosen[others] > 0) & excluded[site, others]]
            cost += _PENALTY * len(clash)
        return cost

    placed = fixed
    for kind in mixed:
        members = np.flatnonzero(kind_of_site == kind)
        left = _whole_counts(kinds[kind] * len(members)).astype(int)
        for site in members:
            # Of the species still to be placed, the cheapest; a tie goes to the most numerous.
            options = [
                (price(int(site), s, placed) / left[s] if s else price(int(site), s, placed), s)
                for s in np.flatnonzero(left > 0).tolist()
            ]
            species = min(options, key=lambda o: (round(o[0], 9), -left[o[1]]))[1]
            chosen[site] = species
            left[species] -= 1
            placed = np.append(placed, site)
    _exchange(chosen, sites, kind_of_site, repulsion, excluded)
    return chosen


def _exchange(
    chosen: np.ndarray,
    sites: np.ndarray,
    kind_of_site: np.ndarray,
    repulsion: np.ndarray,
    excluded: np.ndarray,
) -> None:
    """Exchange pairs of species within equal sites as long as that lowers the total price."""
    # Cost of each species on each site, and of atoms that its site excludes, kept up to date.
    kinds = int(chosen.max()) + 1
    cost = np.stack([repulsion[:, chosen == s].sum(1) for s in range(kinds)], 1)
    clashes = excluded[:, chosen > 0].sum(1)
    for _ in range(_SWEEPS):
        improved = False
        for place, i in enumerate(sites.tolist()):
            later = sites[place + 1 :]
            while len(later):
                one, two = int(chosen[i]), chosen[later]
                near, clash = repulsion[i, later], excluded[i, later]
                before = cost[i, one] + cost[later, two]
                after = cost[i, two] + cost[later, one] - 2 * near
                # An atom and a vacancy change places: only then do clashes move.
                moved = clashes[later] - clashes[i] if one > 0 else clashes[i] - clashes[later]
                change = (moved - clash) * ((one > 0) != (two > 0))
                gain = after + _PENALTY * change - before
                useful = (kind_of_site[later] == kind_of_site[i]) & (two != one) & (gain < -1e-9)
                if not useful.any():
                    break
                found = int(np.flatnonzero(useful)[0])
                j, other = int(later[found]), int(two[found])
                chosen[i], chosen[j] = other, one
                shift = repulsion[:, j] - repulsion[:, i]
                cost[:, one] += shift
                cost[:, other] -= shift
                if (one > 0) != (other > 0):
                    atom, hole = (j, i) if one > 0 else (i, j)
                    clashes += excluded[:, atom].astype(int) - excluded[:, hole]
                later = later[found + 1 :]
                improved = True
        if not improved:
            return


def _distances(lattice: np.ndarray, coords: np.ndarray) -> np.ndarray:
    """``(sites, sites)`` distance to the nearest image in Å.

    Right for cells that are not too skewed: it only ranks arrangements.
    """
    delta = coords[:, None] - coords[None]
    delta -= np.round(delta)
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)
    best = np.full(delta.shape[:2], np.inf)
    for shift in shifts:
        best = np.minimum(best, np.linalg.norm((delta + shift) @ lattice, axis=-1))
    return best


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
