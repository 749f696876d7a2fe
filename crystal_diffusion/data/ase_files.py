"""ASE's own files read as plain data: trajectories (ULM), databases (SQLite), extended XYZ.

ASE's readers believe what a file announces: a few bytes can ask for gigabytes, or for ever. These
take from a file only what is needed and compare every count with what is there. The layouts are
those that ASE 3.9 and later write (``ase/io/ulm.py``, ``ase/db/sqlite.py``, ``ase/io/extxyz.py``).
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from crystal_diffusion.data.bounds import LONGEST_LINE, MIB, MOST_ATOMS, TooMuch
from crystal_diffusion.data.labels import read_type

#: Steps of SQLite's machine for one row, in units of a thousand.
_SQLITE_STEPS = 2_000
#: Bytes of one value of a database.
_SQLITE_VALUE = 64 * MIB
_DTYPES = ("int32", "int64", "float32", "float64", "bool")


def read_trajectory(path: Path) -> Iterator[Any]:
    """The frames of an ASE trajectory as ``Atoms``, or the error that one of them makes.

    Raises:
        ValueError: when it is no trajectory, or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(48)
        if not head.startswith(b"- of Ulm") or b"ASE-Trajectory" not in head[:24]:
            raise ValueError("it is no ASE trajectory, or one from before ASE 3.9")
        if len(head) < 48:
            raise ValueError("it ends too early")
        _, count, start = struct.unpack("<3q", head[24:48])
        if not 0 <= count <= size // 8 or not 48 <= start <= size - 8 * count:
            raise ValueError(f"it announces {count} frames that are not there")
        file.seek(start)
        offsets = struct.unpack(f"<{count}q", file.read(8 * count))
        first: dict[str, Any] = {}
        for offset in offsets:
            try:
                frame = _ulm_item(file, offset, size)
                first = first or frame
                atoms = _atoms_of(file, frame, first, size)
            # A damaged frame can fail in any way; those after it are sound.
            except Exception as error:
                yield error
                continue
            yield atoms


def _ulm_item(file: Any, offset: int, size: int) -> dict[str, Any]:
    if not 0 <= offset <= size - 8:
        raise ValueError("a frame lies outside the file")
    file.seek(offset)
    (length,) = struct.unpack("<q", file.read(8))
    if not 0 <= length <= size - offset - 8:
        raise ValueError("a frame is longer than the file")
    data = json.loads(file.read(length))
    if not isinstance(data, dict):
        raise ValueError("a frame is no mapping")
    return data


def _ulm_array(file: Any, data: Mapping[str, Any], name: str, size: int) -> np.ndarray | None:
    """An array of a frame; ``None`` where it has none of that name."""
    if name in data:
        return np.array(data[name], dtype=np.float64)
    stored = data.get(f"{name}.")
    if not isinstance(stored, dict) or "ndarray" not in stored:
        return None
    shape, dtype, offset = stored["ndarray"]
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is of the unknown kind {dtype!r}")
    kind = np.dtype(dtype).newbyteorder("<")
    lengths = [int(n) for n in shape]
    if min(lengths, default=0) < 0 or len(lengths) > 2:
        raise ValueError(f"{name} has the shape {shape}")
    total = 1
    for n in lengths:
        total *= n
    if not 0 <= int(offset) <= size - total * kind.itemsize:
        raise ValueError(f"{name} announces {total} numbers that are not there")
    file.seek(int(offset))
    return np.frombuffer(file.read(total * kind.itemsize), kind).reshape(lengths)


def _atoms_of(file: Any, frame: dict[str, Any], first: dict[str, Any], size: int) -> Any:
    from ase import Atoms

    numbers = _ulm_array(file, frame, "numbers", size)
    if numbers is None:
        numbers = _ulm_array(file, first, "numbers", size)
    positions = _ulm_array(file, frame, "positions", size)
    cell = _ulm_array(file, frame, "cell", size)
    if numbers is None or positions is None or cell is None:
        raise ValueError("a frame has no numbers, positions or cell")
    info = frame.get("info")
    labels = dict(info) if isinstance(info, dict) else {}
    calculator = frame.get("calculator.")
    if isinstance(calculator, dict) and "energy" in calculator:
        labels.setdefault("energy", calculator["energy"])
    atoms = Atoms(numbers=_whole(numbers), positions=positions, cell=cell, pbc=_flags(frame, first))
    atoms.info = labels
    _fix(atoms, frame.get("constraints", first.get("constraints")))
    return atoms


def _flags(frame: Mapping[str, Any], first: Mapping[str, Any]) -> list[bool]:
    flags = frame.get("pbc", first.get("pbc", [True] * 3))
    return [bool(flag) for flag in flags] if isinstance(flags, list) else [True] * 3


def _fix(atoms: Any, text: Any) -> None:
    """The constraints that the file names, as far as ASE knows them."""
    from ase.constraints import dict2constraint

    if not isinstance(text, str) or len(text) > MIB:
        return
    found = []
    for rule in json.loads(text):
        if rule.get("name") not in _CONSTRAINTS:
            continue
        arguments = {key: _plain_array(value) for key, value in rule["kwargs"].items()}
        indices = np.asarray(arguments.get("indices", arguments.get("a", [])), dtype=np.int64)
        if indices.size and indices.min() >= 0 and indices.max() < len(atoms):
            found.append(dict2constraint({"name": rule["name"], "kwargs": arguments}))
    atoms.set_constraint(found)


_CONSTRAINTS = ("FixAtoms", "FixCartesian", "FixScaled", "FixedPlane", "FixedLine")


def _plain_array(value: Any) -> Any:
    """Lists as they are, and what ASE's JSON writes for an array."""
    if isinstance(value, dict) and "__ndarray__" in value:
        return value["__ndarray__"][2]
    return value


def _whole(numbers: np.ndarray) -> np.ndarray:
    flat = np.asarray(numbers, dtype=np.float64)
    whole = np.array_equal(flat, np.round(flat)) and np.abs(flat).max(initial=0) < 1000
    if flat.ndim != 1 or not whole:
        raise ValueError("its atomic numbers are no whole numbers")
    return flat.astype(np.int64)


def read_database(path: Path) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """The rows of an ASE database file: number, ``Atoms`` (or the error it makes) and labels.

    Raises:
        ValueError: when it is no ASE database, or asks for more than the bounds allow.
    """
    # Opened read-only: nothing may be made in a file that is only read.
    address = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SQLITE_VALUE)
        steps = [0]

        def count() -> int:
            steps[0] += 1
            return int(steps[0] > _SQLITE_STEPS)

        db.set_progress_handler(count, 1_000)
        db.execute("PRAGMA trusted_schema=OFF")
        kinds = dict(db.execute("SELECT name, type FROM sqlite_master").fetchall())
        if kinds.get("systems") != "table":
            raise ValueError("it is no ASE database")
        sql = db.execute("SELECT sql FROM sqlite_master WHERE name='systems'").fetchone()[0]
        if "virtual" in str(sql).lower() or "generated" in str(sql).lower():
            raise TooMuch("its table of systems is computed, not stored")
        columns = "id, numbers, positions, cell, pbc, energy, key_value_pairs, constraints"
        cursor = db.execute(f"SELECT {columns} FROM systems ORDER BY id")
        while True:
            steps[0] = 0
            try:
                row = cursor.fetchone()
            except sqlite3.OperationalError as error:
                if "interrupted" in str(error):
                    raise TooMuch("its rows take too long to compute") from error
                raise
            if row is None:
                return
            try:
                atoms, labels = _row_of(row)
            # A damaged row can fail in any way; those after it are sound.
            except Exception as error:
                yield row[0], error, {}
                continue
            yield row[0], atoms, labels


def _row_of(row: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
    from ase import Atoms

    _, numbers, positions, cell, pbc, energy, pairs, constraints = row
    atoms = Atoms(
        numbers=_whole(_blob(numbers, "<i4", "numbers")),
        positions=_blob(positions, "<f8", "positions").reshape(-1, 3),
        cell=_blob(cell, "<f8", "cell").reshape(3, 3),
        pbc=[bool(int(pbc or 0) & bit) for bit in (1, 2, 4)],
    )
    _fix(atoms, constraints)
    labels = json.loads(pairs) if isinstance(pairs, str) else {}
    if not isinstance(labels, dict):
        labels = {}
    if energy is not None:
        labels.setdefault("energy", energy)
    return atoms, labels


def _blob(value: Any, kind: str, name: str) -> np.ndarray:
    if not isinstance(value, bytes):
        raise ValueError(f"a row has no {name}")
    return np.frombuffer(value, kind)


def frames_of_extxyz(text: str) -> Iterator[tuple[list[str], str | None]]:
    """The lines of each frame of extended XYZ, and the id in its comment as it is written.

    Readers turn an id such as ``001`` into a number; the second value is the text itself.

    Raises:
        ValueError: when more atoms are announced than there are.
    """
    lines = text.splitlines()
    row = 0
    while row < len(lines):
        if not lines[row].strip():
            row += 1
            continue
        word = lines[row].split()[0]
        if not re.fullmatch(r"[0-9]{1,18}", word):
            raise ValueError(f"line {row + 1} is no number of atoms")
        count = int(word)
        if count > MOST_ATOMS:
            raise TooMuch(f"line {row + 1} announces {count} atoms; {MOST_ATOMS} are read at most")
        if row + 2 + count > len(lines):
            raise ValueError(f"line {row + 1} announces {count} atoms, fewer are listed")
        end = row + 2 + count
        while end < len(lines) and lines[end].startswith("VEC"):
            end += 1
        yield lines[row:end], _written_id(lines[row + 1][:LONGEST_LINE])
        row = end


def _check_comment(comment: str, first_atom: str) -> None:
    if len(comment) > LONGEST_LINE:
        raise TooMuch("a line of comments is too long")
    found = re.search(r"Properties\s*=\s*[\"']?([^\s\"']+)", comment)
    if found is None:
        return
    widths = found.group(1).split(":")[2::3]
    announced = sum(int(w) if re.fullmatch(r"[0-9]{1,9}", w) else 10**9 for w in widths)
    if announced > len(first_atom.split()):
        raise ValueError(
            f"{announced} columns are announced, the first atom has {len(first_atom.split())}"
        )


def _plain_symbols(comment: str, lines: list[str]) -> list[str]:
    """The lines of the atoms with symbols that ASE knows: D, Fe3+ and FE are elements too.

    Raises:
        ValueError: for a text that is no element.
    """
    from ase.data import atomic_numbers

    found = re.search(r"Properties\s*=\s*[\"']?([^\s\"']+)", comment)
    parts = found.group(1).split(":") if found else ["species", "S", "1"]
    column = 0
    for name, width in zip(parts[::3], parts[2::3], strict=False):
        if name.lower() in ("species", "symbols"):
            break
        column += int(width)
    else:
        return lines
    changed: list[str] = []
    for line in lines:
        words = line.split()
        if len(words) <= column or words[column] in atomic_numbers or words[column].isdigit():
            changed.append(line)
            continue
        readings = read_type(words[column])
        if not readings or len(readings[0].shares) != 1 or not readings[0].certain:
            raise ValueError(f"unknown element {words[column]!r}")
        words[column] = gemmi.Element(readings[0].shares[0][0]).name
        changed.append(" ".join(words))
    return changed


_ID = re.compile(
    r"(?:^|\s)(id|material_id|name|structure_id|jid)\s*=\s*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^\s\"'{\[]+))"
)


def _written_id(comment: str) -> str | None:
    found = {m.group(1): m.group(2) or m.group(3) or m.group(4) for m in _ID.finditer(comment)}
    for key in ("id", "material_id", "name", "structure_id", "jid"):
        if found.get(key):
            return re.sub(r"\\(.)", r"\1", found[key]).strip() or None
    return None


def read_extxyz_frames(text: str) -> Iterator[Any]:
    """The frames of extended XYZ as ``Atoms``, or the error that one of them makes.

    The id in ``info`` is always text.

    Raises:
        ValueError: as `frames_of_extxyz`.
    """
    from ase.io.extxyz import read_extxyz

    for lines, name in frames_of_extxyz(text):
        try:
            _check_comment(lines[1], lines[2] if len(lines) > 2 else "")
            plain = [*lines[:2], *_plain_symbols(lines[1], lines[2:])]
            (atoms,) = read_extxyz(io.StringIO("\n".join(plain) + "\n"), slice(None))
        # ASE fails on a damaged frame in any way there is; those after it are sound.
        except Exception as error:
            yield error
            continue
        if name is not None:
            atoms.info["id"] = name
        _other_cases(atoms)
        yield atoms


def _other_cases(atoms: Any) -> None:
    """Periodicity that the comment spells in another case than ASE knows (``PBC="F F F"``)."""
    for key, value in atoms.info.items():
        if key.lower() == "pbc":
            words = value.split() if isinstance(value, str) else np.ravel(value).tolist()
            flags = [str(word).lower() in ("t", "true", "1") for word in words]
            if len(flags) in (1, 3):
                atoms.pbc = flags * (3 // len(flags))
