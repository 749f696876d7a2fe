"""Tables of crystals: CSV with a column of CIF texts, and Parquet with cells and coordinates.

Parquet columns: ``material_id``, ``a, b, c`` (Å), ``alpha, beta, gamma`` (degrees),
``atomic_numbers`` (list), ``frac_coords`` (flat list, three per atom); further columns of numbers
are properties; ``provider`` and the other names of :data:`PROVENANCE_COLUMNS` are texts that say
where a row comes from. Parquet of others has a column of CIF texts or structures, or the fields of
OPTIMADE, as CSV has. CSV: ``cif`` or ``structure``, and ``material_id`` or another name of an id
column. A column of formulas or of numbers of atoms is a witness: it is compared with the crystal.
"""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from crystal_diffusion.cell_geometry import lattice_from_parameters
from crystal_diffusion.data.bounds import LONGEST_ID, MIB, MOST_COLUMNS, expand_gzip
from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.encodings import decode
from crystal_diffusion.data.json_format import parse_json, structure_entry
from crystal_diffusion.data.poscar import parse_poscar
from crystal_diffusion.data.provenance import NOT_KNOWN, PROVENANCE_COLUMNS, Provenance
from crystal_diffusion.data.records import (
    LAST_ELEMENT,
    PlainCrystal,
    failed,
    shorten,
    to_float,
)
from crystal_diffusion.data.witness import (
    COUNT_KEYS,
    FORMULA_KEYS,
    Statement,
    read_formula,
    settle_statement,
    statement_of,
)
from crystal_diffusion.errors import InputError

CELL_COLUMNS = ("a", "b", "c", "alpha", "beta", "gamma")
#: Columns that hold the crystal, not a label of it.
PARQUET_COLUMNS = (
    "material_id",
    "formula",
    "num_sites",
    *CELL_COLUMNS,
    "atomic_numbers",
    "frac_coords",
    "spacegroup_number",
)
_CIF_COLUMNS = ("cif", "structure", "cif_string")
_ID_COLUMNS = ("material_id", "id", "name", "structure_id")
#: What is read of a Parquet table whatever its type; other columns only where they hold numbers.
_READ_COLUMNS = (
    *CELL_COLUMNS,
    "atomic_numbers",
    "frac_coords",
    *_ID_COLUMNS,
    *PROVENANCE_COLUMNS,
    *FORMULA_KEYS,
    *COUNT_KEYS,
)
#: Columns of OPTIMADE that make a crystal, as tables of its entries have them.
_OPTIMADE_COLUMNS = ("lattice_vectors", "cartesian_site_positions", "species_at_sites", "species")
#: Rows of a table that are made into Python objects at once.
_ROWS_AT_ONCE = 256
#: Parts of an element by which a crystal may differ from the formula of its row.
_FORMULA_ROUNDING = 2e-3
#: CSV columns that are numbers but no labels: indices, and what the crystal itself says.
_NO_LABEL = ("", "index", "unnamed: 0", "spacegroup.number", "spacegroup_number", "num_sites")
#: Characters of a structure in Python's notation; its parser is slow.
_LONGEST_LITERAL = 2 * MIB
#: Lines before the first atom of a POSCAR.
_POSCAR_LINES = 7
#: What a Parquet table may grow to: this much, and this many times its size, bytes.
PARQUET_FREE, PARQUET_TIMES = 64 * MIB, 100
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@dataclass(frozen=True)
class CrystalArrays:
    """Many crystals as flat arrays: what training reads.

    Attributes:
        ids: one name a crystal.
        lattice: ``(crystals, 3, 3)`` rows a, b, c in Å, float64.
        frac_coords: ``(all atoms, 3)`` float64, crystal after crystal.
        atomic_numbers: ``(all atoms,)`` int64.
        offsets: ``(crystals + 1,)``; crystal i has the atoms ``offsets[i]:offsets[i + 1]``.
        properties: ``(crystals,)`` float64 by name; NaN where not known.
        provenance: one a crystal; empty when none says where it comes from.
        formulas: what the table says is in each crystal, empty where it does not; () when nowhere.
        num_sites: ``(crystals,)`` atoms that the table says; 0 where it does not; None nowhere.
    """

    ids: tuple[str, ...]
    lattice: np.ndarray
    frac_coords: np.ndarray
    atomic_numbers: np.ndarray
    offsets: np.ndarray
    properties: Mapping[str, np.ndarray]
    provenance: tuple[Provenance, ...] = ()
    formulas: tuple[str, ...] = ()
    num_sites: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_atoms(self) -> np.ndarray:
        """``(crystals,)``."""
        return np.diff(self.offsets)

    def statement(self, index: int) -> Statement:
        """What the table says is in one of the crystals."""
        formula = self.formulas[index] if self.formulas else ""
        count = int(self.num_sites[index]) if self.num_sites is not None else 0
        return Statement(read_formula(formula) if formula else None, num_atoms=count or None)

    def contradicted(self) -> np.ndarray:
        """``(crystals,)`` where the composition is not that of the table's formula or number."""
        wrong = np.zeros(len(self), bool)
        if self.num_sites is not None:
            wrong |= (self.num_sites > 0) & (self.num_sites != self.num_atoms)
        if not self.formulas:
            return wrong
        texts, places = np.unique(np.array(self.formulas), return_inverse=True)
        stated = np.zeros((len(texts), LAST_ELEMENT + 2))
        for row, text in enumerate(texts.tolist()):
            for number, amount in (read_formula(text) or {}).items():
                stated[row, min(number, LAST_ELEMENT + 1)] += amount
        total = stated.sum(1)
        parts = stated / np.maximum(total, 1e-300)[:, None]
        found = np.zeros((len(self), LAST_ELEMENT + 2))
        crystal = np.repeat(np.arange(len(self)), self.num_atoms)
        np.add.at(found, (crystal, np.clip(self.atomic_numbers, 0, LAST_ELEMENT + 1)), 1.0)
        found /= np.maximum(self.num_atoms, 1)[:, None]
        off = np.abs(found - parts[places.reshape(-1)]).max(1)
        return np.asarray(wrong | ((off > _FORMULA_ROUNDING) & (total[places.reshape(-1)] > 0)))

    def crystal(self, index: int, source: str = "") -> PlainCrystal:
        """One of the crystals."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        labels = {k: float(v[index]) for k, v in self.properties.items() if np.isfinite(v[index])}
        return PlainCrystal(
            self.ids[index],
            self.lattice[index],
            self.frac_coords[start:stop],
            self.atomic_numbers[start:stop],
            labels,
            source,
            provenance=self.provenance[index] if self.provenance else NOT_KNOWN,
        )

    def take(self, indices: np.ndarray) -> CrystalArrays:
        """Some of the crystals, in the order of the indices."""
        rows = np.asarray(indices, dtype=np.int64)
        counts = self.num_atoms[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        atoms = np.arange(int(offsets[-1])) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        return CrystalArrays(
            tuple(self.ids[i] for i in rows),
            self.lattice[rows],
            self.frac_coords[atoms],
            self.atomic_numbers[atoms],
            offsets,
            {name: values[rows] for name, values in self.properties.items()},
            tuple(self.provenance[i] for i in rows) if self.provenance else (),
            tuple(self.formulas[i] for i in rows) if self.formulas else (),
            None if self.num_sites is None else self.num_sites[rows],
        )

    @classmethod
    def join(cls, parts: Iterable[CrystalArrays | None]) -> CrystalArrays | None:
        """The crystals of all parts in order; None where there are none.

        An id that an earlier part has gets a number behind it.
        """
        some = [part for part in parts if part is not None and len(part)]
        if len(some) < 2:
            return some[0] if some else None
        crystals = [part.crystal(i) for part in some for i in range(len(part))]
        taken: set[str] = set()
        for index, crystal in enumerate(crystals):
            name, count = crystal.id, 1
            while name in taken:
                count += 1
                name = f"{crystal.id} ({count})"
            taken.add(name)
            crystals[index] = replace(crystal, id=name)
        return cls.from_crystals(crystals)

    @classmethod
    def from_crystals(cls, crystals: list[PlainCrystal]) -> CrystalArrays:
        """Flat arrays of crystals without problems; a label missing in one is NaN there."""
        names = sorted({name for crystal in crystals for name in crystal.properties})
        counts = [len(crystal.atomic_numbers) for crystal in crystals]
        return cls(
            tuple(crystal.id for crystal in crystals),
            np.array([c.lattice for c in crystals], dtype=np.float64).reshape(-1, 3, 3),
            np.concatenate([np.zeros((0, 3)), *(c.frac_coords for c in crystals)]),
            np.concatenate([np.zeros(0), *(c.atomic_numbers for c in crystals)]).astype(np.int64),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            {
                name: np.array([c.properties.get(name, np.nan) for c in crystals], np.float64)
                for name in names
            },
            tuple(c.provenance for c in crystals)
            if any(c.provenance.known for c in crystals)
            else (),
        )


def parquet_arrays(path: str | Path) -> CrystalArrays:
    """A Parquet table as flat arrays, without making any structure; about 1 s for 60,000 rows.

    Args:
        path: file with the columns named at the top of this module.

    Raises:
        InputError: for a file that is missing, unreadable, or without these columns.
    """
    import pyarrow as pa

    try:
        table = _bounded_table(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a Parquet file.") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({error}); write it again.") from error
    needed = (*CELL_COLUMNS, "atomic_numbers", "frac_coords")
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; needed are {', '.join(needed)}.")
    cells = np.stack([_numbers(table, name) for name in CELL_COLUMNS], -1)
    counts, numbers = _flat(table, "atomic_numbers")
    triples, coords = _flat(table, "frac_coords")
    wrong = np.flatnonzero(triples != 3 * counts)
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"{path} row {row + 1} has {counts[row]} atoms and {triples[row]} coordinates; "
            "write three coordinates for each atom."
        )
    ids = next((c for c in _ID_COLUMNS if c in table.column_names), None)
    stem = Path(path).stem
    names = (
        tuple(_texts(table[ids], path))
        if ids
        else tuple(f"{stem}#{i + 1}" for i in range(len(cells)))
    )
    labels = {
        field.name: _numbers(table, field.name)
        for field in table.schema
        if field.name not in (*PARQUET_COLUMNS, *_ID_COLUMNS)
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    }
    return CrystalArrays(
        names,
        lattice_from_parameters(cells).reshape(-1, 3, 3),
        coords.astype(np.float64).reshape(-1, 3),
        _whole(numbers, path),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels,
        _provenance(table, path),
        *_said(table, path),
    )


def _said(table: Any, path: str | Path) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The formulas and numbers of atoms that a table states; () and None where it has none."""
    formula = next((key for key in FORMULA_KEYS if key in table.column_names), None)
    count = next((key for key in COUNT_KEYS if key in table.column_names), None)
    formulas: tuple[str, ...] = ()
    if formula is not None:
        formulas = tuple("" if text == "None" else text for text in _texts(table[formula], path))
    if count is None:
        return formulas, None
    stated = np.nan_to_num(_numbers(table, count), nan=0.0, posinf=0.0, neginf=0.0)
    return formulas, np.where((stated > 0) & (stated == np.round(stated)), stated, 0).astype(int)


def _whole(numbers: np.ndarray, path: str | Path) -> np.ndarray:
    """Atomic numbers as integers.

    Raises:
        InputError: when one of them is no whole number.
    """
    values = np.asarray(numbers, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values == np.round(values)) & (np.abs(values) < 1e6)))
    if len(wrong):
        raise InputError(
            f"{path} has the atomic number {values[wrong[0]]:g}; write whole numbers from 1 to 118."
        )
    return values.astype(np.int64)


def _texts(column: Any, path: str | Path) -> Iterator[str]:
    """A column as text, each different value made once."""
    import pyarrow as pa

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    for chunk in chunks:
        coded = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
        values = [str(v)[:LONGEST_ID] for v in coded.dictionary.to_pylist()]
        for index in coded.indices.to_pylist():
            yield "None" if index is None else values[index]


#: Adds up what the named columns announce. Asking pyarrow for a damaged one ends the process that
#: asks, so another one does.
_ASK = """
import sys
import pyarrow.parquet as pq
path, *names = sys.argv[1:]
with pq.ParquetFile(path) as file:
    about = file.metadata
    chunks = [
        about.row_group(group).column(place)
        for group in range(about.num_row_groups)
        for place in range(about.num_columns)
    ]
wanted = [c for c in chunks if c.path_in_schema.split(".")[0] in names]
print(sum(max(8 * c.num_values, c.total_uncompressed_size) for c in wanted))
"""


def _announced_bytes(path: str | Path, names: Sequence[str]) -> int:
    """Bytes that these columns announce.

    Raises:
        InputError: when their descriptions are damaged.
    """
    words = [sys.executable, "-c", _ASK, str(path), *names]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InputError(
            f"{path} is no Parquet file (the descriptions of its columns are damaged); write it "
            "again."
        ) from error


def _bounded_table(path: str | Path) -> Any:
    """The columns that are needed, where the numbers that the file announces are within bounds.

    Raises:
        InputError: when they are not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, schema = _bounded_columns(path, ())
    texts = [n for n in names if pa.types.is_string(schema.field(n).type)]
    return pq.read_table(str(path), columns=names, read_dictionary=texts)


def _bounded_columns(path: str | Path, more: Sequence[str]) -> tuple[list[str], Any]:
    """The names of the columns to read, ``more`` among them, and the schema.

    Raises:
        InputError: when they announce more than the bounds allow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(path)) as file:
        schema, about = file.schema_arrow, file.metadata
        names = [
            field.name
            for field in schema
            if field.name in more
            or (field.name in _READ_COLUMNS and _fits(field))
            or (
                field.name not in PARQUET_COLUMNS
                and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
            )
        ]
        if about.num_columns > MOST_COLUMNS or len(set(names)) < len(names):
            raise InputError(f"{path} has too many columns, or one twice; leave some out.")
        size = Path(path).stat().st_size
        most = PARQUET_FREE + PARQUET_TIMES * size
        announced = _announced_bytes(path, names)
        if announced > most or about.num_rows * len(names) * 8 > most:
            raise InputError(
                f"{path}: its {size} bytes announce {announced // MIB} MiB of numbers; "
                f"{most // MIB} MiB are the most for a file of this size. Write it again with less "
                "compression if you trust it."
            )
    return names, schema


def _fits(field: Any) -> bool:
    """Whether a column of formulas holds texts, and one of numbers of atoms numbers."""
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name in FORMULA_KEYS:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if field.name in COUNT_KEYS:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return True


def _provenance(table: Any, path: str | Path) -> tuple[Provenance, ...]:
    """Where each row comes from; empty for a table without a column ``provider``."""
    if "provider" not in table.column_names:
        return ()
    names = [name for name in PROVENANCE_COLUMNS if name in table.column_names]
    rows = zip(*(_texts(table[name], path) for name in names), strict=True)
    empty = {"None": ""}
    return tuple(
        Provenance(**{k: empty.get(v, v) for k, v in zip(names, row, strict=True)}) for row in rows
    )


def _numbers(table: Any, name: str) -> np.ndarray:
    import pyarrow as pa

    column = table[name].cast(pa.float64()).combine_chunks()
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _flat(table: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Entries a row, and all entries one after the other, of a column of lists."""
    import pyarrow.compute as pc

    column = table[name].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64), np.asarray(values)


def read_parquet(path: Path, name: str) -> Iterator[PlainCrystal]:
    """The crystals of a Parquet table one by one."""
    if path.name.lower().endswith(".gz"):
        yield failed(name, str(path), "Parquet is compressed already; unzip it first")
        return
    try:
        columns = _crystal_columns(path)
        if columns:
            yield from _entries(path, name, columns)
            return
        arrays = parquet_arrays(path)
    except InputError as error:
        yield failed(name, str(path), str(error).removeprefix(f"{path} ").rstrip("."))
        return
    for index in range(len(arrays)):
        crystal = arrays.crystal(index, f"{path} row {index + 1}")
        yield settle_statement(crystal, arrays.statement(index))
    if not len(arrays):
        yield failed(name, str(path), "the table has no rows; remove it", "empty")


def _crystal_columns(path: Path) -> tuple[str, ...]:
    """The columns that hold whole crystals; empty for a table of cells and coordinates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(str(path)) as file:
            names = file.schema_arrow.names
    except (pa.ArrowException, OSError):
        # The reader of arrays says what is wrong with the file.
        return ()
    if all(column in names for column in (*CELL_COLUMNS, "atomic_numbers", "frac_coords")):
        return ()
    if all(column in names for column in _OPTIMADE_COLUMNS[:3]):
        return tuple(column for column in _OPTIMADE_COLUMNS if column in names)
    return next(((column,) for column in _CIF_COLUMNS if column in names), ())


def _entries(path: Path, name: str, columns: tuple[str, ...]) -> Iterator[PlainCrystal]:
    """The crystals of a Parquet table with CIF texts, structures or entries of OPTIMADE.

    Raises:
        InputError: when it announces more than the bounds allow, or breaks off.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        names, schema = _bounded_columns(path, columns)
        # A long text that is stored once is kept once, and made for one row at a time.
        texts = [n for n in names if pa.types.is_string(schema.field(n).type)]
        with pq.ParquetFile(str(path), read_dictionary=texts) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
                for place in range(batch.num_rows):
                    (row,) = batch.slice(place, 1).to_pylist()
                    number += 1
                    yield from _entry(row, columns, f"{name}#{number}", f"{path} row {number}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} breaks off after row {number} ({error}); write it again.") from (
            error
        )
    if not number:
        yield failed(name, str(path), "the table has no rows; remove it", "empty")


def _entry(
    row: Mapping[str, Any], columns: tuple[str, ...], name: str, source: str
) -> list[PlainCrystal]:
    label = next((row[key] for key in _ID_COLUMNS if row.get(key) not in (None, "")), name)
    label = str(label)[:LONGEST_ID]
    if columns[0] in _OPTIMADE_COLUMNS:
        return [structure_entry({**row, "id": label}, label, source)]
    value = row.get(columns[0])
    found = {key: to_float(v) for key, v in row.items() if key.lower() not in _NO_LABEL}
    labels = {k: v for k, v in found.items() if v is not None and k not in _READ_COLUMNS}
    said = statement_of(row)
    if isinstance(value, Mapping):
        crystal = settle_statement(structure_entry(value, label, source), said)
        return [replace(crystal, id=label, properties={**crystal.properties, **labels})]
    return CifRow(label, source, str(value or ""), labels, said).parse()


@dataclass(frozen=True)
class CifRow:
    """One row of a CSV table, before its CIF is parsed."""

    id: str
    source: str
    cif: str
    properties: dict[str, float]
    said: Statement = Statement()

    def parse(self) -> list[PlainCrystal]:
        """The crystals of the row: one, unless its CIF has several blocks."""
        if not self.cif.strip():
            text = "the cell of the CIF column is empty; fill it"
            return [failed(self.id, self.source, text, "empty")]
        try:
            crystals = _parse_cell(self.cif, self.id, self.source)
        # One damaged text must not cost the rows after it.
        except Exception as error:
            text = f"cannot be read ({shorten(error)}); correct it"
            return [failed(self.id, self.source, text)]
        return [
            replace(
                settle_statement(c, self.said),
                id=self.id if len(crystals) == 1 else c.id,
                properties={**c.properties, **self.properties},
            )
            for c in crystals
        ]


def _parse_cell(text: str, name: str, source: str) -> list[PlainCrystal]:
    """The crystals of one cell: a CIF, a POSCAR, or a structure as JSON or as Python prints it."""
    if text.lstrip()[:1] in "{[":
        try:
            return list(parse_json(text, name, source))
        except json.JSONDecodeError:
            # What pandas writes of a dict: Python's own notation, which is read as data only.
            if len(text) > _LONGEST_LITERAL:
                raise
            return list(parse_json(json.dumps(ast.literal_eval(text.strip())), name, source))
    if "data_" not in text.lower() and len(text.splitlines()) > _POSCAR_LINES:
        return [parse_poscar(text, name, source)]
    return parse_cif(text, name, source)


def csv_rows(path: Path, name: str) -> Iterator[CifRow]:
    """The rows of a CSV table with a CIF column, properties parsed, CIFs not yet.

    Raises:
        InputError: when there is no CIF column, no row, or the text is no CSV.
    """
    with _open(path) as file:
        reader = csv.DictReader(file, delimiter=_delimiter(file))
        try:
            header = reader.fieldnames
        except csv.Error as error:
            raise InputError(f"{path} is no CSV ({error}); write it again.") from error
        if not header:
            raise InputError(f"{path} is empty; write it again or remove it.")
        if len(header) > MOST_COLUMNS:
            raise InputError(
                f"{path} has {len(header)} columns; {MOST_COLUMNS} are the most, leave some out."
            )
        lower = {column.strip().lower(): column for column in header if column is not None}
        cif = next((lower[c] for c in _CIF_COLUMNS if c in lower), None)
        if cif is None:
            raise InputError(
                f"{path} has no column of CIF texts; name it 'cif' (found: {', '.join(header)})."
            )
        ids = next((lower[c] for c in _ID_COLUMNS if c in lower), None)
        labels = [c for c in header if c not in (cif, ids) and c.strip().lower() not in _NO_LABEL]
        number = 0
        try:
            for number, row in enumerate(reader, 1):
                found = {label: to_float(row.get(label)) for label in labels}
                yield CifRow(
                    (row.get(ids) if ids else None) or f"{name}#{number}",
                    f"{path} row {number}",
                    row.get(cif) or "",
                    {key: value for key, value in found.items() if value is not None},
                    statement_of(
                        {k.strip().lower(): v for k, v in row.items() if isinstance(k, str)}
                    ),
                )
        except csv.Error as error:
            raise InputError(
                f"{path} breaks off after row {number} ({error}); write it again."
            ) from error
        if number == 0:
            raise InputError(f"{path} has no rows; write it again or remove it.")


def _open(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        try:
            raw = io.BytesIO(expand_gzip(path.read_bytes()))
        except ValueError as error:
            raise InputError(f"{path} cannot be unpacked: {error}.") from error
        return io.StringIO(decode(raw.getvalue()), newline="")
    if not _is_utf8(path):
        return io.StringIO(decode(path.read_bytes()), newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _is_utf8(path: Path) -> bool:
    """Whether a file is text in UTF-8; else it is read whole, in the encoding that it has."""
    checker = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(MIB):
            if b"\0" in block:
                return False
            try:
                checker.decode(block)
            except UnicodeDecodeError:
                return False
    return True


def _delimiter(file: TextIO) -> str:
    """Comma, semicolon or tabulator: the one that is most in the first line, which has names."""
    line = file.readline()
    file.seek(0)
    return max(",;\t", key=lambda mark: (line.count(mark), mark == ","))


def read_csv(path: Path, name: str) -> Iterator[PlainCrystal]:
    """The crystals of a CSV table with a CIF column."""
    try:
        for row in csv_rows(path, name):
            yield from row.parse()
    except InputError as error:
        yield failed(name, str(path), str(error).removeprefix(f"{path} ").rstrip("."))
