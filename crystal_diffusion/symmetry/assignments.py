"""Which elements sit on which Wyckoff positions: parse, count, enumerate, refuse.

An assignment gives each element a multiset of positions whose multiplicities add up to its number
of atoms. A position without free parameters is one fixed set of points, so it is used at most once
in the whole crystal; a position with freedom can be used any number of times.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.symmetry.groups import SpaceGroup, WyckoffPosition

#: Formula units tried for the nearest possibilities; the general position holds at most 192 atoms.
_UNITS_TRIED = 192


@dataclass(frozen=True, order=True)
class Site:
    """An orbit of one element: atomic number and Wyckoff letter."""

    number: int
    letter: str


@dataclass(frozen=True)
class Assignment:
    """Elements on the Wyckoff positions of a group, sorted by element and letter.

    Attributes:
        space_group: number, 1 to 230.
        sites: one entry an orbit.
    """

    space_group: int
    sites: tuple[Site, ...]

    @property
    def group(self) -> SpaceGroup:
        """The space group."""
        return SpaceGroup.from_number(self.space_group)

    def counts(self, cell: str = "primitive") -> dict[int, int]:
        """Atoms of each element in the primitive or conventional cell."""
        share = cell_share(self.group, cell)
        out: Counter[int] = Counter()
        for site in self.sites:
            out[site.number] += self.group.position(site.letter).multiplicity // share
        return dict(out)

    @property
    def freedom(self) -> int:
        """Free coordinates."""
        return sum(self.group.position(site.letter).freedom for site in self.sites)

    def __str__(self) -> str:
        """Such as ``Sr:1a,Ti:1b,O:3c``, what :func:`parse_wyckoff` reads."""
        return ",".join(
            f"{chemistry.symbol(s.number)}:{self.group.position(s.letter).label}"
            for s in self.sites
        )


def make_assignment(group: SpaceGroup, sites: Iterator[Site] | list[Site]) -> Assignment:
    """Sites in order, checked: no position without freedom twice.

    Raises:
        RequestError: for a fixed position that is used twice.
    """
    ordered = tuple(sorted(sites))
    used = Counter(site.letter for site in ordered)
    for letter, times in used.items():
        position = group.position(letter)
        if times > 1 and position.freedom == 0:
            free = ", ".join(p.label for p in group.positions if p.freedom) or "none"
            raise RequestError(
                f"position {position.label} of {group.symbol} has no free parameter and is taken "
                f"{times} times; atoms would coincide. Positions that can repeat: {free}."
            )
    return Assignment(group.number, ordered)


def cell_share(group: SpaceGroup, cell: str) -> int:
    """By how much conventional multiplicities are divided in a cell.

    Raises:
        InputError: for another name than primitive or conventional.
    """
    if cell not in ("primitive", "conventional"):
        raise InputError(f"cell {cell!r} is not known here; choose primitive or conventional.")
    return group.centring_size if cell == "primitive" else 1


def parse_wyckoff(text: str, group: SpaceGroup | str | int) -> Assignment:
    """``Sr:1a,Ti:1b,O:3c`` (or ``O:8c+24d``, ``O:c``) to an assignment.

    Multiplicities are those of the conventional cell, as International Tables prints them.

    Raises:
        RequestError: for text that does not parse, a position the group does not have, a wrong
            multiplicity or a fixed position used twice.
    """
    group = SpaceGroup.from_any(group)
    items = [item for item in re.split(r"[,;]", text) if item.strip()]
    if not items:
        raise RequestError("wyckoff is empty; give for example Sr:1a,Ti:1b,O:3c.")
    sites = []
    for item in items:
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s*:\s*([0-9A-Za-z+\s]+?)\s*", item)
        if not match:
            raise RequestError(
                f"wyckoff {item.strip()!r} does not parse; write Element:position, as in Ti:1a."
            )
        number = chemistry.atomic_number(match[1])
        for part in match[2].split("+"):
            label = re.fullmatch(r"\s*(\d*)\s*([A-Za-z])\s*", part)
            if not label:
                raise RequestError(
                    f"wyckoff position {part.strip()!r} of {match[1]} does not parse; write "
                    "multiplicity and letter, as in 4e."
                )
            position = group.position(label[2])
            if label[1] and int(label[1]) != position.multiplicity:
                raise RequestError(
                    f"wyckoff {label[1]}{label[2]} is not a position of {group.symbol}: letter "
                    f"{label[2]} has multiplicity {position.multiplicity}; write "
                    f"{match[1]}:{position.label}."
                )
            sites.append(Site(number, position.letter))
    return make_assignment(group, sites)


@dataclass(frozen=True)
class Slots:
    """Positions of a group as the counting sees them.

    Attributes:
        fixed: positions without freedom, (letter, multiplicity).
        free: the others.
    """

    fixed: tuple[tuple[str, int], ...]
    free: tuple[tuple[str, int], ...]


@lru_cache(maxsize=512)
def slots(number: int, share: int) -> Slots:
    """Positions with multiplicities divided by ``share``."""
    positions: tuple[WyckoffPosition, ...] = SpaceGroup.from_number(number).positions
    pairs = [(p, (p.letter, p.multiplicity // share)) for p in positions]
    return Slots(
        tuple(pair for p, pair in pairs if p.freedom == 0),
        tuple(pair for p, pair in pairs if p.freedom > 0),
    )


def multisets(sizes: tuple[int, ...], largest: int) -> list[int]:
    """Number of multisets of positions of given multiplicities for each total 0 … largest."""
    ways = [1] + [0] * largest
    for size in sizes:
        for total in range(size, largest + 1):
            ways[total] += ways[total - size]
    return ways


def count_assignments(
    group: SpaceGroup | str | int, counts: Mapping[int, int], cell: str = "primitive"
) -> int:
    """Exact number of assignments, without enumerating them.

    Positions without freedom and of equal multiplicity are interchangeable for counting, so the
    state is how many of each multiplicity are left.

    Args:
        group: the space group.
        counts: atomic number to number of atoms in the cell.
        cell: "primitive" or "conventional".

    Raises:
        InputError: for counts that are not positive whole numbers.
    """
    group = SpaceGroup.from_any(group)
    check_counts(counts)
    totals = tuple(sorted(counts.values()))
    return _count(group.number, cell_share(group, cell), totals)


@lru_cache(maxsize=4096)
def _count(number: int, share: int, totals: tuple[int, ...]) -> int:
    shelf = slots(number, share)
    ways = multisets(tuple(size for _, size in shelf.free), max(totals))
    fixed = Counter(size for _, size in shelf.fixed)
    sizes = tuple(sorted(fixed))
    states: dict[tuple[int, ...], int] = {tuple(fixed[s] for s in sizes): 1}
    for total in totals:
        following: dict[tuple[int, ...], int] = {}
        for left, times in states.items():
            for taken in itertools.product(*(range(n + 1) for n in left)):
                rest = total - sum(k * s for k, s in zip(taken, sizes, strict=True))
                if rest < 0 or not ways[rest]:
                    continue
                choices = math.prod(math.comb(n, k) for n, k in zip(left, taken, strict=True))
                key = tuple(n - k for n, k in zip(left, taken, strict=True))
                following[key] = following.get(key, 0) + times * choices * ways[rest]
        states = following
    return sum(states.values())


def enumerate_assignments(
    group: SpaceGroup | str | int,
    counts: Mapping[int, int],
    cell: str = "primitive",
    limit: int | None = None,
) -> Iterator[Assignment]:
    """All assignments of a composition, each once, in a fixed order.

    Args:
        group: the space group.
        counts: atomic number to number of atoms in the cell.
        cell: the cell ``counts`` belong to, "primitive" or "conventional".
        limit: stop after this many.

    Raises:
        RequestError: when there is none, with the nearest possibilities.
    """
    group = SpaceGroup.from_any(group)
    refuse_impossible(group, counts, cell)
    shelf = slots(group.number, cell_share(group, cell))
    elements = sorted(counts.items())
    feasible = multisets(tuple(size for _, size in shelf.free), max(counts.values()))

    def place(index: int, taken: frozenset[str], sites: tuple[Site, ...]) -> Iterator[Assignment]:
        if index == len(elements):
            yield make_assignment(group, list(sites))
            return
        number, total = elements[index]
        left = [pair for pair in shelf.fixed if pair[0] not in taken]
        for size in range(len(left) + 1):
            for chosen in itertools.combinations(left, size):
                rest = total - sum(m for _, m in chosen)
                if rest < 0 or not feasible[rest]:
                    continue
                letters = tuple(letter for letter, _ in chosen)
                for free in _free_multisets(shelf.free, rest):
                    mine = tuple(Site(number, letter) for letter in letters + free)
                    yield from place(index + 1, taken | set(letters), sites + mine)

    yield from itertools.islice(place(0, frozenset(), ()), limit)


def _free_multisets(free: tuple[tuple[str, int], ...], rest: int) -> Iterator[tuple[str, ...]]:
    """All multisets of positions with freedom that hold exactly ``rest`` atoms."""
    if rest == 0:
        yield ()
        return
    if not free:
        return
    (letter, size), others = free[0], free[1:]
    for times in range(rest // size, -1, -1):
        for tail in _free_multisets(others, rest - times * size):
            yield (letter,) * times + tail


def check_counts(counts: Mapping[int, int]) -> None:
    """Refuse an empty composition and counts below one.

    Raises:
        InputError: with the element and its count.
    """
    if not counts:
        raise InputError("counts is empty; give atomic number to number of atoms, as {22: 1}.")
    for number, count in counts.items():
        if count < 1 or count != int(count):
            raise InputError(
                f"counts has {count} atoms of element {number}; give whole numbers from 1 up."
            )


def possible_totals(
    group: SpaceGroup | str | int, counts: Mapping[int, int], cell: str = "primitive", n: int = 3
) -> list[int]:
    """Numbers of atoms, nearest to the wanted one, that this ratio of elements can have.

    There always are some: with as many formula units as the general position has points, every
    composition fits on general positions.
    """
    group = SpaceGroup.from_any(group)
    check_counts(counts)
    divisor = reduce(math.gcd, counts.values())
    unit = {z: count // divisor for z, count in counts.items()}
    size = sum(unit.values())
    found: list[int] = []
    for units in sorted(range(1, _UNITS_TRIED + 1), key=lambda k: (abs(k - divisor), k)):
        if count_assignments(group, {z: k * units for z, k in unit.items()}, cell):
            found.append(units * size)
        if len(found) == n:
            break
    return sorted(found)


def refuse_impossible(
    group: SpaceGroup | str | int, counts: Mapping[int, int], cell: str = "primitive"
) -> None:
    """Return when the composition fits the group, else say why not and what would.

    Raises:
        RequestError: with the reason and the nearest numbers of atoms that are possible.
    """
    group = SpaceGroup.from_any(group)
    if count_assignments(group, counts, cell):
        return
    shelf = slots(group.number, cell_share(group, cell))
    total = sum(counts.values())
    near = ", ".join(str(n) for n in possible_totals(group, counts, cell))
    alone = [z for z in sorted(counts) if not count_assignments(group, {z: counts[z]}, cell)]
    if alone:
        with_what = " and ".join(f"{counts[z]} {chemistry.symbol(z)}" for z in alone)
    else:
        with_what = " and ".join(f"{counts[z]} {chemistry.symbol(z)}" for z in sorted(counts))
    single = ", ".join(f"{m}{letter}" for letter, m in shelf.fixed)
    repeat = ", ".join(f"{m}{letter}" for letter, m in shelf.free)
    raise RequestError(
        f"{total} atoms are impossible in {group.symbol} with {with_what}; {near} … are (atoms in "
        f"the {cell} cell; positions that hold one orbit: {single or 'none'}; any number: "
        f"{repeat})."
    )
