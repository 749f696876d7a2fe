"""Predictions against targets: rows kept as they come, several processes, resumable."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.prediction import Row, mean_candidates, prediction_metrics
from crystal_diffusion.evaluation.rows import Progress, RowLog, evaluate_rows
from crystal_diffusion.evaluation.table import ROWS, EvaluationTable, markdown, write
from crystal_diffusion.files import make_folder
from crystal_diffusion.matching import StructureMatch

if TYPE_CHECKING:
    from pymatgen.core import Structure


class Predictor(Protocol):
    """Anything that answers compositions with candidates."""

    def __call__(
        self, compositions: Sequence[Mapping[str, int]], candidates: int, seed: int
    ) -> list[list[Structure]]:
        """Candidates for each composition, best first.

        Args:
            compositions: atoms of the cell by symbol.
            candidates: how many for each at most.
            seed: the same seed gives the same answer.
        """
        ...


def evaluate_predictions(
    targets: Mapping[str, Structure],
    candidates: Mapping[str, Sequence[Structure]],
    ks: Sequence[int] = (1, 5, 20),
    *,
    matcher: StructureMatch | None = None,
    draws: Mapping[str, Sequence[int]] | None = None,
    metre: bool = True,
    processes: int | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
    name: str = "prediction",
    info: Mapping[str, Any] | None = None,
) -> EvaluationTable:
    """Everything that is measured of structure prediction.

    Args:
        targets: true structures by id; all of them are the denominator.
        candidates: for each id the predictions, ranked first comes first; a missing id is a miss.
        ks: numbers of candidates for the oracle counts.
        matcher: tolerances; the default is ``StructureMatch()``.
        draws: for each id the places in ``candidates`` in the order in which they were drawn, for
            the counts at k; the ranked order if left out.
        metre: whether first candidates are also compared with other targets of their composition
            (METRe); many comparisons where all targets have one composition.
        processes: worker processes; all usable cores if left out.
        out: folder for ``rows.jsonl``, ``metrics.json`` and ``metrics.md``. Rows are written as
            they come, and rows there that fit targets and candidates are not made again.
        progress: called with the targets done and the number of all.
        name: of the table.
        info: what else to print with the figures, such as the training set.

    Raises:
        InputError: for no targets, candidates for an id that is no target, or a folder that
            cannot be written.
    """
    matcher = matcher or StructureMatch()
    began = time.monotonic()
    rows = evaluate_rows(
        targets,
        candidates,
        matcher=matcher,
        draws=draws,
        metre=metre,
        processes=processes,
        out=out,
        progress=progress,
    )
    table = EvaluationTable(
        name,
        prediction_metrics(rows, matcher, ks),
        tuple(rows),
        {
            "matcher": repr(matcher),
            "targets": len(rows),
            "candidates_per_target": mean_candidates(rows),
            "seconds": round(time.monotonic() - began, 1),
            **(info or {}),
        },
    )
    if out is not None:
        table.save(out)
    return table


def run_benchmark(
    name: str,
    predictors: Mapping[str, Predictor],
    targets: Mapping[str, Structure],
    n: int | None = None,
    *,
    candidates: int = 20,
    seed: int = 0,
    ks: Sequence[int] = (1, 5, 20),
    matcher: StructureMatch | None = None,
    metre: bool = True,
    processes: int | None = None,
    out: Path | str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    info: Mapping[str, Any] | None = None,
    chunk: int = 100,
) -> dict[str, EvaluationTable]:
    """Ask each predictor for candidates of the targets' compositions, and measure.

    Args:
        name: of the benchmark, e.g. ``mp20``.
        predictors: by the name that the report prints.
        targets: true structures by id.
        n: use only this many, chosen with ``seed``; all if left out.
        candidates: asked for each target.
        seed: of the choice and of the predictors.
        ks, matcher, metre, processes: as in :func:`evaluate_predictions`.
        out: folder; each predictor gets a folder in it, and ``benchmark.md`` and
            ``benchmark.json`` have all side by side. A run that was stopped goes on where it was.
        progress: called with the predictor, the targets done and the number of all.
        info: what else to print with the figures.
        chunk: targets that a predictor gets at once (a bit more where compositions repeat).

    Raises:
        InputError: for no predictors or targets, or a predictor that answers another number of
            lists than it was asked for.
    """
    if not predictors:
        raise InputError("there is no predictor; give at least one by name.")
    if (n is not None and n < 1) or candidates < 1:
        raise InputError(f"n is {n} and candidates {candidates}; both must be at least 1.")
    chosen = choose_targets(targets, n, seed)
    matcher = matcher or StructureMatch()
    tables = {}
    for label, predictor in predictors.items():
        folder = None if out is None else Path(out) / _folder_name(label)
        rows: dict[str, Row] = {}
        settings = {
            "benchmark": name,
            "predictor": label,
            "candidates": candidates,
            "seed": seed,
            "matcher": repr(matcher),
            "metre": metre,
        }
        times = _Times(folder, settings)
        for number, names in enumerate(_chunks_by_composition(chosen, chunk)):
            part = {i: chosen[i] for i in names}
            kept = None if folder is None else folder / f"chunk_{number:04d}"
            made = _finished(kept, names)
            if made is None:
                began = time.monotonic()
                found = predictor([_atoms(chosen[i]) for i in names], candidates, seed + number)
                times.add(number, time.monotonic() - began)
                if len(found) != len(names):
                    raise InputError(
                        f"predictor '{label}' answered {len(found)} lists for {len(names)} "
                        "compositions; answer one list, maybe empty, for each."
                    )
                answers = {i: c[:candidates] for i, c in zip(names, found, strict=True)}
                made = evaluate_rows(
                    part, answers, matcher=matcher, metre=metre, processes=processes, out=kept
                )
            rows.update({row["id"]: row for row in made})
            if progress is not None:
                progress(label, len(rows), len(chosen))
        ordered = [rows[i] for i in chosen]
        table = EvaluationTable(
            label,
            prediction_metrics(ordered, matcher, ks),
            tuple(ordered),
            {
                "benchmark": name,
                "matcher": repr(matcher),
                "targets": len(ordered),
                "of": len(targets),
                "seed": seed,
                "candidates_per_target": mean_candidates(ordered),
                "predictor_seconds": times.total,
                **(info or {}),
            },
        )
        if folder is not None:
            table.save(folder)
        tables[label] = table
    if out is not None:
        text = f"# {name}: {len(chosen)} of {len(targets)} targets, seed {seed}\n\n"
        write(Path(out) / "benchmark.md", text + markdown(list(tables.values())))
        everything = {label: table.to_dict() for label, table in tables.items()}
        write(Path(out) / "benchmark.json", json.dumps(everything, indent=2, default=str) + "\n")
    return tables


class _Times:
    """Seconds that a predictor took, kept with the settings it was asked with.

    Raises:
        InputError: when the folder holds rows of other settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = None if folder is None else folder / "settings.json"
        self._settings = dict(settings)
        self._seconds: dict[str, float] = {}
        if folder is None or self._path is None:
            return
        make_folder(folder)
        if self._path.is_file():
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self._seconds = kept.pop("seconds", {})
            if kept != self._settings:
                raise InputError(
                    f"{folder} holds a benchmark with other settings; choose another folder with "
                    "--out, or delete it."
                )
        self._write()

    def add(self, number: int, seconds: float) -> None:
        """Seconds of one chunk."""
        self._seconds[str(number)] = round(seconds, 3)
        self._write()

    @property
    def total(self) -> float:
        """Seconds of all chunks."""
        return round(sum(self._seconds.values()), 1)

    def _write(self) -> None:
        if self._path is not None:
            text = json.dumps({**self._settings, "seconds": self._seconds}, indent=2)
            write(self._path, text + "\n")


def _finished(folder: Path | None, names: Sequence[str]) -> list[Row] | None:
    """Rows of a chunk that was finished before, so that the predictor need not be asked."""
    if folder is None:
        return None
    rows = {row["id"]: row for row in RowLog(folder / ROWS).read()}
    return [rows[i] for i in names] if set(rows) == set(names) else None


def _folder_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in label)


def _atoms(structure: Structure) -> dict[str, int]:
    counts: dict[str, int] = {}
    for site in structure:
        counts[site.specie.symbol] = counts.get(site.specie.symbol, 0) + 1
    return counts


def choose_targets(
    targets: Mapping[str, Structure], n: int | None, seed: int
) -> dict[str, Structure]:
    """``n`` targets at random, in their own order; the first n of a larger choice of one seed.

    Raises:
        InputError: for no targets.
    """
    if not targets:
        raise InputError("there is no target to evaluate; give at least one.")
    names = list(targets)
    if n is None or n >= len(names):
        return dict(targets)
    order = np.random.default_rng(seed).permutation(len(names))[: max(1, n)]
    return {names[i]: targets[names[i]] for i in sorted(order.tolist())}


def _chunks_by_composition(targets: Mapping[str, Structure], size: int) -> Iterator[list[str]]:
    """Chunks of ids such that equal compositions are together, as METRe needs it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, structure in targets.items():
        groups[structure.composition.reduced_formula].append(name)
    chunk: list[str] = []
    for names in groups.values():
        chunk += names
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
