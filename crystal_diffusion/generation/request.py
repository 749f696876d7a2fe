"""What a user asks for. Everything not asked for is free."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

from crystal_diffusion import chemistry
from crystal_diffusion.errors import InputError, RequestError
from crystal_diffusion.generation.spelling import meant_element, meant_formula, meant_offer
from crystal_diffusion.properties import PropertyRange, range_of
from crystal_diffusion.symmetry.groups import SpaceGroup, groups_of
from crystal_diffusion.symmetry.structure_types import names_a_lattice, types_named

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Smallest volume an atom can have in any crystal known at ambient pressure is near 4 Å3.
SMALLEST_VOLUME_PER_ATOM = 3.0
#: Å; a longer edge is another unit.
LONGEST_EDGE = 1000.0
#: More atoms than this in one cell are refused: memory grows with the square.
LARGEST_CELL = 400


@dataclass(frozen=True)
class NamedElements:
    """Elements that a request names, by atomic number.

    Attributes:
        required: in every crystal, where no formula is given.
        excluded: in no crystal.
        one_of: of each set, one is in every crystal.
        added: one for each atom added to a host; added_by_symbol: how many of each.
        symbols: of all that are wanted.
    """

    required: tuple[int, ...]
    excluded: frozenset[int]
    one_of: tuple[frozenset[int], ...]
    added: tuple[int, ...]
    added_by_symbol: Mapping[str, int]
    symbols: Mapping[int, str]


@dataclass(frozen=True)
class Request:
    """A request for crystals.

    Attributes:
        formula: exact composition; a reduced formula tries several formula units.
        z: smallest and largest number of formula units; None chooses from the size.
        elements: the elements every crystal is made of, all of them used.
        exclude: elements that must not appear.
        num_atoms: smallest and largest number of atoms in the cell.
        lattice: a, b, c (Å), alpha, beta, gamma (degrees), kept as given.
        spacegroup: number or symbol, "any", or None for no request.
        crystal_system: for example "cubic".
        point_group: for example "m-3m".
        wyckoff: for example "Sr:1a,Ti:1b,O:3c".
        cell: which cell comes out: "primitive", "conventional" or "niggli".
        charge_neutral: generated elements get a neutral composition by construction, and what
            is given must have one.
        host: a structure whose atoms and cell stay bit for bit.
        add: formula of the atoms to add to the host.
        properties: ranges by property, for example ``{"band_gap": (1.5, 2.5), "density": "<4"}``;
            None in a pair is an open end.
        one_of: sets of symbols; each crystal holds one element of each set, drawn anew for it.
        num_elements: fewest and most different elements, where others than the named ones may be
            there; None: the named ones and no other.
        structure_type: by name, for example "spinel"; elements that are not named are drawn from
            known crystals of its ratio of atoms.
    """

    formula: str | None = None
    z: tuple[int, int] | None = None
    elements: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    num_atoms: tuple[int, int] | None = None
    lattice: tuple[float, ...] | None = None
    spacegroup: str | None = None
    crystal_system: str | None = None
    point_group: str | None = None
    wyckoff: str | None = None
    cell: str = "niggli"
    charge_neutral: bool = False
    host: Structure | None = field(default=None, repr=False, compare=False)
    add: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    one_of: tuple[tuple[str, ...], ...] = ()
    num_elements: tuple[int, int] | None = None
    structure_type: str | None = None

    def __post_init__(self) -> None:
        for name in ("formula", "spacegroup", "crystal_system", "point_group", "wyckoff", "add"):
            value = getattr(self, name)
            if value is not None and not str(value).strip():
                raise RequestError(f"{name} is empty; give a value, or leave it out.")
        if self.formula:
            composition = parse_formula(self.formula)
            banned = set(self.exclude) & set(composition)
            if banned:
                raise RequestError(
                    f"formula {self.formula} contains excluded element {sorted(banned)[0]}; drop "
                    "one of the two options."
                )
            if self.elements:
                raise RequestError(
                    "formula and elements exclude each other; a formula fixes the elements."
                )
        for symbol in (*self.elements, *self.exclude):
            check_element(symbol)
        both = sorted(set(self.elements) & set(self.exclude))
        if both:
            raise RequestError(
                f"{both[0]} stands in elements and in exclude; drop it from one of the two."
            )
        self._check_sizes()
        self._check_choices()
        ranges = {name: range_of(name, value) for name, value in self.properties.items()}
        object.__setattr__(self, "properties", ranges)
        if self.cell not in ("primitive", "conventional", "niggli"):
            raise RequestError(
                f"cell {self.cell!r} is not known; choose primitive, conventional or niggli."
            )
        if self.lattice is not None:
            check_cell(self.lattice)
        if self.formula and self.host is not None:
            raise RequestError(
                "formula and host exclude each other; the host and what is added to it make the "
                "composition."
            )
        if self.add and self.host is None:
            raise RequestError("add needs a host structure; give one with --host FILE.")

    def _check_sizes(self) -> None:
        """Numbers of atoms and of formula units that a cell may have."""
        if self.num_atoms and not 1 <= self.num_atoms[0] <= self.num_atoms[1]:
            raise RequestError(
                f"natoms {self.num_atoms[0]}-{self.num_atoms[1]} is not a range of atom numbers; "
                "give for example 8 or 8-16."
            )
        if self.num_atoms and self.num_atoms[1] > LARGEST_CELL:
            raise RequestError(
                f"natoms {self.num_atoms[1]} is above {LARGEST_CELL} atoms per cell; ask for "
                "smaller cells and make a supercell afterwards."
            )
        if self.num_atoms and self.elements and self.num_atoms[1] < len(self.elements):
            raise RequestError(
                f"{len(self.elements)} elements do not fit in {self.num_atoms[1]} atoms; raise "
                "--natoms."
            )
        if self.z and not 1 <= self.z[0] <= self.z[1]:
            raise RequestError(f"z {self.z[0]}-{self.z[1]} is not a range; give for example 1-4.")
        if self.z and self.z[1] > LARGEST_CELL:
            raise RequestError(
                f"z {self.z[1]} is above {LARGEST_CELL} formula units; ask for smaller cells."
            )

    @classmethod
    def from_text(cls, text: str) -> Request:
        """The request that a sentence asks for; see :func:`.words.read_text` for what it ignores.

        Raises:
            RequestError: for a contradictory sentence, or one of which nothing is understood.
        """
        from crystal_diffusion.generation.words import read_text

        return read_text(text).request

    def _check_choices(self) -> None:
        """Sets of elements, their number, and the structure type."""
        for symbol in (symbol for choice in self.one_of for symbol in choice):
            if symbol not in chemistry.NUMBERS:
                raise RequestError(f"one_of: {symbol!r} is no element; give symbols such as Li.")
        if self.one_of and (self.formula or any(not choice for choice in self.one_of)):
            raise RequestError("one_of needs sets of elements and no formula; drop one of them.")
        named = len(self.elements) + len(self.one_of)
        if self.num_elements is not None:
            low, high = self.num_elements
            if not 1 <= low <= high <= 10:
                raise RequestError(
                    f"num_elements {low}-{high} is not a range from 1 to 10; give for example 3."
                )
            if high < named:
                raise RequestError(
                    f"{named} elements are named, but at most {high} asked for; correct one."
                )
            if self.num_atoms and self.num_atoms[1] < low:
                raise RequestError(
                    f"{low} elements do not fit in {self.num_atoms[1]} atoms; raise --natoms."
                )
        if self.structure_type is not None:
            self._check_type(self.structure_type, named)

    def _check_type(self, name: str, named: int) -> None:
        """Refuse a structure type that the rest of the request cannot have.

        Raises:
            RequestError: for an unknown type, or another ratio of atoms or number of elements.
        """
        kinds = types_named(name)
        most = max(len(kind.counts) for kind in kinds)
        if self.formula:
            counts = reduced(parse_formula(self.formula))
            if all(kind.roles_of(counts) is None for kind in kinds):
                shown = " or ".join("".join(kind.example) for kind in kinds)
                raise RequestError(
                    f"{self.formula} has not the ratio of atoms of {name} (as {shown}); correct "
                    "one of them."
                )
        elif named > most and not names_a_lattice(kinds):
            raise RequestError(
                f"{name} has {most} different elements, {named} are named; correct one of them."
            )

    @property
    def open_elements(self) -> bool:
        """Whether elements have to be drawn before a crystal can be planned."""
        return bool(self.one_of or self.structure_type or (self.num_elements and not self.formula))

    @property
    def ranges(self) -> Mapping[str, PropertyRange]:
        """What is asked of properties."""
        return self.properties

    def check_possible(self) -> None:
        """Refuse wishes that exclude each other, before a model is loaded.

        Raises:
            RequestError: for cell contents, groups or sizes that cannot be.
        """
        if self.formula:
            self.contents(LARGEST_CELL)
        if self.symmetric:
            self.space_groups()

    def space_groups(self) -> tuple[SpaceGroup, ...]:
        """The groups that the request allows.

        Raises:
            RequestError: for an unknown name, or wishes that exclude each other.
        """
        among = groups_of(crystal_system=self.crystal_system, point_group=self.point_group)
        if self.spacegroup in (None, "any"):
            return among
        group = SpaceGroup.from_any(str(self.spacegroup))
        if group.number not in {g.number for g in among}:
            raise RequestError(
                f"space group {group.symbol} is {group.crystal_system} with point group "
                f"{group.point_group}, which excludes the other wish; drop one of them."
            )
        return (group,)

    @property
    def symmetric(self) -> bool:
        """Whether a space group was asked for in any way."""
        return bool(self.spacegroup or self.crystal_system or self.point_group or self.wyckoff)

    @property
    def composition_given(self) -> bool:
        """Whether the request names all atoms, so that no element is to be found."""
        return bool(self.formula or self.wyckoff or self.host is not None)

    @cached_property
    def named_elements(self) -> NamedElements:
        """The elements of all wishes, by atomic number."""
        formula = parse_formula(self.formula) if self.formula else {}
        add = parse_formula(self.add) if self.add else {}
        numbers = {
            name: chemistry.atomic_number(name)
            for name in (*formula, *self.elements, *add, *self.exclude)
        }
        wanted = (*formula, *self.elements, *add)
        return NamedElements(
            tuple(numbers[name] for name in self.elements),
            frozenset(numbers[name] for name in self.exclude),
            tuple(frozenset(map(chemistry.atomic_number, names)) for names in self.one_of),
            tuple(numbers[name] for name, count in add.items() for _ in range(count)),
            add,
            {numbers[name]: name for name in wanted},
        )

    def contents(
        self, default_largest: int, open_units: Sequence[int] | None = None
    ) -> list[dict[int, int]]:
        """`compositions` by atomic number."""
        return [
            {chemistry.atomic_number(name): count for name, count in unit.items()}
            for unit in self.compositions(default_largest, open_units)
        ]

    def compositions(
        self, default_largest: int, open_units: Sequence[int] | None = None
    ) -> list[dict[str, int]]:
        """The cell contents a formula allows, smallest first; empty without a formula.

        Args:
            default_largest: cells of more atoms are tried only where asked for.
            open_units: numbers of formula units where the request leaves them open; 1 to 4 at most
                if left out.

        Raises:
            RequestError: when no number of formula units meets the other limits, or none is neutral
                where that was asked for.
        """
        if not self.formula:
            return []
        unit = parse_formula(self.formula)
        size = sum(unit.values())
        reduced = reduce(math.gcd, unit.values()) == 1
        units: Sequence[int]
        if self.z:
            units = range(self.z[0], self.z[1] + 1)
        elif reduced and not self.wyckoff and open_units is not None:
            units = open_units
        elif reduced and not self.wyckoff:
            # Room for several formula units, but never fewer than one.
            units = range(1, max(1, min(4, default_largest // size)) + 1)
        else:
            units = range(1, 2)
        if self.num_atoms and not self.z:
            low, high = self.num_atoms
            units = range(max(1, math.ceil(low / size)), high // size + 1)
            if not reduced:
                units = range(1, 2)
        contents = [{el: count * z for el, count in unit.items()} for z in units]
        if self.num_atoms:
            low, high = self.num_atoms
            contents = [c for c in contents if low <= sum(c.values()) <= high]
        contents = [c for c in contents if sum(c.values()) <= LARGEST_CELL]
        if not contents:
            possible = ", ".join(str(size * z) for z in range(1, 5))
            raise RequestError(
                f"{self.formula} has {size} atoms per formula unit, which does not fit the "
                f"requested number of atoms; {possible} … are possible."
            )
        if self.charge_neutral:
            from crystal_diffusion.generation.neutral import neutral_contents

            contents = neutral_contents(contents, self.formula)
        return contents

    def check_room(self, atoms: int) -> None:
        """Refuse more atoms than a given cell can hold.

        Raises:
            RequestError: below 3 Å3 per atom.
        """
        if self.lattice is None:
            return
        available = cell_volume(self.lattice)
        if available / atoms < SMALLEST_VOLUME_PER_ATOM:
            most = int(available / SMALLEST_VOLUME_PER_ATOM)
            raise RequestError(
                f"{atoms} atoms do not fit in the given cell of {available:.1f} Å3; at most "
                f"{most} have {SMALLEST_VOLUME_PER_ATOM} Å3 each. Give a larger --lattice or "
                "fewer atoms."
            )

    def as_dict(self) -> dict[str, Any]:
        """What was asked for, for the manifest; free fields are left out."""
        values = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("host", "properties") and getattr(self, name) not in (None, (), False)
        }
        if self.properties:
            values["properties"] = {name: str(wanted) for name, wanted in self.ranges.items()}
        if self.host is not None:
            values["host"] = self.host.composition.formula
        return values


def check_element(text: str) -> None:
    """Refuse what is no symbol of an element.

    Raises:
        RequestError: with what may have been meant.
    """
    if text in chemistry.SYMBOLS[1:]:
        return
    word = text.strip()
    meant = meant_element(word)
    if meant:
        offer = f"did you mean {meant}?"
    elif re.fullmatch(r"(?:[A-Z][a-z]?\d*){2,}", word):
        listed = ",".join(dict.fromkeys(re.findall(r"[A-Z][a-z]?", word)))
        offer = f"did you mean the formula {word}, or the elements {listed}?"
    else:
        offer = "give symbols such as Li or Fe."
    raise RequestError(f"{text!r} is no element; {offer}")


def reduced(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts without a common divisor."""
    divisor = math.gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}


def parse_formula(text: str) -> dict[str, int]:
    """Element symbols to whole counts.

    A hydrate is read with its water (``CuSO4.5H2O``, ``CuSO4·5H2O``), and fractions stand for the
    smallest whole multiple (``LiNi0.5Mn0.5O2`` is Li2NiMnO4; thirds may be printed as 0.333).

    Raises:
        InputError: when the text is no formula, has an unknown element, or no whole multiple of it
            fits in a cell.
    """
    amounts: dict[str, float] = {}
    decimals = 0
    for times, part in _parts_of(text):
        for symbol, amount in _amounts(part, text).items():
            amounts[symbol] = amounts.get(symbol, 0.0) + times * amount
        printed = re.findall(r"\.(\d+)", part)
        decimals = max([decimals, *(len(digits) for digits in printed)])
    if max(amounts.values()) >= 100 and (meant := meant_formula(text)):
        raise InputError(
            f"formula {text!r} asks for {max(amounts.values()):g} atoms of one element; did you "
            f"mean {meant}?"
        )
    return _whole(amounts, decimals, text)


#: What stands between a salt and its water: CuSO4·5H2O. A full stop does so only before water,
#: where it is no decimal point: CuSO4.5H2O.
_DOTS = re.compile(r"[\u00b7\u2022\u22c5\u2219*]")
_WATER = re.compile(r"\.((?:\d*\.?\d+)?\s*(?:H2O|D2O))$")


def _parts_of(text: str) -> list[tuple[float, str]]:
    """The parts of a formula around its dots, with how often each is there."""
    cleaned = " ".join(text.split())
    if _DOTS.search(cleaned) is None:
        cleaned = _WATER.sub(r"*\1", cleaned)
    parts: list[tuple[float, str]] = []
    for place, part in enumerate(_DOTS.split(cleaned)):
        match = re.fullmatch(r"(\d*\.?\d+)?\s*(.*)", part.strip()) if place else None
        if match is None:
            parts.append((1.0, part.strip()))
        else:
            parts.append((float(match[1] or 1.0), match[2]))
    return parts


def _amounts(part: str, text: str) -> Mapping[str, float]:
    from pymatgen.core import Composition, Element

    if "," in part or ";" in part:
        listed = ",".join(re.findall(r"[A-Z][a-z]?", part))
        raise InputError(
            f"formula {text[:80]!r} is a list; give elements with --elements {listed}, or one "
            "formula as in LiFePO4."
        )
    if not part or len(part) > 500 or not re.fullmatch(r"[A-Za-z0-9.()\[\]{} ]+", part):
        raise InputError(
            f"formula {text[:80]!r} does not parse; write element symbols and numbers, as in "
            f"LiFePO4{meant_offer(part)}"
        )
    if re.search(r"(?<![\d.])0\d+(?![\d.])", part):
        raise InputError(
            f"formula {text[:80]!r} has a number that begins with 0{meant_offer(part)} Write "
            "the letter O for oxygen, and whole numbers of atoms."
        )
    try:
        amounts: Mapping[str, float] = Composition(part, strict=True).get_el_amt_dict()
    except Exception as error:  # pymatgen raises several kinds for malformed text
        raise InputError(
            f"formula {text!r} does not parse ({error}); write element symbols and numbers, as "
            f"in LiFePO4{meant_offer(part)}"
        ) from error
    if re.search(r"(?<![\d.])0+(?:\.0*)?(?![\d.])", part):
        raise InputError(
            f"formula {text!r} has an amount of 0; leave that element out{meant_offer(part)}"
        )
    if not amounts:
        raise InputError(f"formula {text!r} is empty; write for example LiFePO4.")
    for symbol in amounts:
        if not Element.is_valid_symbol(symbol):
            raise InputError(
                f"formula {text!r}: {symbol} is not an element; check the spelling"
                f"{meant_offer(part)}"
            )
    return amounts


def _whole(amounts: Mapping[str, float], decimals: int, text: str) -> dict[str, int]:
    """The smallest whole multiple of the amounts."""
    size = sum(amounts.values())
    for times in range(1, max(1, int(LARGEST_CELL / size)) + 1):
        counts = {symbol: round(times * amount) for symbol, amount in amounts.items()}
        off = max(abs(times * amounts[symbol] - counts[symbol]) for symbol in amounts)
        # 0.333 and 0.33 are printed thirds; other fractions must come out exactly.
        printed = (decimals >= 3 and times <= 12) or (decimals == 2 and times in (3, 6))
        rounding = times * 0.51 * 10.0**-decimals if printed else 1e-6
        if off <= rounding and min(counts.values()) > 0:
            return counts
    worst = max(amounts, key=lambda symbol: abs(amounts[symbol] - round(amounts[symbol])))
    raise InputError(
        f"formula {text!r}: {worst} has amount {amounts[worst]:g}, and no whole multiple has at "
        f"most {LARGEST_CELL} atoms; write whole numbers of atoms."
    )


def formula_as_taken(text: str) -> str:
    """The whole formula that a request stands for, elements in the order given."""
    return "".join(el + (str(n) if n > 1 else "") for el, n in parse_formula(text).items())


def is_rewritten(text: str) -> bool:
    """Whether a formula was given in fractions, or as a hydrate with a dot."""
    return "." in text or len(_parts_of(text)) > 1


def parse_range(text: str, option: str) -> tuple[int, int]:
    """Two numbers from a text such as "8" or "8-16"."""
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9}))?\s*", text)
    if not match:
        example = "1-4" if option == "--z" else "8-16"
        raise InputError(
            f"{option} {text!r} is not a number or a range; give for example {example}."
        )
    low = int(match[1])
    return low, int(match[2] or low)


def parse_lattice(text: str) -> tuple[float, ...]:
    """Six numbers from a text such as "5,5,5,90,90,90".

    Raises:
        InputError: when there are not six numbers or they make no cell.
    """
    parts = text.replace(" ", ",").split(",")
    try:
        values = tuple(float(part) for part in parts if part)
    except ValueError as error:
        raise InputError(
            f"lattice {text!r} is not six numbers; give a,b,c,alpha,beta,gamma as in "
            "5,5,5,90,90,90 (Å and degrees)."
        ) from error
    check_cell(values)
    return values


def check_cell(values: tuple[float, ...]) -> None:
    """Refuse what is no cell.

    Raises:
        RequestError: for other than six finite numbers, edges not positive, or zero volume.
    """
    if len(values) != 6 or not all(math.isfinite(v) for v in values):
        raise RequestError(
            f"lattice needs six finite numbers a,b,c,alpha,beta,gamma, got {values}; give for "
            "example 5,5,5,90,90,90 (Å and degrees)."
        )
    if min(values[:3]) <= 0 or min(values[3:]) <= 0 or max(values[3:]) >= 180:
        raise RequestError(
            f"lattice {values} needs positive edges (Å) and angles between 0 and 180 degrees."
        )
    if min(values[:3]) < 1:
        raise RequestError(f"lattice {values} has an edge below 1 Å; the unit must be Å, not nm.")
    if max(values[:3]) > LONGEST_EDGE:
        raise RequestError(
            f"lattice {values} has an edge above {LONGEST_EDGE:g} Å; the unit must be Å."
        )
    if cell_volume(values) < 1.0:
        raise RequestError(
            f"lattice {values} has no volume: these three angles make no cell; check them."
        )


def cell_volume(values: tuple[float, ...]) -> float:
    """Å3 of a, b, c, alpha, beta, gamma; 0 where the angles make no cell."""
    a, b, c = values[:3]
    x, y, z = (math.cos(math.radians(v)) for v in values[3:])
    return a * b * c * math.sqrt(max(0.0, 1 - x * x - y * y - z * z + 2 * x * y * z))
