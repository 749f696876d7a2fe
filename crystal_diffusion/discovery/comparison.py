"""The loop beside what it must beat, each with the same number of relaxations for the same wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.discovery.loop import Discovery, DiscoverySettings
from crystal_diffusion.discovery.wish import STRATEGIES, Budget, Wish
from crystal_diffusion.errors import InputError
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.known.index import KnownCrystals


@dataclass(frozen=True)
class StrategyFigures:
    """What one strategy found for one wish.

    Attributes:
        wish: in words; strategy: of `wish.STRATEGIES`.
        relaxed: crystals relaxed, problems included.
        accepted: new, distinct, at or below the limit of the wish, not doubtful.
        below: of these, at or below the hull of known crystals.
        formulas: different ones among the accepted; swaps: of like elements of a known crystal.
        metallic: accepted crystals of metals only.
        seconds: inside relaxations.
    """

    wish: str
    strategy: str
    relaxed: int
    accepted: int
    below: int
    formulas: int
    swaps: int
    metallic: int
    seconds: float


def compare_strategies(
    generator: CrystalGenerator,
    known: KnownCrystals,
    folder: Path,
    *,
    wishes: Sequence[Wish],
    budget: int,
    strategies: Sequence[str] = STRATEGIES,
    potential: str = "diep",
    seed: int = 0,
    per_round: int | None = None,
    executor: str = "local",
    processes: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[StrategyFigures]:
    """A discovery for every wish and strategy, in folders of their own; goes on after a kill.

    Args:
        generator: proposes.
        known: index of known crystals, with energies of the potential.
        folder: of the discoveries.
        wishes: what is looked for.
        budget: relaxations of each.
        strategies: which of `wish.STRATEGIES`.
        potential: relaxes and places on the hull; no second one is asked.
        seed: of all that is drawn.
        per_round: crystals that the loop relaxes before it learns again; an eighth of the budget.
        executor: as in `DiscoverySettings`.
        processes: workers.
        say: called with a line of progress.

    Raises:
        InputError: nothing to compare, or an unknown strategy.
    """
    if not wishes or not strategies:
        raise InputError("nothing is asked for: give at least one wish and one strategy")
    figures = []
    for wish in wishes:
        for strategy in strategies:
            settings = DiscoverySettings(
                wish=wish,
                budget=Budget(budget),
                potential=potential,
                strategy=strategy,
                seed=seed,
                per_round=per_round or max(1, budget // 8),
                executor=executor,
                processes=processes,
            )
            place = folder / wish.words.replace(", ", "_").replace(" ", "-") / strategy
            say(f"{wish.words}, {strategy}")
            search = Discovery(place, settings, generator, known, say)
            search.run()
            figures.append(_figures(wish, strategy, search))
    return figures


def _figures(wish: Wish, strategy: str, search: Discovery) -> StrategyFigures:
    from pymatgen.core import Element

    found = search.found()
    accepted = [f for f in found if f.accepted]
    kinds = [[Element(str(e)) for e in f.structure.composition] for f in accepted]
    return StrategyFigures(
        wish.words,
        strategy,
        len(found),
        len(accepted),
        sum(f.above_hull is not None and f.above_hull <= 0 for f in accepted),
        len({f.structure.composition.reduced_formula for f in accepted}),
        sum(bool(f.novelty and f.novelty.swap_of_like_elements) for f in accepted),
        sum(all(element.is_metal for element in own) for own in kinds),
        sum(float(f.row["seconds"]) for f in found),
    )


def ratio_of(figures: Sequence[StrategyFigures], strategy: str) -> tuple[float, float, float]:
    """Accepted crystals of the loop over those of another strategy, all wishes together.

    Returns:
        The ratio of the shares accepted, and the ends of its 95 % interval (parametric bootstrap:
        both shares drawn from their Beta distributions with a uniform prior).
    """
    rng = np.random.default_rng(0)
    draws, point = [], []
    for name in ("loop", strategy):
        own = [f for f in figures if f.strategy == name]
        hits, tried = sum(f.accepted for f in own), sum(f.relaxed for f in own)
        draws.append(rng.beta(hits + 1, tried - hits + 1, 20_000))
        point.append(hits / max(tried, 1))
    low, high = np.percentile(draws[0] / draws[1], [2.5, 97.5])
    return point[0] / point[1] if point[1] else float("inf"), float(low), float(high)


def strategies_table(figures: Sequence[StrategyFigures], title: str) -> str:
    """Accepted crystals (at or below the hull in brackets) by wish and strategy, in Markdown."""
    names = list(dict.fromkeys(f.strategy for f in figures))
    by = {(f.wish, f.strategy): f for f in figures}
    lines = [
        f"Accepted of those relaxed, in brackets at or below the hull. Hull and novelty: {title}.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for wish in dict.fromkeys(f.wish for f in figures):
        cells = [
            f"{f.accepted} of {f.relaxed} ({f.below})" if (f := by.get((wish, name))) else "–"
            for name in names
        ]
        lines.append(f"| {wish} | " + " | ".join(cells) + " |")
    labels = ("different formulas", "swaps of like elements", "metals only", "minutes relaxing")
    own = [[f for f in figures if f.strategy == name] for name in names]
    counts = [
        (
            str(sum(f.formulas for f in each)),
            str(sum(f.swaps for f in each)),
            str(sum(f.metallic for f in each)),
            f"{sum(f.seconds for f in each) / 60:.1f}",
        )
        for each in own
    ]
    for place, label in enumerate(labels):
        lines.append(f"| {label} | " + " | ".join(cells[place] for cells in counts) + " |")
    if "loop" in names:
        cells = []
        for name in names:
            middle, low, high = ratio_of(figures, name)
            cells.append("–" if name == "loop" else f"{middle:.2f} ({low:.2f} to {high:.2f})")
        lines.append("| the loop's share over this one's | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def strategies_rows(figures: Sequence[StrategyFigures]) -> list[dict[str, Any]]:
    """The figures as rows of JSON."""
    return [asdict(f) for f in figures]
