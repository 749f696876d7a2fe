"""``predict``: properties of crystals from anywhere, each with its interval."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from crystal_diffusion.data.readers import Source, iter_crystals
from crystal_diffusion.data.records import CrystalRecord
from crystal_diffusion.errors import InputError
from crystal_diffusion.files import write_text
from crystal_diffusion.generation.loading import PRETRAINED
from crystal_diffusion.parallel import usable_cores
from crystal_diffusion.prediction.model import PropertyModel, load_properties
from crystal_diffusion.runs.columns import Row, named
from crystal_diffusion.runs.folder import MANIFEST, RunFolder, csv_text, json_lines
from crystal_diffusion.runs.predicted import prediction_cells

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Crystals that are judged at once.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class PredictedRow(Row):
    """What is said of one crystal, or why nothing is.

    Attributes:
        id: of the crystal; source: where it was read.
        formula: reduced formula, empty where it could not be read; num_atoms: in the cell.
        problem: why there are no values.
        more: values and ends of intervals by column.
    """

    id: str
    source: str
    formula: str = ""
    num_atoms: int = 0
    problem: str | None = named("problem")
    more: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictionTable:
    """One row for each crystal, in order of reading.

    Attributes:
        names: the properties that are said; units: theirs.
        rows: one a crystal.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[PredictedRow, ...]

    @property
    def judged(self) -> int:
        """How many crystals got values."""
        return sum(row.problem is None for row in self.rows)

    def write(self, path: str | Path) -> None:
        """The table as CSV, or as JSON lines where the name ends in json or jsonl.

        Raises:
            InputError: the name ends in something else, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            write_text(path, csv_text(self.rows))
        elif path.suffix.lower() in (".json", ".jsonl"):
            write_text(path, json_lines(self.rows))
        else:
            raise InputError(f"{path}: end the name in .csv, or in .jsonl for JSON lines.")


def predict(
    source: Source,
    model: str | Path | PropertyModel | None = None,
    *,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PredictionTable:
    """Properties of crystals, each with a 90 % interval.

    Args:
        source: a run folder, or whatever holds crystals: files, folders, globs, structures, or a
            list of these.
        model: a model folder that was trained with ``--property``; the shipped network alone when
            not given.
        processes: workers that read; the usable cores by default.
        progress: called with the number of crystals done.

    Raises:
        InputError: when nothing can be read; one bad crystal of several is a row with a problem.
    """
    if isinstance(model, PropertyModel):
        judge = model
    else:
        shipped = model is None or (str(model) == PRETRAINED and not Path(model).exists())
        judge = load_properties(None if shipped else model)
    workers = usable_cores() if processes is None else processes
    if workers < 1:
        raise InputError(f"processes is {workers}; give at least 1.")
    rows: list[PredictedRow] = []
    records = _records(source, workers)
    while chunk := list(itertools.islice(records, _CHUNK)):
        rows += _judge(chunk, judge)
        if progress is not None:
            progress(len(rows))
    if not rows:
        raise InputError("no crystals were found; give files that hold some.")
    units = tuple(judge.unit(name) for name in judge.names)
    return PredictionTable(judge.names, units, tuple(rows))


def _records(source: Source, workers: int) -> Iterator[CrystalRecord]:
    """The crystals of a run folder or of anything else; a bad source among several is a record."""
    if isinstance(source, str | Path) and (Path(source) / MANIFEST).is_file():
        for name, structure in RunFolder.open(Path(source)).structures().items():
            yield CrystalRecord(name, structure, {}, str(source), None)
        return
    several = source if _is_list(source) else ()
    paths = [each for each in several if isinstance(each, str | Path)]
    if not paths or len(paths) < len(several):
        yield from iter_crystals(source, processes=workers)
        return
    for each in paths:
        try:
            yield from _records(each, workers)
        except InputError as error:
            if len(paths) == 1:
                raise
            yield CrystalRecord(Path(each).name, None, {}, str(each), str(error))


def _is_list(source: Source) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(source, list | tuple)


def _judge(records: Sequence[CrystalRecord], judge: PropertyModel) -> Iterable[PredictedRow]:
    """Rows of some crystals."""
    readable = [record for record in records if record.structure is not None]
    structures: list[Structure] = [record.structure for record in readable if record.structure]
    predicted = judge.predict(structures)
    place = {id(record): row for row, record in enumerate(readable)}
    for record in records:
        row = place.get(id(record))
        if row is None:
            yield PredictedRow(record.id, record.source, problem=record.problem)
            continue
        structure = structures[row]
        values, low, high = predicted.values[row], predicted.low[row], predicted.high[row]
        yield PredictedRow(
            record.id,
            record.source,
            structure.composition.reduced_formula,
            len(structure),
            predicted.refused.get(row),
            prediction_cells(predicted.names, values, low, high),
        )
