"""Charge neutrality on request: which contents can be neutral, and elements that are.

Neutral means what :func:`~crystal_diffusion.physics.neutrality.neutral_assignment` finds: usual or
reported oxidation states that sum to zero, or a composition to which charges do not apply (metals
only, one element only, no strong anion former).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.errors import RequestError
from crystal_diffusion.physics.neutrality import is_neutral_possible, neutral_decode

#: Contents tried for one number of atoms before it is believed to be possible.
_TRIED = 3000
#: Numbers of atoms looked at when the range is open.
_OPEN_RANGE = (1, 20)
#: Log-probability by which an element that is decided already is favoured.
_FAVOUR = 8.0


def is_neutral(counts: Mapping[str, int]) -> bool:
    """Whether these atoms, by symbol, can be neutral."""
    return is_neutral_possible({chemistry.atomic_number(el): n for el, n in counts.items()})


def neutral_contents(contents: list[dict[str, int]], formula: str) -> list[dict[str, int]]:
    """Those of the cell contents that can be neutral.

    Raises:
        RequestError: when none can.
    """
    kept = [unit for unit in contents if is_neutral(unit)]
    if contents and not kept:
        raise RequestError(
            f"{formula} has no neutral assignment of oxidation states ({_states(contents[0])}); "
            "correct the formula, or ask without --charge-neutral."
        )
    return kept


def neutral_sizes(
    elements: Collection[str], num_atoms: tuple[int, int] | None, sizes: Mapping[int, int]
) -> dict[int, int]:
    """How often to draw each number of atoms for which these elements, all used, can be neutral.

    Args:
        elements: every crystal is made of all of them and of no other.
        num_atoms: smallest and largest number of atoms.
        sizes: training frequency of each number of atoms.

    Raises:
        RequestError: when no number of the range will do.
    """
    low, high = num_atoms or (_OPEN_RANGE[0], max([*sizes, _OPEN_RANGE[1]]))
    low = max(low, len(elements))
    possible = [n for n in range(low, high + 1) if _any_neutral(tuple(elements), n)]
    if not possible:
        names = ", ".join(sorted(elements))
        raise RequestError(
            f"no crystal of {low} to {high} atoms made of {names} has a neutral assignment of "
            f"oxidation states ({_states(dict.fromkeys(elements, 1))}); add an element of the "
            "other sign, change --natoms, or ask without --charge-neutral."
        )
    met = {n: sizes.get(n, 0) for n in possible}
    return met if any(met.values()) else dict.fromkeys(possible, 1)


def neutral_decoder(allowed: Sequence[int], given: int) -> Callable[[Any, Any], Any]:
    """Decoding of masked elements that ends with a neutral composition.

    Args:
        allowed: atomic numbers that atoms may become; empty for any.
        given: leading atoms whose elements were asked for and stay.

    Returns:
        what the sampler calls at its last step. Where no neutral choice exists for a crystal, it
        gets the likeliest elements, and the check of the finished composition has it redrawn.
    """
    import torch

    from crystal_diffusion.crystal import MASK_ELEMENT, MAX_ATOMIC_NUMBER

    banned = np.full(MAX_ATOMIC_NUMBER, bool(allowed))
    banned[[z - 1 for z in allowed]] = False

    def decode(log_probabilities: Any, numbers: Any) -> Any:
        scores = log_probabilities.double().cpu().numpy()
        known = numbers.cpu().numpy()
        out = known.copy()
        for row in range(len(known)):
            atoms = int((known[row] > 0).sum())
            table = scores[row, :atoms].copy()
            decided = np.flatnonzero(known[row, :atoms] != MASK_ELEMENT)
            table[decided, known[row, decided] - 1] += _FAVOUR
            table[:, banned] = -np.inf
            for atom in range(min(given, atoms)):
                table[atom] = -np.inf
                table[atom, known[row, atom] - 1] = 0.0
            try:
                out[row, :atoms] = neutral_decode(table, rng=np.random.default_rng(0))
            except RequestError:
                out[row, :atoms] = table.argmax(1) + 1
        return torch.as_tensor(out, device=numbers.device)

    return decode


def refuse_charged_host(host: Any, added: Mapping[str, int]) -> None:
    """Return when the host with its new atoms can be neutral.

    Raises:
        RequestError: when it cannot.
    """
    counts = {el.symbol: int(n) for el, n in host.composition.items()}
    for element, n in added.items():
        counts[element] = counts.get(element, 0) + n
    if not is_neutral(counts):
        formula = "".join(f"{el}{n}" for el, n in counts.items())
        raise RequestError(
            f"the host with the added atoms is {formula}, which has no neutral assignment of "
            f"oxidation states ({_states(counts)}); add other atoms, or ask without "
            "--charge-neutral."
        )


def _any_neutral(elements: tuple[str, ...], atoms: int) -> bool:
    contents = _shares(len(elements), atoms)
    for tried, counts in enumerate(contents):
        if is_neutral(dict(zip(elements, counts, strict=True))):
            return True
        if tried >= _TRIED:
            return True
    return False


def _shares(kinds: int, atoms: int) -> Iterator[tuple[int, ...]]:
    """All ways to share atoms among kinds, each at least one."""
    for cuts in itertools.combinations(range(1, atoms), kinds - 1):
        edges = (0, *cuts, atoms)
        yield tuple(b - a for a, b in itertools.pairwise(edges))


def _states(counts: Mapping[str, int]) -> str:
    words = []
    for symbol in sorted(counts):
        states = chemistry.OXIDATION_STATES[chemistry.atomic_number(symbol)]
        words.append(f"{symbol} {', '.join(f'{q:+d}' for q in states) or 'none known'}")
    return "; ".join(words)
