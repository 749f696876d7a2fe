"""New crystals of a user's kind: known types with elements like those that stand on their sites.

For each structure type of the training crystals, each site (role) has a distribution of elements:
those that occupy it in the crystals, and elements that are alike by the learned similarity. A
decoration is one element for every role. Decorations are drawn without repetition, in proportion
to how often the type occurs and how well each element fits its role (Gumbel top-k; Kool, van Hoof
and Welling 2019), so the n-th crystal of a seed does not depend on how many are asked for.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.decorations import Decoration, built, decoration_codes
from crystal_diffusion.physics.neutrality import is_neutral_possible
from crystal_diffusion.proposals.quantisation import composition_code
from crystal_diffusion.proposals.similarity import MAX_ELEMENT
from crystal_diffusion.seeding import stream_seed

if TYPE_CHECKING:
    from crystal_diffusion.proposals.library import CrystalLibrary
    from crystal_diffusion.proposals.prototypes import Proposal, PrototypeProposer
    from crystal_diffusion.proposals.similarity import Floats, Ints

#: Decorations of one type that are looked at, best first, and elements of one role.
_DECORATIONS, _ELEMENTS = 20_000, 24
#: Kernel exponents per unit of squared distance between elements, at likeness 0 and 1.
_SHARPNESS = (0.5, 6.0)
#: Combinations of elements of one type that are made.
_GRID = 60_000
#: Places between a decoration and the one that takes its place in a redraw.
_STRIDE = 997
#: From this share of neutral training crystals on, new ones are to be neutral as well.
_NEUTRAL_SHARE = 0.8


class LikeTraining:
    """Draws decorations around the user's crystals.

    Args:
        proposer: its library marks the user's crystals.
        likeness: 0 to 1; how near elements and types stay to those of the crystals.
        seed: of the run.
        known: atomic numbers that may be used; required: all of them in every crystal; excluded:
            none of them; sizes: smallest and largest number of atoms.
        neutral: ask for balanced charges; where most training crystals balance they are anyway.

    Raises:
        RequestError: when no decoration meets the wishes.
    """

    def __init__(
        self,
        proposer: PrototypeProposer,
        likeness: float,
        seed: int,
        *,
        known: Sequence[int],
        required: Sequence[int] = (),
        excluded: Sequence[int] = (),
        sizes: tuple[int, int] | None = None,
        neutral: bool = False,
    ) -> None:
        if not 0 <= likeness <= 1:
            raise RequestError(f"like_training is {likeness}; give a number between 0 and 1.")
        library = proposer.library
        if library.own is None or not library.own.any():
            raise RequestError(
                "like_training needs a model that holds crystals of yours; train one first, or "
                "leave --like-training out."
            )
        self._proposer, self._library = proposer, library
        self.likeness = likeness
        self._sharpness = _SHARPNESS[0] + likeness * (_SHARPNESS[1] - _SHARPNESS[0])
        self._allowed = np.zeros(101, bool)
        self._allowed[[z for z in known if z not in set(excluded)]] = True
        self._required = frozenset(required)
        own = np.flatnonzero(library.own)
        self._neutral = neutral or _mostly_neutral(library, own)
        low, high = sizes or (1, 10**9)
        members: dict[int, list[int]] = {}
        for entry in own:
            kind = int(library.entry_type[entry])
            if low <= library.atoms_of(kind) <= high:
                members.setdefault(kind, []).append(int(entry))
        self._order = self._draw(members, len(own), seed)
        if not self._order:
            raise RequestError(
                "no crystal like those of the training set meets these wishes; widen --natoms or "
                "--elements, or leave --like-training out."
            )

    def __len__(self) -> int:
        return len(self._order)

    def proposal(self, index: int, attempt: int = 0) -> Proposal | None:
        """The crystal of this index; None where it is to start from noise.

        (1 - likeness)² of the crystals start from noise, and those for which no decoration is left.
        A redraw takes another decoration.
        """
        share = (1 - self.likeness) ** 2
        before = int(np.floor(index * share + 1e-9))
        if int(np.floor((index + 1) * share + 1e-9)) > before:
            return None
        place = index - before + attempt * _STRIDE
        if place >= len(self._order):
            return None
        chosen = self._order[place]
        return built(self._proposer, chosen)

    def _draw(
        self, members: Mapping[int, Sequence[int]], total: int, seed: int
    ) -> list[Decoration]:
        """Decorations in order of Gumbel-perturbed log-probability, no composition twice."""
        found: list[tuple[float, Decoration]] = []
        for kind in sorted(members):
            rng = np.random.default_rng(stream_seed(seed, "like", kind))
            scores, elements = self._decorations(kind, members[kind])
            if not len(scores):
                continue
            scores = scores - np.logaddexp.reduce(scores) + math.log(len(members[kind]) / total)
            keys = scores + rng.gumbel(size=len(scores))
            found += [
                (float(key), Decoration(kind, tuple(row)))
                for key, row in zip(keys, elements.tolist(), strict=True)
            ]
        found.sort(key=lambda pair: -pair[0])
        return [decoration for _, decoration in found]

    def _decorations(self, kind: int, members: Sequence[int]) -> tuple[Floats, Ints]:
        """Log-probabilities and elements by role of the decorations of one type that are new."""
        library = self._library
        counts = library.type_counts[kind]
        roles = int((counts > 0).sum())
        places = self._proposer.tables.indices(library.elements[list(members)][:, :roles])
        tables = [self._role(places[:, role]) for role in range(roles)]
        if any(not len(numbers) for numbers, _ in tables):
            return np.zeros(0), np.zeros((0, roles), np.int64)
        grid = self._grid([len(numbers) for numbers, _ in tables])
        scores = sum(tables[role][1][grid[:, role]] for role in range(roles))
        elements = np.stack([tables[role][0][grid[:, role]] for role in range(roles)], 1)
        scores, elements = self._without_twins(kind, np.asarray(scores), elements)
        best = np.argsort(-scores, kind="stable")[:_DECORATIONS]
        scores, elements = scores[best], elements[best]
        keep = np.array([len(set(row)) == roles for row in elements.tolist()], dtype=bool)
        if self._required:
            keep &= np.array([self._required <= set(row) for row in elements.tolist()])
        # Types in which the library or the user has this composition already are not new.
        codes = composition_code(elements, np.broadcast_to(counts[:roles], elements.shape))
        keep &= ~np.isin(codes, library.composition_codes)
        scores, elements = scores[keep], elements[keep]
        # Neutrality is looked at in order of score, for as many as a run can ask for.
        if self._neutral:
            good = [
                row
                for row, kinds in enumerate(elements.tolist())
                if is_neutral_possible(dict(zip(kinds, counts[:roles].tolist(), strict=True)))
            ]
            scores, elements = scores[good], elements[good]
        return scores, elements

    def _grid(self, sizes: Sequence[int]) -> Ints:
        """Rows of choices, one column a role; of many roles only the best elements of each."""
        sizes = list(sizes)
        while math.prod(sizes) > _GRID:
            largest = int(np.argmax(sizes))
            sizes[largest] -= 1
        return np.array(list(itertools.product(*(range(size) for size in sizes))), dtype=np.int64)

    def _without_twins(self, kind: int, scores: Floats, elements: Ints) -> tuple[Floats, Ints]:
        """Decorations that are one crystal as one, with the sum of their probabilities."""
        codes = decoration_codes(self._library, kind, elements)
        order = np.argsort(codes, kind="stable")
        first = np.flatnonzero(np.diff(codes[order], prepend=-1))
        return np.logaddexp.reduceat(scores[order], first), elements[order][first]

    def _role(self, occupants: Ints) -> tuple[Ints, Floats]:
        """Elements for a role, best first, with log-probabilities.

        Args:
            occupants: rows of the similarity tables: element, and whether it is the most
                electronegative of its crystal, which a new one is to be as well.
        """
        numbers = np.flatnonzero(self._allowed)
        distances = self._proposer.tables.squared_distances
        weight = np.zeros(len(numbers))
        for place, times in Counter(occupants.tolist()).items():
            standing = (MAX_ELEMENT + 1) * (place > MAX_ELEMENT)
            weight += times * np.exp(-self._sharpness * distances[place][numbers + standing])
        order = np.argsort(-weight, kind="stable")[:_ELEMENTS]
        order = order[weight[order] > 1e-12 * weight.max()]
        return numbers[order], np.log(weight[order] / weight[order].sum())


def like_formula(proposer: PrototypeProposer, known: Sequence[int], seed: int = 0) -> str | None:
    """A composition of the user's kind that is not among the crystals; None where there is none.

    Args:
        proposer: its library marks the user's crystals; known: atomic numbers that may be used.
    """
    from pymatgen.core import Composition

    try:
        drawn = LikeTraining(proposer, 1.0, seed, known=known).proposal(0)
    except RequestError:
        return None
    if drawn is None:
        return None
    return str(Composition(drawn.structure.composition).reduced_formula)


def _mostly_neutral(library: CrystalLibrary, own: np.ndarray) -> bool:
    """Whether charges balance in nearly all of the user's crystals."""
    balanced = []
    for entry in own[:200]:
        counts = library.type_counts[library.entry_type[entry]]
        pairs = zip(library.elements[entry].tolist(), counts.tolist(), strict=True)
        balanced.append(is_neutral_possible({z: n for z, n in pairs if z}))
    return float(np.mean(balanced)) >= _NEUTRAL_SHARE
