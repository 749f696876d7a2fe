"""What a sentence asks for: items of :mod:`.scanning` put together to a request.

Nothing is guessed in silence: every word ends in one of three lists. A contradictory sentence makes
no request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from crystal_diffusion.errors import CrystalDiffusionError, InputError, RequestError
from crystal_diffusion.generation.request import Request, parse_formula
from crystal_diffusion.generation.words.asides import read_asides
from crystal_diffusion.generation.words.chemistry_words import Chemistry, ChemistryReader
from crystal_diffusion.generation.words.quantities import Bound, read_quantities
from crystal_diffusion.generation.words.relations import read_relations
from crystal_diffusion.generation.words.scanning import Item, normalise, scan
from crystal_diffusion.generation.words.vocabulary import LOOSE, split
from crystal_diffusion.symmetry.structure_types import names_a_lattice, types_named

#: A text longer than this is no request.
LONGEST_TEXT = 2000
#: Most atoms where a sentence gives the fewest only.
MOST_ATOMS = 40


#: Kinds of items that carry no wish of their own.
_SILENT = frozenset(
    ("filler", "comma", "stop", "dash", "bracket", "colon", "slash", "and", "but", "or", "between")
    + ("typeword", "count", "open", "close", "like")
)
#: Kinds of items that are said together with words beside them: a capacity of 150 mAh/g.
_FIGURES = ("number", "ratio")
#: Small words that are said together with a word behind them: ion conductor, at 300 K; and
#: those with a word before them: solar cells.
_MODIFYING = frozenset(
    split(
        "solid bulk new novel pure simple good common group space unit crystal crystals cell "
        "lattice phase ion ions cation anion atomic structure number energy single chemical "
        "inorganic structural family show shows exhibit exhibits showing"
    )
)
_LEADING = frozenset(split("for as on in at under by to via from against"))
_NOUNS = frozenset(
    split("cell cells structure structures phase phases material materials crystals ions symmetry")
)
#: Behind "metal" these make it a part of a name: metal oxides.
_METAL_OF = ("anion", "family", "element", "oxy_family")
#: Before "metal" these mean an element and not a crystal: one other metal.
_SOME = frozenset(
    ("no", "without", "one", "two", "other", "another", "any", "more", "second", "third")
)
#: Kinds of items before the unit of a number.
_MEASURED = frozenset(("compare", "between", "number", "filler", "to", "dash"))
#: Kinds of items that may stand between two words of one phrase.
_BETWEEN = ("filler", "dash", "between")
#: Types without distorted variants in common use, and their crystal systems.
_FIXED_SYSTEMS = {
    **dict.fromkeys(("rocksalt", "cscl", "zincblende", "diamond", "fcc", "bcc"), ("cubic",)),
    **dict.fromkeys(("antifluorite", "pyrite", "a15"), ("cubic",)),
    **dict.fromkeys(("hcp", "hexagonal_laves"), ("hexagonal",)),
    "wurtzite": ("hexagonal", "orthorhombic", "monoclinic"),
    **dict.fromkeys(("rutile", "anatase"), ("tetragonal", "orthorhombic", "monoclinic")),
    "corundum": ("trigonal", "hexagonal", "monoclinic"),
}
#: Words that make another crystal system of a type possible.
_DISTORTED = frozenset(
    split("distorted distortion derived related like ordered disordered layered variant derivative")
)
#: Why an item is of no effect; what has no entry was not understood.
_REASONS = {
    "unasked": "{}",
    "doubtful": "did you mean {}?",
    "property": "no range is given for it",
    "generic": "name the elements, or a structure type",
    "number": "it is not clear of what",
    "ratio": "it is not clear of what",
    "further": "it is not clear besides which",
}


@dataclass(frozen=True)
class Understood:
    """One wish: the words, and what they stand for."""

    words: str
    meaning: str


@dataclass(frozen=True)
class Ignored:
    """Words without effect, and why."""

    words: str
    reason: str


@dataclass(frozen=True)
class TextReading:
    """A sentence as it was understood.

    Attributes:
        text: as given.
        asked: the request's fields; empty where nothing was understood.
        understood: wishes with their meaning.
        ignored: words without effect.
        contradictory: what cannot be met together; nothing is made then.
    """

    text: str
    asked: dict[str, Any]
    understood: tuple[Understood, ...]
    ignored: tuple[Ignored, ...]
    contradictory: tuple[str, ...]

    @cached_property
    def request(self) -> Request:
        """The request.

        Raises:
            RequestError: for a contradictory sentence, or one of which nothing was understood.
        """
        if self.contradictory:
            raise RequestError(
                f"the text asks for what cannot be met together: {'; '.join(self.contradictory)}. "
                "Correct it."
            )
        if not self.asked:
            raise RequestError(
                f"nothing in the text {self.text[:80]!r} was understood as a wish for a crystal; "
                "name elements, a formula, a structure type, symmetry, a size or a property with "
                "its unit."
            )
        return Request(**self.asked)

    def joined(self, other: Request) -> Request:
        """The request with what other options ask for.

        Raises:
            RequestError: where both name the same field, or as for :attr:`request`.
        """
        own = self.request
        asked = dict(self.asked)
        for name in self.asked:
            if name == "properties":
                both = sorted(set(own.ranges) & set(other.ranges))
                asked[name] = {**other.ranges, **own.ranges}
            else:
                given = getattr(other, name) not in (None, (), False) and name != "cell"
                both = [name] if given else []
            if both:
                raise RequestError(
                    f"the text and another option both say something of {', '.join(both)}; "
                    "drop one of the two."
                )
        return replace(other, **asked)

    def lines(self) -> list[str]:
        """The three lists, for people."""
        out = []
        for wish in self.understood:
            out.append(f"understood     {wish.words}: {wish.meaning}")
        for left in self.ignored:
            out.append(f"ignored        {left.words}: {left.reason}")
        out += [f"contradictory  {problem}" for problem in self.contradictory]
        return out

    def __str__(self) -> str:
        return "\n".join(self.lines())


def read_text(text: str) -> TextReading:
    """Read a wish in plain English.

    Args:
        text: such as "a stable cubic lithium oxide with a band gap above 3 eV".

    Raises:
        InputError: for an empty text or one longer than :data:`LONGEST_TEXT`.
    """
    if not text.strip():
        raise InputError("the text is empty; say what the crystals shall be.")
    if len(text) > LONGEST_TEXT:
        raise InputError(f"the text has {len(text)} characters; give at most {LONGEST_TEXT}.")
    return _Reader(text).read()


class _Reader:
    """Collects the fields of one sentence."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.plain = normalise(text)
        self.items = scan(self.plain)
        self.taken: set[int] = set()
        self.asked: dict[str, Any] = {}
        self.understood: list[Understood] = []
        self.ignored: list[Ignored] = []
        self.contradictory: list[str] = []

    def read(self) -> TextReading:
        """All fields, then what is left over."""
        reader = ChemistryReader(self.items, self.taken)
        for beside in (read_relations, read_asides):
            for places, reason in beside(self.items, self.taken):
                if all(self.items[i].kind in (*_BETWEEN, "bracket", "and") for i in places):
                    continue
                self.ignored.append(Ignored(self._wording(places), reason))
        reader.counted()
        bounds = read_quantities(self.items, self.taken)
        chemistry = reader.read()
        for item in self.items:
            if item.read_as is not None:
                self.understood.append(Understood(item.text, f"read as {item.read_as}"))
        self._symmetry()
        self._chemistry(chemistry)
        self._numbers(bounds)
        self._properties(bounds)
        self._rest()
        self._check()
        return TextReading(
            self.text,
            {} if self.contradictory else self.asked,
            tuple(self.understood),
            tuple(self.ignored),
            tuple(dict.fromkeys(self.contradictory)),
        )

    def _of(self, *kinds: str) -> list[tuple[int, Item]]:
        return [
            (i, item)
            for i, item in enumerate(self.items)
            if item.kind in kinds and i not in self.taken
        ]

    def _negated(self, index: int) -> bool:
        """Whether a negation stands before an item, with at most small words between."""
        for back in range(index - 1, max(-1, index - 4), -1):
            kind = self.items[back].kind
            if kind == "neg":
                return True
            if kind not in ("filler", "dash", "like"):
                return False
        return False

    def _understand(self, item: Item, meaning: str, index: int) -> None:
        self.understood.append(Understood(item.text, meaning))
        self.taken.add(index)

    def _ignore(self, words: str, reason: str, index: int) -> None:
        self.ignored.append(Ignored(words, reason))
        self.taken.add(index)

    def _in_choice(self, index: int) -> bool:
        """Whether an item is one of two joined by "or"."""
        around = range(max(0, index - 2), min(len(self.items), index + 3))
        for other in around:
            if self.items[other].kind != "or" or other in self.taken:
                continue
            span = self.items[min(index, other) + 1 : max(index, other)]
            if all(item.kind in ("comma", "filler", "dash") for item in span):
                return True
        return False

    def _symmetry(self) -> None:
        for i, item in self._of("bad_group"):
            self.contradictory.append(f"there is no space group {item.value}")
            self.taken.add(i)
        self._field("group", "spacegroup", "space group", str)
        self._field("point_group", "point_group", "point group", str)
        self._field("system", "crystal_system", "crystal system", str)
        self._field("type", "structure_type", "structure type", str)
        self._field("cell", "cell", "cell", str)
        for i, item in self._of("neutral"):
            self._understand(item, "charge neutral", i)
            self.asked["charge_neutral"] = True

    def _field(self, kind: str, name: str, title: str, convert: Any) -> None:
        """A field of which a sentence can name one."""
        found: list[Any] = []
        for i, item in self._of(kind):
            after = self.items[i + 1].kind if i + 1 < len(self.items) else ""
            if self._negated(i):
                self._ignore(f"not {item.text}", f"a {title} cannot be excluded", i)
            elif self._in_choice(i):
                self._ignore(item.text, f"one {title} at a time; choose one", i)
            elif kind == "type" and self._told_closer(item):
                self._understand(item, "the structure type named closer", i)
            elif kind == "type" and self._likened(i):
                self._ignore(item.text, "likeness to a structure cannot be asked for", i)
            else:
                value = convert(item.value)
                self._understand(item, f"{title} {value}", i)
                if after in ("typeword", "like"):
                    self.taken.add(i + 1)
                found.append(value)
        distinct = list(dict.fromkeys(found))
        if len(distinct) > 1:
            self.contradictory.append(f"{title} {' and '.join(distinct)}")
        if distinct:
            self.asked[name] = distinct[0]

    def _told_closer(self, item: Item) -> bool:
        """Whether a Laves phase is named whose kind another word tells: Laves phase, C14."""
        plain = item.value == "laves" and re.search(r"\d", item.text) is None
        return plain and any(other.value == "hexagonal_laves" for _, other in self._of("type"))

    def _likened(self, index: int) -> bool:
        after = [item.kind for item in self.items[index + 1 : index + 3] if item.kind != "dash"]
        if index > 1 and self.items[index - 2].text.lower().startswith("crystalli"):
            return False
        if after[:1] == ["derived"]:
            return True
        return (
            index > 0
            and self.items[index - 1].kind in ("like", "filler")
            and (self.items[index - 1].text.lower() == "like")
            and self.items[index - 2].kind != "dash"  # BiFeO3-like perovskites
        )

    def _chemistry(self, found: Chemistry) -> None:
        self.asked |= found.fields()
        self._fit_type()
        self.understood += [Understood(words, meaning) for words, meaning in found.understood]
        self.ignored += [Ignored(words, reason) for words, reason in found.ignored]
        self.contradictory += found.contradictory
        if "structure_type" in self.asked or "formula" in self.asked:
            self.asked.pop("num_elements", None) if not found.counted else None

    def _fit_type(self) -> None:
        """Drop a structure type of fewer elements than are named: several share a site."""
        name = self.asked.get("structure_type")
        named = len(self.asked.get("elements", ())) + len(self.asked.get("one_of", ()))
        if name is None or "formula" in self.asked:
            return
        kinds = types_named(name)
        most = max(len(kind.counts) for kind in kinds)
        if named <= most or most < 2 or names_a_lattice(kinds):
            return
        del self.asked["structure_type"]
        meaning = f"structure type {name}"
        words = ", ".join(wish.words for wish in self.understood if wish.meaning == meaning)
        self.understood = [wish for wish in self.understood if wish.meaning != meaning]
        reason = f"it has {most} different elements and {named} are named; only they are asked for"
        self.ignored.append(Ignored(words, reason))

    def _numbers(self, bounds: Sequence[Bound]) -> None:
        for target, name, limit in (
            ("atoms", "num_atoms", MOST_ATOMS),
            ("elements", "num_elements", 10),
            ("units", "z", 4),
        ):
            mine = [b for b in bounds if b.target == target and not b.problem]
            if not mine:
                continue
            low = max((b.whole_low for b in mine if b.low is not None), default=None)
            high = min((b.whole_high for b in mine if b.high is not None), default=None)
            words = ", ".join(b.words for b in mine)
            least = 1 if low is None else low
            most = (
                high
                if high is not None
                else max(limit, least if name == "num_elements" else 2 * least)
            )
            if least > most or most < 1:
                self.contradictory.append(f"{words}: no number of {target} is both")
                continue
            self.understood.append(
                Understood(
                    words, f"{least} to {most} {target}" if least < most else f"{least} {target}"
                )
            )
            if name == "num_elements" and name in self.asked:
                arity = self.asked[name]
                if self._arity and arity[0] == arity[1] and not least <= arity[0] <= most:
                    self.contradictory.append(f"{words} and {arity[0]} elements")
            if name == "num_elements" and "formula" in self.asked:
                count = len(parse_formula(str(self.asked["formula"])))
                if not least <= count <= most:
                    formula = self.asked["formula"]
                    self.contradictory.append(f"{words}, and {formula} has {count}")
            self.asked[name] = (least, most)

    @property
    def _arity(self) -> bool:
        return any(item.kind == "arity" for item in self.items)

    def _properties(self, bounds: Sequence[Bound]) -> None:
        loose = self._loose()
        names = dict.fromkeys(
            [b.target for b in bounds if b.is_property] + [entry[1] for entry in loose]
        )
        for bound in bounds:
            if bound.problem:
                self.ignored.append(Ignored(bound.words, bound.problem))
        properties: dict[str, tuple[float | None, float | None]] = {}
        for name in names:
            asked = [b for b in bounds if b.target == name and not b.problem]
            mine = [entry for entry in loose if entry[1] == name]
            ranges = [(b.words, b.low, b.high, 9) for b in asked]
            ranges += [(words, low, high, weight) for words, _, low, high, weight in mine]
            if not ranges:
                continue
            merged = self._merged(name, ranges)
            if merged is not None:
                properties[name] = merged
        if properties:
            self.asked["properties"] = properties

    def _merged(
        self, name: str, ranges: Sequence[tuple[str, float | None, float | None, int]]
    ) -> tuple[float | None, float | None] | None:
        """The range of all that is said of one property; the strongest words decide."""
        from crystal_diffusion.properties import BY_NAME, PropertyRange

        infinity = float("inf")
        low = max(-infinity if r[1] is None else r[1] for r in ranges)
        high = min(infinity if r[2] is None else r[2] for r in ranges)
        words = ", ".join(r[0] for r in ranges)
        if low > high:
            self.contradictory.append(f"{words}: no {BY_NAME[name].title} is both")
            return None
        strongest = max(r[3] for r in ranges)
        kept = [r for r in ranges if r[3] == strongest]
        low = max(-infinity if r[1] is None else r[1] for r in kept)
        high = min(infinity if r[2] is None else r[2] for r in kept)
        lowest = BY_NAME[name].lowest
        if lowest is not None and (high < lowest or (BY_NAME[name].logarithmic and high <= lowest)):
            self.contradictory.append(f"{words}: no {BY_NAME[name].title} is below {lowest:g}")
            return None
        unit = BY_NAME[name].unit
        self.understood.append(
            Understood(words, f"{BY_NAME[name].title} {PropertyRange(low, high)} {unit}")
        )
        return (None if low == -infinity else low, None if high == infinity else high)

    def _loose(self) -> list[tuple[str, str, float | None, float | None, int]]:
        """Loose words that count: text, property, low, high, weight."""
        found = []
        opposite = {"magnetic": "nonmagnetic", "metallic": "nonmetallic", "metal": "nonmetallic"}
        for i, item in self._of("loose"):
            word = str(item.value)
            later = [it for it in self.items[i + 1 : i + 4] if it.kind not in ("comma", "dash")]
            nearest = later[0].kind if later else ""
            if self._unwanted(i):
                self._ignore(item.text, "what is not wanted of it has no range", i)
            elif word == "metal" and nearest in (*_METAL_OF, "open"):
                self.taken.add(i)  # a metal oxide, the metals Cu and Zn: no wish for a gap of zero
            elif word == "metal" and i and self.items[i - 1].kind in ("element", "unasked"):
                self.taken.add(i)  # lithium metal, group IV metals
            elif word == "metal" and i and self.items[i - 1].text.lower() in _SOME:
                self._ignore(f"{self.items[i - 1].text} {item.text}", "name the elements", i)
            elif self._negated(i) and word in opposite:
                name, low, high, weight = LOOSE[opposite[word]]
                found.append((f"not {item.text}", name, low, high, weight))
                self.taken.add(i)
            elif self._negated(i):
                self._ignore(f"not {item.text}", "its opposite has no usual range", i)
            elif "stable" in word and self._until(i):
                self._ignore(item.text, "only energy above hull is known of stability", i)
            elif "semi" in word and any(
                str(other.value).startswith(("zero", "no ", "without", "gapless"))
                for other in self.items
                if other.kind == "loose"
            ):
                self.taken.add(i)  # a gapless semiconductor
            elif word in ("light", "heavy") and self._of_elements(i):
                self._ignore(item.text, "name the elements", i)
            elif self._in_choice(i):
                self._ignore(item.text, "one of two properties cannot be asked for", i)
            else:
                name, low, high, weight = LOOSE[word]
                found.append((item.text, name, low, high, weight))
                self.taken.add(i)
        return found

    def _until(self, index: int) -> bool:
        """Whether a temperature or the like follows: stable up to 1000 K."""
        after = self.items[index + 1 : index + 5]
        kinds = [item.kind for item in after]
        if "unit" not in kinds or not set(kinds[: kinds.index("unit")]) <= _MEASURED:
            return False
        return after[kinds.index("unit")].value == "other"

    def _of_elements(self, index: int) -> bool:
        """Whether elements are meant, not crystals: heavy rare earths, light elements."""
        after = self.items[index + 1 : index + 2]
        noun = ("elements", "element", "atoms", "metal", "metals", "nuclei")
        return bool(after) and (after[0].kind == "family" or after[0].text.lower() in noun)

    def _unwanted(self, index: int) -> bool:
        behind = self.items[index + 1 : index + 4]
        later = [item.text.lower() for item in behind]
        if any(item.kind == "neg_after" for item in behind[:2]):
            return True
        return "not" in later[:2] and any(w in later for w in ("wanted", "needed", "desired"))

    def _wording(self, places: Sequence[int]) -> str:
        """The words at these places as they were written, small words between them included."""
        parts: list[list[int]] = []
        for place in sorted(places):
            between = range(parts[-1][1] + 1, place) if parts else range(0)
            if parts and all(self.items[k].kind in _BETWEEN for k in between):
                parts[-1][1] = place
            else:
                parts.append([place, place])
        said = " ".join(self.plain[self.items[a].start : self.items[b].end] for a, b in parts)
        return " ".join(said.split())

    def _rest(self) -> None:
        """Every word left over is said, but those of :data:`_SILENT`; neighbours together."""
        run: list[int] = []
        for i, item in enumerate(self.items):
            said = i not in self.taken and item.kind not in _SILENT
            said = said and not (item.kind == "compare" and item.text.lower() in ("of", "is"))
            reason = _REASONS.get(item.kind) if said else None
            if said and (reason is None or item.kind in _FIGURES):
                run.append(i)
                continue
            between = item.kind in _BETWEEN and i not in self.taken and i - max(run, default=i) < 3
            hyphen = bool(run) and self.items[i - 1].kind == "dash" and max(run) == i - 2
            if said and reason is not None and run and (max(run) == i - 1 or hyphen):
                # High hardness: one thing.
                self.ignored.append(Ignored(self._wording([*run, i]), reason.format(item.value)))
                run = []
                continue
            if run and not between:
                self._leave(run)
                run = []
            if said and reason is not None:
                self.ignored.append(Ignored(item.text, reason.format(item.value)))
        if run:
            self._leave(run)

    def _leave(self, run: Sequence[int]) -> None:
        """Say words that are not understood, with what belongs to them: solid-state batteries."""
        first, last = run[0], run[-1]
        while first > 1 and self.items[first - 1].kind == "dash" and self._touches(first - 2):
            first -= 2
        if first and self._near(first - 1, _MODIFYING):
            first -= 1
        if first and self._near(first - 1, _LEADING):
            first -= 1
        if last + 1 < len(self.items) and self._near(last + 1, _NOUNS):
            last += 1
        kinds = {self.items[i].kind for i in run}
        figures = kinds & set(_FIGURES) and kinds <= {
            *_FIGURES,
            "unit",
            "compare",
            "pm",
            "to",
            "range",
        }
        reason = "it is not clear of what" if figures else "not understood"
        self.ignored.append(Ignored(self._wording([first, *run, last]), reason))

    def _near(self, i: int, some: frozenset[str]) -> bool:
        """Whether a small word that belongs to its neighbour stands at a place."""
        return i not in self.taken and self.items[i].text.lower() in some

    def _touches(self, i: int) -> bool:
        """Whether an item of no wish of its own stands at a hyphen."""
        joined = self.items[i].end == self.items[i + 1].start
        return joined and i not in self.taken and self.items[i].kind in ("filler", "unknown")

    def _check_system(self) -> None:
        """A type that is known in one crystal system only, beside another system."""
        name, system = self.asked.get("structure_type"), self.asked.get("crystal_system")
        fixed = _FIXED_SYSTEMS.get(str(name))
        said = {item.text.lower() for item in self.items}
        if fixed is None or system is None or system in fixed or said & _DISTORTED:
            return
        self.contradictory.append(f"{name} crystals are {fixed[0]} and not {system}")

    def _check(self) -> None:
        """What the fields say together must be possible."""
        if self.contradictory or not self.asked:
            return
        self._check_system()
        try:
            Request(**self.asked).check_possible()
        except CrystalDiffusionError as problem:
            self.contradictory.append(str(problem).rstrip("."))
