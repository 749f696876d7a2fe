"""The learned distribution of skeletons: draw, list the likeliest, and say how likely each is.

A skeleton is a space group with elements on its Wyckoff positions
(:class:`~crystal_diffusion.symmetry.Assignment`). Choices that cannot lead to the counts asked for
are masked out at every step, so every answer has exactly the composition, size and group asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystal_diffusion import chemistry
from crystal_diffusion.errors import CheckpointError, InputError, RequestError
from crystal_diffusion.skeletons.conditional import GuidedSkeletonNetwork
from crystal_diffusion.skeletons.feasible import (
    Fixed,
    Open,
    Rest,
    RestOf,
    groups_that_fit,
    shelf,
)
from crystal_diffusion.skeletons.fitting import AnySkeletonNetwork, Skeletons, nats
from crystal_diffusion.skeletons.network import CONDITIONS, UNKNOWN, Question, SkeletonNetwork
from crystal_diffusion.skeletons.patterns import Known, Trust, known_skeletons
from crystal_diffusion.skeletons.tokens import (
    ELEMENT,
    GROUP,
    LARGEST_COUNT,
    LETTER,
    LETTERS,
    START,
    canonical_skeleton,
    composition_of,
    element_order,
    from_letters,
    in_order,
    position_starts,
    to_sequence,
)
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.prior import WyckoffPrior

#: Unfinished skeletons kept side by side in a search for the likeliest.
BEAM = 64
#: What the network counts beside known crystals where formula units are weighed.
_NETWORK_SHARE = 0.2
_FAR = -1e9


@dataclass(frozen=True)
class SkeletonWish:
    """What a skeleton must be; everything not said is free.

    Attributes:
        counts: atoms of each element in the primitive cell.
        elements: exactly these elements, where counts are not given.
        allowed: elements to choose from, where neither is given; all by default.
        num_atoms: fewest and most atoms in the primitive cell, where counts are not given.
        groups: numbers of the space groups to choose from; all by default.
    """

    counts: tuple[tuple[int, int], ...] = ()
    elements: tuple[int, ...] = ()
    allowed: frozenset[int] | None = None
    num_atoms: tuple[int, int] = (1, 20)
    groups: frozenset[int] | None = None

    @classmethod
    def of(cls, counts: Mapping[int, int], groups: Collection[int] | None = None) -> SkeletonWish:
        """For a composition of the primitive cell."""
        chosen = None if groups is None else frozenset(groups)
        return cls(counts=tuple((z, counts[z]) for z in in_order(counts)), groups=chosen)


@dataclass(frozen=True)
class Drawn:
    """A skeleton and the natural logarithm of its probability under the wish."""

    skeleton: Assignment
    log_probability: float


@dataclass(frozen=True)
class _Partial:
    """A skeleton in the making.

    Attributes:
        kind, element, left, position, group: as in ``tokens.Sequence.inputs``.
        used: bit mask of fixed positions taken; low: last letter of the current element.
        place: index of the current element in the order asked for, -1 before the first.
        total: atoms placed or promised.
        words: letters so far, element by element.
    """

    kind: int = START
    element: int = 0
    left: int = 0
    position: int = 0
    group: int = 0
    used: int = 0
    low: int = 0
    place: int = -1
    total: int = 0
    words: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def row(self) -> tuple[int, int, int, int, int]:
        return self.kind, self.element, self.left, self.position, self.group


#: Positions for which room is made at once.
_ROOM = 16


@dataclass
class _Front:
    """Partial skeletons of the same length, with what the network remembers of each.

    Attributes:
        memory: ``(layers, 2, skeletons, heads, tokens, width)`` keys and values, with room for
            some more tokens.
        tokens: how many of them there are.
        place: number of the next position.
    """

    parts: list[_Partial]
    scores: np.ndarray
    memory: Tensor
    tokens: int
    place: int = 0
    done: list[tuple[_Partial, float]] = field(default_factory=list)

    def next_memory(self) -> Tensor:
        """The memory with one more token, which the network fills."""
        if self.tokens == self.memory.shape[4]:
            *sizes, _, width = self.memory.shape
            self.memory = torch.cat([self.memory, self.memory.new_empty(*sizes, _ROOM, width)], 4)
        self.tokens += 1
        return self.memory[..., : self.tokens, :]


class SkeletonModel:
    """A fitted network with its verbs.

    Args:
        network: from :func:`fit` or a file.
        header: what the file says of itself.
        prior: known patterns, whose opinion on a composition is mixed with the network's.
        trust: how much they are believed; without it the network speaks alone.
        guided: scores the choices in place of the network, where properties are asked for.
    """

    def __init__(
        self,
        network: SkeletonNetwork,
        header: Mapping[str, Any] | None = None,
        prior: WyckoffPrior | None = None,
        trust: Trust | None = None,
        guided: GuidedSkeletonNetwork | None = None,
    ) -> None:
        # In double precision a draw does not depend on what is drawn beside it.
        self.network = network.freeze()
        self._scores: AnySkeletonNetwork = self.network if guided is None else guided.freeze()
        self.header = dict(header or {})
        self.prior, self.trust = prior, trust
        self._listed = lru_cache(maxsize=64)(self._search)
        self._known = lru_cache(maxsize=256)(self._ask_table)

    @classmethod
    def load(cls, path: Path | str | None = None) -> SkeletonModel:
        """From a file; the one in the box without a path.

        Raises:
            CheckpointError: when it is missing, damaged or holds something else.
        """
        from crystal_diffusion.skeletons.weights import SHIPPED

        return _load(Path(path) if path is not None else SHIPPED)

    def likeliest(
        self,
        counts: Mapping[int, int],
        n: int = 20,
        groups: Collection[int] | None = None,
    ) -> list[Drawn]:
        """The likeliest skeletons of a composition, each once, best first.

        Beam search; equal descriptions of one skeleton are joined and their probabilities added.

        Args:
            counts: atomic number to atoms in the primitive cell.
            n: how many; fewer where there are not so many.
            groups: numbers of the space groups to choose from.

        Raises:
            RequestError: when no group holds the composition.
        """
        width = BEAM * max(1, math.ceil(n / BEAM))
        return list(self._listed(SkeletonWish.of(_checked(counts), groups), width)[:n])

    @torch.no_grad()
    def _search(self, wish: SkeletonWish, width: int) -> tuple[Drawn, ...]:
        front = self._start(wish, 1)
        while front.parts:
            parents, choices, scores = self._choices(wish, front)
            keep = np.argsort(-scores, kind="stable")[:width]
            self._advance(front, parents[keep], choices[keep], scores[keep])
            if len(front.done) >= width and front.parts:
                worst = sorted((s for _, s in front.done), reverse=True)[width - 1]
                if float(front.scores.max()) < worst:
                    break
        joined: dict[Assignment, list[float]] = {}
        for part, score in front.done:
            joined.setdefault(from_letters(part.group, dict(part.words)), []).append(score)
        of_network = {a: float(np.logaddexp.reduce(v)) for a, v in joined.items()}
        found = self._mixed(wish, of_network, width)
        return tuple(sorted(found, key=lambda d: -d.log_probability)[:width])

    def _mixed(
        self, wish: SkeletonWish, of_network: dict[Assignment, float], width: int
    ) -> list[Drawn]:
        """Both opinions on the skeletons that either of them names."""
        known, share = self._known(wish)
        if not share:
            return [Drawn(a, score) for a, score in of_network.items()]
        only_known = [a for a in list(known.chances)[:width] if a not in of_network]
        found = dict(of_network)
        if only_known:
            read = nats(self._scores, _sequences(only_known))
            whole = math.log(self._network_groups(wish)[1])
            scores = -(read.group + read.letters) - whole
            found |= dict(zip(only_known, scores.tolist(), strict=True))
        return [
            Drawn(a, _log_mix(share, known.chances.get(a, 0.0), score))
            for a, score in found.items()
        ]

    def _ask_table(self, wish: SkeletonWish) -> tuple[Known, float]:
        """What the table says of a composition, and how much it is believed."""
        if self.prior is None or self.trust is None or not wish.counts:
            return Known({}, 0.0), 0.0
        known = known_skeletons(self.prior, dict(wish.counts), wish.groups)
        return known, self.trust.share(known.support)

    def _network_groups(self, wish: SkeletonWish) -> tuple[np.ndarray, float]:
        """``(230,)`` chances of the groups wished for.

        And those of all of them together among all groups that fit.
        """
        everything = replace(wish, groups=None)
        front = self._start(everything, 1)
        _, choices, scores = self._choices(everything, front)
        out = np.zeros(230)
        out[choices[:, 0] - 1] = np.exp(scores)
        if wish.groups is not None:
            chosen = np.zeros(230)
            for number in wish.groups:
                chosen[number - 1] = 1.0
            out = out * chosen
        total = float(out.sum())
        return out / total, total

    def draw(self, wish: SkeletonWish, rngs: Sequence[np.random.Generator]) -> list[Drawn]:
        """One skeleton for each random stream, drawn as the model believes.

        Args:
            wish: what they must be.
            rngs: one stream a skeleton; what a stream gives does not depend on the others.

        Raises:
            RequestError: when nothing meets the wish.
        """
        known, share = self._known(wish)
        from_table = [share > 0 and rng.random() < share for rng in rngs]
        open_rngs = [rng for rng, taken in zip(rngs, from_table, strict=True) if not taken]
        drawn = iter(self._draw_from_network(wish, open_rngs) if open_rngs else [])
        out: list[Drawn] = []
        for rng, taken in zip(rngs, from_table, strict=True):
            if not taken:
                out.append(next(drawn))
                continue
            names, chances = list(known.chances), np.array(list(known.chances.values()))
            skeleton = names[int(rng.choice(len(names), p=chances / chances.sum()))]
            out.append(Drawn(skeleton, math.nan))
        return [self._judged(wish, one, known, share) for one in out] if share else out

    def _judged(self, wish: SkeletonWish, drawn: Drawn, known: Known, share: float) -> Drawn:
        """The same skeleton with its probability under both opinions."""
        score = drawn.log_probability
        if math.isnan(score):
            read = nats(self._scores, _sequences([drawn.skeleton]))
            score = -float(read.group[0] + read.letters[0])
            score -= math.log(self._network_groups(wish)[1])
        return Drawn(drawn.skeleton, _log_mix(share, known.chances.get(drawn.skeleton, 0.0), score))

    @torch.no_grad()
    def _draw_from_network(
        self, wish: SkeletonWish, rngs: Sequence[np.random.Generator]
    ) -> list[Drawn]:
        front = self._start(wish, len(rngs))
        owner = list(range(len(rngs)))
        out: list[Drawn | None] = [None] * len(rngs)
        while front.parts:
            parents, choices, scores = self._choices(wish, front)
            picked, kept = [], []
            for row, own in enumerate(owner):
                mine = np.flatnonzero(parents == row)
                gain = scores[mine] - front.scores[row]
                chance = np.exp(gain - gain.max())
                draw = rngs[own].random() * chance.sum()
                at = min(int(np.searchsorted(np.cumsum(chance), draw)), len(mine) - 1)
                picked.append(mine[at])
            done_before = len(front.done)
            flags = self._advance(front, parents[picked], choices[picked], scores[picked])
            finished = iter(front.done[done_before:])
            for own, is_done in zip(owner, flags, strict=True):
                if is_done:
                    part, score = next(finished)
                    out[own] = Drawn(from_letters(part.group, dict(part.words)), score)
                else:
                    kept.append(own)
            owner = kept
        return [drawn for drawn in out if drawn is not None]

    def log_probability(self, assignment: Assignment) -> float:
        """Natural logarithm of the chance of a skeleton, its composition given."""
        group, letters = self.log_probabilities([assignment])[0]
        return group + letters

    def log_probabilities(self, assignments: Iterable[Assignment]) -> list[tuple[float, float]]:
        """For each skeleton that of its group, and of its letters given the group.

        The composition is given for both.

        Of the network's chance only that of the canonical description counts.
        """
        chosen = [canonical_skeleton(assignment) for assignment in assignments]
        read = nats(self._scores, _sequences(chosen))
        out = []
        for skeleton, group, letters in zip(chosen, -read.group, -read.letters, strict=True):
            known, share = self._known(SkeletonWish.of(composition_of(skeleton)))
            in_group = sum(
                chance
                for other, chance in known.chances.items()
                if other.space_group == skeleton.space_group
            )
            of_group = _log_mix(share, in_group, float(group))
            whole = _log_mix(share, known.chances.get(skeleton, 0.0), float(group + letters))
            out.append((of_group, whole - of_group))
        return out

    def composition_weights(
        self,
        compositions: Sequence[Mapping[int, int]],
        groups: Collection[int] | None = None,
    ) -> np.ndarray:
        """``(compositions,)`` how the elements share themselves over them, adding up to 1.

        All are of the same elements, as the formula units of one formula are. Each weighs what its
        likeliest skeletons do when only the elements are told, and what crystals of known patterns
        with such counts and like elements do.

        Args:
            compositions: atomic number to atoms in the primitive cell.
            groups: numbers of the space groups to choose from.
        """
        if len(compositions) == 1:
            return np.ones(1)
        totals = []
        for counts in compositions:
            likely = [drawn.skeleton for drawn in self.likeliest(counts, 20, groups)]
            found = nats(self._scores, _sequences(likely), composition=False)
            totals.append(np.logaddexp.reduce(-(found.group + found.letters + found.elements)))
        weights = np.exp(np.array(totals) - max(totals))
        out: np.ndarray = weights / weights.sum()
        wishes = [SkeletonWish.of(_checked(counts), groups) for counts in compositions]
        support = np.array([self._known(wish)[0].support for wish in wishes])
        if support.sum() > 0:
            # Crystals of such counts and like elements say more than the network, which is rough.
            out = _NETWORK_SHARE * out + (1 - _NETWORK_SHARE) * support / support.sum()
        return out

    @torch.no_grad()
    def group_probabilities(self, counts: Mapping[int, int]) -> np.ndarray:
        """``(230,)`` chance of each space group for a composition of the primitive cell."""
        wish = SkeletonWish.of(_checked(counts))
        out, _ = self._network_groups(wish)
        known, share = self._known(wish)
        out = (1 - share) * out
        for skeleton, chance in known.chances.items():
            out[skeleton.space_group - 1] += share * chance
        return out

    def _start(self, wish: SkeletonWish, crystals: int) -> _Front:
        memory = self._scores.read_question(_question(wish)).expand(-1, -1, crystals, -1, -1, -1)
        return _Front([_Partial()] * crystals, np.zeros(crystals), memory, memory.shape[4])

    def _choices(
        self, wish: SkeletonWish, front: _Front
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All ways to go on: index of the partial skeleton, choice ``(n, 2)``, log-probability."""
        rows = torch.tensor([part.row for part in front.parts])
        states = self._scores.step(rows, front.place, front.next_memory())
        front.place += 1
        parents: list[np.ndarray] = []
        choices: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        letter_rows = [i for i, p in enumerate(front.parts) if _wants_letter(p)]
        if letter_rows:
            masks = [_letter_mask(wish, front.parts[i]) for i in letter_rows]
            table = self._scores.letter_scores(states[letter_rows], rows[letter_rows, 4])
            gains = _masked_log(table, _bits(masks, LETTERS))
            which, what = np.nonzero(np.isfinite(gains))
            parents.append(np.array(letter_rows)[which])
            choices.append(np.stack([what, np.zeros_like(what)], 1))
            scores.append(gains[which, what])
        for i, part in enumerate(front.parts):
            if _wants_letter(part):
                continue
            what, gains = self._other_choices(wish, part, states[i])
            parents.append(np.full(len(what), i))
            choices.append(what)
            scores.append(gains)
        who = np.concatenate(parents)
        return who, np.concatenate(choices), np.concatenate(scores) + front.scores[who]

    def _other_choices(
        self, wish: SkeletonWish, part: _Partial, state: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """The groups, or the next elements with their counts."""
        if part.kind == START:
            mask = _bits([_group_mask(wish)], 230)
            gains = _masked_log(self._scores.group_scores(state)[None], mask)[0]
            what = np.flatnonzero(np.isfinite(gains))
            return np.stack([what + 1, np.zeros_like(what)], 1), gains[what]
        if wish.counts:
            following = part.place + 1
            pair = wish.counts[following] if following < len(wish.counts) else (0, 0)
            return np.array([pair]), np.zeros(1)
        return self._free_elements(wish, part, state)

    def _free_elements(
        self, wish: SkeletonWish, part: _Partial, state: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        rest, own = _open_rest(wish, part), shelf(part.group)
        low, high = wish.num_atoms
        most = min(high - part.total, LARGEST_COUNT)
        sizes = own.counts(part.used, RestOf(rest), most)
        # After the last element that may be used nothing can follow.
        last_sizes = own.counts(part.used, RestOf(replace(rest, most=1)), most)
        if wish.elements:
            nexts = list(wish.elements[part.place + 1 :][:1])
            last = wish.elements[-1]
        else:
            nexts = _later(wish, part)
            last = nexts[-1] if nexts else 0
        fitting = {z: last_sizes if z == last else sizes for z in nexts}
        fitting = {z: found for z, found in fitting.items() if found}
        allowed = np.zeros((1, len(element_order())), bool)
        allowed[0, list(fitting)] = True
        done = part.place >= 0 and part.total >= low and rest.elements <= 0
        allowed[0, 0] = done and not (wish.elements and fitting)
        gains = _masked_log(self._scores.element_scores(state)[None], allowed)[0]
        out, scores = ([(0, 0)], [gains[0]]) if allowed[0, 0] else ([], [])
        if fitting:
            fits = np.zeros((len(fitting), LARGEST_COUNT + 1), bool)
            for row, found in enumerate(fitting.values()):
                fits[row, found] = True
            numbers = torch.tensor(list(fitting))
            table = self._scores.count_scores(state.expand(len(fitting), -1), numbers)
            of_counts = _masked_log(table, fits)
            for row, (z, found) in enumerate(fitting.items()):
                out += [(z, n) for n in found]
                scores += [gains[z] + of_counts[row, n] for n in found]
        return np.array(out), np.array(scores)

    def _advance(
        self,
        front: _Front,
        parents: np.ndarray,
        choices: np.ndarray,
        scores: np.ndarray,
    ) -> list[bool]:
        """Make the choices; finished skeletons leave the front. Which of them are finished."""
        parts, kept, values, flags = [], [], [], []
        for parent, choice, score in zip(parents, choices, scores, strict=True):
            part = front.parts[parent]
            if part.kind != START and not _wants_letter(part) and choice[0] == 0:
                front.done.append((part, float(score)))
                flags.append(True)
                continue
            following = _follow(part, int(choice[0]), int(choice[1]))
            flags.append(False)
            parts.append(following)
            kept.append(int(parent))
            values.append(float(score))
        front.memory = front.memory.index_select(2, torch.tensor(kept, dtype=torch.int64))
        front.parts, front.scores = parts, np.array(values)
        return flags


def _follow(part: _Partial, choice: int, count: int) -> _Partial:
    if part.kind == START:
        return _Partial(GROUP, group=choice)
    own = shelf(part.group)
    if _wants_letter(part):
        (element, letters), before = part.words[-1], part.words[:-1]
        return replace(
            part,
            kind=LETTER,
            left=part.left - own.sizes[choice],
            position=position_starts()[part.group] + choice + 1,
            used=part.used | (1 << choice if own.once[choice] else 0),
            low=choice,
            words=(*before, (element, (*letters, choice))),
        )
    return replace(
        part,
        kind=ELEMENT,
        element=choice,
        left=count,
        position=0,
        low=0,
        place=part.place + 1,
        total=part.total + count,
        words=(*part.words, (choice, ())),
    )


def _wants_letter(part: _Partial) -> bool:
    return part.kind == ELEMENT or (part.kind == LETTER and part.left > 0)


def _open_rest(wish: SkeletonWish, part: _Partial) -> Open:
    """What may follow where counts are free, the current element being placed."""
    low, high = wish.num_atoms
    if wish.elements:
        more = len(wish.elements) - part.place - 1
        return Open(max(0, low - part.total), high - part.total, more, more)
    first = 1 if part.place < 0 else 0
    return Open(max(0, low - part.total), high - part.total, first, len(_later(wish, part)))


def _later(wish: SkeletonWish, part: _Partial) -> list[int]:
    """Elements that may follow the current one, in order."""
    order = element_order()
    known = wish.allowed or frozenset(range(1, len(order)))
    return [z for z in in_order(known) if order[z] > order[part.element]]


def _rest(wish: SkeletonWish, part: _Partial) -> Rest:
    if wish.counts:
        return Fixed(tuple(sorted(n for _, n in wish.counts[part.place + 1 :])))
    return _open_rest(wish, part)


def _letter_mask(wish: SkeletonWish, part: _Partial) -> int:
    return shelf(part.group).letters(part.low, part.used, part.left, _rest(wish, part))


def fits(wish: SkeletonWish) -> bool:
    """Whether any skeleton meets a wish."""
    return _fitting_groups(wish) > 0


def _fitting_groups(wish: SkeletonWish) -> int:
    mask = groups_that_fit(_rest(wish, _Partial()))
    if wish.groups is not None:
        mask &= sum(1 << number - 1 for number in wish.groups)
    return mask


def _group_mask(wish: SkeletonWish) -> int:
    mask = _fitting_groups(wish)
    if not mask:
        names = (
            "".join(f"{chemistry.symbol(z)}{n}" for z, n in wish.counts)
            or " ".join(chemistry.symbol(z) for z in wish.elements)
            or "anything"
        )
        which = "the space groups" if wish.groups is None or len(wish.groups) > 1 else "the group"
        raise RequestError(
            f"{names} with this number of atoms fits none of {which} asked for; ask for another "
            "number of atoms or drop the wish for symmetry."
        )
    return mask


def _question(wish: SkeletonWish) -> Question:
    if wish.counts:
        elements = [z for z, _ in wish.counts]
        counts = [n for _, n in wish.counts]
        total, units = sum(counts), reduce(math.gcd, counts)
    else:
        elements, counts = list(wish.elements), [UNKNOWN] * len(wish.elements)
        low, high = wish.num_atoms
        total, units = (low if low == high else UNKNOWN), 0
    return Question(
        torch.tensor([elements], dtype=torch.int64),
        torch.tensor([counts], dtype=torch.int64),
        torch.tensor([total]),
        torch.tensor([units]),
        torch.zeros(1, CONDITIONS),
    )


def _log_mix(share: float, chance: float, log_other: float) -> float:
    """ln(share · chance + (1 - share) · exp(log_other))."""
    if not share * chance:
        return math.log1p(-share) + log_other
    return float(np.logaddexp(math.log(share * chance), math.log1p(-share) + log_other))


def _masked_log(scores: Tensor, allowed: np.ndarray) -> np.ndarray:
    """Log-probabilities among what is allowed, minus infinity elsewhere."""
    mask = torch.from_numpy(allowed)
    out = torch.log_softmax(scores.double().masked_fill(~mask, _FAR), -1)
    return out.masked_fill(~mask, -math.inf).numpy()


def _bits(masks: list[int], width: int) -> np.ndarray:
    return np.array([[bool(mask >> i & 1) for i in range(width)] for mask in masks])


def _sequences(assignments: Iterable[Assignment]) -> Skeletons:
    return Skeletons.from_sequences([to_sequence(a) for a in assignments], longest=None)


def _checked(counts: Mapping[int, int]) -> dict[int, int]:
    """Counts as plain numbers.

    Raises:
        InputError: for an empty composition or elements beyond the table.
    """
    out = {int(z): int(n) for z, n in counts.items()}
    if not out or min(out.values()) < 1 or not all(0 < z < len(element_order()) for z in out):
        raise InputError(f"counts is {dict(counts)}; give atomic number to number of atoms.")
    return out


@lru_cache(maxsize=4)
def _load(path: Path) -> SkeletonModel:
    from crystal_diffusion.skeletons.weights import PRIOR_FILE, load_network

    network, header = load_network(path)
    if "trust" not in header:
        return SkeletonModel(network, header)
    table = path.parent / PRIOR_FILE if header.get("own_prior") else None
    try:
        trust = Trust(*(float(part) for part in header["trust"]))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its header is damaged ({error}); copy it again, or train again."
        ) from error
    return SkeletonModel(network, header, WyckoffPrior.load(table), trust)
