"""Many crystals from files: read and checked in worker processes, one row for each."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from crystal_diffusion.data.records import CrystalRecord
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import write_text
from crystal_diffusion.parallel import process_pool, usable_cores
from crystal_diffusion.physics.report import CheckResult, ValidationReport
from crystal_diffusion.physics.validator import PhysicsValidator

Verdict = Literal["valid", "warning", "invalid", "unreadable"]

#: Files that a worker gets at once.
_CHUNK = 50
#: Below this many files a second process costs more than it saves.
_PARALLEL_FROM = 200


@dataclass(frozen=True)
class ValidationRow:
    """One crystal: what was found, or why it could not be read.

    Attributes:
        id: name of the crystal.
        source: the file that it came from.
        formula: reduced formula; empty if unreadable.
        num_atoms: atoms in the cell; 0 if unreadable.
        report: all checks; ``None`` if unreadable.
        problem: why it is unreadable.
    """

    id: str
    source: str
    formula: str
    num_atoms: int
    report: ValidationReport | None
    problem: str | None

    @property
    def verdict(self) -> Verdict:
        """``warning`` is valid, but with something to look at."""
        if self.report is None:
            return "unreadable"
        if not self.report.valid:
            return "invalid"
        return "warning" if self.report.warnings else "valid"

    @property
    def lines(self) -> list[tuple[str, str, str, str]]:
        """Check, value, limit and reason of everything that failed, errors first."""
        if self.report is None:
            return [("readable", "", "", self.problem or "")]
        failed = (*self.report.errors, *self.report.warnings, *self.report.notes)
        return [(c.name, _shown(c), c.limit, c.reason) for c in failed]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "id": self.id,
            "source": self.source,
            "formula": self.formula,
            "num_atoms": self.num_atoms,
            "verdict": self.verdict,
            "problem": self.problem,
            "checks": [] if self.report is None else [_plain(c) for c in self.report.checks],
        }


@dataclass(frozen=True)
class ValidationTable:
    """One row for each crystal, in order of reading."""

    rows: tuple[ValidationRow, ...]

    @property
    def all_valid(self) -> bool:
        """Whether there is at least one crystal and all of them are valid."""
        return bool(self.rows) and all(r.verdict in ("valid", "warning") for r in self.rows)

    @property
    def counts(self) -> Counter[Verdict]:
        """How many crystals of each verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Failed checks with their severity, the most frequent first."""
        found = Counter(
            f"{check.name} ({check.severity})"
            for row in self.rows
            if row.report is not None
            for check in row.report.checks
            if not check.passed
        )
        return found.most_common()

    def write(self, path: Path) -> None:
        """All rows as JSON lines; whole or not at all."""
        lines = (json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in self.rows)
        write_text(path, "".join(lines), flush=False)


def validate_files(
    sources: Sequence[str | Path],
    validator: PhysicsValidator,
    *,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ValidationTable:
    """Read crystals from anywhere and check them.

    Files are shared out to worker processes that read and check them; a file that cannot be read
    is a row of its own.

    Args:
        sources: files, folders or globs.
        validator: with its limits.
        processes: workers; the usable cores by default, one for few files.
        progress: called with the number of crystals done.

    Raises:
        InputError: if none of the sources can be read; one of several is a row of its own.
    """
    from crystal_diffusion.data.readers import find_files

    workers = usable_cores() if processes is None else processes
    if workers < 1:
        raise InputError(f"processes is {workers}; give at least 1.")
    files: list[str] = []
    rows: list[ValidationRow] = []
    for source in sources:
        try:
            files += [str(path) for path, _ in find_files(source)[0]]
        except InputError as error:
            if len(sources) == 1:
                raise
            rows.append(ValidationRow(Path(source).name, str(source), "", 0, None, str(error)))
    if not files:
        raise InputError(
            f"none of {len(sources)} sources can be read; the first: {rows[0].problem}"
        )
    for row in _rows(files, validator, workers):
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    return ValidationTable(tuple(_unique_ids(rows)))


def _rows(files: list[str], validator: PhysicsValidator, workers: int) -> Iterator[ValidationRow]:
    if workers == 1 or len(files) < _PARALLEL_FROM:
        yield from _validate(validator, files)
        return
    chunks = [files[k : k + _CHUNK] for k in range(0, len(files), _CHUNK)]
    with process_pool(min(workers, len(chunks))) as pool:
        for answer in pool.map(_validate_chunk, itertools.repeat(validator), chunks):
            yield from answer


def _validate_chunk(validator: PhysicsValidator, files: list[str]) -> list[ValidationRow]:
    return list(_validate(validator, files))


def _validate(validator: PhysicsValidator, files: list[str]) -> Iterator[ValidationRow]:
    from crystal_diffusion.data.readers import iter_crystals

    for file in files:
        for record in iter_crystals(file):
            yield to_row(record, validator)


def to_row(record: CrystalRecord, validator: PhysicsValidator) -> ValidationRow:
    """The row of one crystal that was read, or of what could not be."""
    if record.structure is None:
        problem = record.problem or "no structure"
        return ValidationRow(record.id, record.source, "", 0, None, problem)
    structure = record.structure
    return ValidationRow(
        record.id,
        record.source,
        structure.composition.reduced_formula,
        len(structure),
        validator.validate(structure),
        None,
    )


def _unique_ids(rows: Iterable[ValidationRow]) -> Iterator[ValidationRow]:
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.id] += 1
        yield row if seen[row.id] == 1 else replace(row, id=f"{row.id}~{seen[row.id]}")


def _shown(check: CheckResult) -> str:
    if check.value is None:
        return ""
    value = check.value if isinstance(check.value, str) else f"{check.value:.3g}"
    return f"{value} {check.unit}".strip()


def _plain(check: CheckResult) -> dict[str, Any]:
    """A check with no value that JSON does not know (infinity)."""
    out = check.to_dict()
    if isinstance(check.value, float) and not math.isfinite(check.value):
        out["value"] = None
    return out
