"""How many formula units the cells of a request hold: what known types say, and what fits.

A formula alone leaves the number open. Types of the library that hold such a formula, in cells up
to 52 atoms, vote for theirs; the smallest cells are tried besides, for what no type has. A given
cell holds what its volume has room for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.generation.request import (
    LARGEST_CELL,
    Request,
    cell_volume,
    parse_formula,
)

if TYPE_CHECKING:
    from crystal_diffusion.proposals.prototypes import PrototypeProposer

#: Cell contents that crystals from noise share among themselves.
DRAWN = 4
#: Structure types that vote on the number of formula units.
VOTERS = 40
#: Largest ratio, either way, of a given volume to the expected one with which a cell is filled.
MISFIT = 1.35
#: Beyond this ratio nothing is made: such crystals would fail the checks one by one.
NO_FIT = 2.0


@dataclass(frozen=True)
class Cells:
    """Cell contents that are tried, by atomic number; both empty where no formula is given.

    Attributes:
        drawn: for crystals from noise, the likeliest first.
        proposed: for crystals from known structure types.
    """

    drawn: tuple[Mapping[int, int], ...] = ()
    proposed: tuple[Mapping[int, int], ...] = ()

    @property
    def units(self) -> tuple[int, ...]:
        """Numbers of reduced formula units of all that are tried, ascending."""
        contents = (*self.drawn, *self.proposed)
        return tuple(sorted({math.gcd(*content.values()) for content in contents}))


def cells_of(request: Request, largest: int, proposer: PrototypeProposer | None) -> Cells:
    """The contents that a request allows.

    Args:
        largest: cells of more atoms are tried only where asked for, or where a known type has them.
        proposer: whose types vote; None where there is no library.

    Raises:
        RequestError: when none meets the wishes, or none fits in the given cell.
    """
    if not request.formula:
        return Cells()
    if not _is_open(request):
        contents = _fitting(request, request.contents(largest))
        return Cells(contents, contents)
    from crystal_diffusion.proposals.prototypes import MAX_ATOMS

    size = sum(parse_formula(request.formula).values())
    most = max(1, max(MAX_ATOMS, largest) // size)
    every = {math.gcd(*c.values()): c for c in request.contents(largest, range(1, most + 1))}
    first = _voted(request, proposer, every)
    small = [z for z in every if z <= max(1, min(DRAWN, largest // size))]
    chosen = list(dict.fromkeys((*first, *small, *every)))[
        : max(len(small), min(DRAWN, len(first)))
    ]
    if request.lattice is not None:
        contents = _fitting(request, list(every.values()))
        return Cells(contents, contents)
    return Cells(tuple(every[z] for z in chosen), tuple(every.values()))


def _is_open(request: Request) -> bool:
    """Whether a request leaves the number of formula units to us."""
    counts = parse_formula(str(request.formula)).values()
    fixed = request.z or request.num_atoms or request.wyckoff
    return not fixed and reduce(math.gcd, counts) == 1


def _voted(
    request: Request, proposer: PrototypeProposer | None, every: Mapping[int, Mapping[int, int]]
) -> list[int]:
    """Numbers of formula units, those of the likeliest known types first."""
    if proposer is None:
        return []
    unit = next(iter(every.values()))
    votes: dict[int, float] = {}
    for option in proposer.options(unit, units=tuple(every), most=VOTERS):
        atoms = len(proposer.library.roles_of(option.kind))
        z = round(atoms * math.gcd(*unit.values()) / sum(unit.values()))
        votes[z] = votes.get(z, 0.0) + math.exp(option.log_share[0])
    return sorted(votes, key=lambda z: -votes[z])


def _fitting(
    request: Request, contents: Sequence[Mapping[int, int]]
) -> tuple[Mapping[int, int], ...]:
    """The contents that a given cell has room for and fills; all where no cell is given.

    Raises:
        RequestError: when none does, with the number that comes nearest.
    """
    if request.lattice is None:
        return tuple(contents)
    volume = cell_volume(request.lattice)
    off = [abs(math.log(volume / expected_volume(content))) for content in contents]
    best = int(np.argmin(off))
    if off[best] > math.log(NO_FIT):
        unit = parse_formula(str(request.formula))
        one = expected_volume({chemistry.atomic_number(el): n for el, n in unit.items()})
        fits = volume / one
        offer = f"it has room for about {fits:.0f}" if fits >= 0.7 else "it is too small for one"
        if round(fits) * sum(unit.values()) > LARGEST_CELL:
            raise RequestError(
                f"the given cell of {volume:.0f} Å3 has room for more than {LARGEST_CELL} atoms; "
                f"one {request.formula} takes about {one:.0f} Å3. Give a smaller --lattice, in Å."
            )
        asked = sorted({math.gcd(*content.values()) for content in contents})
        raise RequestError(
            f"the given cell of {volume:.1f} Å3 does not fit {request.formula} with "
            f"{_spoken(asked)} formula unit{'s' if asked != [1] else ''}: {offer}, one takes about "
            f"{one:.0f} Å3. Give --z {max(1, round(fits))}, leave --z and --natoms out, or correct "
            "--lattice."
        )
    return tuple(
        content
        for content, ratio in zip(contents, off, strict=True)
        if ratio <= max(math.log(MISFIT), off[best])
    )


def expected_volume(content: Mapping[int, int]) -> float:
    """Å3 that these atoms usually take."""
    numbers = np.array([z for z, count in content.items() for _ in range(count)])
    mean, _, _ = chemistry.expected_volume(numbers)
    return float(mean) * len(numbers)


def _spoken(numbers: Sequence[int]) -> str:
    """``1``, ``1 or 2``, ``1 to 4``."""
    if len(numbers) > 2:
        return f"{numbers[0]} to {numbers[-1]}"
    return " or ".join(map(str, numbers))
