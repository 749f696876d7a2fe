"""What training on top of the pretrained model showed, in sentences for somebody who is new to it.

Each line begins with what it says: learned, not learned, not measured, copying, left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_diffusion import chemistry
from crystal_diffusion.data.tables import CrystalArrays
from crystal_diffusion.evaluation.copying import Copying
from crystal_diffusion.evaluation.metrics import ratio
from crystal_diffusion.ranking.own import FEWEST as FEWEST_LEFT_OUT
from crystal_diffusion.ranking.own import LeaveOneOut
from crystal_diffusion.symmetry.groups import SpaceGroup
from crystal_diffusion.workflows.adapt import BOTH_WAYS_BELOW, FEWEST, NO_CHANGE, Selection

if TYPE_CHECKING:
    from crystal_diffusion.proposals.library import CrystalLibrary

#: Names that are listed before "and N more".
_LISTED = 3
#: Letters for the roles of a structure type, most atoms last.
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Joined:
    """The user's crystals in the library.

    Attributes:
        types: structure types they belong to; new: of these, types without a library crystal.
        commonest: in words, such as "ABC in F-43m"; members: of it.
    """

    types: int
    new: int
    commonest: str
    members: int


def joined_types(library: CrystalLibrary) -> Joined:
    """Structure types of the user's crystals in a library that marks them."""
    if library.own is None or not library.own.any():
        return Joined(0, 0, "", 0)
    own = Counter(library.entry_type[library.own].tolist())
    shipped = set(library.entry_type[~library.own].tolist())
    kind, members = own.most_common(1)[0]
    counts = [int(n) for n in library.type_counts[kind] if n]
    divisor = int(np.gcd.reduce(counts))
    letters = zip(_LETTERS, counts, strict=False)
    formula = "".join(f"{a}{n // divisor if n > divisor else ''}" for a, n in letters)
    symbol = SpaceGroup.from_number(int(library.type_space_group[kind])).symbol
    return Joined(len(own), sum(k not in shipped for k in own), f"{formula} in {symbol}", members)


def verdict(
    arrays: CrystalArrays,
    base: tuple[tuple[int, ...], int],
    joined: Joined,
    selection: Selection,
    figures: LeaveOneOut,
    copying: Copying,
    left_out: Mapping[str, str],
    before: int = 0,
    *,
    muted: bool = False,
) -> str:
    """What was learned, what was not, in sentences with figures.

    Args:
        arrays: the crystals that were trained on.
        base: elements of the model that training started from, and its largest crystal in atoms.
        joined: what they are in the library.
        left_out: crystals that were not used, with reasons.
        before: crystals of the model that training started from, which stay in its library.
        muted: whether they do not vote, because it cost first answers for those left out.
    """
    lines = [_library(len(arrays), joined, before, muted)]
    lines.append(_answers(figures, len(arrays)))
    lines.append(_network(selection, len(arrays)))
    if copying.samples:
        lines.append(copying.sentence())
    lines += _limits(arrays, base)
    if left_out:
        named = [f"{name} ({reason})" for name, reason in list(left_out.items())[:_LISTED]]
        more = len(left_out) - len(named)
        lines.append(
            f"Left out, so nothing was learned from them: {'; '.join(named)}"
            f"{f'; and {more} more' if more else ''}."
        )
    return "\n".join(lines)


def _library(count: int, joined: Joined, before: int, muted: bool) -> str:
    crystals = f"{count} crystal{'s' if count > 1 else ''}"
    where = "library" if muted else "library and the ranking"
    text = f"Learned: your {crystals} joined the {where} of the pretrained model."
    if joined.types == 1:
        known = "is new to it" if joined.new else "it has already"
        text += f" {_all(count)} of one structure type, {joined.commonest}, which {known};"
    elif joined.types:
        new = f"{joined.new} of them new to it" if joined.new else "all of which it has already"
        most = f", most often {joined.commonest} ({joined.members})" if joined.members > 1 else ""
        text += f" They belong to {joined.types} structure types{most}, {new};"
    if joined.types and muted:
        text += (
            " from now on they are proposed for other compositions. They do not vote in the order "
            "of the answers: for those left out, the first answers were fewer with their votes."
        )
    elif joined.types:
        text += (
            " from now on they are proposed for other compositions and vote in the order of the "
            "answers."
        )
    if before:
        text += f" The {before} crystals of the model that it started from stay in it."
    return text


def _all(count: int) -> str:
    return "It is" if count == 1 else "All are"


def _answers(figures: LeaveOneOut, count: int) -> str:
    asked = figures.asked
    if not asked:
        return (
            f"Not measured: what your crystals add to the answers. {count} "
            f"{'is' if count == 1 else 'are'} too few to measure it; it takes {FEWEST_LEFT_OUT} or "
            "more."
        )
    before, after = (100 * k / asked for k in (figures.box_first, figures.own_first))
    change = [1.0] * figures.gained + [-1.0] * figures.lost
    change += [0.0] * (asked - len(change))
    span = ratio("", "", change)
    if span.low > 0:
        label = "Learned: your crystals make first answers for crystals of their kind better"
    elif span.high < 0:
        label = "Worse: your crystals make first answers for their own kind worse; look at them"
    elif figures.gained or figures.lost:
        label = "Not shown: that your crystals change first answers, up or down, beyond chance"
    else:
        label = "Not changed: first answers were as good without your crystals"
    return (
        f"{label}. Asked for {asked} of yours, each left out in turn with everything of its "
        f"composition, the first answer was right for {before:.0f} % without the others and "
        f"{after:.0f} % with them ({figures.gained} gained, {figures.lost} lost; change "
        f"{100 * span.value:+.0f} points, {100 * span.low:+.0f} to {100 * span.high:+.0f} with "
        f"95 %); one of the first five for {100 * figures.box_any / asked:.0f} and "
        f"{100 * figures.own_any / asked:.0f} %."
    )


def _network(selection: Selection, count: int) -> str:
    if not selection.judged:
        return (
            f"Not learned: the weights of the network are unchanged, because fewer than {FEWEST} "
            "crystals are too few to adapt to."
        )
    before = selection.judged[NO_CHANGE]
    half = "each half of your crystals in turn" if count < BOTH_WAYS_BELOW else "half of them"
    if selection.chosen is None:
        tried = ", ".join(name for name in selection.judged if name != NO_CHANGE)
        return (
            f"Not learned: the weights of the network are unchanged. Trained on {half}, none of "
            f"the ways that were tried ({tried}) was surely better on the {len(before.losses)} "
            f"others than no change (denoising error {before.loss:.3f}, {sum(before.found)} of "
            f"{len(before.found)} found from noise)."
        )
    after = selection.judged[selection.chosen.name]
    return (
        f"Learned: the weights of the network were adapted ({selection.chosen.name}). Trained on "
        f"{half} and judged on the {len(before.losses)} others, its denoising error fell from "
        f"{before.loss:.3f} to {after.loss:.3f} (by {selection.gain:.3f} ± {selection.error:.3f}); "
        f"from noise alone it found {sum(before.found)} of {len(before.found)} before and "
        f"{sum(after.found)} after."
    )


def _limits(arrays: CrystalArrays, base: tuple[tuple[int, ...], int]) -> list[str]:
    elements, largest = base
    lines = []
    met = {int(z) for z in np.unique(arrays.atomic_numbers)}
    new = sorted(met - set(elements or range(1, 95)))
    if new:
        names = ", ".join(chemistry.symbol(z) for z in new)
        lines.append(f"New to the model, known from your crystals only: {names}.")
    big = int((arrays.num_atoms > largest).sum())
    if big:
        lines.append(
            f"Larger than the {largest} atoms that the pretrained network has met: {big} of yours, "
            f"up to {int(arrays.num_atoms.max())} atoms. They are proposed as they are for other "
            "elements; from noise such sizes are a guess."
        )
    if len(met) == 1:
        lines.append(
            f"Not learned: anything about other elements; all your crystals are "
            f"{chemistry.symbol(met.pop())} alone."
        )
    return lines
