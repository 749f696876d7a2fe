"""What a discovery looks for, and what it may cost."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from crystal_diffusion.errors import InputError

#: How a discovery chooses what to relax; `loop` is the method, the others are what it is
#: measured against.
STRATEGIES = ("loop", "once", "exchange", "random")


@dataclass(frozen=True)
class Wish:
    """What is looked for.

    Attributes:
        elements: crystals are made of these only, and of at least two of them; empty for any.
        exclude: elements that must not appear.
        family: letters and counts of the formula, such as ``ABX3``; None for any.
        most_atoms: of a primitive cell.
        most_above_hull: eV/atom at which a crystal is accepted.
    """

    elements: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    family: str | None = None
    most_atoms: int = 20
    most_above_hull: float = 0.1

    def __post_init__(self) -> None:
        from ase.data import chemical_symbols

        for symbol in (*self.elements, *self.exclude):
            if symbol not in chemical_symbols[1:]:
                raise InputError(
                    f"elements: {symbol!r} is no element; give symbols such as Na,Sb,S"
                )
        both = set(self.elements) & set(self.exclude)
        if both:
            raise InputError(f"elements: {', '.join(sorted(both))} both wished and excluded")
        if len(set(self.elements)) == 1:
            raise InputError("elements: one given; a discovery needs two or more, or none for any")
        if self.family is not None:
            self.proportions  # noqa: B018 - refuses what is no family
        if self.most_atoms < 2:
            raise InputError(f"most_atoms: {self.most_atoms} given, but it must be 2 or more")

    @property
    def proportions(self) -> tuple[int, ...] | None:
        """Counts of the family in ascending order, divided by their common divisor.

        Raises:
            InputError: a family that cannot be read.
        """
        if self.family is None:
            return None
        parts = re.findall(r"([A-Z])(\d*)", self.family)
        if not parts or "".join(letter + count for letter, count in parts) != self.family:
            raise InputError(
                f"family: {self.family!r} cannot be read; give letters with counts, such as ABX3"
            )
        if len({letter for letter, _ in parts}) < len(parts):
            raise InputError(f"family: {self.family!r} names a letter twice; add its counts up")
        return proportions(int(count or 1) for _, count in parts)

    def allows(self, counts: dict[str, int]) -> bool:
        """Whether a crystal of this composition (atoms of each element) is what is looked for."""
        if self.elements and not set(counts) <= set(self.elements):
            return False
        if len(counts) < 2 or set(counts) & set(self.exclude):
            return False
        return self.family is None or proportions(counts.values()) == self.proportions

    @property
    def words(self) -> str:
        """The wish in words."""
        parts = ["-".join(self.elements) if self.elements else "anything"]
        parts += [f"without {', '.join(self.exclude)}"] if self.exclude else []
        parts += [f"of the family {self.family}"] if self.family else []
        return ", ".join(parts)


def proportions(counts: Iterable[int]) -> tuple[int, ...]:
    """Counts in ascending order, divided by their common divisor."""
    import math
    from functools import reduce

    found = sorted(counts)
    divisor = reduce(math.gcd, found)
    return tuple(count // divisor for count in found)


@dataclass(frozen=True)
class Budget:
    """What a discovery may cost: it ends when the first of the two is spent.

    Attributes:
        relaxations: crystals relaxed with the first potential.
        minutes: of wall time, over all runs in the folder.
    """

    relaxations: int | None = 100
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.relaxations is None and self.minutes is None:
            raise InputError("budget: give a number of relaxations, minutes, or both")
        if self.relaxations is not None and self.relaxations < 1:
            raise InputError(f"budget: {self.relaxations} relaxations given; 1 or more are needed")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"budget: {self.minutes} minutes given; more than 0 are needed")

    def left(self, relaxations: int, seconds: float) -> float:
        """Share of the budget that is left, 0 when it is spent."""
        shares = [1.0]
        if self.relaxations is not None:
            shares.append(1 - relaxations / self.relaxations)
        if self.minutes is not None:
            shares.append(1 - seconds / 60 / self.minutes)
        return max(0.0, min(shares))
