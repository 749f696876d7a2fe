"""Rows of many targets: made in several processes, written as they come, never made twice."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.evaluation.prediction import Row, Task, evaluate_target
from crystal_diffusion.evaluation.table import ROWS
from crystal_diffusion.evaluation.validity import composition_of, compositional_validity
from crystal_diffusion.files import append_to, make_folder, write_text
from crystal_diffusion.matching import StructureMatch
from crystal_diffusion.parallel import process_pool, usable_cores

if TYPE_CHECKING:
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

#: Called with the targets done and the number of all.
Progress = Callable[[int, int], None]
#: Below this many comparisons a second process costs more than it saves.
_PARALLEL_FROM = 300
#: Targets that a worker gets at once.
_CHUNK = 8


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
    log = RowLog(None if out is None else Path(out) / ROWS)
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


class RowLog:
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
        make_folder(self.path.parent)
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self._handle = append_to(self.path)

    def add(self, row: Row) -> None:
        """Append and flush."""
        if self._handle is not None:
            self._handle.write((json.dumps(row) + "\n").encode())
            self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()
