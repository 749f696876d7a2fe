"""POSCAR and CONTCAR of VASP, version 5 and 6, and version 4 where the elements are named at all.

Format: the VASP manual, "POSCAR". Line 6 counts where it is there, in all its spellings
(``Ca_pv``, ``Ca/0a1b``, ``Ca2+``, ``Ca1``, ``CA``, ``D``); the comment is never taken in its
place. A version-4 file without element names is refused: guessing the elements, as other readers
do, gives wrong crystals without a word.
"""

from __future__ import annotations

import re
from dataclasses import replace

import gemmi
import numpy as np

from crystal_diffusion.data.bounds import MOST_ATOMS
from crystal_diffusion.data.labels import read_type
from crystal_diffusion.data.records import PlainCrystal, failed, make_crystal


def parse_poscar(text: str, name: str, source: str) -> PlainCrystal:
    """The crystal of a POSCAR text, or the problem with it.

    Args:
        text: the file.
        name: id of the crystal.
        source: where the text came from.
    """
    lines = text.splitlines()
    try:
        return _parse(lines, name, source)
    except (IndexError, ValueError) as error:
        reason = "it ends too early" if isinstance(error, IndexError) else str(error)
        return failed(name, source, f"cannot be read as POSCAR ({reason}); correct or remove it")


def _number(word: str) -> float:
    """A number as Fortran writes it (``1.0d0``); a decimal comma is refused."""
    if re.fullmatch(r"[-+]?\d*,\d+", word):
        raise ValueError(f"{word!r} has a decimal comma; write a decimal point")
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?", word, re.ASCII):
        raise ValueError(f"{word!r} is no number")
    return float(word.lower().replace("d", "e"))


def _row(line: str) -> list[float]:
    """The first three numbers of a line; what follows is a remark, as VASP has it."""
    return [_number(word) for word in line.split()[:3]]


def _kinds_and_counts(lines: list[str]) -> tuple[list[int], list[int], int]:
    """Elements (empty where no line names them), numbers of atoms, and the line that follows."""
    row, words = 5, []
    while not lines[row].split()[0].isdigit():
        words.append(lines[row])
        row += 1
        if row > 5 + MOST_ATOMS:
            raise ValueError("it has no numbers of atoms")
    counts: list[int] = []
    kinds: list[int] = []
    while lines[row].split() and lines[row].split()[0].isdigit():
        for word in lines[row].split():
            if not word.isdigit():
                break
            if len(word) > 9:
                raise ValueError(f"{word} atoms are more than a file can hold")
            counts.append(int(word))
        row += 1
        kinds = _elements(words, len(counts))
        if kinds:
            break
    if words and not kinds:
        said = " ".join(" ".join(words).split())[:60]
        raise ValueError(
            f"line 6 says {said!r}, which is not one element for each of the {len(counts)} numbers"
        )
    return kinds, counts, row


def _parse(lines: list[str], name: str, source: str) -> PlainCrystal:
    scale = [_number(x) for x in _bare(lines[1]).split()[:3] if re.match(r"[-+.\d]", x)]
    lattice = np.array([_row(line) for line in lines[2:5]])
    if lattice.shape != (3, 3):
        raise ValueError("the lattice is not three rows of three numbers")
    lattice = lattice * _factor(scale, lattice)
    kinds, counts, row = _kinds_and_counts(lines)
    total = sum(counts)
    if total > MOST_ATOMS:
        raise ValueError(f"{total} atoms are more than a file can hold")
    if not lines[row].split():
        raise ValueError("the line with Direct or Cartesian is missing")
    selective = lines[row].split()[0][0] in "sS"
    row += selective
    if not lines[row].split():
        raise ValueError("the line with Direct or Cartesian is missing")
    cartesian = lines[row].split()[0][0] in "cCkK"
    table = [line.split() for line in lines[row + 1 : row + 1 + total]]
    if len(table) < total or any(len(line) < 3 for line in table):
        raise ValueError(f"{total} atoms are announced, fewer are listed")
    coords = np.array([[_number(x) for x in line[:3]] for line in table]).reshape(-1, 3)
    if cartesian:
        factor = np.array(scale) if len(scale) == 3 else _cartesian_factor(lines, lattice)
        coords = coords * factor @ np.linalg.inv(lattice)
    notes: tuple[str, ...] = ()
    if not kinds and (kinds := _elements([lines[0]], len(counts))):
        notes = ("line 6 names no elements (VASP 4); those of the comment line were taken",)
    if kinds:
        numbers = [z for z, count in zip(kinds, counts, strict=True) for _ in range(count)]
        _check_symbols(table, numbers, selective)
    else:
        numbers = [_last_symbol(line) for line in table]
        if 0 in numbers:
            return failed(
                name, source, "the elements are not named; write them in line 6 (VASP 5 format)"
            )
    crystal = make_crystal(name, source, lattice, coords, numbers)
    return replace(crystal, notes=notes, frozen=_frozen(table) if selective else None)


def _bare(line: str) -> str:
    """A line without a remark behind ``!`` or ``#``."""
    return re.split(r"[!#]", line, maxsplit=1)[0]


def _factor(scale: list[float], lattice: np.ndarray) -> float | np.ndarray:
    if len(scale) == 3:
        return np.array(scale)
    if not scale:
        raise ValueError("line 2 is no scaling factor")
    if scale[0] >= 0:
        return scale[0]
    volume = abs(float(np.linalg.det(lattice)))
    if volume == 0:
        raise ValueError("the cell has zero volume")
    return float((-scale[0] / volume) ** (1 / 3))


def _cartesian_factor(lines: list[str], lattice: np.ndarray) -> float:
    """What Cartesian coordinates are multiplied with: the scale that made the lattice."""
    unscaled = np.linalg.norm(_row(lines[2]))
    return float(np.linalg.norm(lattice[0]) / unscaled)


def _elements(lines: list[str], wanted: int) -> list[int]:
    """Atomic numbers that lines name; empty unless there is one for each number of atoms.

    Words behind the elements are a remark where they are one: ``Ca F  ! fluorite``.
    """
    words = " ".join(_bare(line) for line in lines).split()
    if not wanted or len(words) < wanted:
        return []
    numbers = [_element(word) for word in words]
    if any(number == 0 for number in numbers[:wanted]) or any(numbers[wanted:]):
        return []
    return numbers[:wanted]


def _element(word: str) -> int:
    """The element of ``Mg_pv/f474``, ``Fe3+``, ``FE``, ``O1``, ``D``; 0 for anything else."""
    readings = read_type(re.split(r"[/_.:]", word)[0])
    if not readings or not readings[0].certain or len(readings[0].shares) != 1:
        return 0
    return readings[0].shares[0][0]


def _check_symbols(table: list[list[str]], numbers: list[int], selective: bool) -> None:
    """Symbols behind the coordinates, where every atom has one, must be those of line 6.

    Raises:
        ValueError: when they are others.
    """
    # Words in lower case (at, in) are remarks; F is a flag only where there are flags.
    flags = _FLAGS if selective else ()
    first = [next((w for w in line[3:] if w.upper() not in flags), "") for line in table]
    found = [_element(word) if word[:1].isupper() else 0 for word in first]
    if 0 in found:
        return
    for row, (said, number) in enumerate(zip(found, numbers, strict=True), 1):
        if said != number:
            raise ValueError(
                f"atom {row} is {gemmi.Element(number).name} by the order of the elements and "
                f"{gemmi.Element(said).name} by the symbol on its line"
            )


def _last_symbol(words: list[str]) -> int:
    """The element named behind the coordinates and flags of an atom."""
    found = [_element(word) for word in words[3:] if word.upper() not in _FLAGS]
    return next((number for number in found if number), 0)


_FLAGS = ("T", "F", ".T.", ".F.", ".TRUE.", ".FALSE.")


def _frozen(table: list[list[str]]) -> np.ndarray | None:
    """``(atoms, 3)`` true along the lattice vectors that selective dynamics forbids."""
    flags = np.array(
        [
            [word.upper().lstrip(".").startswith("F") for word in [*line[3:6], "T", "T", "T"][:3]]
            for line in table
        ]
    ).reshape(-1, 3)
    return flags if flags.any() else None
