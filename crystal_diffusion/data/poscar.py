"""POSCAR and CONTCAR of VASP, version 5 and 6, and version 4 where the elements are named at all.

Format: the VASP manual, "POSCAR". A version-4 file without element names is refused: guessing
the elements, as other readers do, gives wrong crystals without a word.
"""

from __future__ import annotations

import re

import numpy as np

from crystal_diffusion.data.records import PlainCrystal, failed, make_crystal

_MAX_ATOMS = 1_000_000


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


def _parse(lines: list[str], name: str, source: str) -> PlainCrystal:
    scale = [float(x) for x in lines[1].split()[:3] if re.match(r"[-+.\d]", x)]
    lattice = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
    if lattice.shape != (3, 3):
        raise ValueError("the lattice is not three rows of three numbers")
    if len(scale) == 3:
        lattice = lattice * np.array(scale)
    elif len(scale) == 1 and scale[0] < 0:
        volume = abs(float(np.linalg.det(lattice)))
        if volume == 0:
            raise ValueError("the cell has zero volume")
        lattice = lattice * (-scale[0] / volume) ** (1 / 3)
    elif len(scale) == 1:
        lattice = lattice * scale[0]
    else:
        raise ValueError("line 2 is no scaling factor")
    row = 5
    symbols: list[str] = []
    while not lines[row].split()[0].isdigit():
        symbols += lines[row].split()
        row += 1
    counts: list[int] = []
    while lines[row].split() and lines[row].split()[0].isdigit():
        for word in lines[row].split():
            if not word.isdigit():
                break
            counts.append(int(word))
        row += 1
        if symbols and len(counts) >= len(symbols):
            break
    total = sum(counts)
    if total > _MAX_ATOMS:
        raise ValueError(f"{total} atoms are more than a file can hold")
    if not lines[row].split():
        raise ValueError("the line with Direct or Cartesian is missing")
    if lines[row].split()[0][0] in "sS":
        row += 1
    cartesian = lines[row].split()[0][0] in "cCkK"
    table = [line.split() for line in lines[row + 1 : row + 1 + total]]
    if len(table) < total or any(len(words) < 3 for words in table):
        raise ValueError(f"{total} atoms are announced, fewer are listed")
    coords = np.array([[float(x) for x in words[:3]] for words in table]).reshape(-1, 3)
    if cartesian:
        factor = np.array(scale) if len(scale) == 3 else _cartesian_factor(lines, lattice)
        coords = coords * factor @ np.linalg.inv(lattice)
    kinds = _elements(symbols, len(counts)) or _elements(lines[0].split(), len(counts))
    if symbols and not kinds:
        raise ValueError(f"unknown element or wrong number of elements in '{' '.join(symbols)}'")
    if kinds:
        numbers = [z for z, count in zip(kinds, counts, strict=True) for _ in range(count)]
    else:
        numbers = [_last_symbol(words) for words in table]
        if 0 in numbers:
            return failed(
                name, source, "the elements are not named; write them in line 6 (VASP 5 format)"
            )
    return make_crystal(name, source, lattice, coords, numbers)


def _cartesian_factor(lines: list[str], lattice: np.ndarray) -> float:
    """What Cartesian coordinates are multiplied with: the scale that made the lattice."""
    unscaled = np.linalg.norm([float(x) for x in lines[2].split()[:3]])
    return float(np.linalg.norm(lattice[0]) / unscaled)


def _elements(words: list[str], wanted: int) -> list[int]:
    """Atomic numbers of the words (``Mg_pv/f474`` is Mg); empty unless all are elements."""
    from ase.data import atomic_numbers

    symbols = [re.split(r"[/_.]", word)[0] for word in words]
    numbers = [int(atomic_numbers.get(symbol, 0)) for symbol in symbols]
    return numbers if len(numbers) == wanted and all(numbers) else []


def _last_symbol(words: list[str]) -> int:
    from ase.data import atomic_numbers

    found = [atomic_numbers.get(word, 0) for word in words[3:]]
    return int(max(found, default=0))
