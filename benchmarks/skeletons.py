"""Skeletons of a split: the learned model beside the frequency table and the prototype voter.

    python benchmarks/skeletons.py ../shared/data/mp_20/val.parquet --n 2000

For each target the composition of its primitive cell is given; true group and Wyckoff letters are
those moyopy finds at 0.1 Å, in the canonical description. "joined" is the learned model with the
opinion of the structure types, as generation uses it. Measured are the mean logarithm of the
probability (nats) of the group and of the letters given the group, and how often the true group and
the true skeleton are among the first 1, 5 and 20 different ones. Voter and joined give no
probabilities; the voter's order is that of its candidates. Intervals: 95 %, bootstrap over targets.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from prototypes import interval, read_targets

from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.generation.knowledge import shipped_scorer
from crystal_diffusion.generation.type_opinion import TypeOpinion
from crystal_diffusion.proposals.prototypes import PrototypeProposer
from crystal_diffusion.skeletons.distribution import BEAM, SkeletonModel
from crystal_diffusion.skeletons.tokens import canonical_skeleton, composition_of, skeleton_of
from crystal_diffusion.symmetry.assignments import Assignment
from crystal_diffusion.symmetry.prior import WyckoffPrior

#: Lists are compared up to here.
DEPTHS = (1, 5, 20)


@dataclass(frozen=True)
class Answer:
    """What a method says of one composition.

    Attributes:
        groups: likeliest first.
        skeletons: likeliest first, each once.
        nats: of the true group and of the true letters given it; NaN where it gives none.
    """

    groups: list[int]
    skeletons: list[Assignment]
    nats: tuple[float, float] = (math.nan, math.nan)


Method = Callable[[Mapping[int, int], Assignment], Answer]


def learned(model: SkeletonModel) -> Method:
    """The model in the box."""

    def answer(counts: Mapping[int, int], truth: Assignment) -> Answer:
        chances = model.group_probabilities(counts)
        found = model.likeliest(counts, DEPTHS[-1])
        order = (np.argsort(-chances, kind="stable") + 1).tolist()
        group, letters = model.log_probabilities([truth])[0]
        return Answer(order[: DEPTHS[-1]], [d.skeleton for d in found], (-group, -letters))

    return answer


def joined(model: SkeletonModel, types: TypeOpinion) -> Method:
    """The model in the box with the opinion of the structure types, as generation uses them."""

    def answer(counts: Mapping[int, int], truth: Assignment) -> Answer:
        found = types.joined(model.likeliest(counts, BEAM), counts)
        ordered = sorted(found, key=lambda d: -d.log_probability)
        groups: dict[int, float] = {}
        for one in ordered:
            number = one.skeleton.space_group
            groups[number] = groups.get(number, 0.0) + math.exp(one.log_probability)
        order = sorted(groups, key=lambda number: -groups[number])
        return Answer(order[: DEPTHS[-1]], [d.skeleton for d in ordered[: DEPTHS[-1]]])

    return answer


def frequencies(prior: WyckoffPrior) -> Method:
    """How often known patterns occur and how well the elements fit."""
    from crystal_diffusion.symmetry.assignments import count_assignments

    def answer(counts: Mapping[int, int], truth: Assignment) -> Answer:
        weights = prior.group_weights(counts)
        possible = [bool(count_assignments(n, counts)) for n in range(1, 231)]
        weights = np.where(possible, weights, 0.0)
        weights /= weights.sum()
        known = sorted(prior.pattern_weights(counts), key=lambda pair: -pair[1])
        skeletons = list(dict.fromkeys(canonical_skeleton(a) for a, _ in known))
        group = weights[truth.space_group - 1]
        nats = (-math.log(group) if group else math.inf, -prior.log_probability(truth))
        order = (np.argsort(-weights, kind="stable") + 1).tolist()
        return Answer(order[: DEPTHS[-1]], skeletons[: DEPTHS[-1]], nats)

    return answer


def voter() -> Method:
    """Skeletons of the structures that prototype substitution proposes, in its order."""
    proposer = PrototypeProposer()

    def answer(counts: Mapping[int, int], truth: Assignment) -> Answer:
        found = []
        for proposal in proposer.propose(dict(counts), n=3 * DEPTHS[-1]):
            try:
                found.append(skeleton_of(proposal.structure))
            except CrystalDiffusionError:
                continue
        skeletons = list(dict.fromkeys(found))[: DEPTHS[-1]]
        groups = list(dict.fromkeys(s.space_group for s in skeletons))
        return Answer(groups, skeletons)

    return answer


def measure(method: Method, targets: list[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """One number a target for each figure."""
    values: dict[str, list[float]] = {}
    for _, structure in targets:
        truth = skeleton_of(structure)
        counts = composition_of(truth)
        answer = method(counts, truth)
        values.setdefault("group, nats", []).append(answer.nats[0])
        values.setdefault("letters, nats", []).append(answer.nats[1])
        for depth in DEPTHS:
            group = truth.space_group in answer.groups[:depth]
            whole = truth in answer.skeletons[:depth]
            values.setdefault(f"group among {depth}", []).append(100.0 * group)
            values.setdefault(f"skeleton among {depth}", []).append(100.0 * whole)
    return {name: np.array(found) for name, found in values.items()}


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="file of skeletons; the one in the box else")
    parser.add_argument("--methods", default="learned,joined,frequencies,voter")
    args = parser.parse_args()
    targets = read_targets(args.split, args.n, args.seed, "all")
    makers: dict[str, Callable[[], Method]] = {
        "learned": lambda: learned(SkeletonModel.load(args.model)),
        "joined": lambda: joined(
            SkeletonModel.load(args.model), TypeOpinion(PrototypeProposer(), shipped_scorer())
        ),
        "frequencies": lambda: frequencies(WyckoffPrior.load()),
        "voter": voter,
    }
    print(f"{args.split.name}, n = {len(targets)}, seed {args.seed}; {describe()}")
    for name in args.methods.split(","):
        began = time.process_time()
        values = measure(makers[name](), targets)
        spent = (time.process_time() - began) / max(1, len(targets))
        print(f"\n{name} ({spent:.3f} s of a core for a target)")
        for figure, found in values.items():
            if not np.isnan(found).any():
                finite = found[np.isfinite(found)]
                low, high = interval(finite)
                left_out = len(found) - len(finite)
                note = f", {left_out} impossible left out" if left_out else ""
                print(f"  {figure:22s} {finite.mean():7.2f} ({low:.2f} to {high:.2f}){note}")


if __name__ == "__main__":
    main()
