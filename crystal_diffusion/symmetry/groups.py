"""Space groups and their Wyckoff positions, from the shipped table.

Facts are those of International Tables for Crystallography A in the standard setting: unique axis
b, origin choice 2, hexagonal axes for rhombohedral groups. Operations act on columns of fractional
coordinates, x' = W x + w.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.pretrained import asset_path

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TABLE = asset_path("wyckoff.npz")
#: Translations are stored in 24ths, which all standard settings are multiples of.
GRID = 24

#: Last group number of each crystal system.
CRYSTAL_SYSTEMS = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "trigonal": 167,
    "hexagonal": 194,
    "cubic": 230,
}

#: Rows of the primitive cell in terms of the conventional one, L_p = M L_c (as spglib and moyo).
_PRIMITIVE = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]],
    "C": [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]],
    "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}

_CENTRING_SIZES = {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}

#: Names of the e-glide groups before 1992.
_OLD_NAMES = {"Abm2": 39, "Aba2": 41, "Cmca": 64, "Cmma": 67, "Ccca": 68}


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position of a space group, in the conventional cell.

    Attributes:
        letter: "a" for the most special one.
        multiplicity: atoms in the conventional cell.
        site_symmetry: oriented symbol, such as "4m.m".
        linear: ``(3, 3)`` and
        offset: ``(3,)``: the representative point is ``linear @ (x, y, z) + offset``.
        number: of the space group.
    """

    letter: str
    multiplicity: int
    site_symmetry: str
    linear: Floats
    offset: Floats
    number: int

    @cached_property
    def freedom(self) -> int:
        """Free parameters, 0 to 3."""
        return int(np.linalg.matrix_rank(self.linear))

    @property
    def label(self) -> str:
        """Such as "4a"."""
        return f"{self.multiplicity}{self.letter}"

    def images(self) -> tuple[Floats, Floats]:
        """All equivalent points in the conventional cell as affine maps of x, y, z.

        Returns:
            linear ``(multiplicity, 3, 3)`` and offset ``(multiplicity, 3)`` in [0, 1).
        """
        group = SpaceGroup.from_number(self.number)
        linear, offset, _ = orbit_maps(
            group.rotations, group.translations, self.linear, self.offset
        )
        return linear, offset

    def __repr__(self) -> str:
        return f"WyckoffPosition({self.label}, {self.site_symmetry})"


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """One of the 230 space groups in its standard setting.

    Attributes:
        number: 1 to 230.
        symbol: short Hermann-Mauguin symbol without blanks, such as "Fm-3m".
        point_group: such as "m-3m".
        rotations: ``(operations, 3, 3)`` and
        translations: ``(operations, 3)`` of the general position, conventional cell.
        positions: Wyckoff positions, "a" first.
    """

    number: int
    symbol: str
    point_group: str
    rotations: Floats
    translations: Floats
    positions: tuple[WyckoffPosition, ...]

    @classmethod
    def from_number(cls, number: int) -> SpaceGroup:
        """The group of a number from 1 to 230.

        Raises:
            RequestError: for any other number.
        """
        if not 1 <= number <= 230:
            raise RequestError(
                f"space group {number} does not exist; give a number from 1 to 230 or a symbol "
                "such as Fm-3m."
            )
        return _group(int(number))

    @classmethod
    def from_any(cls, name: str | int | SpaceGroup) -> SpaceGroup:
        """A group by number or by any of its Hermann-Mauguin names.

        Blanks and underscores do not matter, nor does case where the name stays unique;
        ``Fm3m`` is ``Fm-3m``. Names of other settings (``P21/n``, ``Pbnm``) give the same group in
        its standard setting.

        Raises:
            RequestError: for an unknown name, with the nearest ones.
        """
        if isinstance(name, SpaceGroup):
            return name
        if isinstance(name, int | np.integer):
            return cls.from_number(int(name))
        text = clean_name(str(name))
        if re.fullmatch(r"[+-]?\d+", text):
            return cls.from_number(int(text))
        exact, folded = _names()
        number = exact.get(text) or folded.get(text.lower())
        if number is None:
            near = difflib.get_close_matches(text.lower(), list(folded), 12, 0.5)
            symbols = list(dict.fromkeys(_group(folded[n]).symbol for n in near))[:4]
            hint = f"; near it are {', '.join(symbols)}" if symbols else ""
            raise RequestError(
                f"space group {str(name)!r} is not known{hint}. Give a number from 1 to 230 or a "
                "symbol such as Fm-3m."
            )
        return cls.from_number(number)

    @property
    def crystal_system(self) -> str:
        """One of the seven, such as "trigonal"."""
        return next(name for name, last in CRYSTAL_SYSTEMS.items() if self.number <= last)

    @property
    def centring(self) -> str:
        """P, A, C, I, F or R."""
        return self.symbol[0]

    @property
    def centring_size(self) -> int:
        """Lattice points of the conventional cell: 1, 2, 3 or 4."""
        return _CENTRING_SIZES[self.centring]

    @property
    def to_primitive(self) -> Floats:
        """``(3, 3)`` M: primitive lattice = M @ conventional lattice, both as rows."""
        return np.array(_PRIMITIVE[self.centring], float)

    def position(self, letter: str) -> WyckoffPosition:
        """A Wyckoff position by its letter.

        Raises:
            RequestError: for a letter the group does not have.
        """
        for position in self.positions:
            if position.letter == letter:
                return position
        labels = ", ".join(p.label for p in self.positions)
        raise RequestError(
            f"space group {self.symbol} has no Wyckoff position {letter!r}; it has {labels}."
        )

    @cached_property
    def primitive_operations(self) -> tuple[Floats, Floats]:
        """Rotations ``(n, 3, 3)`` and translations ``(n, 3)`` in the primitive cell.

        One operation for each element of the point group, the identity first.
        """
        change = self.to_primitive.T
        back = np.linalg.inv(change)
        rotations = np.round(back @ self.rotations @ change)
        translations = wrap(self.translations @ back.T)
        _, first = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)
        order = np.sort(first)
        return rotations[order], translations[order]

    @cached_property
    def laue_metrics(self) -> Floats:
        """``(9, 9)`` projection of a flat metric of the primitive cell: the mean of Wᵀ G W."""
        rotations, _ = self.primitive_operations
        # (Wᵀ G W)_ij = W_ki G_kl W_lj
        total: Floats = np.einsum("nki,nlj->ijkl", rotations, rotations).reshape(9, 9)
        return total / len(rotations)

    def __repr__(self) -> str:
        return f"SpaceGroup({self.number}, {self.symbol})"


def groups_of(
    crystal_system: str | None = None, point_group: str | None = None
) -> tuple[SpaceGroup, ...]:
    """All space groups of a crystal system, a point group, or both; all 230 without either.

    Raises:
        RequestError: for an unknown name, or when no group meets both.
    """
    groups = [_group(n) for n in range(1, 231)]
    if crystal_system is not None:
        wanted = crystal_system.strip().lower()
        if wanted not in CRYSTAL_SYSTEMS:
            raise RequestError(
                f"crystal system {crystal_system!r} is not known; choose "
                f"{', '.join(CRYSTAL_SYSTEMS)}."
            )
        groups = [g for g in groups if g.crystal_system == wanted]
    if point_group is not None:
        known = {_fold_point_group(name): name for name in _arrays()["point_groups"].tolist()}
        key = _fold_point_group(clean_name(point_group))
        exact = clean_name(point_group)
        wanted = exact if exact in known.values() else known.get(key, "")
        if not wanted:
            names = list(dict.fromkeys(known.values()))
            near = difflib.get_close_matches(exact, names, 3, 0.3) or names
            raise RequestError(
                f"point group {point_group!r} is not known; near it are {', '.join(near)}."
            )
        groups = [g for g in groups if g.point_group == wanted]
    if not groups:
        raise RequestError(
            f"no space group is {crystal_system} with point group {point_group}; drop one of the "
            "two."
        )
    return tuple(groups)


@lru_cache(maxsize=230)
def primitive_multiplicities(number: int) -> dict[str, int]:
    """Atoms of each Wyckoff letter in the primitive cell."""
    table = _arrays()
    low, high = table["position_start"][number - 1 : number + 1]
    share = _CENTRING_SIZES[str(table["symbols"][number - 1])[0]]
    sizes = table["multiplicities"][low:high].tolist()
    return {_letter(index): size // share for index, size in enumerate(sizes)}


def orbit_maps(
    rotations: Floats, translations: Floats, linear: Floats, offset: Floats
) -> tuple[Floats, Floats, list[int]]:
    """Distinct images of the points ``linear @ u + offset`` under operations, modulo the lattice.

    Returns:
        linear parts ``(images, 3, 3)``, offsets ``(images, 3)`` in [0, 1), and for each image the
        index of the first operation that makes it.
    """
    parts = rotations @ linear
    offsets = wrap(offset @ rotations.transpose(0, 2, 1) + translations)
    keys = np.concatenate(
        [np.round(parts.reshape(-1, 9) * GRID), np.round(offsets * GRID) % GRID], 1
    ).astype(np.int64)
    _, first = np.unique(keys, axis=0, return_index=True)
    order = np.sort(first)
    return parts[order], offsets[order], [int(i) for i in order]


def wrap(x: Floats) -> Floats:
    """Into [0, 1), where values within 1e-9 below 1 become 0."""
    out: Floats = x - np.floor(x + 1e-9)
    return np.where(np.abs(out) < 1e-9, 0.0, out)


def clean_name(name: str) -> str:
    """A symbol without blanks, underscores and TeX, digits as digits, bars as minus signs."""
    text = name.strip().translate(str.maketrans("₀₁₂₃₄₅₆", "0123456"))
    text = re.sub(r"\\(?:bar|overline)\{?(\d)\}?", r"-\1", text)
    text = re.sub("(\\d)[\u0304\u0305]", r"-\1", text)
    text = text.replace("\u2212", "-").replace("\u2013", "-")
    return re.sub(r"[\s_${}]+", "", text)


def _fold_point_group(name: str) -> str:
    """``m3m`` for ``m-3m``; other bars carry meaning."""
    return {"m3m": "m-3m", "m3": "m-3"}.get(name, name)


@lru_cache(maxsize=1)
def _arrays() -> dict[str, NDArray[Any]]:
    """The shipped table."""
    try:
        with np.load(TABLE, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{TABLE.name}, the table of space groups, cannot be read ({error}); reinstall the "
            "package."
        ) from error


@lru_cache(maxsize=1)
def _names() -> tuple[dict[str, int], dict[str, int]]:
    """Names to numbers: exactly as written, and in lower case where that stays unique."""
    table = _arrays()
    exact = dict(zip(table["names"].tolist(), table["name_numbers"].tolist(), strict=True))
    exact |= _OLD_NAMES
    # A standard symbol always means its own group, whatever other settings are called.
    exact |= {clean_name(symbol): i + 1 for i, symbol in enumerate(table["symbols"].tolist())}
    for name, number in list(exact.items()):
        if 200 <= number <= 206 or number >= 221:  # only there a bare 3 means -3
            exact.setdefault(name.replace("-3", "3"), number)
    found: dict[str, set[int]] = {}
    for name, number in exact.items():
        found.setdefault(name.lower(), set()).add(number)
    return exact, {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1}


@lru_cache(maxsize=230)
def _group(number: int) -> SpaceGroup:
    """The group of a valid number."""
    table = _arrays()
    low, high = table["operation_start"][number - 1 : number + 1]
    operations = table["operations"][low:high].astype(float)
    low, high = table["position_start"][number - 1 : number + 1]
    positions = tuple(
        WyckoffPosition(
            _letter(index),
            int(table["multiplicities"][row]),
            str(table["site_symmetries"][row]),
            table["positions"][row, :, :3].astype(float),
            table["positions"][row, :, 3] / GRID,
            number,
        )
        for index, row in enumerate(range(low, high))
    )
    return SpaceGroup(
        number,
        str(table["symbols"][number - 1]),
        str(table["point_groups"][number - 1]),
        operations[:, :, :3],
        operations[:, :, 3] / GRID,
        positions,
    )


def _letter(index: int) -> str:
    """A to z, then A (only Pmmm has 27 positions)."""
    return chr(ord("a") + index) if index < 26 else "A"
