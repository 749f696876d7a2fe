"""Which symmetry operations a CIF means: its list, its Hall symbol, its names and its number.

A file says its symmetry up to four times. A list of operations that is a group counts; a Hall
symbol comes next, then names with their choices, then the number. Everything is checked against
the cell, and what disagrees is tried out: the formula of the file decides between the candidates
(:mod:`crystal_diffusion.data.cif`), or the file is refused. A name that nobody knows is never P1.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np

from crystal_diffusion.data.cif_tags import Tags
from crystal_diffusion.data.space_groups import (
    METRIC_LIMIT,
    METRIC_ROUNDING,
    Operations,
    Setting,
    from_arrays,
    key_of,
    make_operations,
    misfit,
    operations_of,
    setting_of_type,
    settings_named,
    settings_numbered,
)

#: The most operations a group can have in a cell of the tables.
LARGEST_GROUP = 192

_LIST_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC_LIST = (
    "_space_group_symop_magn_operation_xyz",
    "_space_group_symop_magn_operation_mxmymz",
)
_MAGNETIC_CENTERING = "_space_group_symop_magn_centering_xyz"
_MAGNETIC_NAMES = tuple(
    f"_space_group_magn_{kind}_{system}" for kind in ("number", "name") for system in ("bns", "og")
)
_SUPERSPACE = ("_space_group_ssg_", "_space_group_symop_ssg_", "_cell_wave_vector_")
_HALL_TAGS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NAME_TAGS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_full",
    "_space_group_name_h-m_ref",
    "_space_group_name_h-m",
)
_NUMBER_TAGS = ("_space_group_it_number", "_symmetry_int_tables_number")
_CODE_TAG = "_space_group_it_coordinate_system_code"


class NoSymmetry(Exception):
    """The symmetry cannot be told; the text says why and what to do."""


@dataclass(frozen=True)
class SymmetryReading:
    """One way to understand the symmetry of a file.

    Attributes:
        operations: the group.
        says: what it was taken from, for messages.
        sure: whether it may be used when the file has nothing to confirm it.
        notes: what was odd about it.
    """

    operations: Operations
    says: str
    sure: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Statements:
    """What a block says besides its list of operations."""

    hall: str
    names: tuple[str, ...]
    number: int | None
    code: str

    @classmethod
    def of(cls, tags: Tags) -> _Statements:
        names = tuple(dict.fromkeys(t for tag in _NAME_TAGS if (t := tags.text(tag))))
        number = tags.number(*_NUMBER_TAGS)
        whole = int(number) if number is not None and number == int(number) else None
        return cls(tags.text(*_HALL_TAGS), names, whole, tags.text(_CODE_TAG))


def symmetry_of(tags: Tags, lattice: np.ndarray) -> tuple[SymmetryReading, ...]:
    """The ways to understand the symmetry of a block, the likeliest first.

    Args:
        tags: the block.
        lattice: ``(3, 3)`` rows in Å, as its cell parameters say.

    Raises:
        NoSymmetry: when there is none that fits the cell.
    """
    said = _Statements.of(tags)
    listed = _listed(tags)
    together = " ".join(tags.values)
    if any(start in together for start in _SUPERSPACE):
        raise NoSymmetry(
            "it is a modulated structure (superspace group), which no cell holds; give a "
            "commensurate approximant, or the average structure without the modulation"
        )
    if not listed and not said.names and (magnetic := tags.text(*_MAGNETIC_NAMES)):
        raise NoSymmetry(
            f"the magnetic space group {magnetic!r} is named and no operations are listed; add "
            "_space_group_symop_magn_operation.xyz"
        )
    if listed:
        shifted = _off_origin(listed)
        if shifted is not None:
            return _that_fits(
                [SymmetryReading(shifted, "its symmetry operations")], lattice, "the list"
            )
        known = _known_group(listed, said)
        if known is not None and misfit(known.operations, lattice) < METRIC_ROUNDING:
            return (known,)
        return _from_list(listed, said, lattice)
    return _without_list(said, lattice)


def _listed(tags: Tags) -> tuple[str, ...]:
    """The operations as texts; those of magnetic CIFs without their time reversal."""
    for tag in _LIST_TAGS:
        values = tags.values.get(tag, ())
        if len(values):
            return tuple(values)
    for tag in _MAGNETIC_LIST:
        values = tags.column(tag)
        if values:
            plain = [_without_time(v) for v in values]
            centering = [_without_time(v) for v in tags.column(_MAGNETIC_CENTERING)]
            return _combined(tuple(plain), tuple(centering or ["x,y,z"]))
    return ()


def _without_time(text: str) -> str:
    parts = str(gemmi.cif.as_string(text)).split(",")
    return ",".join(parts[:3])


def _combined(plain: tuple[str, ...], centering: tuple[str, ...]) -> tuple[str, ...]:
    found = {}
    for one in _parsed(plain):
        for two in _parsed(centering):
            product = (two * one).wrap()
            found[key_of(product)] = product.triplet()
    return tuple(found.values())


@functools.lru_cache(maxsize=1024)
def _parsed(texts: tuple[str, ...]) -> tuple[gemmi.Op, ...]:
    """The operations, each once.

    Raises:
        NoSymmetry: for what is no operation.
    """
    found: dict[tuple[int, ...], gemmi.Op] = {}
    if len(texts) > 4 * LARGEST_GROUP:
        raise NoSymmetry(
            f"{len(texts)} symmetry operations are listed, but no group has more than "
            f"{LARGEST_GROUP}; correct the list"
        )
    for text in texts:
        plain = _plain_operation(text)
        try:
            operation = gemmi.Op(plain)
        except (RuntimeError, ValueError) as error:
            raise NoSymmetry(f"{plain!r} is no symmetry operation ({error}); correct it") from error
        # Whole numbers beyond 1 occur in cells that are not reduced, as in x, -y, 2*x-z.
        whole = all(value % gemmi.Op.DEN == 0 for row in operation.rot for value in row)
        if not whole or abs(operation.det_rot()) != gemmi.Op.DEN**3:
            raise NoSymmetry(
                f"{plain!r} is no symmetry operation (its rotation has no determinant of 1 or -1); "
                "correct it"
            )
        found.setdefault(key_of(operation), operation)
    return tuple(found.values())


def _plain_operation(text: str) -> str:
    plain = str(gemmi.cif.as_string(text)).strip().strip("()[] ").replace("*", "")
    # 2x, as pymatgen writes it in cells that are not reduced, is 2*x to the parser.
    return re.sub(r"(\d)\s*([xyzXYZ])", r"\1*\2", plain)


@functools.lru_cache(maxsize=1024)
def _off_origin(texts: tuple[str, ...]) -> Operations | None:
    """The operations of a group whose origin is at no place of the tables (``-x+5/297, y, z``).

    None where all translations are those of the tables, or the list is no group.
    """
    rotations, translations, ordinary = [], [], True
    for text in texts:
        plain = _plain_operation(text).replace(" ", "")
        try:
            operation = gemmi.Op(plain)
            shift = [value / gemmi.Op.DEN for value in operation.tran]
        except (RuntimeError, ValueError):
            parts = plain.split(",")
            bare = [re.sub(r"[-+]?(\d+/\d+|\d*\.\d+|\d+)(?![xyzXYZ\d])", "", p) for p in parts]
            try:
                operation = gemmi.Op(",".join(bare))
                shift = [_shift_of(part) for part in parts]
            except (RuntimeError, ValueError, ZeroDivisionError):
                return None
            ordinary = False
        rotations.append(operation.rot)
        translations.append(shift)
    if ordinary:
        return None
    turns = np.array(rotations, dtype=np.float64) / gemmi.Op.DEN
    if not np.isin(turns, (-1.0, 0.0, 1.0)).all() or len(turns) > LARGEST_GROUP:
        return None
    operations = from_arrays(turns, np.array(translations))
    return operations if (operations.products >= 0).all() else None


def _shift_of(text: str) -> float:
    total = 0.0
    for sign, upper, lower in re.findall(r"([-+]?)(\d*\.?\d+)(?:/(\d+))?(?![xyzXYZ\d.])", text):
        value = float(upper) / (float(lower) if lower else 1.0)
        total += -value if sign == "-" else value
    return total


@functools.lru_cache(maxsize=1024)
def _closure(texts: tuple[str, ...]) -> tuple[gemmi.Op, ...] | None:
    """The group that the operations generate; None for more than a group can have."""
    listed = _parsed(texts)
    found = {key_of(o): o for o in (gemmi.Op("x,y,z"), *listed)}
    waiting = list(found.values())
    while waiting:
        one = waiting.pop()
        for other in listed:
            product = (one * other).wrap()
            key = key_of(product)
            if key not in found:
                if len(found) >= LARGEST_GROUP:
                    return None
                found[key] = product
                waiting.append(product)
    return tuple(found.values())


def _is_group(texts: tuple[str, ...], operations: Operations) -> bool:
    """Whether the operations of a list are a group."""
    # The table of products is needed later and far cheaper, but knows -1, 0 and 1 only.
    if len(operations) <= LARGEST_GROUP and np.isin(operations.rotations, (-1, 0, 1)).all():
        return bool((operations.products >= 0).all())
    closed = _closure(texts)
    return closed is not None and len(closed) == len(operations)


@functools.lru_cache(maxsize=1024)
def _known_group(texts: tuple[str, ...], said: _Statements) -> SymmetryReading | None:
    """The list, where it is a whole group and nothing in the file says another one."""
    listed = _parsed(texts)
    operations = make_operations(listed)
    if not _is_group(texts, operations):
        return None
    named, unknown = _named(said)
    notes = tuple(
        f"the space group {name!r} is unknown; the operations of the file were used"
        for name in unknown
    )
    candidate = SymmetryReading(operations, "its symmetry operations", True, notes)
    if not named or any(setting.operations.keys == operations.keys for setting in named):
        return candidate
    number = _number_of(operations)
    if number is None or any(setting.number == number for setting in named):
        return candidate
    return None


def _from_list(
    texts: tuple[str, ...], said: _Statements, lattice: np.ndarray
) -> tuple[SymmetryReading, ...]:
    """Candidates where the list of operations is no group, or says something else than the rest."""
    listed = _parsed(texts)
    keys = {key_of(operation) for operation in listed}
    closed = _closure(texts)
    whole = closed is not None and len(closed) == len(listed)
    named, _ = _named(said)
    fitting = [s for s in named if misfit(s.operations, lattice) <= METRIC_LIMIT]
    found: list[SymmetryReading] = []
    if whole:
        own = make_operations(listed)
        says = f"the {len(listed)} listed operations"
        off = misfit(own, lattice)
        if _agrees(own, named) and off <= METRIC_LIMIT:
            loose = (f"the cell differs from the symmetry by {off:.1%}",)
            return (SymmetryReading(own, says, True, loose if off > METRIC_ROUNDING else ()),)
        if off <= METRIC_LIMIT:
            # A program that does not know the group writes P 1 and the true operations.
            lazy = bool(named) and all(setting.number == 1 for setting in named)
            text = f"the operations are not those of the space group {_names_of(named)}"
            found.append(SymmetryReading(own, says, lazy, (text,)))
    elif closed is not None:
        own = make_operations(closed)
        note = f"{len(own)} operations follow from the {len(listed)} listed"
        if misfit(own, lattice) <= METRIC_LIMIT:
            sure = any(setting.operations.keys == own.keys for setting in named)
            candidate = SymmetryReading(own, "what the listed operations generate", sure, (note,))
            if sure:
                return (candidate,)
            found.append(candidate)
    for setting in fitting:
        note = f"the operations of {setting.name} were used, not the {len(listed)} listed"
        part = not whole and keys <= setting.operations.keys
        found.insert(0 if part else len(found), _of_setting(setting, part, note))
    if sum(candidate.sure for candidate in found) > 1:
        found = [SymmetryReading(c.operations, c.says, False, c.notes) for c in found]
    if not found:
        why = "do not fit the cell" if whole else "are no group"
        raise NoSymmetry(f"the {len(listed)} symmetry operations {why}; correct them or the cell")
    return tuple(found)


def _agrees(own: Operations, named: Sequence[Setting]) -> bool:
    if not named:
        return True
    number = _number_of(own)
    return number is None or any(setting.number == number for setting in named)


def _without_list(said: _Statements, lattice: np.ndarray) -> tuple[SymmetryReading, ...]:
    """Candidates of a file that lists no operations."""
    hall = _hall(said.hall)
    named, unknown = _named(_Statements("", said.names, said.number, said.code))
    if hall is not None:
        says = f"the Hall symbol {said.hall!r}"
        number = _number_of(hall)
        agree = not named or number is None or any(s.number == number for s in named)
        if agree:
            return _that_fits([SymmetryReading(hall, says)], lattice, says)
        found = [SymmetryReading(hall, says, False), *(_of_setting(s, False) for s in named)]
        return _that_fits(found, lattice, f"{says} and the name {_names_of(named)}")
    if not said.names and said.hall:
        # Some programs write the Hermann-Mauguin symbol in the place of the Hall symbol.
        named = settings_named(said.hall, said.code)
        if not named:
            raise NoSymmetry(f"the Hall symbol {said.hall!r} is unknown; correct it")
        named, unknown = _of_number(named, said.number), ()
    if unknown and not _known_names(said):
        numbered = settings_numbered(said.number, said.code) if said.number else ()
        text = (
            f"the space group {unknown[0]!r} is unknown and no operations are listed; "
            "correct its name or add the operations"
        )
        typed = setting_of_type(unknown[0])
        if typed is not None and not said.number:
            note = f"{unknown[0]!r} is a structure type, no space group; {typed.name} was used"
            return _that_fits([_of_setting(typed, True, note)], lattice, typed.name)
        if not numbered:
            raise NoSymmetry(text)
        note = f"the space group {unknown[0]!r} is unknown; number {said.number} was used"
        found = [_of_setting(s, False, note) for s in _fitting(numbered, lattice)]
        if not found:
            raise NoSymmetry(text)
        return tuple(found)
    if not named:
        identity = operations_of("P 1")
        note = "the file says no symmetry; its atoms are taken to be all atoms of the cell"
        return (SymmetryReading(identity, "no symmetry", True, (note,)),)
    fitting = _fitting(named, lattice)
    says = f"the space group {_names_of(named)}"
    if not fitting:
        return _that_fits([_of_setting(s, True) for s in named], lattice, says)
    return _ranked(fitting, lattice, named[0])


def _ranked(
    fitting: Sequence[Setting], lattice: np.ndarray, standard: Setting
) -> tuple[SymmetryReading, ...]:
    """Candidates of a name or number that leaves a choice.

    Of settings that differ in the unique axis, the standard (b, or as written) may be used if it
    fits the cell. Any other choice, of origin or of cell, needs something that confirms it.
    """
    exact = [s for s in fitting if misfit(s.operations, lattice) <= METRIC_ROUNDING]
    settings = exact or list(fitting)
    origins = [s for s in settings if s.hm == standard.hm]
    sure = len(settings) == 1 or origins == [standard]
    first = standard if origins == [standard] else settings[0]
    others = [s for s in settings if s != first]
    return (_of_setting(first, sure), *(_of_setting(s, False) for s in others))


def _of_setting(setting: Setting, sure: bool, *notes: str) -> SymmetryReading:
    return SymmetryReading(setting.operations, f"the space group {setting.name}", sure, notes)


def _fitting(settings: Sequence[Setting], lattice: np.ndarray) -> list[Setting]:
    return [s for s in settings if misfit(s.operations, lattice) <= METRIC_LIMIT]


def _that_fits(
    found: Sequence[SymmetryReading], lattice: np.ndarray, says: str
) -> tuple[SymmetryReading, ...]:
    kept: list[SymmetryReading] = []
    for candidate in found:
        off = misfit(candidate.operations, lattice)
        if off > METRIC_LIMIT:
            continue
        note = (f"the cell differs from the symmetry by {off:.1%}",)
        notes = candidate.notes + (note if off > METRIC_ROUNDING else ())
        kept.append(SymmetryReading(candidate.operations, candidate.says, candidate.sure, notes))
    if not kept:
        raise NoSymmetry(
            f"{says} does not fit the cell; correct one of them, or name the setting "
            "(unique axis, :H or :R)"
        )
    return tuple(kept)


def _hall(text: str) -> Operations | None:
    if not text:
        return None
    try:
        return operations_of(text)
    except (RuntimeError, ValueError):
        return None


@functools.lru_cache(maxsize=1024)
def _named(said: _Statements) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Settings that Hall symbol, names and number agree on, and the names that nobody knows."""
    groups = [(name, settings_named(name, said.code)) for name in said.names]
    unknown = tuple(name for name, settings in groups if not settings)
    known = [settings for _, settings in groups if settings]
    hall = _hall(said.hall)
    if hall is not None:
        keyed = [s for settings in known for s in settings if s.operations.keys == hall.keys]
        if keyed:
            return tuple(keyed), unknown
    if not known:
        if not said.number or (unknown and hall is None):
            return (), unknown
        return settings_numbered(said.number, said.code), unknown
    common = [s for s in known[0] if all(s in settings for settings in known[1:])]
    return _of_number(tuple(common or known[0]), said.number), unknown


def _of_number(settings: tuple[Setting, ...], number: int | None) -> tuple[Setting, ...]:
    """The settings of that number; where there are none, both statements."""
    if not number:
        return settings
    same = tuple(setting for setting in settings if setting.number == number)
    return same or settings + settings_numbered(number)[:2]


def _known_names(said: _Statements) -> bool:
    return any(settings_named(name, said.code) for name in said.names)


def _names_of(settings: Sequence[Setting]) -> str:
    names = list(dict.fromkeys(setting.name for setting in settings))
    return " or ".join(names[:3])


@functools.lru_cache(maxsize=1024)
def _number_of_keys(keys: frozenset[tuple[int, ...]]) -> int | None:
    operations = gemmi.GroupOps([_as_operation(key) for key in sorted(keys)])
    group: gemmi.SpaceGroup | None = gemmi.find_spacegroup_by_ops(operations)
    if group is not None:
        return int(group.number)
    import spglib

    table = np.array(sorted(keys), dtype=np.float64) / gemmi.Op.DEN
    with warnings.catch_warnings():
        # Spglib announces that a later version will raise where this one returns None.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_spacegroup_type_from_symmetry(
            np.rint(table[:, :9]).astype(np.intc).reshape(-1, 3, 3), table[:, 9:]
        )
    # None for operations that make no group of any lattice.
    number = getattr(found, "number", None)
    return None if number is None else int(number)


def _number_of(operations: Operations) -> int | None:
    """The number of the type of space group, in whatever setting; None if it cannot be told."""
    return _number_of_keys(operations.keys)


def _as_operation(key: tuple[int, ...]) -> gemmi.Op:
    operation = gemmi.Op("x,y,z")
    operation.rot = [list(key[0:3]), list(key[3:6]), list(key[6:9])]
    operation.tran = list(key[9:12])
    return operation
