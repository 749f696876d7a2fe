"""Predictions against targets: rows kept as they come, several processes, resumable."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.prediction import (
    Row,
    Task,
    evaluate_target,
    mean_candidates,
    prediction_metrics,
)
from crystal_diffusion.evaluation.table import ROWS, EvaluationTable, markdown, write
from crystal_diffusion.evaluation.validity import composition_of, compositional_validity
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.matching.pools import process_pool, usable_cores

if TYPE_CHECKING:
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

#: Called with the targets done and the number of all.
Progress = Callable[[int, int], None]
#: Below this many comparisons a second process costs more than it saves.
_PARALLEL_FROM = 300
#: Targets that a worker gets at once.
_CHUNK = 8


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


def evaluate_rows(
    targets: Mapping[str, Structure],
    candidates: Mapping[str, Sequence[Structure]],
    *,
    matcher: StructureMatch,
    draws: Mapping[str, Sequence[int]] | None = None,
    metre: bool = True,
    processes: int | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """The rows of :func:`evaluate_predictions`, in the order of the targets."""
    if not targets:
        raise InputError("there is no target to evaluate; give at least one.")
    strangers = [name for name in candidates if name not in targets]
    if strangers:
        raise InputError(
            f"{len(strangers)} predictions have ids that are no target, for example "
            f"'{strangers[0]}'; give the reference that the run was made for."
        )
    tasks = _tasks(targets, candidates, draws or {}, metre, matcher)
    log = _RowLog(None if out is None else Path(out) / ROWS)
    done = {r["id"]: r for r in log.read() if tasks.get(r["id"], None) and _same(r, tasks)}
    log.start(done.values())
    waiting = [task for name, task in tasks.items() if name not in done]
    count = len(done)
    if progress is not None:
        progress(count, len(tasks))
    try:
        for made in _work(waiting, matcher, usable_cores() if processes is None else processes):
            for row in made:
                log.add(row)
                done[row["id"]] = row
            count += len(made)
            if progress is not None:
                progress(count, len(tasks))
    finally:
        log.close()
    return [done[name] for name in targets]


def _same(row: Row, tasks: Mapping[str, Task]) -> bool:
    return bool(row.get("key") == tasks[row["id"]].key)


def _tasks(
    targets: Mapping[str, Structure],
    candidates: Mapping[str, Sequence[Structure]],
    draws: Mapping[str, Sequence[int]],
    metre: bool,
    matcher: StructureMatch,
) -> dict[str, Task]:
    firsts: dict[Any, list[tuple[str, Structure]]] = defaultdict(list)
    compositions = {name: _composition(s) for name, s in targets.items()}
    if metre:
        for name, found in candidates.items():
            if found:
                firsts[compositions[name]].append((name, found[0]))
    tasks = {}
    for name, target in targets.items():
        own = tuple(candidates.get(name, ()))
        order = tuple(draws.get(name, range(len(own))))
        if sorted(order) != list(range(len(own))):
            raise InputError(
                f"the drawing order of {name} is {order}; give each place of its {len(own)} "
                "candidates once."
            )
        pool = tuple(s for other, s in firsts[compositions[name]] if other != name)
        digest = hashlib.blake2b(repr(matcher).encode() + repr(order).encode(), digest_size=12)
        for structure in (target, *own, *pool):
            digest.update(_content(structure))
        allowed = target.is_ordered and compositional_validity(composition_of(target))
        tasks[name] = Task(name, digest.hexdigest(), target, own, order, pool, allowed)
    return tasks


def _composition(structure: Structure) -> Any:
    return composition_of(structure) if structure.is_ordered else structure.composition.formula


def _content(structure: Structure) -> bytes:
    coords = np.array([site.frac_coords for site in structure], np.float64)
    species = ",".join(site.species_string for site in structure)
    return species.encode() + np.asarray(structure.lattice.matrix).tobytes() + coords.tobytes()


def _work(tasks: Sequence[Task], matcher: StructureMatch, processes: int) -> Iterator[list[Row]]:
    comparisons = sum(len(t.candidates) + len(t.pool) for t in tasks)
    chunks = [tasks[i : i + _CHUNK] for i in range(0, len(tasks), _CHUNK)]
    if processes <= 1 or comparisons < _PARALLEL_FROM or len(chunks) < 2:
        for task in tasks:
            yield [evaluate_target(task, matcher)]
        return
    with process_pool(processes) as pool:
        open_jobs = {pool.submit(_rows_chunk, chunk, matcher) for chunk in chunks[: 4 * processes]}
        rest = iter(chunks[4 * processes :])
        while open_jobs:
            ready, open_jobs = wait(open_jobs, return_when=FIRST_COMPLETED)
            for job in ready:
                if (chunk := next(rest, None)) is not None:
                    open_jobs.add(pool.submit(_rows_chunk, chunk, matcher))
                yield job.result()


def _rows_chunk(tasks: Sequence[Task], matcher: StructureMatch) -> list[Row]:
    return [evaluate_target(task, matcher) for task in tasks]


class _RowLog:
    """JSON lines that are appended to; a line cut off by a kill is left out on reading."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._handle: Any = None

    def read(self) -> list[Row]:
        """Rows of an earlier run."""
        if self.path is None or not self.path.is_file():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                _log.info("%s: a line that was cut off is left out", self.path)
                continue
            if isinstance(row, dict) and "id" in row:
                rows.append(row)
        return rows

    def start(self, rows: Any) -> None:
        """Keep only these rows, and be ready for more."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, "".join(json.dumps(row) + "\n" for row in rows))
            self._handle = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}); choose another folder."
            ) from error

    def add(self, row: Row) -> None:
        """Append and flush."""
        if self._handle is not None:
            self._handle.write(json.dumps(row) + "\n")
            self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()


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
        folder.mkdir(parents=True, exist_ok=True)
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
    rows = {row["id"]: row for row in _RowLog(folder / ROWS).read()}
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
