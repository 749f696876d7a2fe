"""One reader per file format; each gives plain crystals, and a problem instead of an exception.

Nothing is unpickled and no class named in a file is imported: JSON is read as plain data, ASE
files only after their header says that they are what their name says.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crystal_diffusion.data.archives import archive_stem, is_archive, members
from crystal_diffusion.data.ase_files import read_database, read_extxyz_frames, read_trajectory
from crystal_diffusion.data.bounds import expand_gzip, seconds_for, time_limit
from crystal_diffusion.data.cif import parse_cif
from crystal_diffusion.data.encodings import decode
from crystal_diffusion.data.generator_tensors import read_generated_tensors
from crystal_diffusion.data.json_format import parse_json, parse_jsonl
from crystal_diffusion.data.poscar import parse_poscar
from crystal_diffusion.data.records import (
    Occupancy,
    PlainCrystal,
    failed,
    id_from,
    make_crystal,
    numbers_of,
    shorten,
    to_float,
)
from crystal_diffusion.data.tables import read_csv, read_parquet
from crystal_diffusion.files import file_name
from crystal_diffusion.frozen import frozen_of_atoms

#: What follows a stem: ``.cif`` and so on, ``.gz`` taken off before.
SUFFIXES: dict[str, str] = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".traj": "traj",
    ".db": "ase-db",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pt": "tensors",
}


def format_of(path: Path) -> str | None:
    """The format that a file name stands for; ``None`` for a name that stands for none."""
    if is_archive(path):
        return "archive"
    name = path.name.lower().removesuffix(".gz")
    if re.match(r"(poscar|contcar)($|[._-])", name) and Path(name).suffix not in SUFFIXES:
        return "poscar"
    return SUFFIXES.get(Path(name).suffix)


def stem_of(path: Path) -> str:
    """The file name without its format suffix and ``.gz``."""
    if is_archive(path):
        return archive_stem(path)
    name = path.name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def read_file(path: Path, name: str) -> Iterator[PlainCrystal]:
    """All crystals of one file; what cannot be read comes as a problem.

    Args:
        path: the file, gzipped or not.
        name: id of its crystal; in a file with several, ``name#1``, ``name#2`` or their own ids.
    """
    source = str(path)
    kind = format_of(path)
    if kind is None:
        known = ", ".join(sorted(SUFFIXES))
        yield failed(name, source, f"unknown file format; known are {known}, POSCAR and CONTCAR")
        return
    if kind == "archive":
        yield from _read_archive(path, name)
        return
    crystals = _read_whole(path, name, kind)
    seconds = seconds_for(path)
    while True:
        try:
            with time_limit(seconds):
                crystal = next(crystals)
        except StopIteration:
            return
        except _EmptyFile:
            yield failed(name, source, "the file is empty; write it again or remove it", "empty")
            return
        # Foreign files make their readers fail in every way there is; each is recorded.
        except Exception as error:
            yield failed(name, source, f"cannot be read as {kind} ({shorten(error)}); correct it")
            return
        yield crystal


def _read_archive(path: Path, name: str) -> Iterator[PlainCrystal]:
    """The crystals of all files in an archive; those files are named after their place in it."""
    known = 0
    try:
        for member in members(path, lambda text: format_of(Path(text)) is not None):
            known += 1
            inside = Path(member.name)
            label, source = (
                "/".join((*inside.parts[:-1], stem_of(inside))),
                f"{path}: {member.name}",
            )
            if is_archive(inside):
                yield failed(label, source, "an archive in an archive is not read; unpack it first")
                continue
            with tempfile.TemporaryDirectory() as folder:
                # A name of ours: those in the archive are not to be trusted.
                copy = Path(folder) / file_name(inside.name)
                copy.write_bytes(member.content)
                for crystal in read_file(copy, label):
                    words = crystal.problem and crystal.problem.replace(str(copy), member.name)
                    yield replace(crystal, source=source, problem=words)
    except ValueError as error:
        yield failed(name, str(path), f"cannot be read as archive ({shorten(error)}); correct it")
        return
    if known == 0:
        yield failed(name, str(path), "the archive holds no crystal file; remove it", "empty")


def _read_whole(path: Path, name: str, kind: str) -> Iterator[PlainCrystal]:
    if path.stat().st_size == 0:
        raise _EmptyFile
    yield from _READERS[kind](path, name)


class _EmptyFile(Exception):
    """There is nothing in the file."""


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    return expand_gzip(raw) if path.name.lower().endswith(".gz") else raw


def _text(path: Path) -> str:
    text = decode(_bytes(path))
    if not text.strip():
        raise _EmptyFile
    return text


@contextlib.contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    """The path of an uncompressed copy of a gzipped file; the path itself of another."""
    if not path.name.lower().endswith(".gz"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name[:-3]
        copy.write_bytes(_bytes(path))
        yield copy


def _cif(path: Path, name: str) -> Iterator[PlainCrystal]:
    yield from parse_cif(_bytes(path), name, str(path))


def _poscar(path: Path, name: str) -> Iterator[PlainCrystal]:
    yield parse_poscar(_text(path), name, str(path))


def _extxyz(path: Path, name: str) -> Iterator[PlainCrystal]:
    yield from _frames(read_extxyz_frames(_text(path)), name, str(path))


def _traj(path: Path, name: str) -> Iterator[PlainCrystal]:
    with _unzipped(path) as plain:
        yield from _frames(read_trajectory(plain), name, str(path))


def _frames(frames: Iterator[Any], name: str, source: str) -> Iterator[PlainCrystal]:
    """Crystals of the frames of a file; one frame keeps the name of the file.

    A frame that is an error becomes a problem, and so does whatever the rest of the file raises.
    """
    pending: tuple[Any, int] | None = None
    count = 0
    try:
        for frame in frames:
            if pending is not None:
                yield _frame(*pending, name, source)
            count += 1
            pending = (frame, count)
    # A file that breaks off: what came before is kept, the rest is reported.
    except Exception as error:
        if pending is not None:
            yield _frame(*pending, name, source)
        place = count + 1
        text = f"frame {place} cannot be read ({shorten(error)})"
        yield failed(f"{name}#{place}", source, text)
        return
    if pending is None:
        yield failed(name, source, "the file has no frames; remove it", "empty")
    else:
        yield _frame(pending[0], 0 if count == 1 else count, name, source)


def _frame(frame: Any, place: int, name: str, source: str) -> PlainCrystal:
    """The crystal of one frame; place 0 for the only one of its file."""
    label = f"{name}#{place}" if place else name
    try:
        if isinstance(frame, Exception):
            raise frame
        return from_atoms(frame, label, source)
    except Exception as error:
        text = f"frame {place or 1} cannot be read ({shorten(error)}); correct or remove it"
        return failed(label, source, text)


def _ase_db(path: Path, name: str) -> Iterator[PlainCrystal]:
    with _unzipped(path) as plain:
        count = 0
        for number, atoms, labels in read_database(plain):
            count += 1
            label, place = id_from(labels, f"{name}#{number}"), f"{path} row {number}"
            try:
                if isinstance(atoms, Exception):
                    raise atoms
                crystal = from_atoms(atoms, label, place, labels)
            except Exception as error:
                crystal = failed(label, place, f"the row is damaged ({shorten(error)}); remove it")
            yield crystal
    if count == 0:
        yield failed(name, str(path), "the database has no rows; remove it", "empty")


def from_atoms(
    atoms: Any, name: str, source: str, labels: Mapping[str, Any] | None = None
) -> PlainCrystal:
    """ASE ``Atoms`` as a plain crystal; numbers in ``info`` and the energy become properties."""
    info: Mapping[str, Any] = atoms.info if labels is None else labels
    properties = numbers_of(info)
    if atoms.calc is not None and "energy" not in properties:
        energy = to_float(getattr(atoms.calc, "results", {}).get("energy"))
        if energy is not None:
            properties["energy"] = energy
    name = id_from(info, name)
    cell = np.array(atoms.cell.array, dtype=np.float64)
    positions = np.array(atoms.positions, dtype=np.float64).reshape(-1, 3)
    with np.errstate(all="ignore"):
        try:
            coords = positions @ np.linalg.inv(cell)
        except np.linalg.LinAlgError:
            # Zero volume: the cell is reported as the problem later, whatever the coordinates are.
            coords = np.zeros_like(positions)
    crystal = make_crystal(name, source, cell, coords, atoms.numbers, properties)
    if crystal.problem is None:
        frozen, notes = frozen_of_atoms(atoms)
        crystal = replace(crystal, frozen=frozen, notes=(*_periodicity(atoms), *notes))
    kinds = atoms.arrays.get("spacegroup_kinds")
    shares = atoms.info.get("occupancy")
    if crystal.problem is not None:
        return crystal
    for key in ("occupancy", "occupancies", "occ"):
        part = atoms.arrays.get(key)
        if part is not None and part.ndim == 1 and part.dtype.kind in "fi":
            numbers = crystal.atomic_numbers.tolist()
            species = tuple({z: float(x)} for z, x in zip(numbers, part.tolist(), strict=True))
            return _partial(crystal, species)
    if kinds is None or not isinstance(shares, Mapping):
        return crystal
    return _with_occupancy(crystal, [shares.get(str(k), shares.get(k)) for k in kinds])


def _periodicity(atoms: Any) -> tuple[str, ...]:
    """A note where the atoms are not periodic in all directions: they are no crystal."""
    flags = [bool(flag) for flag in atoms.pbc]
    if all(flags):
        return ()
    along = [axis for axis, flag in zip("abc", flags, strict=True) if flag]
    what = {0: "a molecule or cluster", 1: "a chain", 2: "a slab"}[len(along)]
    where = f"periodic along {' and '.join(along)} only" if along else "not periodic"
    said = " ".join("T" if flag else "F" for flag in flags)
    return (f"{where} (pbc {said}): {what}, not a crystal; it is read as if it were periodic",)


def _with_occupancy(crystal: PlainCrystal, shares: list[Any]) -> PlainCrystal:
    """The crystal with the occupancies that ASE's CIF reader leaves in ``info``."""
    from ase.data import atomic_numbers

    species = tuple(
        {atomic_numbers[symbol]: float(share) for symbol, share in site.items()}
        if isinstance(site, Mapping)
        else {int(number): 1.0}
        for site, number in zip(shares, crystal.atomic_numbers, strict=True)
    )
    return _partial(crystal, species)


def _partial(crystal: PlainCrystal, species: tuple[dict[int, float], ...]) -> PlainCrystal:
    """The crystal with these occupancies, where not all of them are 1."""
    if all(len(s) == 1 and abs(sum(s.values()) - 1) < 1e-6 for s in species):
        return crystal
    return replace(crystal, occupancy=Occupancy(crystal.frac_coords, species))


def _json(path: Path, name: str) -> Iterator[PlainCrystal]:
    yield from parse_json(_text(path), name, str(path))


def _jsonl(path: Path, name: str) -> Iterator[PlainCrystal]:
    yield from parse_jsonl(_text(path), name, str(path))


_READERS: dict[str, Callable[[Path, str], Iterator[PlainCrystal]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "extxyz": _extxyz,
    "traj": _traj,
    "ase-db": _ase_db,
    "json": _json,
    "jsonl": _jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
    "tensors": read_generated_tensors,
}
