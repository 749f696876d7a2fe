"""The database of screened crystals: ASE's format, one file by default, or PostgreSQL.

``ase db screening.db`` reads it. One row per id and crystal: writing the same crystal again
replaces its row, another crystal of that id (of another run) gets a row of its own. Every write is
one transaction that begins with a lock, so several processes can write at the same time.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.errors import InputError, MissingDependencyError
from crystal_diffusion.files import atomic_write
from crystal_diffusion.runs.columns import COLUMNS

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Columns that can be asked for in a query, as ASE's key-value pairs, and the hash of the crystal.
_QUERIED = (*(column.name for column in COLUMNS if "query" in column.places), "content")
#: ASE reserves some names.
_RENAMED = {"group": "duplicate_group"}
_LOCK_NUMBER = 7_203_911  # any fixed number: PostgreSQL's advisory lock of this library
_BUSY_SECONDS = 30.0


def _text(value: str) -> str:
    """Text as ASE's queries accept it: no operators, nothing that reads as a number."""
    value = re.sub(r"[,<>=!%~]", lambda found: f"%{ord(found[0]):02X}", value)
    looks_like_number = value.lower() in ("true", "false", "t", "f", "yes", "no", "inf", "nan")
    with contextlib.suppress(ValueError):
        float(value)
        looks_like_number = True
    return f"id:{value}" if looks_like_number or not value else value


class Store:
    """Screened crystals by id.

    Args:
        location: a file name (``.db`` is added where it has no ending), or ``postgresql://…``.

    Raises:
        InputError: the place cannot be used; the message says why.
        MissingDependencyError: PostgreSQL needs packages that are not installed.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        self.is_server = self.location.startswith(("postgresql://", "postgres://"))
        if not self.is_server and not Path(self.location).suffix:
            self.location += ".db"
        self._ready = False
        self._connection = self._connect()

    @property
    def name(self) -> str:
        """The location without password, for messages."""
        return re.sub(r"//([^:/@]+):[^@]*@", r"//\1:***@", self.location)

    def _connect(self) -> Any:
        from ase.db import connect

        if not self.is_server:
            folder = Path(self.location).resolve().parent
            if not folder.is_dir():
                raise InputError(f"{self.name}: the folder {folder} does not exist; make it first")
            if Path(self.location).is_symlink():
                raise InputError(f"{self.name}: is a symbolic link; name the file itself with --db")
            return connect(self.location, type="db", use_lock_file=False)
        try:
            return connect(self.location, type="postgresql", use_lock_file=False)
        except ImportError as error:
            raise MissingDependencyError(
                f"--db {self.name} needs ase-db-backends and psycopg2 ({error}): "
                "pip install ase-db-backends psycopg2-binary"
            ) from error

    @contextlib.contextmanager
    def _said_clearly(self) -> Iterator[None]:
        """Turn what the database engines raise into one sentence."""
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise InputError(f"{self.name}: {_sqlite_reason(error)}") from error
        except (InputError, MissingDependencyError):
            raise
        except OSError as error:
            raise InputError(f"{self.name}: cannot be used ({error.strerror or error})") from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("psycopg2", "psycopg"):
                raise
            first = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.name}: PostgreSQL does not answer or refuses ({first}); check that the "
                "server runs, and the address, name and password in --db"
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A write transaction that begins with the lock all writers take."""
        with self._said_clearly(), self._connection as database:
            if self.is_server:
                database.connection.cursor().execute(
                    f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"
                )
            else:
                database.connection.execute(f"PRAGMA busy_timeout={int(1000 * _BUSY_SECONDS)}")
                database.connection.execute("BEGIN IMMEDIATE")
            yield database

    def _initialise(self) -> None:
        """Make the tables once, under the same lock (ASE makes them on first use)."""
        if self._ready:
            return
        with self._said_clearly():
            if self.is_server:
                with self._connection as database:
                    database.connection.cursor().execute(
                        f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"
                    )
                    database._initialize(database.connection)
            elif not Path(self.location).exists() or Path(self.location).stat().st_size == 0:
                import sqlite3

                connection = sqlite3.connect(self.location, timeout=_BUSY_SECONDS)
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    known = connection.execute(
                        "SELECT COUNT(*) FROM sqlite_master WHERE name='systems'"
                    ).fetchone()[0]
                    if not known:
                        self._connection._initialize(connection)
                    connection.commit()
                finally:
                    connection.close()
        self._ready = True

    def put(self, key: str, structure: Structure, row: Mapping[str, Any]) -> None:
        """Write one crystal; a row of the same id is replaced."""
        self.put_many([(key, structure, row)])

    def put_many(
        self, items: Iterable[tuple[str, Structure, Mapping[str, Any]]], *, only: bool = False
    ) -> int:
        """Write crystals in one transaction; returns how many.

        Args:
            items: id, structure, row; ``content`` of the row is the hash of the crystal it belongs
                to.
            only: remove all other rows, so that the database holds these and nothing else.

        Raises:
            InputError: locked for longer than 30 s, read-only, unreachable, full.
        """
        ready = [(key, *_as_ase(key, structure, row)) for key, structure, row in items]
        self._initialise()
        with self._transaction() as database:
            written = set()
            for key, atoms, pairs, data in ready:
                known = [
                    found.id
                    for found in database.select(f"crystal_id={_text(key)}", include_data=False)
                    if found.get("content") in (None, pairs.get("content"))
                    or "content" not in pairs
                ]
                row = known[0] if known else None
                written.add(database.write(atoms, id=row, data=data, **pairs))
            if only:
                others = {found.id for found in database.select(include_data=False)} - written
                if others:
                    database.delete(sorted(others))
        return len(ready)

    def rows(
        self,
        *,
        formula: str | None = None,
        group: int | None = None,
        max_energy_above_hull: float | None = None,
        valid: bool | None = None,
        converged: bool | None = None,
        novel: bool | None = None,
        ids: Iterable[str] | None = None,
    ) -> Iterator[tuple[str, Structure, dict[str, Any]]]:
        """Crystals that meet all conditions, as ``(id, structure, row)``.

        Args:
            formula: reduced formula, in any order of elements.
            group: number of the group of duplicates.
            max_energy_above_hull: eV/atom.
            valid, converged, novel: flags.
            ids: only these.
        """
        conditions: list[str] = []
        if formula is not None:
            conditions.append(f"reduced_formula={_text(_reduced_formula(formula))}")
        if group is not None:
            conditions.append(f"duplicate_group={group}")
        if max_energy_above_hull is not None:
            conditions.append(f"energy_above_hull_eV_atom<={max_energy_above_hull}")
        flags = (("valid", valid), ("converged", converged), ("novel", novel))
        conditions += [f"{name}={flag}" for name, flag in flags if flag is not None]
        wanted = None if ids is None else set(ids)
        from pymatgen.io.ase import AseAtomsAdaptor

        if not self.is_server and not Path(self.location).exists():
            raise InputError(f"{self.name}: no such database")
        with self._said_clearly():
            for found in self._connection.select(",".join(conditions)):
                row = dict(found.data.get("screening", {}))
                key = str(row.get("id", found.get("crystal_id", found.id)))
                if wanted is None or key in wanted:
                    atoms = found.toatoms()
                    atoms.calc = None
                    yield key, AseAtomsAdaptor.get_structure(atoms), row

    def __len__(self) -> int:
        if not self.is_server and not Path(self.location).exists():
            return 0
        with self._said_clearly():
            return int(self._connection.count())

    def to_parquet(self, path: str | Path) -> int:
        """Write all rows as one Parquet table; returns how many.

        Columns are those of ``screening.jsonl`` plus formula, lattice (9 numbers, rows a, b, c in
        Å), ``atomic_numbers`` and ``frac_coords`` (flat).
        """
        import pyarrow
        import pyarrow.parquet

        target = Path(path)
        rows = []
        for key, structure, row in self.rows():
            plain = {
                name: json.dumps(value) if isinstance(value, dict | list) else value
                for name, value in row.items()
            }
            plain |= {
                "id": key,
                "formula": structure.composition.reduced_formula,
                "lattice": structure.lattice.matrix.ravel().tolist(),
                "atomic_numbers": [int(z) for z in structure.atomic_numbers],
                "frac_coords": structure.frac_coords.ravel().tolist(),
            }
            rows.append(plain)
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
        with atomic_write(target) as part:
            pyarrow.parquet.write_table(table, part)
        return len(rows)


def _reduced_formula(formula: str) -> str:
    from pymatgen.core import Composition

    try:
        return str(Composition(formula).reduced_formula)
    except ValueError as error:
        raise InputError(f"formula: {formula!r} is no chemical formula ({error})") from error


def _as_ase(
    key: str, structure: Structure, row: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Atoms with their energy, queryable pairs, and the whole row as data."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from crystal_diffusion.energy.relaxation import structure_to_atoms

    atoms = structure_to_atoms(structure)
    energy = row.get("energy_per_atom_eV")
    if energy is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy) * len(atoms))
    pairs: dict[str, Any] = {
        "crystal_id": _text(key),
        "reduced_formula": _text(str(structure.composition.reduced_formula)),
    }
    for column in _QUERIED:
        value = row.get(column)
        if value is None or value == "":
            continue
        name = _RENAMED.get(column, column)
        pairs[name] = _text(value) if isinstance(value, str) else value
    return atoms, pairs, {"screening": {**row, "id": key}}


def _sqlite_reason(error: Exception) -> str:
    text = str(error).lower()
    if "locked" in text:
        return (
            f"another program has kept the database locked for {_BUSY_SECONDS:.0f} s; close it, "
            "or give another file with --db"
        )
    if "readonly" in text or "read-only" in text:
        return "the database is read-only; give another file with --db, or allow writing"
    if "unable to open" in text:
        return "the database cannot be opened; check the folder and its permissions"
    if "not a database" in text or "malformed" in text:
        return "this file is no database, or a damaged one; give another with --db"
    if "full" in text:
        return "the disk is full; free some space, what was screened is in screening.jsonl"
    return f"the database refuses ({error})"
