"""``benchmark small``: what ten to a thousand crystals of one kind add, measured.

Crystals of one family are drawn as "own"; others of it are asked for by composition. A seed gives
one order of them: the own crystals of a larger number hold those of a smaller one, and the same
others are asked for at every number, so what knows no own crystals answers once for all numbers.
Each cell (a number of own crystals and a seed) has a folder, so a run that was stopped goes on.
What is asked for is new: one that equals a crystal that the box or the own ones hold, within the
matcher's tolerance, is not counted, as whoever asks with "known last" does not look for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from crystal_diffusion.chemistry import atomic_number, contents
from crystal_diffusion.data.dataset import CrystalStructureDataset
from crystal_diffusion.data.duplicates import find_duplicates
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.records import PlainCrystal
from crystal_diffusion.data.reduction import reduce_arrays
from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.baselines import NearestNeighbourCopy
from crystal_diffusion.evaluation.benchmark import Predictor, run_benchmark
from crystal_diffusion.evaluation.metrics import MetricResult, ratio
from crystal_diffusion.evaluation.table import EvaluationTable
from crystal_diffusion.files import atomic_write, make_folder, write_text
from crystal_diffusion.generation.generator import CrystalGenerator
from crystal_diffusion.generation.loading import load
from crystal_diffusion.generation.settings import GenerationSettings
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.ranking.order import POOL
from crystal_diffusion.workflows.benchmark import AllStarts, Prototypes
from crystal_diffusion.workflows.train import train

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Columns in order; the first is what all others are compared with.
COLUMNS: tuple[str, ...] = (
    "box",
    "box with yours",
    "from scratch",
    "substitution, yours",
    "substitution, both",
    "nearest copied",
    "noise, box",
    "noise, box with yours",
    "noise, from scratch",
)
#: Columns that know none of the own crystals.
_WITHOUT_OWN = ("box", "noise, box")
#: Candidates for each composition.
CANDIDATES = 5
#: Compositions that are answered before they are written down.
_CHUNK = 10


def _numbers(symbols: str) -> frozenset[int]:
    return frozenset(atomic_number(symbol) for symbol in symbols.split())


_ANIONS = _numbers("N O F P S Cl As Se Br Te I H")
_NO_METALS = _ANIONS | _numbers("B C Si Ge Sb He Ne Ar Kr Xe Rn")


def _nitride(kinds: frozenset[int]) -> bool:
    return 7 in kinds and 8 not in kinds


def _oxide(kinds: frozenset[int]) -> bool:
    return 8 in kinds


def _chalcogenide(kinds: frozenset[int]) -> bool:
    return bool(kinds & _numbers("S Se Te")) and 8 not in kinds


def _intermetallic(kinds: frozenset[int]) -> bool:
    return len(kinds) > 1 and not kinds & _NO_METALS


def _any(kinds: frozenset[int]) -> bool:
    return bool(kinds)


#: Which crystals belong to a family, by their elements.
FAMILIES: Mapping[str, Callable[[frozenset[int]], bool]] = {
    "nitrides": _nitride,
    "oxides": _oxide,
    "chalcogenides": _chalcogenide,
    "intermetallics": _intermetallic,
    "all": _any,
}


@dataclass(frozen=True)
class SmallSettings:
    """What is measured.

    Attributes:
        family: of :data:`FAMILIES`.
        sizes: numbers of own crystals.
        seeds: repetitions of each number, or of all if there is one entry: large numbers take
            long, and their draws differ less.
        targets: crystals asked for in each cell.
        columns: of :data:`COLUMNS`.
        training_steps: of each candidate of the adaptation; chosen from the data if None.
        label: what stands over the table and the picture; the family if empty.
    """

    family: str = "all"
    sizes: tuple[int, ...] = (10, 30, 100, 300, 1000)
    seeds: tuple[int, ...] = (3,)
    targets: int = 200
    columns: tuple[str, ...] = COLUMNS
    training_steps: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(
                f"family {self.family!r} is not known; choose from {', '.join(FAMILIES)}."
            )
        unknown = [column for column in self.columns if column not in COLUMNS]
        if unknown:
            raise InputError(
                f"column {unknown[0]!r} is not known; choose from {', '.join(COLUMNS)}."
            )
        if not self.sizes or min(*self.sizes, *self.seeds, self.targets, 1) < 1:
            raise InputError("sizes, seeds and targets must all be at least 1.")
        if len(self.seeds) not in (1, len(self.sizes)):
            raise InputError(
                f"there are {len(self.seeds)} numbers of seeds for {len(self.sizes)} sizes; give "
                "one for all or one for each."
            )

    @property
    def repetitions(self) -> dict[int, int]:
        """Seeds of each number of own crystals."""
        seeds = self.seeds * len(self.sizes) if len(self.seeds) == 1 else self.seeds
        return dict(zip(self.sizes, seeds, strict=True))


@dataclass(frozen=True)
class SizeFigures:
    """One number of own crystals: figures over all seeds.

    Attributes:
        known: of the crystals asked for, not counted: they equal one of the box or an own one.
        answered, any_of_five, change: by column; ``change`` is the paired difference of answered
            to the first column.
    """

    size: int
    known: int
    answered: Mapping[str, MetricResult]
    any_of_five: Mapping[str, MetricResult]
    change: Mapping[str, MetricResult]
    rmse: Mapping[str, float]
    space_group: Mapping[str, float]


def small_benchmark(
    split: str | Path,
    out: Path,
    settings: SmallSettings,
    *,
    own: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[SizeFigures]:
    """Measure every cell, and write ``small.md``, ``small.json`` and ``small.png``.

    Args:
        split: crystals that the pretrained model has not met; targets, and own crystals too where
            ``own`` is left out (then never the same).
        out: folder of the cells.

    Raises:
        InputError: when the family has too few crystals for a size.
    """
    make_folder(out)
    family = _family(split, settings.family)
    source = family if own is None else _family(own, settings.family)
    draws = [
        _OwnAndAsked.of(seed, family, source, own is None, settings)
        for seed in range(max(settings.seeds))
    ]
    cells = []
    for size, repetitions in settings.repetitions.items():
        tables = [_measure(size, draw, out, settings, progress) for draw in draws[:repetitions]]
        asked = sum(len(draw.asked(size)) for draw in draws[:repetitions])
        cells.append(_cell(size, tables, settings.columns, asked))
        write_text(out / "small.json", json.dumps(_plain(cells, settings, split), indent=2) + "\n")
        write_text(out / "small.md", report(cells, settings) + "\n")
        _draw(cells, settings, out / "small.png")
    return cells


@dataclass(frozen=True, eq=False)
class _OwnAndAsked:
    """What one seed makes own and asks for.

    Attributes:
        source: crystals to be own, in order; targets: crystals to ask for, in order.
        shared: whether both are one set, read from its two ends; most: that are asked for.
    """

    seed: int
    source: Mapping[str, Structure]
    targets: Mapping[str, Structure]
    shared: bool
    most: int

    @classmethod
    def of(
        cls,
        seed: int,
        family: Mapping[str, Structure],
        source: Mapping[str, Structure],
        shared: bool,
        settings: SmallSettings,
    ) -> _OwnAndAsked:
        """Orders by seed.

        Raises:
            InputError: when there are too few crystals for the largest number of own ones.
        """
        size = max(settings.sizes)
        if size > len(source) or (shared and size >= len(source)):
            raise InputError(
                f"the family has {len(source)} distinct crystals; {size} of them as own leave none "
                "to ask for. Leave that size out."
            )
        ordered = _shuffled(source, (seed, 0))
        others = dict(reversed(ordered.items())) if shared else _shuffled(family, (seed, 1))
        return cls(seed, ordered, others, shared, settings.targets)

    def own(self, size: int) -> dict[str, Structure]:
        """So many own crystals."""
        return dict(list(self.source.items())[:size])

    def asked(self, size: int) -> dict[str, Structure]:
        """The crystals asked for beside so many own ones: fewer where the family ends."""
        left = len(self.targets) - size if self.shared else len(self.targets)
        return dict(list(self.targets.items())[: min(self.most, left)])


def _shuffled(crystals: Mapping[str, Structure], seed: tuple[int, int]) -> dict[str, Structure]:
    names = list(crystals)
    return {
        names[i]: crystals[names[i]] for i in np.random.default_rng(seed).permutation(len(names))
    }


def _family(path: str | Path, name: str) -> dict[str, Structure]:
    """Distinct crystals of a family by id, primitive cells."""
    belongs = FAMILIES[name]
    crystals = [
        _primitive(crystal)
        for crystal in iter_plain(str(path))
        if crystal.problem is None and belongs(frozenset(crystal.atomic_numbers.tolist()))
    ]
    repeated, _ = find_duplicates(crystals)
    return {
        crystal.id: crystal.to_structure()
        for index, crystal in enumerate(crystals)
        if index not in repeated
    }


def _primitive(crystal: PlainCrystal) -> PlainCrystal:
    """Only the family is reduced: a file may hold a hundred thousand others."""
    lattice, coords, numbers = reduce_arrays(
        crystal.lattice, crystal.frac_coords, crystal.atomic_numbers
    )
    return replace(crystal, lattice=lattice, frac_coords=coords, atomic_numbers=numbers)


def _measure(
    size: int,
    draw: _OwnAndAsked,
    out: Path,
    settings: SmallSettings,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, list[Mapping[str, Any]]]:
    """One cell: models trained, all columns asked; rows of each column in one order."""
    own, asked = draw.own(size), draw.asked(size)
    folder = make_folder(out / f"{size}_{draw.seed}")
    alike = [column for column in settings.columns if column in _WITHOUT_OWN]
    cells = (
        (alike, make_folder(out / f"box_{draw.seed}"), draw.asked(min(settings.sizes))),
        ([column for column in settings.columns if column not in alike], folder, asked),
    )
    tables: dict[str, EvaluationTable] = {}
    for columns, place, targets in cells:
        if not columns:
            continue
        tables |= run_benchmark(
            f"small, {settings.family}, seed {draw.seed}",
            {
                column: _Lazy(partial(_predictor, column, own, folder, draw.seed, settings))
                for column in columns
            },
            targets,
            candidates=CANDIDATES,
            seed=draw.seed,
            ks=(1, CANDIDATES),
            metre=False,
            processes=1,
            out=place,
            progress=progress,
            chunk=_CHUNK,
        )
    rows = {c: {str(row["id"]): row for row in table.rows} for c, table in tables.items()}
    new = _new(asked, own)
    return {column: [rows[column][name] for name in new] for column in settings.columns}


def _new(asked: Mapping[str, Structure], own: Mapping[str, Structure]) -> list[str]:
    """Those that equal no crystal of the box or of the own ones at the matcher's tolerance."""
    proposer = _proposer("substitution, both", list(own.values()), list(own))
    matcher = StructureMatch()
    most = POOL + len(own)  # all own crystals may be of the composition
    found = []
    for name, target in asked.items():
        proposals = proposer.propose(contents(target.atomic_numbers), n=most)
        held = (p for p in proposals if p.features["known"])
        if not any(matcher.fit(p.structure, target) for p in held):
            found.append(name)
    return found


class _Lazy:
    """A predictor made when it is first asked, so that finished columns cost nothing."""

    def __init__(self, make: Callable[[], Predictor]) -> None:
        self._make = make
        self._made: Predictor | None = None

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        if self._made is None:
            self._made = self._make()
        return [list(found) for found in self._made(compositions, candidates, seed)]


def _predictor(
    column: str,
    own: Mapping[str, Structure],
    folder: Path,
    seed: int,
    settings: SmallSettings,
) -> Predictor:
    names, structures = list(own), list(own.values())
    usual = GenerationSettings(noise_share=0.2, known_last=True, max_attempts=3)
    noise = replace(usual, noise_share=1.0, scorer="none")
    if column == "box":
        return AllStarts(load(None, "cpu"), usual)
    if column == "noise, box":
        return AllStarts(load(None, "cpu"), noise)
    if column == "nearest copied":
        from crystal_diffusion.matching import ReferenceIndex

        return NearestNeighbourCopy(ReferenceIndex.from_structures(dict(own)))
    if column.startswith("substitution"):
        return Prototypes(_proposer(column, structures, names))
    scratch = "from scratch" in column
    model = _trained(structures, folder, seed, scratch, settings)
    if not column.startswith("noise"):
        return AllStarts(model, usual)
    return AllStarts(model, noise)


def _proposer(column: str, structures: Sequence[Structure], names: Sequence[str]) -> Any:
    from crystal_diffusion.proposals.joining import join, read_own
    from crystal_diffusion.proposals.library import CrystalLibrary, default_library
    from crystal_diffusion.proposals.prototypes import PrototypeProposer

    entries, _ = read_own(structures, names)
    base = default_library() if column.endswith("both") else CrystalLibrary.from_types([], "own")
    return PrototypeProposer(join(base, entries))


def _trained(
    structures: Sequence[Structure], folder: Path, seed: int, scratch: bool, settings: SmallSettings
) -> CrystalGenerator:
    place = folder / ("model_from_scratch" if scratch else "model")
    dataset = CrystalStructureDataset(list(structures), reduce=True)
    generator, summary = train(
        dataset,
        place,
        from_scratch=scratch,
        steps=None if scratch else settings.training_steps,
        seed=seed,
        device="cpu",
        odd="keep",
    )
    write_text(place / "verdict.txt", summary.verdict + "\n")
    return generator


def _cell(
    size: int,
    tables: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]],
    columns: Sequence[str],
    asked: int,
) -> SizeFigures:
    """Figures over all rows of all seeds; intervals by resampling crystals.

    One that is asked for with several seeds is drawn with all of its answers.
    """
    first = {column: _first(column, tables) for column in columns}
    five = {column: _five(column, tables) for column in columns}
    base = first[columns[0]]
    ids = [row["id"] for table in tables for row in table[columns[0]]]
    if not ids:
        raise InputError(
            f"all {asked} crystals asked for beside {size} own ones are known to the pretrained "
            "model or are like an own one; ask for others or for more (-n)."
        )
    _, places = np.unique(ids, return_inverse=True)

    def together(name: str, definition: str, values: ArrayLike) -> MetricResult:
        return ratio(name, definition, np.bincount(places, values), np.bincount(places))

    groups = {
        column: [
            float(row["space_group_answered"] == row["space_group"])
            for table in tables
            for row in table[column]
        ]
        for column in columns
    }
    errors = {
        column: [
            float(row["rms"][0])
            for table in tables
            for row in table[column]
            if row["rms"] and row["rms"][0] is not None
        ]
        for column in columns
    }
    return SizeFigures(
        size,
        asked - len(ids),
        {c: together("answered", "right at the first answer", v) for c, v in first.items()},
        {c: together("any of 5", "right among five", v) for c, v in five.items()},
        {
            c: together("change", "answered less that of the first column", np.array(v) - base)
            for c, v in first.items()
        },
        {c: float(np.mean(v)) if v else float("nan") for c, v in errors.items()},
        {c: float(np.mean(v)) for c, v in groups.items()},
    )


def _first(column: str, tables: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[float]:
    rows = [row for table in tables for row in table[column]]
    return [float(bool(row["rms"]) and row["rms"][0] is not None) for row in rows]


def _five(column: str, tables: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[float]:
    rows = [row for table in tables for row in table[column]]
    return [float(any(rms is not None for rms in row["rms"][:CANDIDATES])) for row in rows]


def report(cells: Sequence[SizeFigures], settings: SmallSettings) -> str:
    """A Markdown table: answered / any of five, and the change to the first column."""
    head = ["own crystals", "n", *settings.columns]
    lines = [
        f"{settings.label or settings.family}: answered / any of {CANDIDATES}, percent; in "
        f"brackets the paired change of answered to {settings.columns[0]} with its 95 % interval, "
        "points.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for cell in cells:
        row = [str(cell.size), str(cell.answered[settings.columns[0]].n)]
        for column in settings.columns:
            words = f"{_percent(cell.answered[column])} / {_percent(cell.any_of_five[column])}"
            if column != settings.columns[0]:
                change = cell.change[column]
                words += (
                    f" ({100 * change.value:+.1f}, {100 * change.low:+.1f} to "
                    f"{100 * change.high:+.1f})"
                )
            row.append(words)
        lines.append("| " + " | ".join(row) + " |")
    if any(cell.known for cell in cells):
        left = ", ".join(f"{cell.known} beside {cell.size}" for cell in cells)
        lines += ["", f"Not counted, as they equal a crystal of the box or an own one: {left}."]
    return "\n".join(lines)


def _percent(result: MetricResult) -> str:
    return f"{100 * result.value:.1f}"


def _plain(
    cells: Sequence[SizeFigures], settings: SmallSettings, split: str | Path
) -> dict[str, Any]:
    return {
        "family": settings.family,
        "label": settings.label or settings.family,
        "split": Path(split).name,
        "seeds": list(settings.repetitions.values()),
        "cells": [
            {
                "size": cell.size,
                "known": cell.known,
                "rmse": dict(cell.rmse),
                "space_group": dict(cell.space_group),
                **{
                    name: {column: result.to_dict() for column, result in group.items()}
                    for name, group in (
                        ("answered", cell.answered),
                        ("any_of_5", cell.any_of_five),
                        ("change", cell.change),
                    )
                },
            }
            for cell in cells
        ],
    }


def _draw(cells: Sequence[SizeFigures], settings: SmallSettings, picture: Path) -> None:
    """Answered against the number of own crystals, one line a column."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    sizes = [cell.size for cell in cells]
    for column in settings.columns:
        values = [100 * cell.answered[column].value for cell in cells]
        spans = [
            [100 * (cell.answered[column].value - cell.answered[column].low) for cell in cells],
            [100 * (cell.answered[column].high - cell.answered[column].value) for cell in cells],
        ]
        style = "--" if column.startswith("noise") else "-"
        axes.errorbar(sizes, values, yerr=spans, marker="o", capsize=3, ls=style, label=column)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("own crystals")
    axes.set_ylabel("right at the first answer, %")
    axes.set_ylim(0, 100)
    axes.set_title(settings.label or settings.family)
    axes.legend(frameon=False, fontsize=7)
    with atomic_write(picture) as part:
        figure.savefig(part, format="png", dpi=120)
