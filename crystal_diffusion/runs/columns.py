"""Every column that says something of a crystal, once: name, label, unit, digits.

Tables on disk, the report with its cards, the terminal, the database and the check of what is read
back take them from here. A row is a frozen dataclass whose fields are columns.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from crystal_diffusion.properties import PROPERTIES
from crystal_diffusion.runs.predicted import (
    INSIDE,
    INSIDE_ALL,
    PREFIX,
    inside_column,
    is_interval_end,
    is_prediction,
    prediction_column,
)

Kind = Literal["number", "flag", "text", "list", "mapping"]
Place = Literal["table", "card", "query"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: in files and rows, with its unit.
        label: for people.
        unit: of a number, or what it depends on; empty where there is none.
        digits: after the point; None for what is no number.
        kind: what it holds beside None.
        short: heading where space is short; the label if empty.
        places: where it is, beside the files: the table and the cards of a report, and the
            questions to the database.
    """

    name: str
    label: str
    unit: str = ""
    digits: int | None = None
    kind: Kind = "text"
    short: str = ""
    places: tuple[Place, ...] = ("card",)

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def narrow(self) -> str:
        """The heading where space is short."""
        return self.short or self.label

    def text(self, value: Any, empty: str = "") -> str:
        """A value as people read it.

        Args:
            value: of this column.
            empty: what stands for no value.
        """
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            return empty
        if isinstance(value, bool):
            return "yes" if value else "no"
        # Whole numbers as they are: a seed has more digits than a float.
        if (self.digits and isinstance(value, int | float)) or isinstance(value, float):
            return f"{value:.{self.digits}f}"
        return str(value)

    def holds(self, value: Any) -> bool:
        """Whether a value is of the kind of this column; None always is."""
        if value is None:
            return True
        if self.kind == "number":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            # A seed is a whole number of any length.
            return number and (abs(value) < 1e300 or self.name == "seed")
        kinds: dict[Kind, type] = {"flag": bool, "text": str, "list": list, "mapping": dict}
        return isinstance(value, kinds[self.kind])


def _number(
    name: str,
    label: str,
    unit: str = "",
    digits: int = 0,
    *,
    short: str = "",
    places: tuple[Place, ...] = ("card",),
) -> Column:
    return Column(name, label, unit, digits, "number", short, places)


def _flag(
    name: str, label: str, *, short: str = "", places: tuple[Place, ...] = ("card",)
) -> Column:
    return Column(name, label, kind="flag", short=short, places=places)


_FILE: tuple[Place, ...] = ()
_TOP: tuple[Place, ...] = ("table",)
_ROW: tuple[Place, ...] = ("table", "card")
_ASK: tuple[Place, ...] = ("card", "query")
_ALL: tuple[Place, ...] = ("table", "card", "query")


def _predictions() -> Iterator[Column]:
    """Predicted properties: values in tables, the ends of their intervals on cards."""
    yield _number(
        INSIDE_ALL, "Chance to be inside all that was asked", digits=2, short="inside", places=_ROW
    )
    for known in PROPERTIES:
        digits = 1 if known.unit == "GPa" else 3
        title, unit = f"Predicted {known.title}", known.unit
        yield _number(
            prediction_column(known.name),
            title,
            unit,
            digits,
            short=known.name,
            places=_ROW,
        )
        for end, word in (("low", "at least"), ("high", "at most")):
            name = prediction_column(known.name, end)
            yield _number(name, f"{title}, {word} (90 %)", unit, digits)
        chance = f"Chance of the {known.title} asked for"
        yield _number(inside_column(known.name), chance, digits=2)


#: In the order in which a report shows them.
COLUMNS: tuple[Column, ...] = (
    _number("rank", "Rank", short="#", places=("table", "query")),
    Column("id", "Id", short="id", places=_TOP),
    Column("formula", "Formula", short="formula", places=_TOP),
    _number("num_atoms", "Atoms", short="atoms", places=_TOP),
    _number("space_group_0.1", "Space group", "at 0.1 Å", short="SG", places=_TOP),
    _number("space_group_relaxed", "Space group, relaxed", "at 0.1 Å", places=_TOP),
    _number("space_group_0.01", "Space group", "at 0.01 Å", places=_FILE),
    *_predictions(),
    _number("energy_above_hull_eV_atom", "Above hull", "eV/atom", 3, short="hull", places=_ALL),
    _number(
        "published_near_hull_probability",
        "Chance of at most 0.1 eV/atom above the published (PBE) hull",
        digits=2,
        short="chance near hull",
        places=_ALL,
    ),
    _number(
        "published_above_hull_eV_atom",
        "Above the published (PBE) hull, estimated",
        "eV/atom",
        3,
        places=_ASK,
    ),
    _number(
        "formation_energy_eV_atom", "Formation energy", "eV/atom", 3, short="formation", places=_ALL
    ),
    _number("energy_per_atom_eV", "Energy", "eV/atom", 3, places=_ALL),
    _number("spread_eV_atom", "Spread of potentials", "eV/atom", 3, short="spread", places=_ALL),
    Column("second_potential", "Second potential"),
    _number("second_above_hull_eV_atom", "Above hull by the second potential", "eV/atom", 3),
    _flag("second_agrees", "The second potential agrees"),
    _number("n_competing", "Competing phases", short="phases", places=_ASK),
    Column("decomposition", "Would decompose into", kind="mapping", places=_FILE),
    Column("potential", "Potential", places=_ASK),
    Column("potential_version", "Its version", places=_ASK),
    Column("reference_date", "References of", places=_ASK),
    _flag("converged", "Converged", short="converged", places=_ALL),
    _number("steps", "Relaxation steps", places=_ASK),
    _number("max_force_eV_A", "Largest force", "eV/Å", 3, places=_ALL),
    _number("max_stress_GPa", "Largest stress", "GPa", 2, places=_ALL),
    Column("doubt", "Doubt", places=_ROW),
    _flag("novel", "Novel", short="novel", places=_ALL),
    Column("known_by", "Known by", places=_ROW),
    Column("nearest_known_id", "Nearest known", short="nearest known", places=_ALL),
    _number(
        "nearest_known_distance", "Distance to the nearest known", "fingerprint", 3, places=_ALL
    ),
    _flag("swap_of_like_elements", "Differs only by like elements", places=_ASK),
    Column("nearest_train_id", "Nearest in training set", short="nearest known", places=_ROW),
    _number("nearest_train_distance", "Distance to training", "fingerprint", 3, places=_ROW),
    _flag("copy_of_training", "Copy of training", short="copy"),
    _number("volume_A3", "Volume", "Å³", 2, places=_FILE),
    _number("volume_per_atom_A3", "Volume per atom", "Å³", 2, short="Å3/atom", places=_ROW),
    _number("volume_per_atom_relaxed_A3", "Volume per atom, relaxed", "Å³", 2, places=_ROW),
    _number("density_g_cm3", "Density", "g/cm³", 2, places=_ROW),
    _number("min_distance_A", "Shortest distance", "Å", 2, places=_ROW),
    _number("score", "Score", "", 3, short="score", places=_ROW),
    _number("confidence", "Confidence", "", 2, short="confidence", places=_ROW),
    _number("group", "Group of equals", places=_ALL),
    Column("duplicate_of", "Duplicate of", places=_ALL),
    Column("start", "Start", short="start", places=_ROW),
    Column("start_source", "Start from"),
    _number("moved_A", "Moved from start", "Å", 2, places=_ROW),
    Column("symmetry", "Symmetry"),
    _number("space_group_requested", "Space group asked for"),
    _number("space_group_drawn", "Space group drawn"),
    Column("wyckoff", "Wyckoff letters"),
    _number("skeleton_probability", "Probability of the skeleton", "", 4, places=_FILE),
    _number("space_group_moyopy", "Space group by moyopy", "at 0.01 Å"),
    _number("space_group_spglib", "Space group by spglib", "at 0.01 Å"),
    _flag("higher_symmetry", "More symmetry than drawn"),
    _number("idealised_from", "Space group before it was made exact"),
    _number("idealised_to", "Space group that was made exact"),
    _number("idealised_moved_A", "Moved by making it exact", "Å", 4),
    _flag("beyond_training_size", "Larger than all training crystals"),
    _number("index", "Number in the run"),
    _number("attempt", "Attempt"),
    _number("seed", "Seed"),
    Column("source", "Read from", places=_FILE),
    Column("dft_code", "Code, DFT", places=_ASK),
    _number("dft_energy_per_atom_eV", "Energy, DFT", "eV/atom", 3, places=_ASK),
    _number("dft_formation_energy_eV_atom", "Formation energy, DFT", "eV/atom", 3, places=_ASK),
    _number("dft_energy_above_hull_eV_atom", "Above hull, DFT", "eV/atom", 3, places=_ASK),
    _number("dft_n_competing", "Competing phases, DFT"),
    _flag("dft_converged", "Converged, DFT", places=_ASK),
    Column("dft_problem", "Problem, DFT"),
    _flag("valid", "Valid", places=("table", "query")),
    Column("warnings", "Warnings", kind="list", places=_FILE),
    Column("checks", "Checks", kind="list", places=_FILE),
    Column("problem", "Problem", places=_ROW),
)
_BY_NAME = {column.name: column for column in COLUMNS}
#: Ends of names, and the units they mean.
_UNITS = (
    ("_eV_atom", "eV/atom"),
    ("_eV_A", "eV/Å"),
    ("_eV", "eV"),
    ("_GPa", "GPa"),
    ("_g_cm3", "g/cm³"),
    ("_A3", "Å³"),
    ("_A", "Å"),
    ("_K", "K"),
)


def column(name: str) -> Column:
    """The column of a name; of one that is not listed, a number with what its name says.

    Columns of predicted labels are not listed: which there are, a model decides.
    """
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    end, unit = next(((e, u) for e, u in _UNITS if name.endswith(e)), ("", ""))
    words = name.removesuffix(end).replace("_", " ").strip() or name
    short = words.removeprefix("predicted ") if name.startswith(PREFIX) else ""
    # One chance, to be inside all that was asked, is enough for a table, as for listed properties.
    places: tuple[Place, ...] = ("card",) if name.startswith(INSIDE) else _ROW
    return Column(name, words[0].upper() + words[1:], unit, 3, "number", short, places)


def listed(name: str) -> bool:
    """Whether a name is one of :data:`COLUMNS`."""
    return name in _BY_NAME


def used_columns(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Columns of a report's table in which at least one row has a value.

    Of predicted properties those that were asked for, with the chance to be inside; all of them
    where nothing was asked.
    """
    names: dict[str, None] = {}
    for row in rows:
        names |= {name: None for name, value in row.items() if value not in (None, "")}
    chances = (name for name in names if name.startswith(INSIDE))
    asked = {prediction_column(name.removeprefix(INSIDE)) for name in chances}
    return [
        c
        for c in (*COLUMNS, *unlisted_predictions(names))
        if "table" in c.places
        and c.name in names
        and not (asked and c.name.startswith(PREFIX) and c.name not in asked)
    ]


def unlisted_predictions(names: Iterable[str]) -> list[Column]:
    """Columns of predicted properties of the user's own, without the ends of their intervals."""
    return [
        column(name)
        for name in names
        if is_prediction(name) and not listed(name) and not is_interval_end(name)
    ]


def named(name: str, *, optional: bool = False, with_field: str = "") -> Any:
    """A field of a row.

    Args:
        name: of its column.
        optional: whether it is left out where it is None.
        with_field: left out where this other field is None instead.
    """
    metadata = {"column": name, "optional": optional, "with": with_field}
    return dataclasses.field(default=None, metadata=metadata)


_R = TypeVar("_R", bound="Row")


class Row(Mapping[str, Any]):
    """A row of a table: frozen, typed fields that also read by the names of their columns.

    Derived classes are frozen dataclasses without own comparison: a row equals every mapping of the
    same columns and values. A field ``more`` holds further columns by name.
    """

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(name for name, _, _ in _fields(cls))

    def to_dict(self) -> dict[str, Any]:
        """Plain values by column, those that are optional only where there are any."""
        found = {
            name: getattr(self, attribute)
            for name, attribute, decides in _fields(type(self))
            if not decides or getattr(self, decides) is not None
        }
        return found | dict(getattr(self, "more", {}))

    @classmethod
    def from_dict(cls: type[_R], row: Mapping[str, Any]) -> _R:
        """The row of these columns; others are left out."""
        return cls(**{field: row[name] for name, field, _ in _fields(cls) if name in row})

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


@functools.cache
def _fields(row: type[Row]) -> tuple[tuple[str, str, str], ...]:
    """Column and field of a kind of row, and the field that must not be None for it, if any."""
    return tuple(
        (
            f.metadata.get("column", f.name),
            f.name,
            f.metadata.get("with") or (f.name if f.metadata.get("optional") else ""),
        )
        for f in dataclasses.fields(row)  # type: ignore[arg-type]
        if f.name != "more"
    )
