"""Starts for properties that are asked for: known crystals with the label, other elements in them.

A crystal of the library whose label lies in the range, or where few do is expected to, is a
parent; what is made of it has one element exchanged for one that is like it, in a composition that
is not known. Where the elements are named, these stand on its sites, in a composition that its
structure type is not known with.
Hautier and others (Inorg. Chem. 50, 656 (2011)) find new compounds by such exchanges; here the
label says in which crystals.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.generation.asking import judged
from crystal_diffusion.generation.decorations import Decoration, built, decoration_codes
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.proposals.quantisation import composition_code
from crystal_diffusion.proposals.similarity import MAX_ELEMENT
from crystal_diffusion.seeding import stream_seed

if TYPE_CHECKING:
    from crystal_diffusion.generation.asking import PropertyJudge
    from crystal_diffusion.properties import PropertyRange
    from crystal_diffusion.proposals.labels import LibraryLabels
    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
    from crystal_diffusion.proposals.similarity import Floats, Ints

#: Elements that an element is exchanged for at most, and how fast the chance falls with distance.
_LIKE, _SHARPNESS = 8, 2.0
#: Named elements up to which all their orders on the sites of a parent are tried.
_MOST_NAMED = 5
#: Parents with all labels below which those with some of the labels are taken as well.
_FEWEST = 20
#: Part of the crystals that starts from noise all the same, where the user does not say.
NOISE_SHARE = 0.25
#: Crystals of the library that are judged where few have the label, and the least chance of being
#: inside that makes one a parent.
_SAMPLED, _PARENT_CHANCE = 1000, 0.5
#: Decorations that are judged before the likeliest are taken.
_JUDGED = 300
#: Decorations that are kept, best first, and places between one and its redraw.
_MOST, _STRIDE = 20_000, 997


class ByLabel:
    """Draws decorations of crystals whose labels are inside ranges.

    Decorations come in the order of Gumbel-perturbed log-probabilities, so the n-th crystal of a
    seed does not depend on how many are asked for. Every parent counts alike; where elements are
    named, those whose own elements are like them count more.

    Args:
        proposer: of prototypes; its library holds the parents.
        labels: of the library.
        ranges: what is asked of properties.
        seed: of the run.
        known: atomic numbers that may be used; named: the elements that each crystal is to have,
            none for any; sizes: smallest and largest number of atoms.
        noise_share: part of the crystals that starts from noise.
        neutral: only balanced charges; children of balanced parents are balanced anyway.
        judge: finds parents in the library where fewer than 20 have the label, as for a property of
            the user's own, and puts the first some hundred decorations in the order of their chance
            to be inside. Where it is not given they come as they were drawn.
    """

    def __init__(
        self,
        proposer: PrototypeProposer,
        labels: LibraryLabels,
        ranges: Mapping[str, PropertyRange],
        seed: int,
        *,
        known: Sequence[int],
        named: Sequence[int] = (),
        sizes: tuple[int, int] | None = None,
        noise_share: float = NOISE_SHARE,
        neutral: bool = False,
        judge: PropertyJudge | None = None,
    ) -> None:
        self._proposer, self._library = proposer, proposer.library
        self._noise_share, self._neutral = noise_share, neutral
        self._allowed = np.zeros(MAX_ELEMENT + 1, bool)
        self._allowed[[z for z in known if z <= MAX_ELEMENT]] = True
        low, high = sizes or (1, 10**9)
        atoms = self._library.type_counts.sum(1)[self._library.entry_type]
        fits = (atoms >= low) & (atoms <= high)
        self.parents = np.flatnonzero(fits & labelled_inside(self._library, labels, ranges))
        rng = np.random.default_rng(stream_seed(seed, "by label"))
        self._ranges, self._judge = ranges, judge
        if judge is not None and len(self.parents) < _FEWEST:
            more = rng.permutation(np.flatnonzero(fits))[:_SAMPLED]
            self.parents = np.union1d(self.parents, self._likely(more, judge))
        self._order = self._draw(np.array(sorted(named), np.int64), rng)
        self._good: list[int] = []
        self._looked = 0

    def __len__(self) -> int:
        return len(self._order)

    def proposal(self, index: int, attempt: int = 0) -> Proposal | None:
        """The crystal of this index; None where it starts from noise, or nothing is left."""
        before = int(np.floor(index * self._noise_share + 1e-9))
        if int(np.floor((index + 1) * self._noise_share + 1e-9)) > before:
            return None
        if self._judge is not None:
            self._put_likeliest_first(self._judge)
        chosen = self._at(index - before + attempt * _STRIDE)
        return None if chosen is None else built(self._proposer, chosen)

    def _likely(self, entries: Ints, judge: PropertyJudge) -> Ints:
        """Those of some crystals that the predictor expects inside."""
        structures = [self._library.structure(entry) for entry in entries.tolist()]
        found = judged(structures, self._ranges, judge).together
        return entries[found >= _PARENT_CHANCE]

    def _put_likeliest_first(self, judge: PropertyJudge) -> None:
        """Once, among the first decorations."""
        self._judge = None
        self._at(_JUDGED - 1)
        proposals = [built(self._proposer, self._order[row][1]) for row in self._good]
        made = [row for row, one in enumerate(proposals) if one is not None]
        found = np.full(len(proposals), -1.0)
        structures = [one.structure for one in proposals if one is not None]
        found[made] = judged(structures, self._ranges, judge).together
        self._good = [self._good[row] for row in np.argsort(-found, kind="stable")]

    def _at(self, place: int) -> Decoration | None:
        """The decoration of that place among those whose charges balance as they should."""
        while len(self._good) <= place and self._looked < len(self._order):
            parent, decoration = self._order[self._looked]
            if self._balanced(parent, decoration):
                self._good.append(self._looked)
            self._looked += 1
        return self._order[self._good[place]][1] if place < len(self._good) else None

    def _balanced(self, parent: int, decoration: Decoration) -> bool:
        counts = self._library.type_counts[decoration.kind].tolist()
        if is_neutral_possible(dict(zip(decoration.elements, counts, strict=False))):
            return True
        if self._neutral:
            return False
        before = [int(z) for z in self._library.elements[parent] if z]
        return not is_neutral_possible(dict(zip(before, counts, strict=False)))

    def _draw(self, named: Ints, rng: np.random.Generator) -> list[tuple[int, Decoration]]:
        """Parents and decorations, drawn first those of high probability."""
        if not len(self.parents):
            return []
        make = self._named if len(named) else self._exchanged
        parents, elements, distances = make(named)
        if not len(parents):
            return []
        library = self._library
        kinds = library.entry_type[parents]
        counts = library.type_counts[kinds]
        codes, held = composition_code(elements, counts), library.composition_codes
        if len(named):
            # All compositions of few elements may be known; new is one that its type has not.
            codes, held = codes + kinds, held + library.entry_type
        new = ~np.isin(codes, held)
        parents, elements = parents[new], elements[new]
        distances, kinds = distances[new], kinds[new]
        scores = -_SHARPNESS * distances
        total = np.full(len(library), -np.inf)
        np.logaddexp.at(total, parents, scores)
        keys = scores + rng.gumbel(size=len(scores))
        if not len(named):
            keys -= total[parents]
        taken: set[tuple[int, int]] = set()
        found: list[tuple[int, Decoration]] = []
        for row in np.argsort(-keys, kind="stable"):
            kind = int(kinds[row])
            chosen = elements[row][: int((library.type_counts[kind] > 0).sum())]
            code = (kind, int(decoration_codes(library, kind, chosen[None])[0]))
            if code not in taken:
                taken.add(code)
                found.append((int(parents[row]), Decoration(kind, tuple(chosen.tolist()))))
            if len(found) == _MOST:
                break
        return found

    def _exchanged(self, _: Ints) -> tuple[Ints, Ints, Floats]:
        """Every parent with each of its elements exchanged for like ones."""
        library, tables = self._library, self._proposer.tables
        apart = tables.squared_distances
        numbers = np.flatnonzero(self._allowed)
        parts: list[tuple[Ints, Ints, Floats]] = []
        elements = library.elements[self.parents].astype(np.int64)
        places = tables.indices(elements)
        for role in range(elements.shape[1]):
            rows = np.flatnonzero(elements[:, role] > 0)
            if not len(rows):
                continue
            standing = (MAX_ELEMENT + 1) * (places[rows, role] > MAX_ELEMENT)
            distances = apart[places[rows, role][:, None], numbers[None] + standing[:, None]]
            inside = (elements[rows][:, :, None] == numbers).any(1)
            distances = np.where(inside, np.inf, distances)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :_LIKE]
            new = np.repeat(elements[rows], nearest.shape[1], axis=0)
            new[:, role] = numbers[nearest].ravel()
            away = np.take_along_axis(distances, nearest, 1).ravel()
            keep = np.isfinite(away) & (self._allowed[new] | (new == 0)).all(1)
            parents = np.repeat(self.parents[rows], nearest.shape[1])
            parts.append((parents[keep], new[keep], away[keep]))
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return joined[0], joined[1], joined[2]

    def _named(self, named: Ints) -> tuple[Ints, Ints, Floats]:
        """Every parent of so many elements with the named ones on its sites, in all orders."""
        library, tables = self._library, self._proposer.tables
        roles = len(named)
        own = library.elements[self.parents].astype(np.int64)
        rows = np.flatnonzero((own > 0).sum(1) == roles)
        if roles > _MOST_NAMED or not self._allowed[named].all() or not len(rows):
            nothing = np.zeros(0, np.int64)
            return nothing, np.zeros((0, own.shape[1]), np.int64), np.zeros(0)
        orders = named[np.array([*itertools.permutations(range(roles))])]
        before = tables.indices(own[rows])[:, :roles]
        distances = tables.squared_distances[before[:, None], tables.indices(orders)[None]].sum(-1)
        elements = np.zeros((len(rows), len(orders), own.shape[1]), np.int64)
        elements[:, :, :roles] = orders
        return (
            np.repeat(self.parents[rows], len(orders)),
            elements.reshape(-1, own.shape[1]),
            distances.ravel(),
        )


def labelled_inside(
    library: CrystalLibrary, labels: LibraryLabels, ranges: Mapping[str, PropertyRange]
) -> NDArray[np.bool_]:
    """Which crystals of a library have labels inside all ranges.

    Where fewer than 20 have all of them, a label that is not known is no obstacle, as long as one
    is.
    """
    values = {name: labels.of(library, name) for name in ranges}
    inside = {
        name: (found >= ranges[name].low) & (found <= ranges[name].high)
        for name, found in values.items()
    }
    strict = np.all([*inside.values()], axis=0)
    if strict.sum() >= _FEWEST:
        return np.asarray(strict, bool)
    open_ones = [inside[name] | np.isnan(values[name]) for name in ranges]
    return np.asarray(np.all(open_ones, axis=0) & np.any([*inside.values()], axis=0), bool)
