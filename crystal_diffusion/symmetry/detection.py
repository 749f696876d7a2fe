"""Find the space group of a crystal with moyopy and with spglib, and compare with what was asked.

Whether a found group contains the requested one is decided on the operations themselves, in the
cell of the template, not from tables of group numbers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from crystal_diffusion.cell_geometry import symmetry_search
from crystal_diffusion.errors import InputError
from crystal_diffusion.symmetry.cells import Cell, make_cell, to_cell
from crystal_diffusion.symmetry.groups import Floats, SpaceGroup
from crystal_diffusion.symmetry.template import SymmetricTemplate

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Detection:
    """What the two libraries say of one crystal.

    Attributes:
        moyopy: space group number, 0 where the search failed.
        spglib: likewise.
        symprec: Å, the tolerance that was used.
        operations: rotations ``(n, 3, 3)`` and translations ``(n, 3)`` that both libraries found,
            in the given cell; of one of them where the other failed.
    """

    moyopy: int
    spglib: int
    symprec: float
    operations: tuple[Floats, Floats]

    @property
    def agree(self) -> bool:
        """Whether both found the same group."""
        return self.moyopy == self.spglib and self.moyopy > 0

    @property
    def number(self) -> int:
        """The group both found, else the one found by either, moyopy first."""
        return self.moyopy or self.spglib


@dataclass(frozen=True)
class SymmetryCheck:
    """The requested group against the found one.

    Attributes:
        requested: space group number.
        moyopy: number found, 0 where the search failed; spglib: likewise.
        kept: whether both libraries found every requested operation.
        higher: whether the found group is larger than the one asked for.
    """

    requested: int
    moyopy: int
    spglib: int
    symprec: float
    kept: bool
    higher: bool

    @property
    def message(self) -> str:
        """One sentence for the table."""
        asked = SpaceGroup.from_number(self.requested).symbol
        if not self.kept:
            return (
                f"requested {asked} ({self.requested}), found moyopy {self.moyopy} and spglib "
                f"{self.spglib} at symprec {self.symprec:g} Å: not contained"
            )
        if self.higher:
            found = SpaceGroup.from_number(self.moyopy).symbol
            return (
                f"requested {asked} ({self.requested}), found its supergroup {found} "
                f"({self.moyopy}) at symprec {self.symprec:g} Å"
            )
        return f"{asked} ({self.requested}) as requested at symprec {self.symprec:g} Å"


def detect_group(crystal: Any, symprec: float = 0.01) -> Detection:
    """The space group by moyopy and by spglib.

    Args:
        crystal: pymatgen ``Structure``, ASE ``Atoms`` or :class:`Cell`.
        symprec: tolerance in Å.

    Raises:
        InputError: for a crystal without definite elements, or when both libraries fail.
    """
    cell = to_cell(crystal)
    first, second = _moyo(cell, symprec), _spglib(cell, symprec)
    if first is None and second is None:
        raise InputError(
            f"no space group found for {chemical_name(cell)} at symprec {symprec:g} Å, neither by "
            "moyopy nor by spglib; check for overlapping atoms or lower symprec."
        )
    if first is None or second is None:
        _number, rotations, translations = first or second or (0, np.eye(3)[None], np.zeros((1, 3)))
        return Detection(
            first[0] if first else 0, second[0] if second else 0, symprec, (rotations, translations)
        )
    shared = _contained(first[1:], second[1:], _slack(cell, symprec))
    return Detection(first[0], second[0], symprec, (first[1][shared], first[2][shared]))


def is_supergroup(
    found: tuple[Floats, Floats], requested: tuple[Floats, Floats], slack: float = 1e-3
) -> bool:
    """Whether every requested operation is among the found ones; both in the same cell.

    Args:
        found: rotations ``(n, 3, 3)`` and translations ``(n, 3)``.
        requested: likewise.
        slack: largest difference of a translation, fractional.
    """
    return bool(_contained(requested, found, slack).all())


def check_template(template: SymmetricTemplate, cell: Cell, symprec: float = 0.01) -> SymmetryCheck:
    """Detect the group of a crystal in the primitive cell of its template.

    Args:
        template: what was asked for.
        cell: from :meth:`SymmetricTemplate.rebuild`.
        symprec: tolerance in Å.

    Raises:
        InputError: when both libraries fail.
    """
    group = template.group
    found = detect_group(cell, symprec)
    kept = is_supergroup(found.operations, group.primitive_operations, _slack(cell, symprec))
    higher = kept and len(found.operations[0]) > len(group.primitive_operations[0])
    return SymmetryCheck(
        group.number,
        found.moyopy,
        found.spglib,
        symprec,
        kept and found.moyopy > 0 and found.spglib > 0,
        higher or (kept and found.number != group.number),
    )


def symmetrise(crystal: Any, symprec: float = 0.1) -> Cell:
    """The crystal with the symmetry it has within ``symprec`` made exact, primitive cell.

    The standardised primitive cell of moyopy: positions are averaged over the operations found and
    the lattice is that of the group's metric.

    Raises:
        InputError: when no group is found.
    """
    dataset = symmetry_dataset(to_cell(crystal), symprec)
    standard = dataset.prim_std_cell
    return make_cell(standard.basis, standard.positions, standard.numbers)


def conventional(crystal: Any, symprec: float = 0.1) -> Cell:
    """The conventional standard cell of the crystal, symmetry within ``symprec`` made exact.

    Raises:
        InputError: when no group is found.
    """
    standard = symmetry_dataset(to_cell(crystal), symprec).std_cell
    return make_cell(standard.basis, standard.positions, standard.numbers)


def wyckoff_letters(crystal: Any, symprec: float = 0.1) -> tuple[int, dict[int, str]]:
    """Space group number and the Wyckoff letters of the orbits of each element, sorted.

    Raises:
        InputError: when no group is found.
    """
    cell = to_cell(crystal)
    dataset = symmetry_dataset(cell, symprec)
    words: dict[int, list[str]] = {}
    for orbit in sorted(set(dataset.orbits)):
        words.setdefault(int(cell.numbers[orbit]), []).append(dataset.wyckoffs[orbit])
    return int(dataset.number), {z: "".join(sorted(word)) for z, word in words.items()}


def wyckoff_signature(crystal: Any, symprec: float = 0.1) -> str:
    """Prototype label: group number and letters per element, elements unnamed.

    Such as ``221:a|b|c`` for the perovskite. The same structure may carry another label after a
    shift of the origin that the group's normaliser allows (``221:a|b|d``).

    Raises:
        InputError: when no group is found.
    """
    number, words = wyckoff_letters(crystal, symprec)
    return f"{number}:{'|'.join(sorted(words.values(), key=lambda w: (len(w), w)))}"


def chemical_name(cell: Cell) -> str:
    """The formula, for messages."""
    from crystal_diffusion import chemistry

    return chemistry.formula(cell.numbers)


def symmetry_dataset(cell: Cell, symprec: float) -> Any:
    """What moyopy says of a crystal: group, operations, standard cells and the way to them.

    Raises:
        InputError: when no group is found.
    """
    try:
        return symmetry_search(cell.lattice, cell.frac_coords, cell.numbers, symprec)
    except ValueError as error:
        raise InputError(
            f"no space group found for {chemical_name(cell)} at symprec {symprec:g} Å ({error}); "
            "check for overlapping atoms or lower symprec."
        ) from error


def _moyo(cell: Cell, symprec: float) -> tuple[int, Floats, Floats] | None:
    try:
        dataset = symmetry_dataset(cell, symprec)
    except InputError as error:
        log.debug("moyopy: %s", error)
        return None
    operations = dataset.operations
    return (
        int(dataset.number),
        np.array(operations.rotations, float).reshape(-1, 3, 3),
        np.array(operations.translations, float).reshape(-1, 3),
    )


def _spglib(cell: Cell, symprec: float) -> tuple[int, Floats, Floats] | None:
    import spglib

    # Older versions answer None, newer ones raise their own error.
    failure: type[Exception] = getattr(spglib, "SpglibError", RuntimeError)
    try:
        # spglib's stated types are lists; it takes arrays, as it says in its documentation.
        dataset = spglib.get_symmetry_dataset(cast("Any", cell.as_spglib()), symprec=symprec)
    except failure as error:
        log.debug("spglib: %s", error)
        return None
    if dataset is None:
        return None
    return int(dataset.number), dataset.rotations.astype(float), dataset.translations


def _slack(cell: Cell, symprec: float) -> float:
    """What a tolerance in Å is in fractional translations of the shortest edge."""
    return 2 * symprec / float(np.linalg.norm(cell.lattice, axis=1).min()) + 1e-6


def _contained(
    wanted: tuple[Floats, Floats], found: tuple[Floats, Floats], slack: float
) -> np.ndarray:
    """``(wanted,)`` bool: which operations occur among the found ones."""
    same = np.all(wanted[0][:, None] == found[0][None], axis=(2, 3))
    away = wanted[1][:, None] - found[1][None]
    away = np.abs(away - np.round(away)).max(-1)
    out: np.ndarray = (same & (away < slack)).any(1)
    return out
