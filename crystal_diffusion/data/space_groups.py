"""Space groups by the names that files give them: gemmi's tables, in every spelling.

A name may leave choices open: the origin (``F d -3 m``), the axes (``R -3 m``), the unique axis
(``P 21/b``). Then all settings are returned and the caller decides.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np

#: Part by which a metric may differ from what the operations demand: rounding, and nonsense.
METRIC_ROUNDING, METRIC_LIMIT = 0.003, 0.03
#: Translations this near (fractional) are one: printed with four digits, or as fractions.
SAME_TRANSLATION = 2e-3
_CHOICE = re.compile(r"[:;]\s*([-\w]+)\s*$")
_WORD_CHOICE = re.compile(r"\s+([12HRSZ]|HR|RS|O[12]|hex\w*|rhomb\w*)$")
_ORIGIN = re.compile(
    r"[\s,({\[]*\borigin\b\s*(?:choice|at|@|no\.?|number)?\s*[:=]?\s*([^)}\]]*)[)}\]]*\s*$", re.I
)
_BASIS = re.compile(r"\(([^()]*,[^()]*,[^()]*)\)\s*$")
#: The number of the tables behind or in the place of a symbol: ``(225)``, ``(No. 225)``, ``#225``.
_TABLE_NUMBER = re.compile(
    r"[\s(\[]*(?:\bno\b\.?|\bnumber\b|#)\s*(\d{1,3})\s*[)\]]*\s*$|\((\d{1,3})\)\s*$", re.I
)
#: Overlined digits as texts have them: ``\\=3`` and ``3\\=`` (CIF), ``\\bar{3}`` (LaTeX).
_OVERLINED = re.compile(r"\\bar\s*\{?([1-6])\}?|\\=([1-6])|([1-6])\\=|([1-6])\u0305|\u0305([1-6])")


@dataclass(frozen=True)
class Operations:
    """A group of symmetry operations.

    Attributes:
        rotations: ``(operations, 3, 3)``; the first operation is the identity.
        translations: ``(operations, 3)``.
        keys: the same as whole numbers, translations reduced to [0, 1).
    """

    rotations: np.ndarray
    translations: np.ndarray
    keys: frozenset[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.rotations)

    @functools.cached_property
    def products(self) -> np.ndarray:
        """``(operations, operations)``: the index of one operation after another.

        The row is applied last; -1 where the product is no operation of the list, so that it is no
        group.
        """
        return _products(self.rotations, self.translations)

    @functools.cached_property
    def point_rotations(self) -> np.ndarray:
        """The different rotations."""
        return np.unique(self.rotations, axis=0)


def _products(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    powers = 3 ** np.arange(9)
    codes = (rotations.reshape(-1, 9) + 1.0) @ powers
    turned = np.einsum("aij,bjk->abik", rotations, rotations).reshape(*[len(codes)] * 2, 9)
    wanted = (turned + 1.0) @ powers
    shifted = np.einsum("aij,bj->abi", rotations, translations) + translations[:, None]
    index = np.full(wanted.shape, -1)
    for place, code in enumerate(codes):
        first, second = np.nonzero(wanted == code)
        delta = shifted[first, second] - translations[place]
        same = (np.abs(delta - np.round(delta)) < SAME_TRANSLATION).all(-1)
        index[first[same], second[same]] = place
    return index


def key_of(operation: gemmi.Op) -> tuple[int, ...]:
    """An operation as whole numbers, its translation reduced to [0, 1)."""
    rows = [value for row in operation.rot for value in row]
    return (*rows, *(shift % gemmi.Op.DEN for shift in operation.tran))


def make_operations(listed: Sequence[gemmi.Op]) -> Operations:
    """A group from its operations, the identity put first."""
    keys = [key_of(operation) for operation in listed]
    table = np.array(keys, dtype=np.float64) / gemmi.Op.DEN
    return from_arrays(table[:, :9].reshape(-1, 3, 3), table[:, 9:])


def from_arrays(rotations: np.ndarray, translations: np.ndarray) -> Operations:
    """A group from its operations as arrays, the identity put first."""
    shifts = translations - np.floor(translations)
    whole = np.rint(rotations.reshape(-1, 9) * gemmi.Op.DEN).astype(int)
    fine = np.rint(shifts * gemmi.Op.DEN).astype(int) % gemmi.Op.DEN
    table = np.concatenate([whole, fine], 1)
    identity = (rotations == np.eye(3)).all((1, 2)) & (fine == 0).all(1)
    order = np.argsort(~identity, kind="stable")
    keys = frozenset(tuple(row) for row in table.tolist())
    return Operations(rotations[order], shifts[order], keys)


@functools.lru_cache(maxsize=1024)
def operations_of(hall: str) -> Operations:
    """The operations that a Hall symbol stands for.

    Raises:
        RuntimeError, ValueError: for a text that is no Hall symbol.
    """
    return make_operations(list(gemmi.symops_from_hall(hall)))


def misfit(operations: Operations, lattice: np.ndarray) -> float:
    """How far the operations are from leaving the metric of the cell as it is, relatively."""
    rotations = operations.point_rotations
    if len(rotations) <= 1:
        return 0.0
    metric = lattice @ lattice.T
    turned = np.einsum("oji,jk,okl->oil", rotations, metric, rotations)
    lengths = np.sqrt(np.abs(np.diag(metric)))
    return float((np.abs(turned - metric) / np.outer(lengths, lengths)).max())


@dataclass(frozen=True)
class Setting:
    """A space group in one setting of the tables.

    Attributes:
        number: 1 to 230.
        hm: short Hermann-Mauguin symbol.
        choice: ``1``, ``2``, ``H`` or ``R`` where the symbol leaves it open.
        qualifier: unique axis and cell choice, or order of axes.
        hall: Hall symbol.
        basis: change of basis behind the symbol, empty for none.
    """

    number: int
    hm: str
    choice: str
    qualifier: str
    hall: str
    basis: str = ""

    @property
    def name(self) -> str:
        """As gemmi writes it: symbol, colon, choice."""
        bare = f"{self.hm}:{self.choice}" if self.choice else self.hm
        return f"{bare} ({self.basis})" if self.basis else bare

    @property
    def operations(self) -> Operations:
        """The operations of the group in this setting."""
        if self.basis:
            return _in_basis(self.hall, self.basis)
        return operations_of(self.hall)


@functools.lru_cache(maxsize=256)
def _in_basis(hall: str, basis: str) -> Operations:
    return make_operations(list(gemmi.symops_from_hall(f"{hall} ({basis})")))


def _setting(group: gemmi.SpaceGroup) -> Setting:
    choice = group.ext.strip("\0")
    return Setting(group.number, group.hm, choice, group.qualifier, group.hall)


@functools.lru_cache(maxsize=1)
def all_settings() -> tuple[Setting, ...]:
    """The 564 settings of gemmi."""
    return tuple(_setting(group) for group in gemmi.spacegroup_table())


@functools.lru_cache(maxsize=1)
def _names() -> dict[str, tuple[Setting, ...]]:
    """Settings by symbol in lower case: with single blanks, and without any; short and full."""
    import moyopy

    found: dict[str, list[Setting]] = defaultdict(list)

    def add(name: str, setting: Setting) -> None:
        for key in (name.lower(), "".join(name.lower().split())):
            if setting not in found[key]:
                found[key].append(setting)

    full: dict[str, list[str]] = defaultdict(list)
    for hall_number in range(1, 531):
        entry = moyopy.HallSymbolEntry(hall_number)
        full[entry.hm_short.replace("_", "")].append(entry.hm_full.replace("_", ""))
    for setting in all_settings():
        add(setting.hm, setting)
        for name in full.get(setting.hm, ()):
            add(name, setting)
    for setting in all_settings():
        # P 21/b without its axis: the unique axis is b unless the cell says another.
        parts = setting.hm.split()
        if 3 <= setting.number <= 15 and parts.count("1") == 2:
            short = " ".join(part for part in parts if part != "1")
            add(short, setting)
    return {key: tuple(settings) for key, settings in found.items()}


@functools.lru_cache(maxsize=1024)
def settings_named(name: str, code: str = "") -> tuple[Setting, ...]:
    """All settings that a Hermann-Mauguin symbol or number can mean; none for an unknown name.

    Args:
        name: in any spelling: ``F d -3 m :2``, ``Fd-3mZ``, ``F 41/d -3 2/m``, ``P2(1)/c``,
            ``P 1 21/c 1 (x,y,z+1/4)``, ``Fm3m``, ``R-3c {hexagonal axes}``, ``225``.
        code: coordinate system code of the CIF dictionary (``1``, ``h``, ``b1``, ``ba-c``).
    """
    name, number = _without_number(name)
    bare, choice, basis = _dissect(name)
    settings = _lookup(bare) if bare or not number else settings_numbered(number)
    # Letters glued to the symbol, as in R-3mH and Fd-3mZ.
    glued = re.fullmatch(r"(.*[^\s/])\s*([HRSZ])", bare)
    if not settings and glued:
        settings, choice = _lookup(glued[1]), choice or glued[2]
    if not settings:
        settings = _as_gemmi_knows(bare)
    if number:
        settings = tuple(s for s in settings if s.number == number)
    for wish in (choice, code):
        settings = _chosen(settings, wish) if wish else settings
    if basis and settings:
        settings = tuple(
            Setting(s.number, s.hm, s.choice, s.qualifier, s.hall, basis) for s in settings
        )
    return settings


#: Structure types that some files name in the place of a space group, where the type has one
#: group and no choice of origin.
_TYPES = {
    "rock salt": 225,
    "rocksalt": 225,
    "halite": 225,
    "fluorite": 225,
    "antifluorite": 225,
    "zinc blende": 216,
    "zincblende": 216,
    "sphalerite": 216,
    "caesium chloride": 221,
    "cesium chloride": 221,
    "wurtzite": 186,
    "nickel arsenide": 194,
    "rutile": 136,
}


def setting_of_type(name: str) -> Setting | None:
    """The group of a structure type (``rock salt type``); None for any other name."""
    bare = re.sub(r"[\s-]*(structure|type|lattice)\b", "", name.strip().lower()).strip()
    number = _TYPES.get(bare)
    return None if number is None else settings_numbered(number)[0]


def settings_numbered(number: int, code: str = "") -> tuple[Setting, ...]:
    """The settings that a number of the International Tables means.

    The standard one and its choices of origin or axes; for monoclinic groups those with another
    unique axis behind it.
    """
    of_number = [s for s in all_settings() if s.number == number]
    if not of_number:
        return ()
    if code:
        return _chosen(tuple(of_number), code)
    standard = [s for s in of_number if s.hm == of_number[0].hm]
    if 3 <= number <= 15:
        standard += [s for s in of_number if s not in standard]
    return tuple(standard)


def _without_number(name: str) -> tuple[str, int]:
    """A name without the number of the tables behind it, and that number; 0 for none."""
    match = _TABLE_NUMBER.search(name)
    if match is None or not 1 <= (number := int(match[1] or match[2])) <= 230:
        return name, 0
    return name[: match.start()].strip(), number


def _dissect(name: str) -> tuple[str, str, str]:
    """Symbol, choice and change of basis of a name as files write it."""
    text = unicodedata.normalize("NFKC", name.strip().strip("'\"")).replace("\u2212", "-")
    text = text.replace("\u2013", "-").replace("*", "")
    text = _OVERLINED.sub(lambda m: "-" + next(g for g in m.groups() if g), text)
    text = text.replace("$", "").replace("\\", "")
    # Screw axes: 2(1), 2_1, 2~1~, 2sub1.
    text = re.sub(r"([2346])(?:\(([1-5])\)|_\{?([1-5])\}?|~([1-5])~|sub([1-5]))", _screw, text)
    text = text.replace("_", " ")
    choice = basis = ""
    if match := _BASIS.search(text):
        text, basis = text[: match.start()].strip(), match[1].replace(" ", "")
    if match := _ORIGIN.search(text):
        text, choice = text[: match.start()].strip(), _origin(match[1])
    if match := re.search(r"[\s({\[]+(hex\w*|rhomb\w*|obverse)[^)}\]]*[)}\]]*\s*$", text, re.I):
        choice = choice or ("R" if match[1].lower().startswith("rh") else "H")
        text = text[: match.start()].strip()
    if match := _CHOICE.search(text):
        text, choice = text[: match.start()].strip(), match[1]
    elif match := _WORD_CHOICE.search(text):
        # "P 1 2 1" ends in a number too, so a bare number behind a blank is no choice.
        if not match[1].isdigit():
            text, choice = text[: match.start()].strip(), match[1]
    return " ".join(text.split()), choice, basis


def _screw(match: re.Match[str]) -> str:
    return match[1] + next(group for group in match.groups()[1:] if group)


def _origin(text: str) -> str:
    """The origin choice that words such as ``@ centre (-3m)``, ``-43m`` and ``2`` stand for."""
    bare = text.strip().lower()
    if re.fullmatch(r"[12]", bare):
        return bare
    # Choice 2 has its origin on a centre of inversion: -1, -3, -3m, 2/m, mmm, 4/m.
    centre = re.search(r"cent|/m|-3|-1(?!\d)|mmm", bare) is not None
    return "2" if centre else "1"


def _lookup(bare: str) -> tuple[Setting, ...]:
    if not bare:
        return ()
    if bare.isdigit():
        return settings_numbered(int(bare))
    names = _names()
    lower = bare.lower()
    return names.get(lower) or names.get("".join(lower.split())) or ()


def _as_gemmi_knows(bare: str) -> tuple[Setting, ...]:
    """Old and new spellings (F m 3 m, C m c e, H 3), with all choices unless the name has one."""
    group = gemmi.find_spacegroup_by_name(bare) if bare else None
    if group is None:
        return ()
    if bare.lower().startswith("h"):
        return (_setting(group),)
    return tuple(s for s in all_settings() if s.hm == group.hm)


def _chosen(settings: tuple[Setting, ...], wish: str) -> tuple[Setting, ...]:
    """Those of the settings that a choice names; all of them when it names none."""
    code = wish.strip().lower()
    code = {"s": "1", "z": "2", "hr": "h", "rs": "r", "o1": "1", "o2": "2"}.get(code, code)
    if code.startswith("hex"):
        code = "h"
    if code.startswith("rh"):
        code = "r"
    kept = tuple(
        s
        for s in settings
        if code in (s.choice.lower(), s.qualifier, f"{s.choice}{s.qualifier}".lower())
        or (code == "abc" and not s.qualifier)
    )
    if not kept and code[:1] in ("1", "2"):
        kept = tuple(s for s in settings if s.choice == code[0])
    return kept or settings
