"""How often known crystals use each group and each way to fill its Wyckoff positions.

A *pattern* is a space group with the letters of each element, elements unnamed, such as Pm-3m with
a | b | c. For each pattern the prior keeps how many known crystals have it and which elements
they put on each of its roles. An assignment is drawn from the patterns of the same group and
counts, weighted by how often they occur and by how well the elements fit (elements near on
Pettifor's chemical scale count for each other), or, with a share that shrinks as such patterns
become many, orbit by orbit from the frequency of each position (:mod:`.letters`), so that
arrangements nobody has seen remain possible.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.pretrained import asset_path
from crystal_diffusion.symmetry.assignments import (
    Assignment,
    Site,
    cell_share,
    check_counts,
    count_assignments,
    refuse_impossible,
)
from crystal_diffusion.symmetry.groups import Floats, SpaceGroup
from crystal_diffusion.symmetry.letters import LetterSampler
from crystal_diffusion.symmetry.patterns import (
    PatternTable,
    likeness,
    role_counts,
    role_fillings,
)

__all__ = ["SHIPPED", "WyckoffPrior", "draw_assignment", "role_counts"]

SHIPPED = asset_path("wyckoff.prior.npz")

#: Crystals' worth of belief in the elements' overall frequency, for each role.
ELEMENT_SMOOTHING = 2.0
#: Crystals' worth of belief in position-by-position drawing against known patterns.
PATTERN_SMOOTHING = 1.0
#: Crystals' worth of belief in other groups' use of a like position.
LETTER_SMOOTHING = 10.0


class WyckoffPrior:
    """Frequencies of groups, patterns, positions and elements in known crystals.

    Args:
        table: what was counted.
    """

    def __init__(self, table: PatternTable) -> None:
        self.table = table
        self.patterns = table.patterns
        self.frequencies = table.frequencies
        self._kinds, self._times = table.kinds, table.times
        self._role_start = np.cumsum([0, *(len(words) for _, words in self.patterns)])
        self._kind_start = np.concatenate([[0], np.cumsum(table.sizes)])
        self._by_counts: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, pattern in enumerate(self.patterns):
            self._by_counts[role_counts(pattern)].append(index)
        self._known = lru_cache(maxsize=256)(self._pattern_weights)
        self._weights = lru_cache(maxsize=256)(self._group_weights)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, Mapping[int, str]]]) -> WyckoffPrior:
        """From (space group number, {atomic number: letters of its orbits}) of each crystal.

        Raises:
            InputError: without any crystal.
        """
        return cls(PatternTable.from_rows(rows))

    @classmethod
    def from_structures(
        cls, structures: Iterable[Any], symprec: float = 0.1
    ) -> tuple[WyckoffPrior, dict[int, str]]:
        """From crystals, detected with moyopy.

        Returns:
            the prior, and the reason for each index that was left out.
        """
        from crystal_diffusion.symmetry.detection import wyckoff_letters

        rows, problems = [], {}
        for index, structure in enumerate(structures):
            try:
                rows.append(wyckoff_letters(structure, symprec))
            except InputError as error:
                problems[index] = str(error)
        return cls.from_rows(rows), problems

    @classmethod
    def load(cls, path: Path | str | None = None) -> WyckoffPrior:
        """From a file that :meth:`save` wrote; the shipped one without a path.

        Raises:
            InputError: when it cannot be read.
        """
        return _load(Path(path) if path is not None else SHIPPED)

    def save(self, path: Path | str) -> None:
        """Write as one compressed npz without pickled objects."""
        self.table.write(Path(path))

    @cached_property
    def elements(self) -> list[list[dict[int, int]]]:
        """For each pattern and role, how often each atomic number is there."""
        out = []
        for index, (_, words) in enumerate(self.patterns):
            roles = []
            for role in range(len(words)):
                start, stop = self._kind_start[self._role_start[index] + role :][:2]
                times = self._times[start:stop].astype(int).tolist()
                roles.append(dict(zip(self._kinds[start:stop].tolist(), times, strict=True)))
            out.append(roles)
        return out

    @cached_property
    def group_frequencies(self) -> Floats:
        """``(230,)`` crystals of each group, with half a crystal for each so that none is zero."""
        groups = [number - 1 for number, _ in self.patterns]
        counted: Floats = np.bincount(groups, self.frequencies, 230).astype(np.float64)
        return counted + 0.5

    @cached_property
    def element_frequencies(self) -> Floats:
        """``(104,)`` share of each atomic number among roles, smoothed over like elements."""
        smooth: Floats = (self.element_counts + 1e-3) @ likeness()
        return smooth / float(smooth.sum())

    @cached_property
    def element_counts(self) -> Floats:
        """``(104,)`` roles that each atomic number has in the known crystals."""
        counted = np.bincount(self._kinds, self._times, len(chemistry.SYMBOLS))
        return np.asarray(counted, np.float64)

    def letter_weights(self, group: SpaceGroup | str | int) -> dict[str, float]:
        """Expected orbits per crystal on each position of a group.

        Positions of the same freedom and site-symmetry order in other groups stand in where the
        group itself has few crystals.
        """
        group = SpaceGroup.from_any(group)
        used, crystals = self._letter_use
        general = group.positions[-1].multiplicity
        return {
            p.letter: (
                used[group.number, p.letter]
                + LETTER_SMOOTHING * self._class_use[p.freedom, general // p.multiplicity]
            )
            / (crystals[group.number] + LETTER_SMOOTHING)
            for p in group.positions
        }

    @cached_property
    def _letter_use(self) -> tuple[Counter[tuple[int, str]], Counter[int]]:
        used: Counter[tuple[int, str]] = Counter()
        crystals: Counter[int] = Counter()
        for (number, words), times in zip(self.patterns, self.frequencies, strict=True):
            crystals[number] += int(times)
            for letter in "".join(words):
                used[number, letter] += int(times)
        return used, crystals

    @cached_property
    def _class_use(self) -> defaultdict[tuple[int, int], float]:
        """Orbits per crystal and available position, by freedom and site-symmetry order."""
        used, crystals = self._letter_use
        orbits: defaultdict[tuple[int, int], float] = defaultdict(float)
        room: defaultdict[tuple[int, int], float] = defaultdict(float)
        for number, times in crystals.items():
            group = SpaceGroup.from_number(number)
            general = group.positions[-1].multiplicity
            for p in group.positions:
                key = (p.freedom, general // p.multiplicity)
                orbits[key] += used[number, p.letter]
                room[key] += times
        rare = 0.02
        out: defaultdict[tuple[int, int], float] = defaultdict(lambda: rare)
        out.update({key: (orbits[key] + rare) / (room[key] + 1) for key in room})
        return out

    def pattern_weights(
        self, counts: Mapping[int, int], group: SpaceGroup | None = None
    ) -> list[tuple[Assignment, float]]:
        """Assignments of known patterns with these counts in the primitive cell, and weights.

        The weight of an assignment is the number of crystals of its pattern times, for each
        element, how much likelier it is on its role than anywhere.
        """
        found = self._known(tuple(sorted(counts.items())))
        return [pair for pair in found if group is None or pair[0].space_group == group.number]

    def _pattern_weights(
        self, counts: tuple[tuple[int, int], ...]
    ) -> tuple[tuple[Assignment, float], ...]:
        by_count: dict[int, list[int]] = defaultdict(list)
        for z, count in counts:
            by_count[count].append(z)
        out = []
        for index in self._by_counts.get(tuple(sorted(count for _, count in counts)), ()):
            number, words = self.patterns[index]
            fits = self.role_fits(index) / np.maximum(self.element_frequencies, 1e-12)
            for elements in role_fillings(role_counts(self.patterns[index]), words, by_count):
                weight = float(self.frequencies[index])
                for role, z in enumerate(elements):
                    weight *= fits[role, z]
                sites = [Site(z, x) for z, word in zip(elements, words, strict=True) for x in word]
                out.append((Assignment(number, tuple(sorted(sites))), weight))
        return tuple(out)

    def role_fits(self, index: int) -> Floats:
        """``(roles, 104)`` chance of each element on each role of a pattern, rows add up to 1."""
        words = self.patterns[index][1]
        table = np.zeros((len(words), len(chemistry.SYMBOLS)))
        for role in range(len(words)):
            start, stop = self._kind_start[self._role_start[index] + role :][:2]
            table[role, self._kinds[start:stop]] = self._times[start:stop]
        for word in set(words):  # roles with the same letters are one
            same = [role for role, other in enumerate(words) if other == word]
            table[same] = table[same].mean(0)
        base = self.element_frequencies
        seen = table @ likeness() + ELEMENT_SMOOTHING * base
        fits: Floats = seen / seen.sum(1, keepdims=True)
        return fits

    def group_weights(self, counts: Mapping[int, int]) -> Floats:
        """``(230,)`` weight of each group for a composition of the primitive cell.

        Groups of known patterns with the same counts weigh by frequency and fit; the others by how
        often groups occur at this number of atoms, and at all.
        """
        check_counts(counts)
        return self._weights(tuple(sorted(counts.items()))).copy()

    def _group_weights(self, counts: tuple[tuple[int, int], ...]) -> Floats:
        atoms = sum(count for _, count in counts)
        overall = self.group_frequencies / self.group_frequencies.sum()
        here = np.zeros(230)
        for key, found in self._by_counts.items():
            if sum(key) == atoms:
                for index in found:
                    here[self.patterns[index][0] - 1] += self.frequencies[index]
        backoff = (here + 20.0 * overall) / (here.sum() + 20.0)
        weights: Floats = PATTERN_SMOOTHING * backoff
        for assignment, weight in self._known(counts):
            weights[assignment.space_group - 1] += weight
        return weights

    def draw_group(
        self,
        counts: Mapping[int, int],
        rng: np.random.Generator,
        groups: Iterable[SpaceGroup | str | int] | None = None,
        cell: str = "primitive",
    ) -> SpaceGroup:
        """A group that the composition fits, drawn as in the known crystals.

        Args:
            groups: to choose from; all 230 by default.
            cell: the cell ``counts`` belong to; with "conventional" the weights are those of the
                primitive counts of each centring.

        Raises:
            RequestError: when none of the groups can hold the composition.
        """
        chosen = [SpaceGroup.from_any(g) for g in (range(1, 231) if groups is None else groups)]
        weights = np.zeros(230)
        known: dict[int, Floats] = {}
        for group in chosen:
            if not count_assignments(group, counts, cell):
                continue
            share = group.centring_size if cell == "conventional" else 1
            if share not in known:
                known[share] = self.group_weights(
                    {z: max(1, n // share) for z, n in counts.items()}
                )
            weights[group.number - 1] = known[share][group.number - 1]
        if not weights.any():
            if len(chosen) == 1:
                refuse_impossible(chosen[0], counts, cell)
            names = " ".join(f"{chemistry.symbol(z)}{n}" for z, n in sorted(counts.items()))
            raise RequestError(
                f"none of the {len(chosen)} space groups asked for holds {names} in the {cell} "
                "cell; ask for another number of atoms or drop the wish for symmetry."
            )
        return SpaceGroup.from_number(int(rng.choice(230, p=weights / weights.sum())) + 1)

    def draw_assignment(
        self,
        group: SpaceGroup | str | int,
        counts: Mapping[int, int],
        rng: np.random.Generator,
        cell: str = "primitive",
    ) -> Assignment:
        """Elements on Wyckoff positions, drawn by frequency, never uniformly.

        Raises:
            RequestError: when the composition does not fit the group, with the nearest ones.
        """
        group = SpaceGroup.from_any(group)
        refuse_impossible(group, counts, cell)
        share = group.centring_size // cell_share(group, cell)
        if all(count % share == 0 for count in counts.values()):
            primitive = {z: count // share for z, count in counts.items()}
            known = self.pattern_weights(primitive, group)
            if known and rng.random() >= self._unseen(primitive, group):
                weights = np.array([weight for _, weight in known])
                return known[int(rng.choice(len(known), p=weights / weights.sum()))][0]
        return LetterSampler(group, self.letter_weights(group), counts, cell).draw(rng)

    def log_probability(self, assignment: Assignment) -> float:
        """Natural logarithm of the chance that :meth:`draw_assignment` gives this one.

        Group and composition (of the primitive cell) are taken as given.
        """
        group, counts = assignment.group, assignment.counts()
        known = self.pattern_weights(counts, group)
        unseen = self._unseen(counts, group) if known else 1.0
        letters = LetterSampler(group, self.letter_weights(group), counts)
        chance = unseen * math.exp(letters.log_probability(assignment))
        if known:
            hits = sum(weight for candidate, weight in known if candidate == assignment)
            chance += (1 - unseen) * hits / sum(weight for _, weight in known)
        return math.log(chance)

    def _unseen(self, counts: Mapping[int, int], group: SpaceGroup) -> float:
        """Share of draws that are made position by position."""
        found = self._by_counts.get(tuple(sorted(counts.values())), ())
        crystals = sum(
            float(self.frequencies[i]) for i in found if self.patterns[i][0] == group.number
        )
        return PATTERN_SMOOTHING / (PATTERN_SMOOTHING + crystals)


def draw_assignment(
    group: SpaceGroup | str | int,
    counts: Mapping[int, int],
    prior: WyckoffPrior | None = None,
    rng: np.random.Generator | int = 0,
    cell: str = "primitive",
) -> Assignment:
    """:meth:`WyckoffPrior.draw_assignment` with the shipped prior where none is given."""
    source = prior if prior is not None else WyckoffPrior.load()
    return source.draw_assignment(group, counts, np.random.default_rng(rng), cell)


@lru_cache(maxsize=4)
def _load(path: Path) -> WyckoffPrior:
    return WyckoffPrior(PatternTable.read(path))
