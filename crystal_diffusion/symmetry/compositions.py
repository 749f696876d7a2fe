"""Draw elements and their Wyckoff positions together, where no composition is given."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.symmetry.assignments import (
    Assignment,
    Site,
    check_counts,
    count_assignments,
    make_assignment,
)
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.symmetry.letters import LetterSampler
from crystal_diffusion.symmetry.patterns import role_counts
from crystal_diffusion.symmetry.prior import WyckoffPrior

#: Sizes tried when the range of atoms is open.
_OPEN_RANGE = (1, 24)
#: Stands for every element while positions are drawn.
_ANY = 1


def draw_composition(
    prior: WyckoffPrior,
    groups: Iterable[SpaceGroup | str | int],
    rng: np.random.Generator,
    *,
    num_atoms: tuple[int, int] | None = None,
    allowed: Collection[int] | None = None,
    required: Collection[int] = (),
) -> Assignment:
    """Elements on the positions of one of the groups, as known crystals have them.

    A known pattern of the groups is drawn by frequency and its roles get different elements by
    frequency; where no pattern fits, positions are drawn one by one for a size of the range.

    Args:
        prior: the frequencies in known crystals.
        groups: to choose from.
        rng: the random stream.
        num_atoms: smallest and largest number of atoms in the primitive cell.
        allowed: atomic numbers to choose from; all that the prior has met by default.
        required: atomic numbers that must be there.

    Raises:
        RequestError: when no size of the range fits any of the groups, or the elements contradict
            each other.
    """
    chosen = [SpaceGroup.from_any(group) for group in groups]
    numbers = {group.number for group in chosen}
    usable = _elements(prior, allowed, required)
    low, high = num_atoms or (1, 10**6)
    fitting = []
    for index, pattern in enumerate(prior.patterns):
        if pattern[0] in numbers and len(required) <= len(pattern[1]) <= len(usable):
            if low <= sum(role_counts(pattern)) <= high:
                fitting.append(index)
    if fitting:
        weights = prior.frequencies[fitting]
        index = fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]
        number, words = prior.patterns[index]
        elements = _cast(prior.role_fits(index), usable, sorted(required), rng)
        sites = [Site(z, x) for z, word in zip(elements, words, strict=True) for x in word]
        return make_assignment(SpaceGroup.from_number(number), sites)
    return _unseen(prior, chosen, rng, num_atoms or _OPEN_RANGE, usable, sorted(required))


def _elements(
    prior: WyckoffPrior, allowed: Collection[int] | None, required: Collection[int]
) -> list[int]:
    met = {int(z) for z in np.flatnonzero(prior.element_counts)} | set(required)
    usable = met if allowed is None else {int(z) for z in allowed}
    missing = sorted(set(required) - usable)
    if missing:
        raise RequestError(
            f"{chemistry.symbol(missing[0])} is required and not allowed at the same time; drop "
            "one of the two."
        )
    if not usable:
        raise RequestError("no element is allowed; leave at least one of them in.")
    return sorted(usable)


def _cast(
    chances: np.ndarray, usable: list[int], required: list[int], rng: np.random.Generator
) -> list[int]:
    """Different elements for the roles, ``chances (roles, 104)``; required ones first."""
    roles = len(chances)
    elements = [0] * roles
    open_roles = list(range(roles))
    for z in required:
        weights = chances[open_roles, z] + 1e-12
        role = open_roles[int(rng.choice(len(open_roles), p=weights / weights.sum()))]
        elements[role] = z
        open_roles.remove(role)
    for role in rng.permutation(open_roles).tolist():
        left = [z for z in usable if z not in elements]
        weights = chances[role, left] + 1e-12
        elements[role] = left[int(rng.choice(len(left), p=weights / weights.sum()))]
    return elements


def _unseen(
    prior: WyckoffPrior,
    groups: list[SpaceGroup],
    rng: np.random.Generator,
    num_atoms: tuple[int, int],
    usable: list[int],
    required: list[int],
) -> Assignment:
    """Orbits drawn one by one for a number of atoms, then elements for the orbits."""
    needed = max(1, len(required))
    for group in rng.permutation(len(groups)).tolist():
        weights = prior.letter_weights(groups[group])
        sizes = [
            n
            for n in range(max(num_atoms[0], needed), num_atoms[1] + 1)
            if count_assignments(groups[group], {_ANY: n})
        ]
        for size in rng.permutation(sizes).tolist():
            check_counts({_ANY: size})
            sampler = LetterSampler(groups[group], weights, {_ANY: size})
            letters = [site.letter for site in sampler.draw(rng).sites]
            if len(letters) < needed:
                continue
            most = min(len(letters), len(usable), max(needed, 3))
            kinds = max(needed, int(rng.integers(1, most + 1)))
            base = np.tile(prior.element_counts, (kinds, 1))
            elements = _cast(base, usable, required, rng)
            # Every element gets one orbit, the others fall at random.
            roles = [*range(kinds), *rng.integers(kinds, size=len(letters) - kinds).tolist()]
            shuffled = rng.permutation(letters).tolist()
            sites = [Site(elements[r], x) for r, x in zip(roles, shuffled, strict=True)]
            return make_assignment(groups[group], sites)
    names = groups[0].symbol if len(groups) == 1 else f"any of the {len(groups)} groups"
    possible = [n for n in range(1, 400) if count_assignments(groups[0], {_ANY: n})]
    middle = 0.5 * (num_atoms[0] + num_atoms[1])
    near = sorted(sorted(possible, key=lambda n: abs(n - middle))[:3])
    raise RequestError(
        f"no cell of {num_atoms[0]} to {num_atoms[1]} atoms with {needed} or more elements exists "
        f"in {names}; {', '.join(map(str, near))} … atoms are possible in {groups[0].symbol} "
        "(primitive cell)."
    )
