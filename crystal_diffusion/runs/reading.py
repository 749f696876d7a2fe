"""Reading back what runs wrote, where files may be damaged, cut short or somebody else's.

Each reader either gives what the file says or raises one sentence: which file, what is wrong, and
what can be saved. With ``gaps`` the sentence is added there and the rest is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.columns import column, listed

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Bytes of one file of a run; more is not read at once.
LARGEST_FILE = 2**31
_MAPPINGS = frozenset(
    [
        "request",
        "settings",
        "model",
        "versions",
        "training_statistics",
        "rejected",
        "missing",
        "seconds",
        "unreadable",
        "funnel",
        "systems",
    ]
)
#: Flags of atoms that may move, one for each or one along a, b and c.
_MASK = re.compile(r"move_mask:L:([13])\b")
_LATTICE = re.compile(r'Lattice="([^"]*)"')
_QUOTED_ID = re.compile(r'(?:^|\s)id="((?:[^"\\]|\\.)*)"')
_PLAIN_ID = re.compile(r"(?:^|\s)id=([^\s\"]\S*)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_text(path: Path) -> str:
    """The text of a file, UTF-8.

    Raises:
        InputError: when it cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(
                f"{path}: is larger than {LARGEST_FILE // 2**30} GiB; no file of ours."
            )
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no text from byte {error.start} on; it is damaged, copy it again or run "
            "the command that wrote it again."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        InputError: when it cannot be read, is no JSON, or no mapping.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: is damaged ({_first_line(error)}); copy it again or run the command that "
            "wrote it again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not the mapping it should.")
    for name in {"notes"} & set(content):
        if not isinstance(content[name], list | type(None)):
            raise InputError(f"{path}: its entry {name!r} is no list; the file is damaged.")
    for name in _MAPPINGS & set(content):
        if not isinstance(content[name], dict | type(None)):
            raise InputError(f"{path}: its entry {name!r} is no mapping; the file is damaged.")
    return content


def read_rows(path: Path, gaps: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, each a mapping with its id as text; empty without the file.

    Raises:
        InputError: for a damaged line or an id that occurs twice, unless ``gaps`` takes note of it.
    """
    if not path.is_file():
        return []
    rows: dict[str, dict[str, Any]] = {}
    for place, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or isinstance(row["id"], dict | list | type(None)):
                raise ValueError("no mapping with an id")
            row["id"] = str(row["id"])
            check_row(row)
            if row["id"] in rows:
                raise ValueError(f"the id {row['id'][:60]!r} occurs twice")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            found = f"{path}: line {place} is damaged ({_first_line(error)})"
            if gaps is None:
                raise InputError(
                    f"{found}; {len(rows)} rows before it are whole: delete that line to use the "
                    "others, or run the command that wrote it again."
                ) from error
            gaps.append(f"{found} and is left out.")
            continue
        rows[row["id"]] = row
    return list(rows.values())


def read_frames(path: Path, gaps: list[str] | None = None) -> dict[str, Structure]:
    """Structures by id of the extended XYZ that runs write; empty without the file.

    Raises:
        InputError: for a damaged frame or an id that occurs twice, unless ``gaps`` takes note of
            it; what follows a damaged frame is not read.
    """
    if not path.is_file():
        return {}
    found: dict[str, Structure] = {}
    try:
        for name, structure in _frames(read_text(path)):
            if name in found:
                raise ValueError(f"the id {name[:60]!r} occurs twice")
            found[name] = structure
    # Damaged numbers make the libraries below fail in every way there is.
    except Exception as error:
        if isinstance(error, InputError) and gaps is None:
            raise
        text = f"{path}: frame {len(found) + 1} is damaged ({_first_line(error)})"
        if gaps is None:
            raise InputError(
                f"{text}; {len(found)} crystals before it are whole. Run the command that wrote "
                "it again, or read the files in cif/."
            ) from error
        gaps.append(f"{text}; {len(found)} crystals before it are shown.")
    return found


def _frames(text: str) -> Iterator[tuple[str, Structure]]:
    from ase import Atoms
    from ase.data import atomic_numbers

    from crystal_diffusion.crystal import to_structure

    lines = text.replace("\r\n", "\n").split("\n")
    row = 0
    while row < len(lines):
        if not lines[row].strip():
            row += 1
            continue
        count = int(lines[row])
        if not 0 < count <= len(lines) - row - 2:
            raise ValueError(f"{count} atoms are announced, fewer are listed")
        comment, table = lines[row + 1], lines[row + 2 : row + 2 + count]
        lattice = _LATTICE.search(comment)
        if lattice is None:
            raise ValueError("it has no Lattice")
        cell = np.array(lattice.group(1).split(), dtype=np.float64).reshape(3, 3)
        words = [line.split() for line in table]
        positions = np.array([[float(x) for x in w[1:4]] for w in words]).reshape(-1, 3)
        if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
            raise ValueError("it has numbers that are not finite")
        if (
            abs(np.linalg.det(cell)) < 1e-3
            or max(np.abs(cell).max(), np.abs(positions).max()) > 1e5
        ):
            raise ValueError("its cell or its positions are none of a crystal")
        numbers = [atomic_numbers[w[0]] for w in words]
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        structure = to_structure(atoms)
        mask = _MASK.search(comment)
        if mask is not None:
            width = int(mask.group(1))
            free = [[word == "T" for word in w[4 : 4 + width]] * (3 // width) for w in words]
            structure.add_site_property("selective_dynamics", free)
        yield id_of_comment(comment), structure
        row += 2 + count


def id_of_comment(comment: str) -> str:
    """The id in a comment line that `quoted_id` wrote, as text.

    Raises:
        ValueError: when there is none.
    """
    quoted, plain = _QUOTED_ID.search(comment), _PLAIN_ID.search(comment)
    if quoted is not None:
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), quoted.group(1))
    if plain is not None:
        return plain.group(1)
    raise ValueError("it has no id")


def quoted_id(name: str) -> str:
    """An id for a comment line: as it is where it is a plain word, else quoted."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.~+-]*", name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    for letter, character in _ESCAPES.items():
        escaped = escaped.replace(character, f"\\{letter}")
    return f'"{escaped}"'


def check_row(row: Mapping[str, Any]) -> None:
    """Refuse values of another kind than their column.

    Raises:
        ValueError: names the first one.
    """
    for name, value in row.items():
        if listed(name) and not column(name).holds(value):
            raise ValueError(f"its column {name} holds {str(value)[:40]!r}")
    for check in row.get("checks") or []:
        if not isinstance(check, dict) or not {"name", "passed", "value", "limit"} <= set(check):
            raise ValueError("its column checks holds something else")


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"no {text}"
    return text[:160]
