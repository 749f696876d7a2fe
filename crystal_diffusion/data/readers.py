"""Crystals from anywhere: files, folders, globs, tables, databases, and objects in memory.

A source is read into records one by one. What cannot be used is a record with a problem, so one
bad file never costs the others.
"""

from __future__ import annotations

import glob
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from crystal_diffusion.data.bounds import SECONDS, time_limit
from crystal_diffusion.data.cif import from_sites
from crystal_diffusion.data.disorder import settle_disorder
from crystal_diffusion.data.formats import format_of, from_atoms, read_file, stem_of
from crystal_diffusion.data.json_format import from_dict
from crystal_diffusion.data.records import (
    ID_KEYS,
    CrystalRecord,
    Disorder,
    LeftHanded,
    PlainCrystal,
    failed,
    id_from,
    numbers_of,
    settle,
    shorten,
    to_record,
)
from crystal_diffusion.data.reduction import reduce_arrays
from crystal_diffusion.data.tables import CifRow, csv_rows
from crystal_diffusion.data.witness import settle_statement, statement_of
from crystal_diffusion.errors import InputError
from crystal_diffusion.parallel import process_pool

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

#: Everything that can be read: a path, glob or folder; one crystal; or many of either.
Source: TypeAlias = Union[
    str, Path, Mapping[str, Any], "Structure", "Atoms", CrystalRecord, Iterable[Any]
]
#: Called with the number of files (or table rows) done and the number of all, if known.
ProgressCallback: TypeAlias = Callable[[int, int | None], None]

#: Files or rows that a worker process gets at once.
_CHUNK = 64
#: Below this many files a second process costs more than it saves.
_PARALLEL_FROM = 500


@dataclass(frozen=True)
class _Options:
    disorder: Disorder = "skip"
    left_handed: LeftHanded = "swap"
    primitive: bool = False


def iter_crystals(
    source: Source,
    *,
    disorder: Disorder = "skip",
    left_handed: LeftHanded = "swap",
    primitive: bool = False,
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> Iterator[CrystalRecord]:
    """Read crystals one by one; a bad one comes as a record with ``problem`` set.

    Args:
        source: a path, a glob, a folder (read with its subfolders, file by file in order of
            name), a pymatgen ``Structure``, ASE ``Atoms``, the dict of the data set class, or a
            list of any of these. Formats: CIF, POSCAR/CONTCAR, xyz and extxyz, ASE trajectories
            and databases, pymatgen JSON, CSV with a CIF column, Parquet; gzipped too.
        disorder: partial occupancy is recorded as a problem (``"skip"``), replaced by the most
            probable ordered cell (``"order"``, see :mod:`crystal_diffusion.data.disorder`), or
            raised (``"stop"``).
        left_handed: a left-handed cell is described by the right-handed cell with a and b
            exchanged, which is the same crystal, with a note (``"swap"``), or recorded as a
            problem (``"skip"``).
        primitive: reduce each crystal to its primitive Niggli cell.
        processes: worker processes for large folders and CSV tables. More than 1 needs the usual
            ``if __name__ == "__main__":`` in a script.
        progress: called with the files (or rows) done and their number (``None``: not known).

    Raises:
        InputError: when the source does not exist, holds no file of a known format, is empty, or
            is of a type that cannot be read; and for partial occupancy with ``disorder="stop"``.
    """
    options = {
        "disorder": disorder,
        "left_handed": left_handed,
        "primitive": primitive,
        "processes": processes,
        "progress": progress,
    }
    for crystal in iter_plain(source, **options):  # type: ignore[arg-type]
        try:
            record = to_record(crystal)
        # pymatgen refuses some cells that are numbers all right.
        except Exception as error:
            text = f"cannot be used ({shorten(error)}); remove it"
            record = to_record(failed(crystal.id, crystal.source, text))
        yield record


def iter_plain(
    source: Source,
    *,
    disorder: Disorder = "skip",
    left_handed: LeftHanded = "swap",
    primitive: bool = False,
    processes: int = 1,
    progress: ProgressCallback | None = None,
    raw: bool = False,
) -> Iterator[PlainCrystal]:
    """:func:`iter_crystals` as plain arrays; with ``raw``, before any choice or check is made."""
    _check_choice("disorder", disorder, ("skip", "order", "stop"))
    _check_choice("left_handed", left_handed, ("skip", "swap"))
    options = None if raw else _Options(disorder, left_handed, primitive)
    seen: dict[str, int] = {}
    for crystal in _read(source, options, max(1, int(processes)), progress):
        count = seen.get(crystal.id, 0) + 1
        seen[crystal.id] = count
        if count > 1:
            label = f"{crystal.id}~{count}"
            while label in seen:
                count += 1
                label = f"{crystal.id}~{count}"
            seen[crystal.id], seen[label] = count, 1
            crystal = replace(crystal, id=label)
        yield crystal


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; choose one of {', '.join(allowed)}.")


def find_files(source: str | Path) -> tuple[list[tuple[Path, str]], list[Path]]:
    """The files that a path, folder or glob stands for.

    Returns:
        (path, id of its crystal) in order of path; and the files left out because their name
        stands for no known format. In a run folder of this library the CIFs are read once and
        the other files, which say the same, are left out.

    Raises:
        InputError: when nothing is there, or nothing of a known format.
    """
    text = str(source)
    path = Path(text).expanduser()
    if path.is_dir():
        root = path
        _refuse_unfinished(path)
        if (path / "manifest.json").is_file() and (path / "cif").is_dir():
            root = path / "cif"
            _refuse_incomplete(path, sum(1 for _ in root.glob("*.cif")))
        found = sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(p, root))
    elif path.exists():
        root, found = path.parent, [path]
        if format_of(path) is None:
            raise InputError(
                f"{path} has a name of no known format; rename it to .cif, .vasp, .extxyz, .traj, "
                ".db, .json, .csv, .parquet, .pt, .zip or .tar.gz, or name it POSCAR."
            )
    elif glob.has_magic(text):
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path.parent
    else:
        if "://" in str(source):
            raise InputError(
                f"{source} is an address, and nothing is loaded from the network here; give a "
                "file, or fetch from a database with `crystal-diffusion fetch`."
            )
        raise InputError(f"{source} does not exist; give a file, a folder or a glob.")
    known = _among_others(found) if path.is_dir() else [p for p in found if format_of(p)]
    ignored = sorted(set(found) - set(known))
    if not known:
        raise InputError(
            f"{source} holds no crystal file ({len(found)} files looked at); give CIF, POSCAR, "
            "extxyz, traj, db, json, csv or parquet files."
        )
    if ignored:
        _log.info("%s: %d files of other formats left out", source, len(ignored))
    return [(p, _name_of(p, root)) for p in known], ignored


def _among_others(found: list[Path]) -> list[Path]:
    """The crystal files of a folder: an archive only where there is nothing else.

    Generators leave the same crystals as an archive and as single files, and beside them archives
    of their trajectories, which are no results; other ``.pt`` files are weights.
    """
    known = [(p, kind) for p in found if (kind := format_of(p)) is not None]
    known = [(p, k) for p, k in known if p.suffix.lower() != ".pt" or p.name.startswith("eval_")]
    plain = [p for p, kind in known if kind != "archive"]
    return plain or [p for p, _ in known if "trajector" not in p.name.lower()]


def _refuse_unfinished(run: Path) -> None:
    """Say so where the folder is a run that was stopped while it was written.

    Raises:
        InputError: when it is.
    """
    if (run / ".unfinished").exists() and not (run / "manifest.json").exists():
        raise InputError(
            f"{run}: the run was stopped before it was whole; the same command completes it."
        )


def _refuse_incomplete(run: Path, found: int) -> None:
    """Say so where a run folder has fewer CIFs than its manifest counts.

    Raises:
        InputError: when it has.
    """
    try:
        manifest = json.loads((run / "manifest.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{run / 'manifest.json'}: is damaged ({shorten(error)}); give {run / 'cif'} to read "
            "what is there."
        ) from error
    made = manifest.get("made", manifest.get("read")) if isinstance(manifest, dict) else None
    if isinstance(made, int) and found < made:
        raise InputError(
            f"{run}: incomplete, {found} of {made} crystals are there; run the command that wrote "
            f"it again, or give {run / 'cif'} to read what is there."
        )


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _name_of(path: Path, root: Path) -> str:
    """The stem, after the folders below the root; a POSCAR has the name of its folder."""
    folders = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    stem = stem_of(path)
    if stem.upper() in ("POSCAR", "CONTCAR") and folders:
        return "/".join((*folders, stem)) if stem.upper() == "CONTCAR" else "/".join(folders)
    return "/".join((*folders, stem))


def _read(
    source: Source, options: _Options | None, processes: int, progress: ProgressCallback | None
) -> Iterator[PlainCrystal]:
    if isinstance(source, str | Path):
        files, _ = find_files(source)
        yield from _read_files(files, options, processes, progress)
        return
    if isinstance(source, Mapping) or not isinstance(source, Iterable) or _is_one(source):
        yield _prepare(_from_object(source, "crystal", "crystal"), options)
        return
    items = list(source)
    if not items:
        raise InputError("the source is empty; give at least one crystal.")
    for index, item in enumerate(items):
        if isinstance(item, str | Path):
            files, _ = find_files(item)
            yield from _read_files(files, options, processes, None)
        else:
            yield _prepare(_from_object(item, str(index), f"item {index}"), options)
        if progress is not None:
            progress(index + 1, len(items))


def _is_one(source: object) -> bool:
    """Whether an iterable object is one crystal: ``Structure`` and ``Atoms`` iterate over sites."""
    return hasattr(source, "lattice") or hasattr(source, "cell")


def _from_object(item: Any, name: str, source: str) -> PlainCrystal:
    if isinstance(item, PlainCrystal):
        return item
    if isinstance(item, CrystalRecord):
        if item.structure is None:
            kind = item.problem_kind or "unreadable"
            return failed(item.id, item.source, item.problem or "no structure", kind)
        plain = _from_object(item.structure, item.id, item.source)
        return replace(plain, properties=dict(item.properties), provenance=item.provenance)
    if isinstance(item, Mapping):
        return from_dict(item, name, source)
    if hasattr(item, "lattice") and hasattr(item, "frac_coords"):
        labels = getattr(item, "properties", None)
        plain = from_sites(item, name, source)
        return replace(plain, properties=numbers_of(labels) if isinstance(labels, dict) else {})
    if hasattr(item, "cell") and hasattr(item, "positions"):
        return from_atoms(item, name, source)
    if hasattr(item, "structure") and hasattr(item.structure, "frac_coords"):
        return _from_document(item, name, source)
    raise InputError(
        f"{source} is a {type(item).__name__}; give dicts with positions, atom_types and lattice, "
        "pymatgen Structures, ASE Atoms, or paths."
    )


def _from_document(item: Any, name: str, source: str) -> PlainCrystal:
    """The crystal of a document with a structure, as the Materials Project's client has it."""
    fields = item.model_dump() if hasattr(item, "model_dump") else getattr(item, "__dict__", {})
    said = {key: str(value) if key in ID_KEYS else value for key, value in fields.items()}
    label = id_from({k: v for k, v in said.items() if v not in ("None", "")}, name)
    plain = from_sites(item.structure, label, source)
    plain = settle_statement(plain, statement_of(said))
    return replace(plain, properties=numbers_of(said))


def _prepare(crystal: PlainCrystal, options: _Options | None) -> PlainCrystal:
    """The crystal after all choices: ordered, checked, wrapped and reduced."""
    if options is None:
        return crystal
    try:
        with time_limit(SECONDS):
            return _settled(crystal, options)
    except InputError:
        raise
    # Whatever one crystal makes the libraries do, it must not cost those after it.
    except Exception as error:
        return failed(crystal.id, crystal.source, f"cannot be used ({shorten(error)}); remove it")


def _settled(crystal: PlainCrystal, options: _Options) -> PlainCrystal:
    crystal = settle(settle_disorder(crystal, options.disorder), options.left_handed)
    if crystal.problem is None and options.primitive:
        lattice, coords, numbers = reduce_arrays(
            crystal.lattice, crystal.frac_coords, crystal.atomic_numbers
        )
        return replace(crystal, lattice=lattice, frac_coords=coords, atomic_numbers=numbers)
    return crystal


def _read_files(
    files: list[tuple[Path, str]],
    options: _Options | None,
    processes: int,
    progress: ProgressCallback | None,
) -> Iterator[PlainCrystal]:
    if processes > 1 and len(files) >= _PARALLEL_FROM:
        jobs = [(chunk, options) for chunk in _chunks(files, _CHUNK)]
        done = 0
        with process_pool(processes) as pool:
            results = pool.map(_file_job, jobs)
            for (chunk, _), crystals in zip(jobs, results, strict=True):
                yield from crystals
                done += len(chunk)
                if progress is not None:
                    progress(done, len(files))
        return
    for done, (path, name) in enumerate(files, 1):
        if processes > 1 and format_of(path) == "csv":
            yield from _read_csv_parallel(path, name, options, processes, progress)
            continue
        rows = 0
        for rows, crystal in enumerate(read_file(path, name), 1):
            yield _prepare(crystal, options)
            if progress is not None and len(files) == 1 and rows % _CHUNK == 0:
                progress(rows, None)
        if progress is not None:
            progress(*((rows, rows) if len(files) == 1 else (done, len(files))))


def _read_csv_parallel(
    path: Path,
    name: str,
    options: _Options | None,
    processes: int,
    progress: ProgressCallback | None,
) -> Iterator[PlainCrystal]:
    """The rows of a CSV table, their CIFs parsed by worker processes."""
    try:
        rows = list(csv_rows(path, name))
    except InputError:
        # The plain reader keeps what comes before the damage and reports the rest.
        for crystal in read_file(path, name):
            yield _prepare(crystal, options)
        return
    if len(rows) < _PARALLEL_FROM:
        for row in rows:
            yield from (_prepare(crystal, options) for crystal in row.parse())
        return
    done = 0
    with process_pool(processes) as pool:
        for crystals in pool.map(_row_job, [(c, options) for c in _chunks(rows, _CHUNK)]):
            yield from crystals
            done += len(crystals)
            if progress is not None:
                progress(done, len(rows))


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _file_job(job: tuple[list[tuple[Path, str]], _Options | None]) -> list[PlainCrystal]:
    files, options = job
    return [_prepare(c, options) for path, name in files for c in read_file(path, name)]


def _row_job(job: tuple[list[CifRow], _Options | None]) -> list[PlainCrystal]:
    rows, options = job
    return [_prepare(crystal, options) for row in rows for crystal in row.parse()]
